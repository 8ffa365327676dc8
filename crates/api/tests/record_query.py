#!/usr/bin/env python3
"""Records the query language of lists (filters, fields, detail, order, pages, what excludes what) and the rules of PATCH.

    record_query.py URL VERSION     as record.py; writes goldens/query.json and goldens/rules.json
"""
import sys

from record import ALL, NEW, Story, uuid

SCALARS = ["id", "uuid", "name", "power_state", "target_power_state", "provision_state", "target_provision_state",
           "last_error", "instance_uuid", "instance_name", "driver", "maintenance", "maintenance_reason", "fault",
           "console_enabled", "resource_class", "conductor_group", "automated_clean", "protected", "protected_reason",
           "retired", "retired_reason", "owner", "lessee", "description", "shard", "boot_mode", "secure_boot", "health",
           "inspection_started_at", "inspection_finished_at", "reservation", "created_at", "disable_power_off",
           "chassis_id", "boot_interface", "bios_interface", "deploy_interface", "network_interface", "vendor_interface",
           "firmware_interface"]
# a descending page behind a row without a value, or before one, repeats rows or loses them
NULLS = ["resource_class", "automated_clean", "lessee", "description", "shard", "chassis_id", "name", "physical_network"]
JSON = ["properties", "driver_info", "extra", "instance_info", "driver_internal_info", "clean_step", "deploy_step",
        "service_step", "raid_config", "target_raid_config", "traits", "network_data"]


def query():
    s = Story("query")
    chassis = uuid(401)
    s("POST", "/v1/chassis", NEW, body={"uuid": chassis, "description": "c1"})
    s("POST", "/v1/chassis", NEW, body={"uuid": uuid(402), "description": "c2"})
    s("POST", "/v1/chassis", NEW, body={"uuid": uuid(403)})
    made = [
        {"name": "qb", "resource_class": "b", "description": "B", "lessee": "l1", "retired": True, "shard": "s2"},
        {"name": "qa", "resource_class": None, "automated_clean": True, "chassis_uuid": chassis},
        {"resource_class": "a", "driver": "ipmi", "description": "é", "lessee": "l2"},
        {"name": "Qc", "resource_class": "b", "maintenance": True, "automated_clean": False, "shard": "s1"},
        {"name": "q_d", "resource_class": "C", "instance_uuid": uuid(499), "instance_name": "i1", "retired": True,
         "retired_reason": "old"},
    ]
    for n, body in enumerate(made):
        s("POST", "/v1/nodes", NEW, body={"driver": "fake-hardware", "uuid": uuid(410 + n), **body})
    # every order, whole and from a marker in the middle
    for key in SCALARS:
        for direction in ("asc", "desc"):
            q = f"/v1/nodes?fields=uuid&sort_key={key}&sort_dir={direction}"
            s("GET", q, NEW)
            s("GET", f"{q}&limit=2&marker={uuid(411)}", NEW,
              ours={"status": 200} if direction == "desc" and key in NULLS and key != "name" else None)
    for key in JSON + ["chassis_uuid", "allocation_uuid", "conductor", "links", "nosuch", "ID", ""]:
        s("GET", f"/v1/nodes?fields=uuid&sort_key={key}", NEW, ours=EXCEPT.get(("sort", key)))
    for key, since in [("resource_class", 21), ("conductor_group", 46), ("automated_clean", 47), ("protected", 48), ("owner", 50),
                       ("description", 51), ("retired", 61), ("lessee", 65), ("boot_mode", 75), ("shard", 82), ("fault", 42),
                       ("disable_power_off", 95), ("instance_name", 104), ("health", 109), ("network_interface", 20),
                       ("bios_interface", 40), ("name", 5)]:
        for minor in (since - 1, since):
            s("GET", f"/v1/nodes?sort_key={key}&limit=1", f"1.{minor}")
    # pages with filters: what the link keeps
    for q in ["maintenance=false", "associated=false", "associated=true", "retired=true", "retired=false", "driver=fake-hardware",
              "provision_state=enroll", "resource_class=b", "fields=uuid,name", "fields=name", "detail=true", "detail=false",
              "sharded=true", "shard=s1,s2", "conductor=localhost", "include_children=true", "sort_key=name",
              "sort_key=name&sort_dir=desc", "sort_dir=desc", "instance_uuid=" + uuid(499), "description_contains=B",
              "maintenance=false&fields=uuid&sort_key=created_at", "conductor_group=", "project=l1", "lessee=l1", "owner=x"]:
        s("GET", f"/v1/nodes?{q}&limit=1", NEW)
        s("GET", f"/v1/nodes/detail?{q}&limit=1", NEW, ours=EXCEPT.get(("detail", q)))
    s("GET", f"/v1/chassis/{chassis}/nodes?limit=1", NEW)
    s("GET", f"/v1/chassis/{chassis}/nodes/detail?limit=1", NEW)
    s("GET", f"/v1/chassis/{chassis}/nodes?fields=uuid&sort_key=name&sort_dir=desc", NEW)
    s("GET", f"/v1/chassis/{uuid(402)}/nodes", ALL)
    # filters, just below and at the version that brought them
    for q, since in [("provision_state=enroll", 9), ("driver=ipmi", 16), ("resource_class=b", 21), ("fault=power%20failure", 42),
                     ("conductor_group=", 46), ("conductor=localhost", 49), ("owner=o", 50), ("lessee=l1", 65), ("shard=s1", 82),
                     ("sharded=false", 82), ("include_children=true", 83), ("parent_node=" + uuid(410), 83), ("instance_name=i1", 104),
                     ("fields=uuid", 8), ("detail=true", 43), ("detail=false", 43)]:
        for minor in (since - 1, since):
            s("GET", f"/v1/nodes?{q}&limit=1", f"1.{minor}", ours=EXCEPT.get((q, minor)))
    # values
    for q in ["maintenance=1", "maintenance=yes", "maintenance=", "maintenance=TRUE", "associated=0", "retired=on", "sharded=no",
              "instance_uuid=", "chassis_uuid=" + chassis, "chassis_uuid=x", "driver=", "driver=nosuch", "resource_class=",
              "provision_state=", "provision_state=AVAILABLE", "fault=", "fault=clean%20failure", "owner=", "shard=", "shard=s1,",
              "description_contains=", "description_contains=%25", "parent_node=qb", "parent_node=nosuch", "limit=", "limit=2.5",
              "limit=%2B2", "limit=2&limit=3", "sort_dir=ASC", "sort_dir=", "marker=", "marker=qa", "fields=", "fields=,",
              "fields=uuid,uuid", "fields=UUID", "fields=%20uuid%20,name", "fields=links", "fields=created_at", "fields=chassis_uuid",
              "fields=conductor", "fields=ports", "detail=maybe", "detail=true&fields=uuid", "detail=false&fields=uuid",
              "detail=true&limit=1&sort_key=uuid", "nosuch=1&also=2", "conductor=nosuch&limit=1"]:
        s("GET", f"/v1/nodes?{q}", NEW, ours=EXCEPT.get(("value", q)))
    for q in ["fields=uuid", "detail=true", "include_children=true", "nosuch=1", "limit=0", "marker=x", "sort_key=extra"]:
        s("GET", f"/v1/nodes/detail?{q}", NEW, ours=EXCEPT.get(("detail", q)))
    # single ones
    for q in ["fields=uuid,name", "fields=UUID", "fields=", "fields=links", "nosuch=1", "detail=true", "fields=uuid&fields=name"]:
        s("GET", f"/v1/nodes/qa?{q}", NEW, ours=EXCEPT.get(("one", q)))
    # chassis
    for q in ["limit=1", "limit=1&sort_key=description", "limit=2&sort_key=description&sort_dir=desc", "fields=uuid&limit=1",
              "detail=true&limit=1", "detail=true&fields=uuid", "sort_key=extra", "sort_key=nosuch", "marker=" + uuid(401),
              "marker=" + uuid(97), "marker=x", "limit=0", "limit=x", "nosuch=1", "fields=uuid,description", "sort_key=created_at",
              "limit=1&marker=" + uuid(401)]:
        s("GET", f"/v1/chassis?{q}", NEW, ours=EXCEPT.get(("chassis", q)))
    for q in ["limit=1", "fields=uuid", "detail=true", "limit=1&sort_key=uuid&sort_dir=desc"]:
        s("GET", f"/v1/chassis/detail?{q}", NEW)
    s("GET", "/v1/chassis?fields=uuid", ["1.7", "1.8"])
    s("GET", "/v1/chassis?detail=true", ["1.42", "1.43"])
    # ports
    for n, body in enumerate([{"node_uuid": uuid(410), "address": "52:54:00:00:04:02", "name": "pb", "physical_network": "n2"},
                              {"node_uuid": uuid(410), "address": "52:54:00:00:04:01", "pxe_enabled": False},
                              {"node_uuid": uuid(411), "address": "52:54:00:00:04:03", "name": "pa", "physical_network": "n1"}]):
        s("POST", "/v1/ports", NEW, body={"uuid": uuid(420 + n), **body})
    for key in ["id", "uuid", "address", "name", "pxe_enabled", "physical_network", "is_smartnic", "created_at", "description",
                "vendor", "category"]:
        for direction in ("asc", "desc"):
            q = f"/v1/ports?fields=uuid&sort_key={key}&sort_dir={direction}"
            s("GET", q, NEW)
            s("GET", f"{q}&limit=1&marker={uuid(421)}", NEW,
              ours={"status": 200} if direction == "desc" and key in NULLS and key != "description" else None)
    for q in ["sort_key=extra", "sort_key=internal_info", "sort_key=local_link_connection", "sort_key=nosuch", "limit=1", "limit=0",
              "limit=1&fields=uuid", "limit=1&detail=true", "limit=1&detail=false", "detail=true&fields=uuid", "node=qb&limit=1",
              "node=" + uuid(410), "node_uuid=" + uuid(410) + "&limit=1", "node_uuid=qb", "address=52:54:00:00:04:01",
              "address=52:54:00:00:04:01&limit=1", "address=x", "nosuch=1", "marker=x", "marker=" + uuid(97), "fields=nosuch",
              "fields=uuid,node_uuid", "sort_key=name&sort_dir=desc&limit=2", "address=52-54-00-00-04-01"]:
        s("GET", f"/v1/ports?{q}", NEW, ours=EXCEPT.get(("ports", q)))
    s("GET", f"/v1/nodes/{uuid(410)}/ports?limit=1", NEW)
    s("GET", f"/v1/nodes/{uuid(410)}/ports?limit=1&sort_key=address&fields=address", NEW)
    s("GET", f"/v1/nodes/{uuid(410)}/ports/detail?limit=1", NEW)
    for n in range(3):
        s("DELETE", f"/v1/ports/{uuid(420 + n)}", NEW)
    s("DELETE", f"/v1/nodes/{uuid(414)}", NEW)
    s("PATCH", f"/v1/nodes/{uuid(414)}", NEW, body=[{"op": "remove", "path": "/instance_uuid"}])
    for n in range(5):
        s("DELETE", f"/v1/nodes/{uuid(410 + n)}", NEW)
    for n in range(3):
        s("DELETE", f"/v1/chassis/{uuid(401 + n)}", NEW)
    s.save()


def rules():
    """PATCH: what a node's state, its secrets and its neighbours allow."""
    s = Story("rules")
    node, other = "/v1/nodes/" + uuid(431), "/v1/nodes/" + uuid(432)
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(431), "name": "r1", "driver": "fake-hardware", "resource_class": "rc",
                                      "extra": {"list": [1, {"a": 2}], "deep": {"er": {"x": None}}},
                                      "properties": {"cpus": 4}, "instance_info": {"a": 1}})
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(432), "name": "r2", "driver": "fake-hardware"})

    def patch(ops, version=NEW, ours=None, path=node, query=""):
        s("PATCH", path + query, version, body=ops, ours=ours)

    def one(op, path, *value):
        return [{"op": op, "path": path, **({"value": value[0]} if value else {})}]

    s("POST", "/v1/nodes", NEW, body={"driver": "fake-hardware", "conductor_group": "Nosuch"})
    # several operations: all or none, in order
    patch(one("add", "/extra/x", 1) + one("remove", "/extra/x") + one("add", "/extra/y", 2))
    patch(one("add", "/extra/z", 1) + one("remove", "/extra/nosuch"))
    s("GET", node + "?fields=extra", NEW)
    patch(one("add", "/extra/z", 1) + one("replace", "/nosuch", 1))
    patch(one("replace", "/extra", {}) + one("add", "/extra/a", {"b": []}) + one("add", "/extra/a/b/-", 1) + one("add", "/extra/a/b/0", 0))
    patch(one("replace", "/extra/a/b/0", {"c": 1}) + one("remove", "/extra/a/b/1"))
    for op, path, *value in [("add", "/extra/a/b/-1", 1), ("add", "/extra/a/b/1.5", 1), ("remove", "/extra/a/b/-"), ("replace", "/extra/a/b/-", 1),
                             ("replace", "/extra/a/b/5", 1), ("remove", "/extra/a/b/5"), ("add", "/extra/a/b/0/c/d", 1),
                             ("add", "/extra/-", 1), ("replace", "/extra/a/nosuch/x", 1), ("remove", "/name/x"), ("add", "/name/x", 1),
                             ("remove", "/maintenance"), ("remove", "/properties"), ("replace", "/properties", None), ("replace", "/extra", None),
                             ("replace", "/driver_info", []), ("replace", "/name", None), ("replace", "/name", ""), ("replace", "/name", 5),
                             ("add", "/name", "r1"), ("replace", "/resource_class", None), ("replace", "/resource_class", ""),
                             ("replace", "/resource_class", "x" * 81), ("replace", "/resource_class", "rc2"), ("remove", "/resource_class"),
                             ("replace", "/conductor_group", None), ("replace", "/conductor_group", "Nosuch"), ("replace", "/conductor_group", ""),
                             ("remove", "/conductor_group"), ("replace", "/owner", None), ("replace", "/lessee", "l"), ("replace", "/lessee", None),
                             ("replace", "/instance_name", "i"), ("replace", "/instance_name", ""), ("replace", "/instance_name", "x" * 256),
                             ("remove", "/instance_name"), ("replace", "/description", None), ("replace", "/description", 5),
                             ("replace", "/automated_clean", None), ("replace", "/automated_clean", 1), ("replace", "/maintenance", None),
                             ("replace", "/retired", None), ("replace", "/retired", False), ("replace", "/retired", "yes"), ("replace", "/retired_reason", "r"), ("remove", "/retired"), ("replace", "/retired", False),
                             ("replace", "/protected", "false"), ("replace", "/protected_reason", None), ("replace", "/disable_power_off", None), ("replace", "/disable_power_off", False),
                             ("replace", "/boot_interface", None), ("remove", "/boot_interface"), ("replace", "/boot_interface", "nosuch"),
                             ("replace", "/boot_interface", 5), ("replace", "/network_data", None), ("remove", "/network_data"),
                             ("replace", "/parent_node", uuid(431)), ("replace", "/parent_node", "r2"), ("replace", "/parent_node", None), ("remove", "/parent_node"),
                             ("replace", "/parent_node", "nosuch"), ("replace", "/chassis_uuid", "x"), ("replace", "/chassis_uuid", None),
                             ("replace", "/instance_uuid", None), ("replace", "/shard", None), ("replace", "/shard", 5),
                             ("replace", "/boot_mode", "uefi"), ("replace", "/secure_boot", True), ("replace", "/console_enabled", True),
                             ("replace", "/allocation_uuid", uuid(1)), ("replace", "/reservation", None), ("replace", "/raid_config", {}),
                             ("replace", "/target_raid_config", {}), ("replace", "/driver_internal_info", {}), ("replace", "/links", []),
                             ("replace", "/created_at", "x"), ("replace", "/conductor", "x"), ("replace", "/health", "OK"), ("add", "/id", 1)]:
        patch(one(op, path, *value), ours=EXCEPT.get((op, path, str(tuple(value)))))
    s("GET", node, NEW)
    # vif and other members of dictionaries
    patch(one("add", "/extra/vif_port_id", "x"))
    patch(one("remove", "/extra/vif_port_id"), ours=EXCEPT.get("vif"))
    # newer fields from older clients
    for path, value, since in [("/network_interface", "noop", 20), ("/resource_class", "x", 21), ("/storage_interface", "noop", 33),
                               ("/rescue_interface", "no-rescue", 38), ("/bios_interface", "no-bios", 40), ("/conductor_group", "", 46),
                               ("/automated_clean", False, 47), ("/protected", False, 48), ("/owner", None, 50), ("/description", "d", 51),
                               ("/retired", False, 61), ("/lessee", "l", 65), ("/network_data", {}, 66), ("/shard", "s", 82),
                               ("/parent_node", None, 83), ("/firmware_interface", "no-firmware", 86), ("/disable_power_off", False, 95),
                               ("/instance_name", "n", 104)]:
        for minor in (since - 1, since):
            patch(one("replace", path, value), f"1.{minor}", ours=EXCEPT.get((path, minor)))
    # states: an old client's new node is available at once
    s("POST", "/v1/nodes", "1.10", body={"uuid": uuid(433), "name": "r3", "driver": "fake-hardware"})
    available = "/v1/nodes/" + uuid(433)
    s("PUT", node + "/states/provision", NEW, body={"target": "manage"})
    s.settle(uuid(431), "manageable")
    for path in (node, available):
        # nothing changes: upstream's lock does
        patch(one("replace", "/boot_interface", "fake"), path=path, ours={"status": 200} if path == available else None)
        patch(one("add", "/extra/state", "s"), path=path)
        patch(one("replace", "/resource_class", "rs"), path=path)
        patch(one("replace", "/resource_class", "rt"), path=path)
        patch(one("replace", "/driver", "fake-hardware"), path=path, query="?reset_interfaces=true")
        patch(one("replace", "/retired", True), path=path)
        patch(one("replace", "/maintenance", True), path=path)
        patch(one("replace", "/retired", True), path=path)
        patch(one("replace", "/maintenance", False), path=path)
        patch(one("replace", "/protected", True), path=path)
        patch(one("replace", "/protected_reason", "why"), path=path)
        patch(one("replace", "/retired", False), path=path)
    patch(one("replace", "/instance_uuid", uuid(439)))
    patch(one("replace", "/instance_uuid", uuid(439)))
    patch(one("replace", "/instance_uuid", uuid(438)))
    patch(one("replace", "/instance_uuid", uuid(439)), path=other)
    s("DELETE", node, NEW)
    patch(one("remove", "/instance_uuid"))
    for path in (node, other, available):
        s("DELETE", path, NEW)
    s.save()


# deliberate differences, as `ours` of record.py: docs/compat/deviations.md says why
EXCEPT = {
    ("value", "fields=links"): {"status": 400}, ("value", "fields=ports"): {"status": 400},
    ("value", "fields=chassis_uuid"): {"status": 200}, ("value", "fields=conductor"): {"status": 200},
    # in no order
    ("value", "nosuch=1&also=2"): {"status": 400},
    # a wildcard
    ("value", "description_contains=%25"): {"status": 200},
    ("remove", "/maintenance", "()"): {"status": 200}, ("replace", "/maintenance", "(None,)"): {"status": 200},
    ("replace", "/conductor_group", "(None,)"): {"status": 200}, ("remove", "/conductor_group", "()"): {"status": 200},
    ("replace", "/description", "(None,)"): {"status": 200}, ("replace", "/description", "(5,)"): {"status": 400},
    ("replace", "/retired", "(None,)"): {"status": 200}, ("remove", "/retired", "()"): {"status": 200},
    ("replace", "/disable_power_off", "(None,)"): {"status": 200},
    ("replace", "/boot_interface", "('nosuch',)"): {"status": 400},
    ("replace", "/parent_node", f"('{uuid(431)}',)"): {"status": 400},
}

if __name__ == "__main__":
    for story in [s for s in (query, rules) if s.__name__ in sys.argv[3:] or not sys.argv[3:]]:
        story()
