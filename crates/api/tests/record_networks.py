#!/usr/bin/env python3
"""Records the stories of port groups, ports, volumes, VIFs and of what is stored about a node.

    record_networks.py URL VERSION DATABASE     as record.py; DATABASE is that service's SQLite file, in which
                                                a SEED step puts what no call of the API can

A SEED step of a golden does the same to our store (tests/it/seed.rs).
"""
import json
import sqlite3
import sys

import record
from record import ALL, NEW, Story, uuid

DATABASE = sys.argv[3]


def seed(s, kind, node, body):
    database = sqlite3.connect(DATABASE, timeout=30)
    ident = database.execute("SELECT id FROM nodes WHERE uuid = ?", (node,)).fetchone()[0]
    now = "2026-01-02 03:04:05.000006"

    def insert(table, row):
        row = {"created_at": now, "node_id": ident, "version": "1.0", **row}
        row = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()}
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    if kind == "node":
        sets = ", ".join(f"{name} = ?" for name in body)
        database.execute(f"UPDATE nodes SET {sets} WHERE id = ?", list(body.values()) + [ident])
    elif kind == "inventory":
        insert("node_inventory", {"inventory_data": body["inventory"], "plugin_data": body["plugin_data"]})
    else:
        table = {"bios": "bios_settings", "firmware": "firmware_information", "history": "node_history"}[kind]
        for row in body:
            # ours are stored twice: as they were first, and as they are
            insert(table, {"updated_at": now, **row} if kind == "firmware" else row)
    database.commit()
    database.close()
    s.steps.append({"method": "SEED", "path": f"/{kind}/{node}", "version": None, "body": body})


def node(s, n, **members):
    s("POST", "/v1/nodes", NEW, body={"uuid": uuid(n), "driver": "fake-hardware", **members})


def ops(*triples):
    return [{"op": t[0], "path": t[1], **({"value": t[2]} if len(t) > 2 else {})} for t in triples]


def portgroups():
    s = Story("portgroups")
    node(s, 71, name="gn")
    node(s, 72, name="gm", shard="s1", conductor_group="")
    g1, g2, g3 = uuid(711), uuid(712), uuid(713)
    for v in ["1.1", "1.22", "1.23"]:
        s("GET", "/v1/portgroups", v)
        s("GET", "/v1/portgroups/detail", v)
        s("GET", "/v1/portgroups/" + g1, v)
        s("DELETE", "/v1/portgroups/" + g1, v)
        s("PATCH", "/v1/portgroups/" + g1, v, body=[])
    s("POST", "/v1/portgroups", "1.22", body={"node_uuid": uuid(71)})
    s("POST", "/v1/portgroups", "1.23", body={"uuid": g1, "node_uuid": uuid(71), "name": "g1"})
    s("POST", "/v1/portgroups", "1.26", body={"uuid": g2, "node_uuid": uuid(71), "address": "52:54:00:BB:00:02", "mode": "802.3ad",
                                             "properties": {"miimon": 100}, "extra": {"a": 1}, "standalone_ports_supported": False})
    s("POST", "/v1/portgroups", NEW, body={"uuid": g3, "node_uuid": uuid(72), "name": "g3", "physical_network": "net",
                                          "category": "c", "standalone_ports_supported": "yes"})
    s("GET", "/v1/portgroups", ["1.23", "1.34", NEW])
    s("GET", "/v1/portgroups/detail", ["1.23", "1.26", "1.101", NEW])
    s("GET", "/v1/portgroups?detail=True", ["1.42", "1.43", NEW])
    for g in (g1, g2, g3):
        s("GET", "/v1/portgroups/" + g, ["1.23", "1.25", "1.26", "1.34", "1.101", "1.102", "1.103", "1.110", "1.111", NEW])
    s("GET", "/v1/portgroups/g1", ["1.23", NEW])
    s("GET", "/v1/portgroups/g1.json", ["1.90", NEW])
    s("GET", "/v1/portgroups/nosuch", NEW)
    s("GET", "/v1/portgroups/" + uuid(98), NEW)
    s("GET", "/v1/portgroups/a%20b", NEW)
    s("GET", "/v1/portgroups/g1?fields=uuid,mode", ["1.23", "1.25", "1.26"])
    s("GET", "/v1/portgroups/g1?fields=physical_network,category", ["1.101", "1.103"])
    s("GET", "/v1/portgroups/g1?fields=dynamic_portgroup", ["1.110", "1.111"])
    s("GET", "/v1/portgroups/g1?fields=nosuch", NEW)
    s("GET", "/v1/portgroups/g1?nosuch=1", NEW)
    s("GET", "/v1/portgroups?fields=uuid,physical_network", ["1.23", NEW])
    s("GET", "/v1/portgroups?fields=properties", ["1.25", "1.26"])
    s("GET", "/v1/portgroups?fields=dynamic_portgroup", ["1.110", "1.111"])
    for q in ["node=gn", "node=" + uuid(72), "node=nosuch", "node=" + uuid(98), "node=a%20b", "address=52:54:00:bb:00:02", "address=x",
              "address=52:54:00:bb:00:09", "shard=s1", "shard=s1,s2", "shard=nosuch", "conductor_groups=x", "node=gn&shard=s1",
              "address=52:54:00:bb:00:02&shard=s1", "shard=s1&conductor_groups=x", "limit=1", "limit=2&sort_key=name&sort_dir=desc",
              "limit=0", "limit=x", "sort_key=extra", "sort_key=mode", "sort_dir=up", "marker=" + g1, "marker=" + uuid(98), "marker=x",
              "fields=nosuch", "fields=uuid&detail=true", "detail=maybe", "nosuch=1", "limit=1&fields=uuid,name", "limit=1&detail=true"]:
        s("GET", "/v1/portgroups?" + q, NEW)
    s("GET", "/v1/portgroups/detail?limit=1", NEW)
    s("GET", "/v1/portgroups/detail?fields=uuid", NEW)
    s("GET", "/v1/portgroups/detail?node=gn&limit=2", NEW)
    s("GET", "/v1/portgroups?sort_key=mode", "1.25")
    s("GET", "/v1/portgroups?shard=s1", ["1.105", "1.106"])
    s("GET", "/v1/portgroups?conductor_groups=x", ["1.34", "1.98"])
    # of nodes
    for n, ours in (("gn", {"status": 200}), (uuid(72), None), ("nosuch", {"status": 404})):
        s("GET", f"/v1/nodes/{n}/portgroups", ["1.1", "1.23"])
        s("GET", f"/v1/nodes/{n}/portgroups", ["1.24", NEW], ours=ours)
        s("GET", f"/v1/nodes/{n}/portgroups/detail", "1.23")
        s("GET", f"/v1/nodes/{n}/portgroups/detail", NEW, ours=ours)
    s("GET", f"/v1/nodes/{uuid(71)}/portgroups?limit=1", NEW)
    s("GET", f"/v1/nodes/{uuid(71)}/portgroups?shard=s1", NEW)
    s("GET", f"/v1/nodes/{uuid(71)}/portgroups/{g1}", NEW, ours={"status": 404})
    s("POST", f"/v1/nodes/{uuid(71)}/portgroups", NEW, body={"node_uuid": uuid(71)}, ours={"status": 405})
    # creation, refused
    for body in [{}, {"node_uuid": "x"}, {"node_uuid": uuid(98)}, {"node_uuid": "gn"}, {"node_uuid": uuid(71), "nosuch": 1},
                 {"node_uuid": uuid(71), "uuid": g1}, {"node_uuid": uuid(71), "uuid": "x"}, {"node_uuid": uuid(71), "name": "g1"},
                 {"node_uuid": uuid(71), "address": "52:54:00:bb:00:02"}, {"node_uuid": uuid(71), "address": "x"},
                 {"node_uuid": uuid(71), "name": "a b"}, {"node_uuid": uuid(71), "standalone_ports_supported": "maybe"},
                 {"node_uuid": uuid(71), "extra": []}, {"node_uuid": uuid(71), "mode": 5}, {"node_uuid": uuid(71), "category": "x" * 81},
                 {"node_uuid": uuid(71), "physical_network": "x" * 65}, {"node_uuid": uuid(71), "dynamic_portgroup": True},
                 {"node_uuid": uuid(71), "internal_info": {}}, []]:
        s("POST", "/v1/portgroups", NEW, body=body)
    s("POST", "/v1/portgroups", NEW, body={"node_uuid": uuid(71), "standalone_ports_supported": None}, ours={"status": 400})
    s("POST", "/v1/portgroups", "1.25", body={"node_uuid": uuid(71), "mode": "802.3ad"})
    s("POST", "/v1/portgroups", "1.25", body={"node_uuid": uuid(71), "properties": {"a": 1}})
    # ports in groups
    def port(n, version=NEW, **members):
        s("POST", "/v1/ports", version, body={"uuid": uuid(7110 + n), "node_uuid": uuid(71), "address": f"52:54:00:bb:01:{n:02x}", **members})
    port(1, portgroup_uuid=g1)
    port(2, "1.23", portgroup_uuid=g1)
    port(2, "1.24", portgroup_uuid=g1)
    port(3, portgroup_uuid=g1, physical_network="other")
    port(3, portgroup_uuid=g2, pxe_enabled=True)
    port(3, portgroup_uuid=g2, pxe_enabled=False, physical_network="pn")
    port(4, portgroup_uuid=g2, pxe_enabled=False)
    port(4, portgroup_uuid=g2)
    port(4, portgroup_uuid=g3)
    port(4, portgroup_uuid="x")
    port(4, portgroup_uuid=None)
    s("GET", "/v1/portgroups/" + g2, NEW)
    for v in ["1.1", "1.23", "1.24", NEW]:
        s("GET", f"/v1/portgroups/{g1}/ports", v)
        s("GET", f"/v1/portgroups/{g1}/ports/detail", v)
    s("GET", "/v1/portgroups/g1/ports", NEW, ours={"status": 200})
    s("GET", "/v1/portgroups/nosuch/ports", NEW)
    s("GET", f"/v1/portgroups/{uuid(98)}/ports", NEW)
    s("GET", f"/v1/portgroups/{g1}/ports/{uuid(7111)}", NEW, ours={"status": 404})
    s("GET", f"/v1/nodes/{uuid(71)}/portgroups/{g1}/ports", ["1.23"])
    s("GET", f"/v1/nodes/{uuid(71)}/portgroups/{g1}/ports", ["1.24", NEW], ours={"status": 200})
    s("GET", "/v1/ports?portgroup=" + g1, ["1.23", "1.24", NEW])
    s("GET", "/v1/ports/detail?portgroup=g1", ["1.23", NEW])
    s("GET", "/v1/ports?portgroup=nosuch", NEW)
    s("GET", "/v1/ports?portgroup=g1&node=gn", NEW)
    s("GET", "/v1/ports?portgroup=g1&shard=s1", NEW)
    s("GET", "/v1/ports?portgroup=g1&conductor_groups=x", NEW)
    s("GET", "/v1/ports/" + uuid(7111), ["1.23", "1.24"])
    # membership
    p = "/v1/ports/" + uuid(7111)
    s("PATCH", p, "1.23", body=ops(("replace", "/portgroup_uuid", g2)))
    s("PATCH", p, NEW, body=ops(("replace", "/portgroup_uuid", uuid(98))))
    s("PATCH", p, NEW, body=ops(("replace", "/portgroup_uuid", "x")))
    s("PATCH", p, NEW, body=ops(("replace", "/portgroup_uuid", g2)))
    s("PATCH", p, NEW, body=ops(("replace", "/physical_network", "pn")))
    s("PATCH", p, "1.101", body=ops(("replace", "/physical_network", "pn")))
    s("PATCH", p, NEW, body=ops(("remove", "/portgroup_uuid")))
    s("PATCH", p, NEW, body=ops(("replace", "/physical_network", "pn")))
    s("PATCH", p, NEW, body=ops(("add", "/portgroup_uuid", g2)))
    s("PATCH", p, NEW, body=ops(("replace", "/portgroup_uuid", None)))
    # patches
    g = "/v1/portgroups/" + g1
    for change in [("replace", "/address", "52:54:00:BB:00:11"), ("replace", "/address", "52:54:00:bb:00:02"), ("replace", "/address", "x"),
                   ("remove", "/address"), ("replace", "/name", "g1x"), ("replace", "/name", "g3"), ("replace", "/name", "a b"),
                   ("remove", "/name"), ("add", "/name", "g1"), ("add", "/extra/x", 1), ("remove", "/extra/x"), ("replace", "/mode", "balance-rr"),
                   ("remove", "/mode"), ("replace", "/properties", {"a": 1}), ("remove", "/properties"), ("replace", "/category", "cat"),
                   ("remove", "/category"), ("replace", "/standalone_ports_supported", False), ("replace", "/standalone_ports_supported", "x"),
                   ("remove", "/standalone_ports_supported"), ("replace", "/standalone_ports_supported", True),
                   ("replace", "/physical_network", "pn2"), ("replace", "/node_uuid", uuid(98)),
                   ("replace", "/node_uuid", uuid(72)), ("replace", "/uuid", uuid(5)), ("replace", "/internal_info", {}),
                   ("replace", "/dynamic_portgroup", True), ("add", "/nosuch", 1), ("replace", "/links", []), ("move", "/name", 1)]:
        s("PATCH", g, NEW, body=ops(change), ours={"status": 200} if change[:2] == ("remove", "/standalone_ports_supported") else None)
    s("GET", "/v1/ports/" + uuid(7112), NEW)
    s("PATCH", g, "1.25", body=ops(("replace", "/mode", "x")))
    s("PATCH", g, "1.25", body=ops(("replace", "/properties", {})))
    s("PATCH", g, "1.23", body=ops(("replace", "/category", "old")))
    s("PATCH", g, NEW, body={})
    s("PATCH", "/v1/portgroups/nosuch", NEW, body=ops(("remove", "/name")))
    s("PATCH", "/v1/portgroups/" + g3, NEW, body=ops(("replace", "/node_uuid", uuid(71))), ours={"status": 200})
    seed(s, "node", uuid(72), {"provision_state": "active"})
    # upstream has not moved it, so that nothing changes there
    s("PATCH", "/v1/portgroups/" + g3, NEW, body=ops(("replace", "/node_uuid", uuid(72))), ours={"status": 409})
    seed(s, "node", uuid(72), {"provision_state": "inspecting"})
    s("PATCH", "/v1/portgroups/" + g3, ["1.38"], body=ops(("replace", "/node_uuid", uuid(72))), ours={"status": 200})
    s("PATCH", "/v1/portgroups/" + g3, ["1.39", NEW], body=ops(("replace", "/extra", {})))
    seed(s, "node", uuid(72), {"provision_state": "enroll"})
    # deletion
    s("DELETE", g, NEW, ours={"status": 400})
    s("DELETE", "/v1/portgroups/nosuch", NEW)
    for n in (1, 2, 3, 4):
        s("DELETE", f"/v1/ports/{uuid(7110 + n)}", NEW)
    s("DELETE", "/v1/portgroups/g1", NEW)
    s("DELETE", "/v1/portgroups/" + g2, NEW)
    s("DELETE", f"/v1/nodes/{uuid(71)}", NEW)
    s("DELETE", f"/v1/nodes/{uuid(72)}", NEW)
    s("GET", "/v1/portgroups", NEW)
    s.save()


def port_filters():
    s = Story("port_filters")
    node(s, 73, name="fa", shard="s1")
    node(s, 74, name="fb", shard="s2")
    for n, of, text in [(1, 73, "left uplink"), (2, 74, "right Uplink"), (3, 74, None)]:
        s("POST", "/v1/ports", NEW, body={"uuid": uuid(730 + n), "node_uuid": uuid(of), "address": f"52:54:00:bc:00:0{n}", "description": text})
    for q in ["shard=s1", "shard=s1,s2", "shard=nosuch", "shard=", "description_contains=uplink", "description_contains=right",
              "description_contains=nosuch", "description_contains=", "conductor_groups=x", "conductor_groups=", "shard=s1&node=fa",
              "conductor_groups=x&node=fa", "conductor_groups=x&address=52:54:00:bc:00:01", "conductor_groups=x&shard=s1",
              "shard=s2&description_contains=right", "node=fb&description_contains=right", "shard=s1&limit=1", "node=fb&portgroup=nosuch"]:
        # upstream forgets the conductor groups where there are shards
        ours = {"status": 200} if q == "conductor_groups=x&shard=s1" else None
        s("GET", "/v1/ports?" + q, NEW, ours=ours)
        s("GET", "/v1/ports/detail?" + q, NEW, ours=ours)
    s("GET", "/v1/ports?shard=s1", ["1.81", "1.82"])
    s("GET", "/v1/ports?description_contains=left", ["1.1", "1.96"])
    s("GET", "/v1/ports?conductor_groups=x", ["1.1", "1.98", "1.99"])
    s("GET", f"/v1/nodes/{uuid(74)}/ports?description_contains=right", NEW)
    s("GET", f"/v1/nodes/{uuid(74)}/ports?shard=s2", NEW)
    for n in (73, 74):
        s("DELETE", f"/v1/nodes/{uuid(n)}", NEW)
    s.save()


def volumes():
    s = Story("volumes")
    node(s, 75, name="va")
    node(s, 76, name="vb")
    for v in ["1.1", "1.31", "1.32", NEW]:
        s("GET", "/v1/volume", v)
        s("GET", "/v1/volume/connectors", v)
        s("GET", "/v1/volume/targets", v)
        s("GET", "/v1/nodes/va/volume", v)
        s("GET", f"/v1/nodes/{uuid(75)}/volume/connectors", v)
        s("GET", f"/v1/nodes/{uuid(75)}/volume/targets", v)
    for v in ["1.31"]:
        s("GET", "/v1/volume/connectors/" + uuid(98), v)
        s("POST", "/v1/volume/connectors", v, body={})
        s("PATCH", "/v1/volume/targets/" + uuid(98), v, body=[])
        s("DELETE", "/v1/volume/targets/" + uuid(98), v)
    s("GET", "/v1/volume/nosuch", NEW, ours={"status": 404})
    s("GET", "/v1/nodes/nosuch/volume", NEW)
    s("GET", "/v1/nodes/nosuch/volume/connectors", NEW)
    s("POST", "/v1/volume", NEW, body={})
    c, t = "/v1/volume/connectors", "/v1/volume/targets"
    s("POST", c, "1.32", body={"uuid": uuid(751), "node_uuid": uuid(75), "type": "iqn", "connector_id": "iqn.2026-01.org:a", "extra": {"a": 1}})
    s("POST", c, NEW, body={"uuid": uuid(752), "node_uuid": uuid(75), "type": "ip", "connector_id": "192.0.2.1"})
    s("POST", c, NEW, body={"uuid": uuid(753), "node_uuid": uuid(76), "type": "nosuch", "connector_id": ""})
    s("POST", t, "1.32", body={"uuid": uuid(761), "node_uuid": uuid(75), "volume_type": "iscsi", "boot_index": 0, "volume_id": "vol-1",
                              "properties": {"target_iqn": "iqn.x", "auth_username": "u", "auth_password": "hidden", "auth_method": "CHAP",
                                             "deep": {"secret": "s", "n": 1}}, "extra": {"password": "shown"}})
    s("POST", t, NEW, body={"uuid": uuid(762), "node_uuid": uuid(75), "volume_type": "fibre_channel", "boot_index": 1, "volume_id": "v2"})
    s("POST", t, NEW, body={"uuid": uuid(763), "node_uuid": uuid(76), "volume_type": "iscsi", "boot_index": -1, "volume_id": "", "properties": None, "extra": None})
    for body in [{}, [], {"node_uuid": uuid(75), "type": "iqn"}, {"node_uuid": "x", "type": "iqn", "connector_id": "b"},
                 {"node_uuid": "va", "type": "iqn", "connector_id": "b"},
                 {"node_uuid": uuid(98), "type": "iqn", "connector_id": "b"}, {"node_uuid": uuid(76), "type": "iqn", "connector_id": "iqn.2026-01.org:a"},
                 {"uuid": uuid(751), "node_uuid": uuid(75), "type": "iqn", "connector_id": "b"}, {"uuid": "x", "node_uuid": uuid(75), "type": "iqn", "connector_id": "b"},
                 {"node_uuid": uuid(75), "type": 5, "connector_id": "b"}, {"node_uuid": uuid(75), "type": "iqn", "connector_id": "b", "nosuch": 1},
                 {"node_uuid": uuid(75), "type": "iqn", "connector_id": "b", "extra": []}]:
        s("POST", c, NEW, body=body)
    for body in [{}, {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v"}, {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": 0},
                 {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": "0"}, {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": 2.5},
                 {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": True},
                 {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": 5, "boot_index": 3}, {"uuid": uuid(761), "node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": 4},
                 {"node_uuid": uuid(75), "volume_type": "iscsi", "volume_id": "v", "boot_index": 5, "properties": "x"}]:
        s("POST", t, NEW, body=body)
    for base, n in ((c, 751), (t, 761)):
        s("GET", base, ["1.32", "1.34", NEW])
        s("GET", f"{base}/{uuid(n)}", ["1.32", NEW])
        s("GET", f"{base}/{uuid(98)}", NEW)
        s("GET", f"{base}/x", NEW)
        s("GET", f"{base}/{uuid(n)}?fields=uuid,extra", NEW)
        s("GET", f"{base}/{uuid(n)}?fields=nosuch", NEW)
        s("GET", f"{base}/{uuid(n)}?nosuch=1", NEW)
        for q in ["detail=true", "detail=false", "fields=uuid,extra,node_uuid", "fields=nosuch", "fields=uuid&detail=true", "node=va", "node=" + uuid(76), "node=nosuch",
                  "node=a%20b", "limit=1", "limit=1&detail=true", "limit=1&fields=uuid", "limit=0", "marker=x", "marker=" + uuid(98), "marker=" + uuid(n),
                  "sort_key=extra", "sort_key=created_at", "sort_dir=up", "sort_dir=desc", "nosuch=1", "detail=maybe"]:
            s("GET", f"{base}?{q}", NEW)
    s("GET", t + "?sort_key=boot_index&detail=true", NEW)
    s("GET", t + "?sort_key=properties", NEW)
    s("GET", c + "?sort_key=connector_id", NEW)
    s("GET", f"/v1/nodes/va/volume/connectors?detail=true", NEW, ours={"status": 200})
    s("GET", f"/v1/nodes/{uuid(75)}/volume/targets?detail=true", NEW)
    s("GET", f"/v1/nodes/{uuid(75)}/volume/targets?limit=1", NEW)
    s("GET", f"/v1/nodes/{uuid(75)}/volume/targets/{uuid(761)}", NEW, ours={"status": 404})
    s("GET", f"/v1/nodes/{uuid(75)}/volume/nosuch", NEW, ours={"status": 404})
    c1, t1 = f"{c}/{uuid(751)}", f"{t}/{uuid(761)}"
    s("PATCH", c1, NEW, body=ops(("replace", "/connector_id", "b")))
    seed(s, "node", uuid(75), {"power_state": "power on"})
    s("PATCH", c1, NEW, body=ops(("replace", "/connector_id", "b")))
    s("PATCH", t1, NEW, body=ops(("replace", "/boot_index", 9)))
    seed(s, "node", uuid(75), {"power_state": "power off"})
    for change in [("replace", "/connector_id", "b"), ("replace", "/connector_id", 5), ("remove", "/connector_id"), ("replace", "/type", "wwpn"), ("add", "/extra/b", 2), ("remove", "/extra"),
                   ("replace", "/node_uuid", "x"), ("replace", "/node_uuid", uuid(98)), ("replace", "/uuid", uuid(5)), ("add", "/nosuch", 1), ("remove", "/node_uuid")]:
        s("PATCH", c1, NEW, body=ops(change))
    s("PATCH", c1, NEW, body=ops(("replace", "/type", "ip"), ("replace", "/connector_id", "192.0.2.1")))
    seed(s, "node", uuid(76), {"power_state": "power off"})
    s("PATCH", c1, NEW, body=ops(("replace", "/node_uuid", uuid(76))))
    s("PATCH", f"{c}/{uuid(98)}", NEW, body=ops(("remove", "/extra")))
    s("PATCH", f"{c}/x", NEW, body=ops(("remove", "/extra")))
    s("PATCH", c1, NEW, body={})
    for change in [("replace", "/boot_index", 5), ("replace", "/boot_index", 1), ("replace", "/boot_index", "x"), ("remove", "/boot_index"), ("replace", "/volume_id", "v9"),
                   ("replace", "/volume_type", "rbd"), ("add", "/properties/x", 1), ("remove", "/properties/x"), ("add", "/properties/token", "t"), ("remove", "/properties"),
                   ("add", "/extra/b", 2), ("replace", "/node_uuid", "x"), ("replace", "/uuid", uuid(5)), ("replace", "/node_uuid", uuid(76))]:
        s("PATCH", t1, NEW, body=ops(change))
    seed(s, "node", uuid(76), {"power_state": "power on", "provision_state": "active"})
    s("DELETE", c1, NEW)
    s("DELETE", t1, NEW)
    seed(s, "node", uuid(76), {"provision_state": "manageable"})
    s("DELETE", c1, NEW)
    s("DELETE", t1, NEW)
    s("DELETE", c1, NEW)
    s("DELETE", t1, NEW)
    s("DELETE", c + "/x", NEW)
    s("DELETE", f"{c}/{uuid(752)}", NEW)
    for n in (75, 76):
        s("DELETE", f"/v1/nodes/{uuid(n)}", NEW)
    s("GET", t, NEW)
    s.save()


def vifs():
    s = Story("vifs")
    node(s, 77, name="vn")
    n = "/v1/nodes/vn/vifs"
    for v in ["1.1", "1.27", "1.28", "1.66", "1.67", NEW]:
        s("GET", n, v)
        s("POST", n, v, body={"id": "vif-1"})
        s("DELETE", n + "/vif-1", v)
    for body in [{}, [], {"id": 5}, {"id": "a b"}, {"id": uuid(1), "port_uuid": uuid(2)}, {"id": "v", "port_uuid": uuid(2), "portgroup_uuid": uuid(3)},
                 {"id": "v", "nosuch": {"x": 1}}, {"id": None}]:
        s("POST", n, NEW, body=body)
    s("POST", n, "1.66", body={"id": "v", "port_uuid": uuid(2), "portgroup_uuid": uuid(3)})
    s("DELETE", n + "/a%20b", NEW)
    s("DELETE", n, NEW, ours={"status": 405})
    s("GET", n + "/vif-1", NEW)
    s("GET", "/v1/nodes/nosuch/vifs", NEW)
    s("POST", "/v1/nodes/nosuch/vifs", NEW, body={"id": "v"})
    s("DELETE", "/v1/nodes/nosuch/vifs/v", NEW)
    s("DELETE", "/v1/nodes/vn", NEW)
    s.save()


def details():
    s = Story("details")
    s("GET", "/v1/shards", ["1.81", "1.82", NEW])
    node(s, 78, name="dn", shard="s1")
    node(s, 79, name="dm", shard="s1", parent_node=uuid(78))
    node(s, 80, name="dl")
    d = "/v1/nodes/dn"
    for v in ["1.1", "1.81", "1.82", NEW]:
        s("GET", "/v1/shards", v)
        s("GET", "/v1/shards/s1", v, ours={"status": 404})
    s("GET", "/v1/shards?nosuch=1", NEW, ours={"status": 400})
    s("POST", "/v1/shards", NEW, body={})
    s("GET", d + "/children", ["1.1", "1.82"], ours={"status": 404})
    s("GET", d + "/children", ["1.83", NEW])
    s("GET", f"/v1/nodes/{uuid(79)}/children", NEW)
    s("GET", "/v1/nodes/nosuch/children", NEW)
    good = {"event": "network.bind_port", "port_id": uuid(1), "mac_address": "52:54:00:AA:00:01", "status": "ACTIVE"}
    s("POST", "/v1/events", ["1.1", "1.53", "1.54", NEW], body={"events": [good]})
    s("POST", "/v1/events", NEW, body={"events": [{**good, "device_id": None, "binding:host_id": uuid(2), "binding:vnic_type": "baremetal"}, good]})
    for body in [{}, {"events": []}, {"events": 5}, {"events": [5]}, {"events": [{}]}, {"events": [{**good, "event": "nosuch"}]}, {"events": [{**good, "port_id": "x"}]},
                 {"events": [{**good, "mac_address": "x"}]}, {"events": [{**good, "status": 5}]}, {"events": [{**good, "nosuch": 1}]}, {"events": [{**good, "device_id": "x"}]},
                 {"events": [{**good, "device_id": 5}]}, {"events": [good], "nosuch": 1}, [good]]:
        s("POST", "/v1/events", NEW, body=body)
    s("GET", "/v1/events", NEW)
    # stored data
    s("GET", d + "/inventory", ["1.1", "1.80"])
    s("GET", d + "/inventory", ["1.81", NEW], ours={"status": 404})
    seed(s, "inventory", uuid(78), {"inventory": {"cpu": {"count": 4}, "interfaces": []}, "plugin_data": {"x": [1, None], "error": None}})
    s("GET", d + "/inventory", ["1.80", "1.81", NEW])
    s("GET", d + "/inventory?nosuch=1", NEW)
    s("GET", "/v1/nodes/nosuch/inventory", NEW)
    for v in ["1.1", "1.39", "1.40", "1.73", "1.74", NEW]:
        s("GET", d + "/bios", v)
    seed(s, "bios", uuid(78), [
        {"name": "Turbo", "value": "Enabled", "attribute_type": "Enumeration", "allowable_values": ["Enabled", "Disabled"], "read_only": False, "reset_required": True, "unique": False},
        {"name": "asset", "value": None, "attribute_type": "String", "min_length": 0, "max_length": 20},
        {"name": "count", "value": "4", "attribute_type": "Integer", "lower_bound": 1, "upper_bound": 9000000000}])
    for v in ["1.39", "1.40", "1.73", "1.74", NEW]:
        s("GET", d + "/bios", v)
        s("GET", d + "/bios/Turbo", v)
    s("GET", f"/v1/nodes/{uuid(78)}/bios", NEW)
    s("GET", d + "/bios/count", NEW)
    s("GET", d + "/bios/nosuch", ["1.40", NEW])
    s("GET", d + "/bios?detail=true", ["1.73", "1.74", NEW])
    s("GET", d + "/bios?detail=false", ["1.73", NEW])
    s("GET", d + "/bios?fields=name,read_only", ["1.73", "1.74"])
    s("GET", d + "/bios?fields=nosuch", NEW)
    s("GET", d + "/bios?fields=name&detail=true", NEW)
    s("GET", d + "/bios?fields=created_at,node_uuid", NEW, ours={"status": 200})
    s("GET", d + "/bios?fields=upper_bound", NEW, ours={"status": 200})
    s("GET", d + "/bios?nosuch=1", NEW)
    s("GET", d + "/bios/Turbo?nosuch=1", NEW)
    s("GET", "/v1/nodes/nosuch/bios", NEW)
    for v in ["1.1", "1.85", "1.86", "1.113", "1.114", NEW]:
        s("GET", d + "/firmware", v)
    seed(s, "firmware", uuid(78), [
        {"component": "bmc", "initial_version": "1.0", "current_version": "1.1", "last_version_flashed": "1.1", "vendor": "V", "model": "M", "serial_number": "S"},
        {"component": "bios", "initial_version": "a", "current_version": None, "last_version_flashed": None, "vendor": None, "model": None, "serial_number": None}])
    for v in ["1.85", "1.86", "1.113", "1.114", NEW]:
        s("GET", d + "/firmware", v)
    s("GET", d + "/firmware?fields=component,vendor", ["1.113", "1.114"])
    s("GET", d + "/firmware?fields=component", "1.86")
    s("GET", d + "/firmware?fields=nosuch", NEW)
    s("GET", d + "/firmware?nosuch=1", NEW)
    s("GET", "/v1/nodes/nosuch/firmware", NEW)
    h = [{"uuid": uuid(790 + n), "conductor": "localhost", "severity": "ERROR" if n else "INFO", "event_type": "provisioning", "event": "x" * (300 if n == 2 else 9),
          "user": "u" if n else None, "project": "p" if n else None, "state": "deploying" if n else None, "target_provision_state": "active" if n else None,
          "duration_seconds": 12 if n else None} for n in range(3)]
    seed(s, "history", uuid(80), h)
    e = "/v1/nodes/dl/history"
    for v in ["1.77", "1.78", "1.112", "1.113", "1.114", "1.115"]:
        s("GET", e, v)
        s("GET", e + "?detail=true", v)
        s("GET", f"{e}/{uuid(791)}", v)
    s("GET", f"{e}/{uuid(98)}", NEW)
    s("GET", f"{e}/x", NEW)
    # upstream's link has two markers, the first of them "None"
    s("GET", f"{e}?limit=1", NEW, ours={"status": 200})
    s("GET", f"{e}?limit=1&detail=true", NEW, ours={"status": 200})
    s("GET", f"{e}?marker={uuid(790)}", NEW)
    s("GET", f"{e}?sort_key=severity&sort_dir=desc", NEW)
    s("GET", f"{e}?marker=x", NEW)
    s("GET", f"/v1/nodes/{uuid(80)}/history", NEW)
    for n in (79, 78, 80):
        s("DELETE", f"/v1/nodes/{uuid(n)}", NEW)
    s.save()


def inspection():
    s = Story("inspection")
    node(s, 81, name="ia")
    s("POST", "/v1/ports", NEW, body={"uuid": uuid(811), "node_uuid": uuid(81), "address": "52:54:00:be:00:01"})
    node(s, 82, name="ib", driver_info={"ipmi_address": "192.0.2.82"})
    s("POST", "/v1/ports", NEW, body={"uuid": uuid(821), "node_uuid": uuid(82), "address": "52:54:00:be:00:02"})
    p = "/v1/continue_inspection"

    def report(*macs, **more):
        return {"inventory": {"interfaces": [{"mac_address": m} for m in macs], **more}, "other": 1}
    for v in ["1.1", "1.2", "1.22", "1.83", "1.84", NEW]:
        s("POST", p, v, body=report("52:54:00:be:00:01"))
        s("POST", f"{p}?node_uuid={uuid(81)}", v, body=report("52:54:00:be:00:01"))
    for body in [{}, [], {"inventory": 5}, {"inventory": {}}, {"inventory": {"interfaces": 5}}, {"inventory": {"interfaces": []}}, {"inventory": {"interfaces": [5]}},
                 {"inventory": {"interfaces": [{}]}}, {"inventory": {"interfaces": [{"mac_address": 5}]}}, {"inventory": {"interfaces": [{"mac_address": "x"}]}},
                 {"inventory": {"interfaces": [{"mac_address": "x"}], "bmc_address": 5}}]:
        s("POST", p, NEW, body=body)
    s("POST", p + "?node_uuid=x", NEW, body=report("x"))
    s("POST", p + "?nosuch=1", NEW, body=report("x"))
    s("POST", p + "?node_uuid=" + uuid(98), NEW, body=report("x"))
    s("GET", p, NEW)
    for n in (81, 82):
        seed(s, "node", uuid(n), {"provision_state": "inspect wait", "target_provision_state": "manageable"})
    s("POST", p, NEW, body=report("52:54:00:be:00:09"))
    s("POST", p, NEW, body=report("52:54:00:be:00:01", "52:54:00:be:00:02"))
    s("POST", f"{p}?node_uuid={uuid(82)}", NEW, body=report("52:54:00:be:00:01"))
    s("POST", p, "1.83", body=report("52:54:00:be:00:01"))
    s("POST", p, "1.1", body=report("52:54:00:be:00:01", "52:54:00:be:00:07"))
    s("POST", p, NEW, body=report("52:54:00:be:00:02"), ours={"status": 202})
    s.save()


for story in (portgroups, port_filters, volumes, vifs, details, inspection):
    if len(sys.argv) < 5 or story.__name__ in sys.argv[4:]:
        story()
