"""A real Keystone over SQLite in one process, for the tests: serve_keystone.py DIRECTORY

Tables, keys, the bootstrap and the personas are made in process, which takes seconds; then it serves on a free
port of loopback and prints one line of JSON: the URL, and ids of users and projects. The end of standard input
ends it.
"""
import base64
import json
import os
import pathlib
import socketserver
import sys
import threading
import uuid
from wsgiref import simple_server

PASSWORD = "secret"
# the same ones always, so that recorded answers name them
PROJECTS = {"owner": "a" * 32, "lessee": "b" * 32, "neither": "c" * 32, "service": "d" * 32}
USERS = {
    # user: (role, project or None for the system)
    "system-admin": ("admin", None),
    "system-member": ("member", None),
    "system-reader": ("reader", None),
    "owner-admin": ("admin", "owner"),
    "owner-manager": ("manager", "owner"),
    "owner-member": ("member", "owner"),
    "owner-reader": ("reader", "owner"),
    "owner-service": ("service", "owner"),
    "lessee-admin": ("admin", "lessee"),
    "lessee-member": ("member", "lessee"),
    "lessee-reader": ("reader", "lessee"),
    "neither-admin": ("admin", "neither"),
    "neither-member": ("member", "neither"),
    "ironic": ("service", "service"),
    "nova": ("service", "service"),
}


def main():
    directory = pathlib.Path(sys.argv[1])
    (directory / "keystone.conf").write_text(f"""
[DEFAULT]
debug = false
log_file = {directory}/keystone.log
[database]
connection = sqlite:///{directory}/keystone.sqlite
[token]
provider = fernet
expiration = 3600
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/receipts
[credential]
key_repository = {directory}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = false
[oslo_policy]
enforce_scope = true
enforce_new_defaults = true
""")
    for name in ("fernet", "receipts", "credential"):
        (directory / name).mkdir(mode=0o700)
        for key in ("0", "1"):
            (directory / name / key).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    sys.excepthook = sys.__excepthook__
    sys.argv = ["keystone", "--config-file", str(directory / "keystone.conf")]

    from keystone.cmd import bootstrap
    from keystone.common import provider_api, sql
    from keystone.server import backends
    from keystone.server.flask import core

    application = core.initialize_application("public", config_files=[str(directory / "keystone.conf")])
    with sql.session_for_write() as session:
        sql.ModelBase.metadata.create_all(session.get_bind())
    backends.load_backends = lambda: None  # they are, with the application
    boot = bootstrap.Bootstrapper()
    boot.admin_password, boot.admin_username = PASSWORD, "admin"
    boot.project_name, boot.admin_role_name = "admin", "admin"
    boot.service_name = "keystone"
    boot.immutable_roles = False
    boot.region_id = "RegionOne"
    class Quiet(simple_server.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

    class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
        daemon_threads = True

    server = simple_server.make_server("127.0.0.1", 0, application, Server, Quiet)
    url = f"http://127.0.0.1:{server.server_port}/v3"
    boot.public_url = boot.internal_url = boot.admin_url = url
    boot.bootstrap()
    providers = provider_api.ProviderAPIs
    roles = {r["name"]: r["id"] for r in providers.role_api.list_roles()}
    for name in ("reader", "member", "manager", "admin", "service"):
        if name not in roles:
            role = {"id": uuid.uuid4().hex, "name": name}
            providers.role_api.create_role(role["id"], role)
            roles[name] = role["id"]
    ids = {"url": url, "projects": PROJECTS, "users": {}, "password": PASSWORD, "scopes": USERS}
    for name, project_id in PROJECTS.items():
        project = {"id": project_id, "name": name, "domain_id": "default", "enabled": True, "description": "",
                   "is_domain": False}
        providers.resource_api.create_project(project["id"], project)
    for name, (role, project) in USERS.items():
        user = providers.identity_api.create_user({"name": name, "domain_id": "default", "password": PASSWORD,
                                                   "enabled": True})
        ids["users"][name] = user["id"]
        if project:
            providers.assignment_api.add_role_to_user_and_project(user["id"], PROJECTS[project], roles[role])
        else:
            providers.assignment_api.create_system_grant_for_user(user["id"], roles[role])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(ids), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
