#!/usr/bin/env python3
"""Records answers of upstream's own service, which our tests compare ours with.

    record.py URL VERSION     URL of a running, empty Ironic (noauth, fake-hardware, ipmi and redfish enabled,
                              host = localhost), and the version of its package; rewrites goldens/*.json

Each golden file is one story: requests in order, each with upstream's answer. Requests carry their own
UUIDs, so that answers name the same ones everywhere; what still varies (times, other UUIDs, request ids,
address of the service) is replaced by the tests on both sides. `ours` in a story is a deliberate difference,
explained in docs/compat/deviations.md: our status, which alone is compared then, `without`: members of
upstream's answer that ours does not have, `differs`: members at any depth that are not compared, or `fault`: our
sentence. A mark without a difference fails the tests.

`cargo xtask compat --record record` starts upstream's service and runs this; likewise the other recorders.
"""
import datetime
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

BASE, RELEASE = sys.argv[1].rstrip("/"), sys.argv[2]
GOLDENS = pathlib.Path(__file__).parent / "goldens"
ALL = ["1.1", "1.34", "1.115"]
NEW = "1.115"
# collections that are not served yet are not linked to
LINKED = {"without": []}
HEADERS = ["x-openstack-ironic-api-minimum-version", "x-openstack-ironic-api-maximum-version",
           "x-openstack-ironic-api-version", "location", "allow", "content-type"]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args, **_kw):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def call(method, path, version=None, body=None, raw=None, headers=None):
    data = raw.encode() if raw is not None else (json.dumps(body).encode() if body is not None else None)
    request = urllib.request.Request(BASE + path, data=data, method=method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    if version:
        request.add_header("X-OpenStack-Ironic-API-Version", version)
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        answer = OPENER.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    text = answer.read().decode()
    return answer.status, {h: answer.headers[h] for h in HEADERS if answer.headers.get(h)}, text


def ready():
    """Waits until the conductor has published its drivers."""
    deadline = time.time() + 120
    while True:
        try:
            if json.loads(call("GET", "/v1/drivers", "1.1")[2])["drivers"]:
                return
        except (OSError, KeyError, ValueError):
            pass
        if time.time() > deadline:
            raise SystemExit(f"{BASE} has no drivers")
        time.sleep(0.2)


class Story:
    def __init__(self, name):
        ready()
        self.name, self.steps = name, []

    def __call__(self, method, path, version=NEW, body=None, raw=None, headers=None, ours=None):
        for v in version if isinstance(version, list) else [version]:
            status, seen, text = call(method, path, v, body, raw, headers)
            try:
                answer = json.loads(text) if text else None
            except ValueError:
                answer = text
            step = {"method": method, "path": path, "version": v}
            for key, value in (("body", body), ("raw", raw), ("headers", headers), ("ours", ours)):
                if value is not None:
                    step[key] = value
            step["status"], step["seen"], step["answer"] = status, seen, answer
            self.steps.append(step)

    def settle(self, node, state):
        """Waits for upstream's conductor; our test's conductor is there at once."""
        deadline = time.time() + 60
        while True:
            now = json.loads(call("GET", f"/v1/nodes/{node}/states", NEW)[2])
            if now["provision_state"] == state and not now["target_power_state"]:
                reserved = json.loads(call("GET", f"/v1/nodes/{node}?fields=reservation", NEW)[2])
                if not reserved["reservation"]:
                    return
            if time.time() > deadline:
                raise SystemExit(f"{node} is {now}")
            time.sleep(0.1)

    def save(self):
        document = {"recorded_from": f"ironic {RELEASE}", "recorded_at": datetime.date.today().isoformat(),
                    "base": BASE, "steps": self.steps}
        (GOLDENS / f"{self.name}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(self.name, len(self.steps))


def uuid(n):
    return f"0000000a-0000-4000-8000-{n:012x}"


def root():
    s = Story("root")
    s("GET", "/", [None] + ALL)
    s("GET", "/v1", ALL, ours=LINKED)
    s("GET", "/v1/", ["1.34", "latest", "1.22", "1.49", "1.96"], ours=LINKED)
    for bad in ["1.0", "1.116", "1.999", "2.1", "x", "1", "1.2.3", "1.x", "-1.1"]:
        s("GET", "/v1/nodes", bad)
        s("GET", "/", bad)
    s("GET", "/v1/nodes", None, headers={"OpenStack-API-Version": "baremetal 1.34"})
    s("GET", "/v1/nodes", None, headers={"OpenStack-API-Version": "compute 2.1"})
    s("GET", "/v1/nodes", "1.20", headers={"OpenStack-API-Version": "baremetal 1.34"})
    s("GET", "/v2", NEW)
    s("GET", "/v1/nosuch", ["1.1", NEW])
    s("GET", "/nosuch", NEW)
    s("GET", "/v1/nodes/", NEW)
    s("GET", "/nodes", NEW)
    s("GET", "/nodes/detail", "1.34")
    s("POST", "/v1", NEW, body={}, ours={"status": 405})
    s("PUT", "/v1/nodes", NEW, body={})
    s("DELETE", "/v1/nodes", NEW, ours={"status": 405})
    s("POST", "/v1/nodes/detail", NEW, body={}, ours={"status": 405})
    s("GET", "/v1/conductors", ["1.1", "1.48"])
    s("GET", "/v1/lookup", ["1.1", "1.21"])
    s("POST", "/v1/heartbeat/" + uuid(1), "1.21", body={"callback_url": "http://x"})
    s.save()


def nodes():
    s = Story("nodes")
    s("GET", "/v1/nodes", ALL)
    s("GET", "/v1/nodes/detail", ALL)
    s("POST", "/v1/nodes", "1.1", body={"uuid": uuid(1), "driver": "fake-hardware"})
    s("POST", "/v1/nodes", "1.34", body={"uuid": uuid(2), "name": "n2", "driver": "fake-hardware",
                                        "resource_class": "rc", "properties": {"cpu_arch": "x86_64"}})
    s("POST", "/v1/nodes", NEW, body={
        "uuid": uuid(3), "name": "n3", "driver": "ipmi", "description": "third", "lessee": "l",
        "automated_clean": False, "conductor_group": "", "shard": "s1", "disable_power_off": False,
        "extra": {"k": [1, {"x": None}]}, "instance_info": {"image_source": "http://i", "configdrive": "abc"},
        "driver_info": {"ipmi_address": "192.0.2.1", "ipmi_username": "admin", "ipmi_password": "secret"},
        "properties": {"capabilities": "boot_mode:uefi"}})
    s("POST", "/v1/nodes", NEW, body={"driver": "fake-hardware", "owner": "o", "uuid": uuid(5)}, ours={"status": 201})
    s("DELETE", f"/v1/nodes/{uuid(5)}", NEW, ours={"status": 204})
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(4), "name": "child", "driver": "fake-hardware",
                                      "parent_node": uuid(3), "maintenance": True, "retired": True,
                                      "retired_reason": "old", "instance_name": "i"})
    s("PATCH", "/v1/nodes/n3", NEW, body=[{"op": "add", "path": "/owner", "value": "o"}])
    s("GET", "/v1/nodes", ALL)
    s("GET", "/v1/nodes?include_children=true", NEW)
    s("GET", "/v1/nodes?parent_node=" + uuid(3), NEW)
    s("GET", "/v1/nodes?parent_node=x", "1.82")
    s("GET", "/v1/nodes/detail", ALL)
    s("GET", "/v1/nodes?detail=True", ["1.42", "1.43"])
    s("GET", "/v1/nodes?detail=False", "1.43")
    for n in (1, 2, 3, 4):
        s("GET", f"/v1/nodes/{uuid(n)}", ALL)
    s("GET", "/v1/nodes/n2", ["1.1", "1.4", "1.5", NEW])
    s("GET", f"/v1/nodes/{uuid(3)}", ["1.2", "1.3", "1.6", "1.7", "1.12", "1.14", "1.20", "1.21", "1.24", "1.31", "1.32",
                                      "1.33", "1.37", "1.38", "1.40", "1.42", "1.44", "1.46", "1.47", "1.48", "1.49",
                                      "1.50", "1.51", "1.52", "1.61", "1.65", "1.66", "1.75", "1.82", "1.83", "1.86",
                                      "1.87", "1.95", "1.104", "1.109"])
    # fields
    s("GET", "/v1/nodes?fields=uuid,name", ["1.7", "1.8", NEW])
    s("GET", "/v1/nodes/n3?fields=driver_info,uuid,instance_info", NEW)
    s("GET", "/v1/nodes/n3?fields=traits", ["1.36", "1.37"])
    s("GET", "/v1/nodes/n3?fields=nosuch", NEW)
    s("GET", "/v1/nodes?fields=nosuch", NEW, ours={"status": 400})
    s("GET", "/v1/nodes?fields=uuid&detail=true", NEW)
    s("GET", "/v1/nodes/n3?fields=conductor,chassis_uuid,allocation_uuid", NEW)
    s("GET", "/v1/nodes/n3?fields=links", NEW)
    # filters
    for q in ["associated=true", "associated=false", "maintenance=true", "maintenance=false", "retired=true",
              "provision_state=available", "provision_state=enroll", "provision_state=nosuch", "driver=ipmi",
              "resource_class=rc", "fault=power%20failure", "fault=nosuch", "conductor_group=", "owner=o", "lessee=l",
              "project=o", "description_contains=hir", "shard=s1,s2", "sharded=false", "instance_name=i",
              "instance_uuid=" + uuid(99), "chassis_uuid=" + uuid(98), "conductor=localhost", "conductor=other",
              "instance_uuid=x", "associated=maybe", "nosuch=1", "limit=x", "limit=0", "limit=-1",
              "sort_dir=up", "sort_key=extra", "sort_key=nosuch", "marker=x", "marker=" + uuid(97)]:
        s("GET", "/v1/nodes?" + q, NEW)
    for q, v in [("provision_state=enroll", "1.8"), ("driver=ipmi", "1.15"), ("resource_class=rc", "1.20"),
                 ("fault=power%20failure", "1.41"), ("conductor_group=x", "1.45"), ("conductor=x", "1.48"),
                 ("owner=o", "1.49"), ("lessee=l", "1.64"), ("shard=s", "1.81"), ("instance_name=i", "1.103"),
                 ("sort_key=resource_class", "1.20"), ("sharded=true", "1.81"), ("include_children=true", "1.82")]:
        s("GET", "/v1/nodes?" + q, v)
    # paging
    s("GET", "/v1/nodes?limit=1", NEW)
    s("GET", f"/v1/nodes?limit=2&marker={uuid(1)}", NEW)
    s("GET", f"/v1/nodes?limit=2&sort_key=name&sort_dir=desc", NEW)
    s("GET", "/v1/nodes/detail?limit=1", "1.34")
    s("GET", "/v1/nodes?limit=1&maintenance=false&fields=uuid", NEW)
    s("GET", "/v1/nodes?limit=1&detail=True", NEW)
    s("GET", "/v1/nodes?limit=100000", NEW)
    # creation, refused
    for body in [{}, {"driver": 5}, {"driver": "fake-hardware", "nosuch": 1}, {"driver": "fake-hardware", "traits": ["CUSTOM_X"]},
                 {"driver": "fake-hardware", "uuid": "x"}, {"driver": "fake-hardware", "uuid": uuid(1)},
                 {"driver": "fake-hardware", "name": "n2"}, {"driver": "fake-hardware", "name": "detail"},
                 {"driver": "fake-hardware", "name": "a b"}, {"driver": "fake-hardware", "name": uuid(50)},
                 {"driver": "fake-hardware", "extra": []}, {"driver": "fake-hardware", "description": "x" * 4097},
                 {"driver": "fake-hardware", "resource_class": "x" * 81}, {"driver": "fake-hardware", "automated_clean": "maybe"},
                 {"driver": "fake-hardware", "chassis_uuid": uuid(98)}, {"driver": "fake-hardware", "chassis_uuid": "x"},
                 {"driver": "fake-hardware", "parent_node": uuid(98)}, {"driver": "fake-hardware", "protected": True},
                 {"driver": "fake-hardware", "instance_name": ""}, {"driver": "fake-hardware", "network_data": {"x": 1}},
                 {"driver": "fake-hardware", "provision_state": "active"}, {"driver": "fake-hardware", "name": ""},
                 {"driver": "fake-hardware", "properties": None, "uuid": "y"}, {"driver": None}, []]:
        s("POST", "/v1/nodes", NEW, body=body)
    s("POST", "/v1/nodes", NEW, raw="{", ours={"status": 400})
    s("POST", "/v1/nodes", NEW)
    s("POST", "/v1/nodes", "1.4", body={"driver": "fake-hardware", "name": "early"})
    s("POST", "/v1/nodes", "1.9", body={"driver": "fake-hardware", "name": "a_b"})
    s("POST", "/v1/nodes", "1.20", body={"driver": "fake-hardware", "resource_class": "x"})
    s("POST", "/v1/nodes", "1.30", body={"driver": "fake-hardware", "boot_interface": "fake"})
    s("POST", "/v1/nodes", "1.45", body={"driver": "fake-hardware", "conductor_group": "x"})
    # deletion
    s("DELETE", "/v1/nodes/nosuch", NEW)
    s("DELETE", f"/v1/nodes/{uuid(77)}", NEW)
    s("GET", f"/v1/nodes/{uuid(77)}", NEW)
    s("GET", "/v1/nodes/a%20b", NEW)
    s("DELETE", f"/v1/nodes/{uuid(4)}", NEW)
    for n in (1, 2, 3):
        s("DELETE", f"/v1/nodes/{uuid(n)}", NEW)
    s.save()


def patches():
    s = Story("patches")
    chassis = uuid(201)
    s("POST", "/v1/chassis", NEW, body={"uuid": chassis})
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(21), "name": "p1", "driver": "fake-hardware",
                                      "driver_info": {"x_password": "secret", "plain": 1}, "extra": {"a": [1, 2]}})
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(22), "name": "p2", "driver": "fake-hardware"})
    node = "/v1/nodes/" + uuid(21)

    def patch(ops, version=NEW, ours=None, query=""):
        s("PATCH", node + query, version, body=ops, ours=ours)

    def one(op, path, *value):
        return [{"op": op, "path": path, **({"value": value[0]} if value else {})}]

    patch(one("add", "/extra/b", {"c": 1}))
    patch(one("add", "/extra/a/-", 3))
    patch(one("add", "/extra/a/0", 0))
    patch(one("replace", "/extra/a/1", "one"))
    patch(one("remove", "/extra/a/0"))
    patch(one("remove", "/extra/b"))
    patch(one("replace", "/driver_info/plain", 2))
    patch(one("replace", "/extra", {"x~y": 1, "x/y": 2}))
    patch(one("replace", "/extra/x~0y", 5), ours={"status": 200})
    patch(one("replace", "/extra/x~1y", 6), ours={"status": 200})
    patch(one("replace", "/extra/x~0y", 5), "1.97")
    patch(one("replace", "/extra", {"z": 1}))
    patch(one("replace", "/name", "p1x"))
    patch(one("replace", "/name", "p2"))
    patch(one("replace", "/name", "states"))
    patch(one("replace", "/name", "a b"))
    patch(one("replace", "/name", "early"), "1.4")
    patch(one("remove", "/name"))
    patch(one("add", "/name", "p1"))
    patch(one("add", "/description", "d"))
    patch(one("remove", "/description"))
    patch(one("replace", "/description", "x" * 4097))
    patch(one("replace", "/resource_class", "rc"))
    patch(one("replace", "/conductor_group", ""))
    patch(one("replace", "/automated_clean", "true"))
    patch(one("replace", "/automated_clean", "maybe"))
    patch(one("replace", "/maintenance", True))
    patch(one("replace", "/maintenance", "false"))
    patch(one("replace", "/chassis_uuid", chassis))
    patch(one("remove", "/chassis_uuid"), "1.24")
    patch(one("remove", "/chassis_uuid"))
    patch(one("replace", "/chassis_uuid", uuid(98)))
    patch(one("replace", "/instance_uuid", uuid(301)))
    patch(one("replace", "/instance_uuid", uuid(302)))
    s("PATCH", "/v1/nodes/" + uuid(22), NEW, body=one("add", "/instance_uuid", uuid(301)))
    s("DELETE", node, NEW)
    patch(one("remove", "/instance_uuid"))
    patch(one("replace", "/instance_uuid", "x"))
    patch(one("replace", "/owner", "o"), "1.49")
    patch(one("add", "/owner", "o"))
    patch(one("add", "/retired_reason", "r"))
    patch([{"op": "add", "path": "/retired", "value": True}, {"op": "add", "path": "/retired_reason", "value": "r"}])
    patch(one("replace", "/retired", False))
    patch(one("replace", "/protected", True))
    patch(one("add", "/protected_reason", "r"))
    patch(one("add", "/instance_info/display_name", "shown"))
    patch(one("add", "/instance_name", "changed"))
    patch(one("replace", "/shard", "sh"))
    patch(one("replace", "/properties/capabilities", "x:y"))
    patch(one("add", "/properties/capabilities", "x:y"))
    patch(one("replace", "/driver", "ipmi"), ours={"status": 400})
    patch(one("replace", "/driver", "nosuch"))
    patch(one("replace", "/parent_node", uuid(22)))
    patch(one("remove", "/parent_node"))
    patch(one("replace", "/network_data", {"x": 1}))
    patch(one("replace", "/disable_power_off", True))
    patch(one("replace", "/disable_power_off", False))
    # refused shapes
    for body in [{}, [], [{}], [{"op": "test", "path": "/extra", "value": {}}], [{"op": "move", "from": "/extra", "path": "/x"}],
                 [{"op": "copy", "from": "/extra", "path": "/x"}], [{"op": "add", "path": "extra", "value": 1}],
                 [{"op": "add", "path": "", "value": 1}], [{"op": "add", "path": "/"}], [{"path": "/extra", "value": 1}],
                 [{"op": "add", "value": 1}], [{"op": "add", "path": 5, "value": 1}], "x", 5, [5]]:
        s("PATCH", node, NEW, body=body)
    for op, path, *value in [("add", "/nosuch", 1), ("replace", "/uuid", uuid(9)), ("replace", "/provision_state", "active"),
                             ("replace", "/traits", ["CUSTOM_A"]), ("add", "/extra/no/such", 1), ("remove", "/extra/nosuch"),
                             ("replace", "/extra/nosuch", 1), ("add", "/extra/a/99", 1), ("replace", "/extra", 5),
                             ("replace", "/driver", None), ("remove", "/driver"), ("replace", "/driver", 5),
                             ("add", "/extra//x", 1), ("replace", "/power_state", "x"), ("replace", "/last_error", None),
                             ("replace", "/maintenance_reason", "x")]:
        patch(one(op, path, *value))
    patch(one("add", "/extra/v"))
    patch(one("replace", "/boot_interface", "fake"), "1.30")
    patch(one("replace", "/boot_interface", "fake"))
    patch(one("replace", "/boot_interface", "fake"), query="?reset_interfaces=true")
    patch(one("replace", "/driver", "fake-hardware"), "1.44", query="?reset_interfaces=true")
    patch(one("replace", "/driver", "fake-hardware"), query="?reset_interfaces=true")
    patch(one("remove", "/extra"))
    s("PATCH", "/v1/nodes/nosuch", NEW, body=one("add", "/extra/x", 1))
    s("PATCH", node, NEW, raw="[", ours={"status": 400})
    s("GET", node, NEW)
    for n in (21, 22):
        s("DELETE", f"/v1/nodes/{uuid(n)}", NEW)
    s("DELETE", "/v1/chassis/" + chassis, NEW)
    s.save()


def states():
    s = Story("states")
    node = "/v1/nodes/" + uuid(31)
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(31), "name": "st", "driver": "fake-hardware"})
    s("GET", node + "/states", ALL + ["1.74", "1.75"])
    provision, power = node + "/states/provision", node + "/states/power"
    for target, v in [("manage", "1.3"), ("inspect", "1.5"), ("abort", "1.12"), ("clean", "1.14"), ("adopt", "1.16"),
                      ("rescue", "1.37"), ("deploy", "1.72"), ("unhold", "1.84"), ("service", "1.86"), ("nosuch", NEW),
                      ("provide", NEW), ("active", NEW), ("deleted", NEW), ("rebuild", NEW), ("abort", NEW), ("clean", NEW),
                      ("undeploy", "1.50")]:
        s("PUT", provision, v, body={"target": target})
    for body in [{}, {"target": 5}, {"target": "active", "nosuch": 1}, {"target": None}, {"target": "manage", "clean_steps": {}},
                 {"target": "manage", "disable_ramdisk": "maybe"}, {"target": "manage", "rescue_password": 5},
                 {"target": "manage", "configdrive": 5}, {"target": "manage", "configdrive": "abc"},
                 {"target": "manage", "clean_steps": [{"interface": "deploy", "step": "x"}]},
                 {"target": "manage", "deploy_steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": 1}]},
                 {"target": "manage", "service_steps": [{"interface": "deploy", "step": "x"}]},
                 {"target": "manage", "rescue_password": "x"}, {"target": "manage", "disable_ramdisk": True}]:
        s("PUT", provision, NEW, body=body)
    s("PUT", provision, NEW, raw="{", ours={"status": 400})
    s("PUT", provision, NEW, body=[], ours={"status": 400})
    s("PUT", "/v1/nodes/nosuch/states/provision", NEW, body={"target": "manage"})
    s("PUT", provision, NEW, body={"target": "manage"})
    s.settle(uuid(31), "manageable")
    s("GET", node + "/states", NEW)
    for steps in [None, [], [{}], [{"interface": "nosuch", "step": "x"}], [{"interface": "deploy"}],
                  [{"interface": "deploy", "step": "x", "nosuch": 1}], [{"interface": "vendor", "step": "send_raw"}],
                  [{"interface": "deploy", "step": "", "args": {}}], [{"interface": "deploy", "step": "x", "args": []}]]:
        s("PUT", provision, NEW, body={"target": "clean", "clean_steps": steps} if steps is not None else {"target": "clean"},
          ours={"status": 400} if steps and "send_raw" not in str(steps) else None)
    for body, v in [({"target": "nosuch"}, NEW), ({}, NEW), ({"target": 5}, NEW), ({"target": "soft power off"}, "1.26"),
                    ({"target": "power on", "timeout": 5}, "1.26"), ({"target": "power on", "timeout": 0}, NEW),
                    ({"target": "power on", "timeout": "x"}, NEW), ({"target": "power on", "nosuch": 1}, NEW),
                    ({"target": "power on"}, NEW)]:
        s("PUT", power, v, body=body)
    s.settle(uuid(31), "manageable")
    s("PUT", provision, NEW, body={"target": "active"})
    s("PUT", node + "/states/nosuch", NEW, body={}, ours={"status": 404})
    s("PUT", node + "/states/raid", NEW, body={}, ours={"status": 404})
    s("GET", node + "/states/power", NEW, ours={"status": 405})
    s("DELETE", node + "/states", NEW)
    # maintenance
    m = node + "/maintenance"
    s("PUT", m, NEW, body={"reason": "why"})
    s("GET", node + "?fields=maintenance,maintenance_reason", NEW)
    s("PUT", m, NEW)
    s("GET", node + "?fields=maintenance,maintenance_reason", NEW)
    s("PUT", m, NEW, body={"reason": 5})
    s("PUT", m, NEW, body={"nosuch": 5})
    s("PUT", provision, NEW, body={"target": "active"})
    s("DELETE", m, NEW)
    s("GET", node + "?fields=maintenance,maintenance_reason", NEW)
    s("PUT", "/v1/nodes/nosuch/maintenance", NEW)
    s("GET", m, NEW)
    # management
    b = node + "/management/boot_device"
    s("GET", b + "/supported", NEW)
    s("PUT", b, NEW, body={"boot_device": "pxe", "persistent": True})
    s("GET", b, NEW)
    s("PUT", b, NEW, body={"boot_device": "pxe", "persistent": "maybe"})
    s("PUT", b, NEW, body={"persistent": False})
    s("PUT", b, NEW, body={"boot_device": 5})
    s("PUT", b, NEW, body={"boot_device": "pxe", "nosuch": 1})
    s("PUT", node + "/management/inject_nmi", "1.28", body={})
    s("PUT", node + "/management/inject_nmi", NEW, body={})
    s("GET", node + "/management/nosuch", NEW, ours={"status": 404})
    # traits
    t = node + "/traits"
    s("GET", t, ["1.36", NEW])
    s("PUT", t + "/CUSTOM_A", NEW)
    s("PUT", t + "/HW_CPU_X86_VMX", NEW)
    s("GET", t, NEW)
    s("GET", node + "?fields=traits", NEW)
    s("PUT", t, NEW, body={"traits": ["CUSTOM_C", "CUSTOM_B"]})
    s("GET", t, NEW)
    s("PUT", t + "/nosuch", NEW)
    s("PUT", t + "/CUSTOM_D", NEW, body={"x": 1})
    for body in [{}, {"traits": "x"}, {"traits": ["bad"]}, {"nosuch": []}, {"traits": [5]}, {"traits": ["CUSTOM_%d" % i for i in range(51)]}]:
        s("PUT", t, NEW, body=body, ours={"status": 400} if "CUSTOM_50" in str(body) else None)
    s("DELETE", t + "/CUSTOM_B", NEW)
    s("DELETE", t + "/CUSTOM_B", NEW)
    s("DELETE", t, NEW)
    s("GET", t, NEW)
    s("GET", t + "/CUSTOM_A", NEW)
    s("DELETE", t, "1.36")
    # history, validate
    s("GET", node + "/history", "1.77")
    s("GET", "/v1/nodes/nosuch/validate", NEW)
    s("GET", node + "/nosuch", NEW, ours={"status": 404})
    s("GET", node + "/validate", NEW)
    s("GET", "/v1/nodes/validate?node=st", ["1.4", NEW])
    s("DELETE", node, NEW)
    s.save()


def ports():
    s = Story("ports")
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(41), "name": "pn", "driver": "fake-hardware"})
    s("GET", "/v1/ports", ALL)
    s("POST", "/v1/ports", "1.1", body={"uuid": uuid(411), "node_uuid": uuid(41), "address": "52:54:00:AA:00:01", "extra": {"a": 1}})
    s("POST", "/v1/ports", "1.34", body={"uuid": uuid(412), "node_uuid": uuid(41), "address": "52:54:00:aa:00:02",
                                        "pxe_enabled": False, "physical_network": "p",
                                        "local_link_connection": {"switch_id": "0A:1b:2c:3d:4e:5f", "port_id": "1", "switch_info": "s"}})
    s("POST", "/v1/ports", NEW, body={"uuid": uuid(413), "node_ident": "pn", "address": "52:54:00:aa:00:03", "name": "port3",
                                      "description": "d", "vendor": "v", "category": "c", "is_smartnic": False,
                                      "available_for_dynamic_portgroup": False})
    s("GET", "/v1/ports", ALL)
    s("GET", "/v1/ports/detail", ALL)
    s("GET", "/v1/ports?detail=True", ["1.42", NEW])
    for n in (411, 412, 413):
        s("GET", f"/v1/ports/{uuid(n)}", ALL + ["1.18", "1.19", "1.24", "1.53", "1.88", "1.97", "1.100", "1.101", "1.111"])
    s("GET", "/v1/ports/port3", ["1.87", NEW])
    s("GET", "/v1/ports/52:54:00:aa:00:01", NEW)
    s("GET", "/v1/ports/nosuch", NEW)
    s("GET", "/v1/ports/" + uuid(98), NEW)
    s("GET", "/v1/ports?fields=uuid,address", ["1.7", NEW])
    s("GET", "/v1/ports?fields=nosuch", NEW)
    s("GET", "/v1/ports?fields=name", "1.87")
    for q in ["address=52:54:00:AA:00:02", "address=x", "node=pn", "node=" + uuid(41), "node_uuid=" + uuid(41), "node=nosuch",
              "node_uuid=" + uuid(98), "limit=1", "sort_key=address&sort_dir=desc&limit=2", "sort_key=extra", "nosuch=1",
              "marker=" + uuid(411), "marker=" + uuid(98), "detail=true&fields=uuid"]:
        s("GET", "/v1/ports?" + q, NEW)
    s("GET", "/v1/ports?node=pn", "1.4")
    s("GET", f"/v1/nodes/{uuid(41)}/ports", ALL)
    s("GET", "/v1/nodes/pn/ports", NEW, ours={"status": 200})
    s("GET", "/v1/nodes/pn/ports/detail", NEW, ours={"status": 200})
    s("GET", "/v1/nodes/pn/ports?limit=1", NEW, ours={"status": 200})
    s("GET", "/v1/nodes/nosuch/ports", NEW, ours={"status": 404})
    s("GET", "/v1/nodes/pn/ports/" + uuid(411), NEW, ours={"status": 404})
    s("POST", "/v1/nodes/pn/ports", NEW, body={"address": "52:54:00:aa:00:09"}, ours={"status": 405})
    for body in [{}, {"address": "x", "node_uuid": uuid(41)}, {"address": "52:54:00:aa:00:09"}, {"node_uuid": uuid(41)},
                 {"address": "52:54:00:aa:00:01", "node_uuid": uuid(41)}, {"address": "52:54:00:aa:00:09", "node_uuid": uuid(98)},
                 {"address": "52:54:00:aa:00:09", "node_uuid": "x"}, {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "nosuch": 1},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "node_ident": "pn"},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "pxe_enabled": "maybe"},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "physical_network": ""},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "local_link_connection": {"switch_id": "x", "port_id": "1"}},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "local_link_connection": {"port_id": "1"}},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "local_link_connection": {"nosuch": "1"}},
                 {"address": "52:54:00:aa:00:0a", "node_uuid": uuid(41), "is_smartnic": True},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "portgroup_uuid": uuid(98)},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "name": "port3"},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "uuid": uuid(411)},
                 {"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "description": "x" * 256},
                 {"address": 5, "node_uuid": uuid(41)}]:
        s("POST", "/v1/ports", NEW, body=body, ours={"status": 409} if body.get("name") else None)
    s("POST", "/v1/ports", "1.93", body={"address": "52:54:00:aa:00:09", "node_ident": "pn"})
    s("POST", "/v1/ports", "1.18", body={"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "pxe_enabled": True})
    s("POST", "/v1/ports", "1.33", body={"address": "52:54:00:aa:00:09", "node_uuid": uuid(41), "physical_network": "p"})
    port = "/v1/ports/" + uuid(412)

    def patch(op, path, *value, version=NEW):
        s("PATCH", port, version, body=[{"op": op, "path": path, **({"value": value[0]} if value else {})}])

    patch("replace", "/address", "52:54:00:AA:00:22")
    patch("replace", "/address", "52:54:00:AA:00:01")
    patch("replace", "/address", "x")
    patch("add", "/extra/x", 1)
    patch("remove", "/extra/x")
    patch("replace", "/pxe_enabled", True)
    patch("replace", "/pxe_enabled", True, version="1.18")
    patch("replace", "/physical_network", "q")
    patch("replace", "/physical_network", "")
    patch("remove", "/physical_network")
    patch("add", "/name", "renamed")
    patch("add", "/name", "port3")
    patch("replace", "/local_link_connection", {})
    patch("add", "/local_link_connection/switch_id", "x")
    patch("replace", "/node_uuid", uuid(98))
    patch("replace", "/uuid", uuid(5))
    patch("replace", "/internal_info", {})
    patch("remove", "/address")
    s("GET", port, NEW)
    s("PATCH", "/v1/ports/" + uuid(98), NEW, body=[{"op": "add", "path": "/extra/x", "value": 1}])
    s("DELETE", "/v1/ports/port3", NEW)
    s("DELETE", "/v1/ports/" + uuid(98), NEW)
    for n in (411, 412, 413):
        s("DELETE", f"/v1/ports/{uuid(n)}", NEW)
    s("DELETE", "/v1/nodes/pn", NEW)
    s.save()


def chassis():
    s = Story("chassis")
    s("GET", "/v1/chassis", ALL)
    s("POST", "/v1/chassis", "1.1", body={"uuid": uuid(51)})
    s("POST", "/v1/chassis", NEW, body={"uuid": uuid(52), "description": "d", "extra": {"a": 1}})
    s("GET", "/v1/chassis", ALL)
    s("GET", "/v1/chassis/detail", ALL)
    s("GET", "/v1/chassis?detail=True", ["1.42", NEW])
    s("GET", "/v1/chassis/" + uuid(52), ALL)
    s("GET", "/v1/chassis?fields=uuid,extra", ["1.7", NEW])
    s("GET", "/v1/chassis/" + uuid(52) + "?fields=nosuch", NEW, ours={"status": 400})
    s("GET", "/v1/chassis/" + uuid(98), NEW)
    s("GET", "/v1/chassis/x", NEW)
    for q in ["limit=1", "limit=1&sort_key=description&sort_dir=desc", "sort_key=extra", "sort_dir=up", "nosuch=1", "limit=x", "limit=0",
              "marker=" + uuid(51), "marker=" + uuid(98)]:
        s("GET", "/v1/chassis?" + q, NEW, ours={"status": 400} if q == "sort_dir=up" else None)
    for body in [{"uuid": "x"}, {"uuid": uuid(51)}, {"extra": 5}, {"description": "x" * 256}, {"nosuch": 1}, []]:
        s("POST", "/v1/chassis", NEW, body=body)
    c = "/v1/chassis/" + uuid(52)
    for op in [{"op": "replace", "path": "/description", "value": "e"}, {"op": "add", "path": "/extra/b", "value": 2},
               {"op": "remove", "path": "/description"}, {"op": "replace", "path": "/uuid", "value": uuid(9)},
               {"op": "replace", "path": "/nosuch", "value": 1}, {"op": "replace", "path": "/description", "value": 5}]:
        s("PATCH", c, NEW, body=[op])
    s("PATCH", "/v1/chassis/" + uuid(98), NEW, body=[{"op": "add", "path": "/extra/b", "value": 2}])
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(53), "driver": "fake-hardware", "chassis_uuid": uuid(52)})
    s("GET", c + "/nodes", ["1.34", NEW])
    s("GET", c + "/nodes/detail", "1.34")
    s("GET", "/v1/nodes?chassis_uuid=" + uuid(52), NEW)
    s("GET", "/v1/chassis/" + uuid(98) + "/nodes", NEW)
    s("DELETE", c, NEW)
    s("DELETE", "/v1/nodes/" + uuid(53), NEW)
    s("DELETE", c, NEW)
    s("DELETE", "/v1/chassis/" + uuid(51), NEW)
    s("DELETE", "/v1/chassis/" + uuid(98), NEW)
    s("DELETE", "/v1/chassis/x", NEW)
    s.save()


def drivers():
    s = Story("drivers")
    s("GET", "/v1/drivers", ALL + ["1.13", "1.14", "1.30"])
    s("GET", "/v1/drivers?type=dynamic", ["1.29", "1.30", NEW])
    s("GET", "/v1/drivers?type=classic", NEW)
    s("GET", "/v1/drivers?type=x", NEW)
    s("GET", "/v1/drivers?detail=false", ["1.29", NEW])
    s("GET", "/v1/drivers?fields=name", ["1.76", NEW])
    s("GET", "/v1/drivers?nosuch=1", NEW)
    s("GET", "/v1/drivers/fake-hardware", ["1.1", "1.14", "1.29"])
    s("GET", "/v1/drivers/nosuch", NEW)
    s("GET", "/v1/drivers/nosuch/properties", NEW)
    s("GET", "/v1/drivers/fake-hardware?fields=name,hosts", NEW)
    s("GET", "/v1/drivers/fake-hardware?fields=nosuch", NEW, ours={"status": 400})
    s("GET", "/v1/drivers/fake-hardware", ["1.30", "1.34", "1.86", NEW])
    s("POST", "/v1/drivers", NEW, body={})
    s("GET", "/v1/conductors", ["1.49", NEW])
    s("GET", "/v1/conductors?detail=true", NEW)
    s("GET", "/v1/conductors/localhost", NEW)
    s("GET", "/v1/conductors/nosuch", NEW)
    s("GET", "/v1/conductors?fields=hostname,alive", NEW)
    s("GET", "/v1/conductors?fields=nosuch", NEW, ours={"status": 400})
    s("GET", "/v1/conductors?limit=1", NEW)
    s("GET", "/v1/conductors?sort_key=alive", NEW)
    s.save()


def ramdisk():
    s = Story("ramdisk")
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(61), "name": "rd", "driver": "fake-hardware"})
    s("GET", "/v1/lookup", NEW)
    s("GET", "/v1/lookup?addresses=x", NEW)
    s("GET", "/v1/lookup?addresses=52:54:00:aa:00:01", NEW)
    s("GET", "/v1/lookup?node_uuid=x", NEW)
    s("GET", "/v1/lookup?node_uuid=" + uuid(61), NEW)
    s("GET", "/v1/lookup?nosuch=1", NEW)
    h = "/v1/heartbeat/" + uuid(61)
    for body in [{}, {"callback_url": 5}, {"callback_url": "x"}, {"callback_url": "http://192.0.2.1:9999"},
                 {"callback_url": "http://192.0.2.1:9999", "nosuch": 1},
                 {"callback_url": "http://192.0.2.1:9999", "agent_token": "x", "agent_status": "nosuch"}]:
        s("POST", h, NEW, body=body)
    s("POST", h, "1.35", body={"callback_url": "http://192.0.2.1:9999", "agent_version": "1"})
    s("POST", h, "1.67", body={"callback_url": "http://192.0.2.1:9999", "agent_verify_ca": "x"})
    s("POST", h, "1.71", body={"callback_url": "http://192.0.2.1:9999", "agent_status": "start"})
    s("POST", "/v1/heartbeat/nosuch", NEW, body={"callback_url": "http://192.0.2.1:9999", "agent_token": "x"})
    s("POST", "/v1/heartbeat", NEW, body={"callback_url": "http://192.0.2.1:9999", "agent_token": "x"}, ours={"status": 404})
    s("GET", h, NEW)
    s("DELETE", "/v1/nodes/rd", NEW)
    s.save()


if __name__ == "__main__":
    for story in (root, nodes, patches, states, ports, chassis, drivers, ramdisk):
        story()
