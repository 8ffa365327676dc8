#!/usr/bin/env python3
"""Records what upstream's own policies say to every persona about every target.

    record_matrix.py      with the Python of an installed Ironic (PyPI `ironic`); rewrites matrix.json

For every policy, persona, target and form of settings the decision of oslo.policy with Ironic's registered
defaults, asked for as Ironic asks: y = allowed, n = refused, s = the token's scope is wrong. `files` are the
cases of an operator's file. Credentials are made by Ironic's own request context.
"""
import datetime
import importlib.metadata
import json
import pathlib
import tempfile

from oslo_config import cfg
from oslo_policy import opts as oslo_policy_opts
from oslo_policy import policy as oslo_policy
from ironic.common import context, policy
from ironic.conf import CONF

OWNER, LESSEE, OTHER = "p-owner", "p-lessee", "p-other"
IMPLIED = {"reader": ["reader"], "member": ["member", "reader"], "manager": ["manager", "member", "reader"],
           "admin": ["admin", "manager", "member", "reader"], "service": ["service"]}
PERSONAS = {}
for role in IMPLIED:
    PERSONAS[f"system {role}"] = {"system_scope": "all", "roles": IMPLIED[role]}
    for name, project in (("owner", OWNER), ("lessee", LESSEE), ("neither", OTHER)):
        PERSONAS[f"{name} {role}"] = {"project_id": project, "project_name": name, "roles": IMPLIED[role],
                                      "project_domain_id": "d1"}
PERSONAS["domain admin"] = {"domain_id": "default", "roles": IMPLIED["admin"]}
PERSONAS["service of the service project"] = {"project_id": "p-service", "project_name": "service",
                                              "project_domain_id": "default", "roles": ["service"]}
PERSONAS["no roles"] = {"project_id": OTHER, "project_name": "neither", "project_domain_id": "d1", "roles": []}
PERSONAS["unscoped"] = {"roles": []}
PERSONAS["baremetal_admin of baremetal"] = {"project_id": "p-bm", "project_name": "baremetal",
                                            "project_domain_id": "default", "roles": ["baremetal_admin"]}
PERSONAS["observer of demo"] = {"project_id": "p-demo", "project_name": "demo", "project_domain_id": "default",
                                "roles": ["Observer"]}
PERSONAS["administrator"] = {"project_id": OTHER, "project_name": "neither", "project_domain_id": "d1",
                             "roles": ["administrator"], "is_admin_project": False}
PERSONAS["nobody"] = {"roles": [], "is_public_api": True}

# the forms in which Ironic builds targets
TARGETS = {
    "none": {},
    "owned": {"node.owner": OWNER},
    "owned and leased": {"node.owner": OWNER, "node.lessee": LESSEE},
    "leased": {"node.owner": None, "node.lessee": LESSEE},
    "free": {"node.owner": None},
    "part of a free node": {"node.owner": None, "node.lessee": None},
    "allocation": {"allocation.owner": OWNER},
    "free allocation": {"allocation.owner": None},
    "runbook": {"runbook.owner": OWNER},
    "free runbook": {"runbook.owner": None},
}

FILES = {
    "renamed": '"baremetal:node:get": "role:viewer or rule:is_admin"\n"baremetal:node:update": "rule:baremetal:node:update:name"\n',
    "language": '''
"a": "role:ADMIN and not role:member"
"b": "(role:reader or role:service) and project_id:%(node.owner)s"
"c": "True:%(is_admin_project)s"
"d": "'p-owner':%(node.owner)s or None:%(node.lessee)s"
"e": "project_id:p-%(x)s"
"f": "roles:reader"
"g": "system:all or domain_id:default"
"h": [["role:reader", "project_id:p-owner"], ["role:service"]]
"i": []
"j": ""
"k": "!"
"l": "@"
"m": "rule:nosuch"
"n": "not rule:nosuch"
"o": "role:%(role_name)s"
"p": "user_id:u-1 or user_id:%(user_id)s"
"q": "not role:admin or role:reader and role:member"
"r": "is_public_api:True"
"s": "project_id:%(project_id)s and role:member"
"t": "roles:%(roles)s"
"u": "system_scope:%(system_scope)s"
''',
    "default": '"default": "role:manager"\n"a": "rule:nosuch"\n"baremetal:node:get": "rule:default"\n',
}


def creds(kwargs, elevated):
    CONF.set_override("rbac_service_role_elevated_access", elevated)
    kwargs = dict(kwargs)
    if kwargs.get("project_id") or kwargs.get("system_scope") or kwargs.get("domain_id"):
        kwargs.setdefault("user_id", "u-1")
        kwargs.setdefault("user_domain_id", "default")
    return context.RequestContext(overwrite=False, **kwargs)


VALUES = ["user_id", "user_domain_id", "system_scope", "domain_id", "project_id", "project_domain_id", "roles",
          "is_admin_project", "service_user_id", "service_user_domain_id", "service_project_id",
          "service_project_domain_id", "service_roles", "project_name", "is_public_api",
          "config.service_project_name"]


def values(ctx):
    seen = ctx.to_policy_values()
    out = {}
    for key in VALUES:
        try:
            out[key] = seen[key]
        except KeyError:
            pass
    return out


def ask(enforcer, rule, target, ctx):
    full = values(ctx)
    full.update(target)
    try:
        ok = enforcer.enforce(rule, full, ctx, do_raise=True)
        return "y" if ok else "n"
    except oslo_policy.PolicyNotAuthorized:
        return "n"
    except oslo_policy.InvalidScope:
        return "s"


def enforcer(text, new_defaults):
    CONF.set_override("enforce_new_defaults", new_defaults, group="oslo_policy")
    CONF.set_override("policy_dirs", [], group="oslo_policy")
    path = pathlib.Path(tempfile.mkdtemp()) / "policy.yaml"
    path.write_text(text or "{}\n")
    e = oslo_policy.Enforcer(CONF, policy_file=str(path))
    e.suppress_default_change_warnings = True
    e.suppress_deprecation_warnings = True
    e.register_defaults(policy.list_policies())
    e.load_rules()
    return e


def main():
    cfg.CONF([], project="ironic")
    oslo_policy_opts._register(CONF)
    defaults = []
    for r in policy.list_policies():
        old = r.deprecated_rule
        defaults.append({"name": r.name, "check": r.check_str, "scopes": r.scope_types or [],
                         "deprecated": {"name": old.name, "check": old.check_str} if old else None})
    names = [d["name"] for d in defaults]
    decisions, credentials = [], {}
    for new_defaults in (True, False):
        e = enforcer("", new_defaults)
        for elevated in (False, True):
            for persona, kwargs in PERSONAS.items():
                ctx = creds(kwargs, elevated)
                credentials[f"{persona}{' elevated' if elevated else ''}"] = values(ctx)
                for target, object_ in TARGETS.items():
                    said = "".join(ask(e, name, object_, ctx) for name in names)
                    decisions.append({"new_defaults": new_defaults, "elevated": elevated, "persona": persona,
                                      "target": target, "said": said})
    files = []
    for name, text in FILES.items():
        e = enforcer(text, True)
        asked = sorted(set(e.file_rules)) + ["baremetal:node:get:last_error", "baremetal:node:update:driver_info",
                                             "baremetal:node:update:name", "baremetal:node:get:filter_threshold"]
        for persona, kwargs in PERSONAS.items():
            ctx = creds(kwargs, False)
            for target in ("none", "owned", "owned and leased", "part of a free node"):
                object_ = dict(TARGETS[target], x="owner", role_name="member")
                said = "".join(ask(e, rule, object_, ctx) for rule in asked)
                files.append({"file": name, "asked": asked, "persona": persona, "target": target, "said": said})
    document = {
        "recorded_from": "ironic {} with oslo.policy {}".format(
            importlib.metadata.version("ironic"), importlib.metadata.version("oslo.policy")),
        "recorded_at": datetime.date.today().isoformat(),
        "defaults": defaults, "credentials": credentials, "targets": TARGETS, "files": FILES,
        "file_target": {"x": "owner", "role_name": "member"},
        "decisions": decisions, "file_decisions": files,
    }
    out = pathlib.Path(__file__).with_name("matrix.json")
    out.write_text(json.dumps(document, indent=None, separators=(",", ":")).replace('{"new_defaults"', '\n{"new_defaults"')
                   .replace('{"file"', '\n{"file"').replace('{"name":"', '\n{"name":"') + "\n")
    print(len(defaults), "policies,", len(decisions) * len(names), "decisions,", len(files), "of files")


main()
