#!/usr/bin/env python3
"""Records each member, argument and verb just below and at the version that brought it: goldens/members.json.

    record_members.py URL VERSION     as record_versions.py

What is asked for stands in tests/it/records.rs. Told again to the real conductor with the real drivers
(`tests/tests/it/driver_api.rs`).
"""
from record import NEW, uuid
from record_drivers import Waiting

NODE, PARENT, GROUP, PORT = uuid(1201), uuid(1202), uuid(1203), uuid(1204)
EMPTY = {"links": [], "networks": [], "services": []}
NODES = [
    ("name", 5, "m5"), ("network_interface", 20, "noop"), ("resource_class", 21, "rc"),
    *((f"{family}_interface", 31, "fake") for family in ("boot", "console", "deploy", "inspect", "management", "power", "raid",
                                                        "vendor")),
    ("storage_interface", 33, "noop"), ("rescue_interface", 38, "fake"), ("bios_interface", 40, "fake"),
    ("conductor_group", 46, ""), ("automated_clean", 47, True), ("protected", 48, False), ("protected_reason", 48, "why"),
    ("owner", 50, "o"), ("description", 51, "d"), ("allocation_uuid", 52, uuid(1299)), ("retired", 61, True),
    ("retired_reason", 61, "old"), ("lessee", 65, "l"), ("network_data", 66, EMPTY), ("shard", 82, "s"),
    ("parent_node", 83, PARENT), ("firmware_interface", 86, "fake"), ("disable_power_off", 95, False),
    ("instance_name", 104, "i"),
]
LINK = {"switch_id": "0a:1b:2c:3d:4e:5f", "port_id": "1"}
PORTS = [
    ("internal_info", 18, {"a": 1}), ("local_link_connection", 19, LINK), ("pxe_enabled", 19, False),
    ("portgroup_uuid", 24, GROUP), ("physical_network", 34, "net"), ("is_smartnic", 53, False), ("name", 88, "p88"),
    ("description", 97, "d"), ("vendor", 100, "v"), ("category", 101, "c"), ("available_for_dynamic_portgroup", 111, True),
]
GROUPS = [
    ("mode", 26, "802.3ad"), ("properties", 26, {"miimon": 100}), ("physical_network", 102, "net"), ("category", 103, "c"),
    ("dynamic_portgroup", 111, True),
]
VERBS = [
    (4, {"target": "provide"}), (6, {"target": "inspect"}), (13, {"target": "abort"}),
    (15, {"target": "clean", "clean_steps": [{"interface": "bios", "step": "factory_reset"}]}), (17, {"target": "adopt"}),
    (35, {"target": "rebuild", "configdrive": "http://192.0.2.1/c"}), (38, {"target": "rescue", "rescue_password": "p"}),
    (38, {"target": "unrescue"}), (56, {"target": "active", "configdrive": {"meta_data": {}}}),
    (59, {"target": "active", "configdrive": {"vendor_data": {}}}),
    (69, {"target": "active", "deploy_steps": [{"interface": "deploy", "step": "deploy", "args": {}, "priority": 50}]}),
    (70, {"target": "clean", "clean_steps": [{"interface": "bios", "step": "factory_reset"}], "disable_ramdisk": True}),
    (73, {"target": "deploy"}), (73, {"target": "undeploy"}), (85, {"target": "unhold"}),
    (87, {"target": "service", "service_steps": [{"interface": "bios", "step": "factory_reset"}]}),
    (92, {"target": "clean", "runbook": "CUSTOM_NOSUCH"}),
    (108, {"target": "service", "service_steps": [{"interface": "bios", "step": "factory_reset"}], "disable_ramdisk": True}),
]
ARGUMENTS = {
    "/v1/nodes": [("fields", 8, "uuid"), ("detail", 43, "True"), ("description_contains", 51, "d"), ("retired", 61, "true"),
                  ("instance_name", 104, "i")],
    "/v1/ports": [("fields", 8, "uuid"), ("portgroup", 24, GROUP), ("detail", 43, "True"), ("shard", 82, "s"),
                  ("description_contains", 97, "d"), ("conductor_groups", 99, "x")],
    "/v1/portgroups": [("detail", 43, "True"), ("shard", 106, "s")],
    "/v1/drivers": [("type", 30, "dynamic"), ("detail", 30, "True"), ("fields", 77, "name")],
    "/v1/drivers/fake-hardware": [("fields", 77, "name")],
    "/v1/allocations": [("owner", 60, "o")],
    f"/v1/nodes/{NODE}/bios": [("detail", 74, "True"), ("fields", 74, "name")],
}
# not refused without a token, but compared
HEARTBEAT = [("agent_version", 36, "1.0"), ("agent_token", 62, "t"), ("agent_verify_ca", 68, "c"), ("agent_status", 72, "start"),
             ("agent_status_message", 72, "m")]

# upstream notes the time of a change of power; its other hardware types stand in docs/compat/drivers.md
OURS = {("/v1/nodes", "detail", "1.43"): {"differs": ["driver_internal_info"]},
        ("/v1/drivers", "type", "1.30"): {"catalogue": True}, ("/v1/drivers", "detail", "1.30"): {"catalogue": True},
        ("/v1/drivers", "fields", "1.77"): {"catalogue": True}}


def around(since):
    return f"1.{since - 1}", f"1.{since}"


def story():
    s = Waiting("members")
    numbers = iter(range(1300, 1500))
    for node in (NODE, PARENT):
        s("POST", "/v1/nodes", NEW, body={"uuid": node, "driver": "fake-hardware"})
    s("POST", "/v1/portgroups", NEW, body={"uuid": GROUP, "node_uuid": NODE})
    s("POST", "/v1/ports", NEW, body={"uuid": PORT, "node_uuid": NODE, "address": "52:54:00:0c:00:01"})

    for member, since, value in NODES:
        ident = uuid(next(numbers))
        for version in around(since):
            # nobody has a project without Keystone
            ours = {"status": 201} if (member, version) == ("owner", "1.50") else None
            s("POST", "/v1/nodes", version, body={"uuid": ident, "driver": "fake-hardware", member: value}, ours=ours)
        if member == "owner":
            s("DELETE", "/v1/nodes/" + ident, NEW, ours={"status": 204})
        for version in around(since):
            s("PATCH", "/v1/nodes/" + NODE, version, body=[{"op": "add", "path": "/" + member,
                                                            "value": value if member != "name" else "other"}])
    for number, (member, since, value) in enumerate(PORTS):
        ident = uuid(next(numbers))
        for version in around(since):
            s("POST", "/v1/ports", version, body={"uuid": ident, "node_uuid": NODE, "address": f"52:54:00:0c:01:{number:02x}",
                                                  member: value})
        for version in around(since):
            s("PATCH", "/v1/ports/" + PORT, version, body=[{"op": "add", "path": "/" + member,
                                                            "value": value if member != "name" else "other"}])
    for member, since, value in GROUPS:
        ident = uuid(next(numbers))
        for version in around(since):
            s("POST", "/v1/portgroups", version, body={"uuid": ident, "node_uuid": NODE, member: value})
        for version in around(since):
            s("PATCH", "/v1/portgroups/" + GROUP, version, body=[{"op": "add", "path": "/" + member, "value": value}])
    for version, ours in zip(around(58), (None, {"status": 409})):
        s("POST", "/v1/allocations", version, body={"uuid": uuid(1501), "resource_class": "none", "node": NODE}, ours=ours)
    for version in around(60):
        s("POST", "/v1/allocations", version, body={"uuid": uuid(1502), "resource_class": "none", "owner": "o"})
    book = [{"interface": "management", "step": "reset_bios", "args": {}, "order": 1}]
    for number, (member, value) in enumerate((("description", "d"), ("traits", ["CUSTOM_A"]))):
        for version in around(112):
            s("POST", "/v1/runbooks", version, body={"uuid": uuid(1503 + number), "name": f"CUSTOM_M{number}", "steps": book,
                                                     member: value})

    for since, body in VERBS:
        for version in around(since):
            s("PUT", f"/v1/nodes/{PARENT}/states/provision", version, body=body)
    for version in around(4):
        s("PUT", f"/v1/nodes/{PARENT}/states/provision", version, body={"target": "manage"})
        s.until(PARENT, "target_provision_state", None)
    for body in ({"target": "soft power off"}, {"target": "power on", "timeout": 5}):
        for version in around(27):
            s("PUT", f"/v1/nodes/{PARENT}/states/power", version, body=body)
            s.until(PARENT, "target_power_state", None)
    for version in around(67):
        s("POST", f"/v1/nodes/{NODE}/vifs", version, body={"id": uuid(1510), "port_uuid": PORT})
    for member, since, value in HEARTBEAT:
        for version in around(since):
            s("POST", "/v1/heartbeat/" + NODE, version, body={"callback_url": "http://192.0.2.1:9999", member: value})
    for path, arguments in ARGUMENTS.items():
        for name, since, value in arguments:
            for version in around(since):
                s("GET", f"{path}?{name}={value}", version, ours=OURS.get((path, name, version)))
    s.save()


if __name__ == "__main__":
    story()
