#!/usr/bin/env python3
"""Records every route at the versions where it changes: goldens/versions.json.

    record_versions.py URL VERSION     as record_drivers.py, with `[inventory] data_backend = database`

What is asked for stands in tests/it/records.rs. Told again to the real conductor with the real drivers
(`tests/tests/it/driver_api.rs`).
"""
from record import NEW, uuid
from record_drivers import Waiting

NODE, OTHER = uuid(901), uuid(902)
STEPS = [{"interface": "deploy", "step": "deploy", "args": {}, "priority": 10}]
BOOK = [{"interface": "management", "step": "reset_bios", "args": {}, "order": 1}]


def versions(*minors):
    return [f"1.{minor}" for minor in minors]


def story():
    s = Waiting("versions")
    n = "/v1/nodes/" + NODE
    s("POST", "/v1/nodes", NEW, body={"uuid": NODE, "name": "vn", "driver": "fake-hardware", "resource_class": "vrc"})
    s("POST", "/v1/nodes", NEW, body={"uuid": OTHER, "driver": "fake-hardware"})
    s("GET", "/v1", versions(23, 32, 52, 54, 55, 82, 84, 92))
    s("GET", "/v1/nodes/validate?node_uuid=" + NODE, versions(1, 34))
    s("GET", n, versions(39))
    s("GET", n + "/validate", versions(1, 34))
    s("GET", n + "/states", versions(2, 12, 39))
    op = lambda path, value: [{"op": "add", "path": path, "value": value}]
    s("PATCH", n, versions(1, 34), body=op("/extra/a", 1))
    for verb, extra in (("power", {"target": "power on"}), ("provision", {"target": "nosuch"})):
        s("PUT", f"{n}/states/{verb}", versions(1), body=extra)
        settle(s, NODE)
        s("PUT", f"{n}/states/{verb}", versions(34), body=extra)
        settle(s, NODE)
    s("PUT", n + "/states/raid", versions(11, 12, 34), body={})
    for what, target in (("boot_mode", "uefi"), ("secure_boot", True)):
        for minor in (75, 76, 115):
            s("PUT", f"{n}/states/{what}", versions(minor), body={"target": target})
            settle(s, NODE)
    s("GET", n + "/states/console", versions(1, 34, 115))
    for minor in (1, 34, 115):
        s("PUT", n + "/states/console", versions(minor), body={"enabled": minor != 34})
        settle(s, NODE)
    for minor in (1, 34):
        s("PUT", n + "/maintenance", versions(minor), body={"reason": "why"})
        s("DELETE", n + "/maintenance", versions(minor))
    m = n + "/management/"
    s("GET", m + "boot_device", versions(1, 34))
    s("PUT", m + "boot_device", versions(1, 34), body={"boot_device": "pxe"})
    s("GET", m + "boot_device/supported", versions(1, 34))
    s("PUT", m + "inject_nmi", versions(29, 34), body={})
    # the table of versions says 1.63 for indicators, upstream serves them at any
    at = versions(1, 34, 62, 63, 115)
    s("GET", m + "indicators", at)
    s("GET", m + "indicators/led@chassis", at)
    s("PUT", m + "indicators/led@chassis", at, body={"state": "on"})
    for base in (n, "/v1/drivers/fake-hardware"):
        s("GET", base + "/vendor_passthru/methods", versions(1, 34, 115), ours={"without_descriptions": True})
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            s(method, base + "/vendor_passthru/nosuch", versions(1, 34, 115),
              body={} if method in ("POST", "PUT", "PATCH") else None)
    s("PUT", n + "/traits", versions(36, 37), body={"traits": ["CUSTOM_A"]})
    s("PUT", n + "/traits/CUSTOM_B", versions(36, 37))
    s("GET", n + "/traits", versions(37))
    s("DELETE", n + "/traits/CUSTOM_B", versions(36, 37))
    s("DELETE", n + "/traits", versions(36, 37))

    group, port = uuid(911), uuid(912)
    s("POST", "/v1/ports", NEW, body={"uuid": port, "node_uuid": NODE, "address": "52:54:00:09:00:01"})
    s("GET", n + "/ports/detail", versions(1, 34))
    s("PATCH", "/v1/ports/" + port, versions(1, 34), body=op("/extra/a", 1))
    for k, minor in enumerate((22, 23, 34, 115)):
        s("POST", "/v1/portgroups", versions(minor), body={"uuid": uuid(911 + 10 * k), "node_uuid": NODE})
    group = uuid(921)
    s("GET", "/v1/portgroups", versions(22, 23, 34, 115))
    s("GET", "/v1/portgroups/detail", versions(22, 23, 34, 115))
    s("GET", "/v1/portgroups/" + group, versions(22, 23, 24, 26, 34, 102, 103, 111, 115))
    s("PATCH", "/v1/portgroups/" + group, versions(22, 23, 34, 115), body=op("/extra/a", 1))
    for path in (f"{n}/portgroups", f"{n}/portgroups/detail", f"/v1/portgroups/{group}/ports",
                 f"/v1/portgroups/{group}/ports/detail"):
        s("GET", path, versions(23, 24, 34, 115))
    s("GET", f"{n}/portgroups/{group}/ports", versions(23))
    s("GET", f"{n}/portgroups/{group}/ports", versions(24, 34, 115), ours={"status": 200})
    for k, minor in ((0, 22), (1, 23), (2, 34), (3, 115)):
        s("DELETE", f"/v1/portgroups/{uuid(911 + 10 * k)}", versions(minor))
    vif = uuid(915)
    for minor in (27, 28, 34, 115):
        s("POST", n + "/vifs", versions(minor), body={"id": vif})
        s("GET", n + "/vifs", versions(minor))
        s("DELETE", f"{n}/vifs/{vif}", versions(minor))
    s("DELETE", "/v1/ports/" + port, versions(1))
    s("DELETE", "/v1/ports/" + port, versions(34))

    s("PUT", n + "/states/power", NEW, body={"target": "power off"})
    settle(s, NODE)
    volume = versions(31, 32, 34, 115)
    for path in ("/v1/volume", n + "/volume", n + "/volume/connectors", n + "/volume/targets", "/v1/volume/connectors",
                 "/v1/volume/targets"):
        s("GET", path, volume)
    for kind, first, body in (("connectors", 941, {"type": "iqn"}), ("targets", 951, {"volume_type": "iscsi"})):
        for k, minor in enumerate((31, 32, 34, 115)):
            one = {"uuid": uuid(first + k), "node_uuid": NODE, **body}
            one.update({"connector_id": f"i{k}"} if kind == "connectors" else {"boot_index": k, "volume_id": f"v{k}"})
            path = f"/v1/volume/{kind}/{uuid(first + k)}"
            s("POST", f"/v1/volume/{kind}", versions(minor), body=one)
            s("GET", path, versions(minor))
            s("PATCH", path, versions(minor), body=op("/extra/a", 1))
        s("GET", f"/v1/volume/{kind}?detail=True", NEW)
        for k, minor in enumerate((31, 32, 34, 115)):
            s("DELETE", f"/v1/volume/{kind}/{uuid(first + k)}", versions(minor))

    s("GET", n + "/bios", versions(39, 40, 74, 115))
    s("GET", n + "/bios/nosuch", versions(39, 40, 74, 115))
    s("GET", n + "/firmware", versions(85, 86, 114, 115))
    # failed calls of the driver stand in ours, too
    s("GET", n + "/history", versions(78, 115), ours={"differs": ["history"]})
    s("GET", n + "/history/" + uuid(999), versions(77, 78, 113, 115))
    s("GET", n + "/inventory", versions(80))
    s("GET", n + "/inventory", versions(81, 115),
      ours={"fault": f"Node inventory record for node {NODE} could not be found."})
    s("GET", n + "/children", versions(82), ours={"status": 404})
    s("GET", n + "/children", versions(83, 115))
    s("GET", n + "/vmedia", versions(92, 93, 115))
    s("POST", n + "/vmedia", versions(88, 89, 115), body={"device_type": "cdrom", "image_url": "http://192.0.2.1/i"})
    settle(s, NODE)
    s("DELETE", n + "/vmedia", versions(88, 89, 115))
    settle(s, NODE)

    chassis = uuid(961)
    s("POST", "/v1/chassis", versions(34), body={"uuid": chassis})
    s("PATCH", "/v1/chassis/" + chassis, versions(1, 34), body=op("/extra/a", 1))
    s("GET", f"/v1/chassis/{chassis}/nodes", versions(1))
    s("GET", f"/v1/chassis/{chassis}/nodes/detail", versions(1, 115))
    s("DELETE", "/v1/chassis/" + chassis, versions(1))
    s("DELETE", "/v1/chassis/" + chassis, versions(34))
    s("GET", "/v1/drivers/fake-hardware", versions(33, 38, 40), ours={"catalogue": True})
    s("GET", "/v1/drivers/fake-hardware/properties", versions(1, 34), ours={"keys": True})
    s("GET", "/v1/drivers/fake-hardware/raid/logical_disk_properties", versions(11))
    s("GET", "/v1/drivers/fake-hardware/raid/logical_disk_properties", versions(12, 34, 115), ours={"keys": True})
    s("GET", "/v1/conductors/localhost", versions(48))
    s("GET", "/v1/conductors/localhost", versions(49))

    claim = uuid(971)
    s("POST", "/v1/allocations", versions(51, 52), body={"uuid": claim, "resource_class": "none", "name": "vclaim"})
    s.matched(claim)
    s("POST", "/v1/allocations", versions(115), body={"uuid": claim, "resource_class": "none"})
    s("GET", "/v1/allocations", versions(51, 52, 115))
    s("GET", "/v1/allocations/" + claim, versions(51, 52, 59, 60, 115))
    s("PATCH", "/v1/allocations/" + claim, versions(56, 57, 115), body=op("/extra/a", 1))
    s("GET", n + "/allocation", versions(51, 52, 115))
    s("DELETE", n + "/allocation", versions(51, 52, 115))
    s("DELETE", "/v1/allocations/" + claim, versions(51, 52, 115))

    for kind, since, first, body in (
            ("deploy_templates", 55, 981, {"steps": STEPS}), ("runbooks", 92, 985, {"steps": BOOK}),
            ("inspection_rules", 96, 989, {"actions": [{"op": "fail", "args": {"msg": "x"}}], "conditions": []})):
        # the links of inspection rules lead nowhere
        ours = {"differs": ["links"]} if kind == "inspection_rules" else None
        for k, minor in enumerate((since - 1, since, 115)):
            named = {} if kind == "inspection_rules" else {"name": f"CUSTOM_V{k}"}
            s("POST", "/v1/" + kind, versions(minor), body={"uuid": uuid(first + k), **named, **body},
              ours=ours if minor >= since else None)
        one = f"/v1/{kind}/{uuid(first + 1)}"
        for path in ("/v1/" + kind, one):
            s("GET", path, versions(since - 1))
            s("GET", path, versions(since, 115), ours=ours)
        if kind == "runbooks":
            s("GET", one, versions(111, 112))
        if kind == "runbooks":
            at = versions(111, 112, 115)
            s("PUT", one + "/traits", at, body={"traits": ["CUSTOM_A"]})
            s("PUT", one + "/traits/CUSTOM_B", at)
            s("GET", one + "/traits", at)
            s("DELETE", one + "/traits/CUSTOM_B", at)
            s("DELETE", one + "/traits", at)
        change = op("/description", "d") if kind == "inspection_rules" else op("/extra/a", 1)
        s("PATCH", one, versions(since - 1), body=change)
        s("PATCH", one, versions(since, 115), body=change, ours=ours)
        for k, minor in enumerate((since - 1, since, 115)):
            s("DELETE", f"/v1/{kind}/{uuid(first + k)}", versions(minor))

    s("GET", "/v1/shards", versions(81, 82, 115))
    s("POST", "/v1/events", versions(53, 54, 115), body={"events": [{
        "event": "network.bind_port", "port_id": uuid(995), "mac_address": "52:54:00:09:00:02", "status": "ACTIVE"}]})
    s("GET", "/v1/lookup?node_uuid=" + NODE, versions(22, 34))
    s("POST", "/v1/heartbeat/" + NODE, versions(22, 34), body={"callback_url": "http://192.0.2.1:9999"})
    s("POST", "/v1/continue_inspection", versions(34, 83, 84, 115), body={})
    s("DELETE", n, versions(1))
    s("DELETE", "/v1/nodes/" + OTHER, versions(34))
    s.save()


def settle(s, node):
    """Until the conductor has let go of the node, whatever its state is then."""
    s.until(node, "target_power_state", None)


if __name__ == "__main__":
    story()
