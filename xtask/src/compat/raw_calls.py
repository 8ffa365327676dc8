"""Raw requests as Metal3's operator and other users of gophercloud send them; every endpoint is called.

gophercloud sends `X-OpenStack-Ironic-API-Version` as it is set by its user; Metal3's operator takes the newest of 1.109,
1.95, 1.93 and 1.89 that the server has. Patches name one member each, values of `instance_info` are replaced
by `add`; lists are asked in detail; names of nodes have the form namespace~name.
"""
import pathlib
import re

VERSIONS = ["1.109", "1.95", "1.93", "1.89", "1.81"]
HEADERS = ["X-Openstack-Ironic-Api-Minimum-Version", "X-Openstack-Ironic-Api-Maximum-Version",
           "X-Openstack-Ironic-Api-Version", "Location", "Content-Type"]
ENDPOINTS = pathlib.Path(__file__).resolve().parents[3] / "docs/compat/endpoints.md"
# switched on by an option, and a text
NOT_CALLED = {"GET /healthcheck"}
BOOK = [{"interface": "management", "step": "reset_bios", "args": {"a_password": "s"}, "order": 1}]
RULE = [{"op": "set-attribute", "args": {"path": "/description", "value": "seen"}}]
STEPS = [{"interface": "deploy", "step": "deploy", "args": {}, "priority": 90}]
CLEAN = [{"interface": "bios", "step": "factory_reset"}]
UNKNOWN = [{"interface": "deploy", "step": "nosuch"}]


def uuid(version, n):
    return f"0000000a-0000-4000-8000-6a{version:02x}{n:08x}"


def add(path, value):
    return {"op": "add", "path": path, "value": value}


def tell(service, record):
    used = set()

    def send(version, method, path, body=None):
        used.add((method, path.split("?")[0].rstrip("/") or "/"))
        status, headers, answer = service.request(method, path, version, body)
        lower = {name.lower(): value for name, value in headers.items()}
        seen = {name.lower(): lower[name.lower()] for name in HEADERS if name.lower() in lower}
        pattern = "/".join("{}" if part.startswith("0000000a") or "~" in part else part
                           for part in path.split("?")[0].split("/"))
        record.add("raw", version or "none", f"{method} {pattern}", f"{method} {path} {body if body is not None else ''}",
                   status=status, headers=seen, answer=answer)
        return answer

    # discovery
    for path in ("/", "/v1", "/v1/"):
        send(None, "GET", path)
    send("1.109", "GET", "/v1/")
    send("1.999", "GET", "/v1/nodes")
    send(None, "GET", "/v1/nodes")

    for number, version in enumerate(VERSIONS):
        get = lambda path: send(version, "GET", path)
        ident = lambda n: uuid(number, n)
        node = ident(1)
        name = f"metal3~host-{number}"
        get("/v1/conductors?detail=True")
        get("/v1/drivers")
        get("/v1/drivers?detail=true")
        get("/v1/drivers/fake-hardware")
        get("/v1/drivers/redfish/properties")
        get("/v1/drivers/fake-hardware/properties")
        get("/v1/drivers/fake-hardware/raid/logical_disk_properties")
        get("/v1/nodes/" + name)
        created = {
            "uuid": node, "name": name, "driver": "fake-hardware", "boot_interface": "fake", "deploy_interface": "fake",
            "inspect_interface": "fake", "management_interface": "fake", "power_interface": "fake",
            "raid_interface": "fake", "vendor_interface": "fake", "bios_interface": "fake",
            "firmware_interface": "fake", "automated_clean": False,
            "driver_info": {"deploy_kernel": "http://192.0.2.1/k", "deploy_ramdisk": "http://192.0.2.1/r",
                            "redfish_password": "secret"},
            "properties": {"capabilities": "boot_mode:uefi", "cpu_arch": "x86_64"}, "resource_class": "metal3"}
        if version == "1.81":
            send(version, "POST", "/v1/nodes", created)
            del created["firmware_interface"]
        send(version, "POST", "/v1/nodes", created)
        send(version, "POST", "/v1/nodes", {"name": name, "driver": "fake-hardware"})
        send(version, "POST", "/v1/nodes", {"name": "x/y", "driver": "fake-hardware"})
        send(version, "POST", "/v1/nodes", {"driver": "fake-hardware", "uuid": ident(2), "power_interface": "nosuch"})
        get("/v1/nodes/" + name)
        get("/v1/nodes/" + node)
        get("/v1/nodes?fields=uuid,name,provision_state,driver_internal_info&provision_state=enroll")
        get("/v1/nodes/detail")
        get("/v1/nodes/detail?limit=1&sort_key=uuid&sort_dir=desc&marker=" + node)
        get(f"/v1/nodes/{node}/validate")
        send(version, "POST", "/v1/ports", {"node_uuid": node, "address": f"52:54:00:6a:{number:02x}:01",
                                              "pxe_enabled": True, "uuid": ident(3)})
        send(version, "POST", "/v1/ports", {"node_uuid": node, "address": f"52:54:00:6a:{number:02x}:01"})
        get("/v1/ports?fields=node_uuid,address&address=" + f"52:54:00:6a:{number:02x}:01")
        get("/v1/ports/detail?node_uuid=" + node)
        get(f"/v1/nodes/{node}/ports/detail")
        get("/v1/ports/" + ident(3))
        send(version, "PATCH", "/v1/ports/" + ident(3), [{"op": "replace", "path": "/pxe_enabled", "value": False}])
        patch = lambda *ops: send(version, "PATCH", "/v1/nodes/" + node, list(ops))
        patch({"op": "replace", "path": "/name", "value": name + "-x"})
        patch({"op": "replace", "path": "/name", "value": name})
        patch(add("/instance_info/image_source", "http://192.0.2.1/i.qcow2"),
              add("/instance_info/image_os_hash_algo", "sha256"),
              add("/instance_info/image_os_hash_value", "00"),
              add("/instance_info/image_checksum", "http://192.0.2.1/i.md5"),
              add("/instance_info/image_disk_format", "qcow2"),
              add("/instance_info/capabilities", {"boot_mode": "uefi"}),
              add("/instance_uuid", ident(4)),
              {"op": "replace", "path": "/driver_info/deploy_kernel", "value": "http://192.0.2.1/k2"})
        patch({"op": "remove", "path": "/instance_info/nosuch"})
        patch({"op": "replace", "path": "/driver_info", "value": {"redfish_password": "other"}})
        patch({"op": "test", "path": "/name", "value": name})
        patch(add("/properties/root_device", {"name": "/dev/sda"}))
        patch({"op": "replace", "path": "/provision_state", "value": "active"})
        patch(add("/disable_power_off", False))
        patch({"op": "replace", "path": "/firmware_interface", "value": "no-firmware"})
        send(version, "PATCH", "/v1/nodes/" + ident(99), [add("/extra/a", 1)])
        provision = lambda target, **more: send(version, "PUT", f"/v1/nodes/{node}/states/provision",
                                                {"target": target, **more})

        def settle():
            record.add("raw", version, "settle", node, state=service.settle(node))
            get(f"/v1/nodes/{node}/states")

        provision("nosuch")
        provision("active")
        provision("manage")
        settle()
        send(version, "PUT", f"/v1/nodes/{node}/states/raid", {"logical_disks": [{"size_gb": 50, "raid_level": "1"}]})
        send(version, "PUT", f"/v1/nodes/{node}/states/raid", {"logical_disks": [{"size_gb": 0, "raid_level": "x"}]})
        send(version, "PUT", f"/v1/nodes/{node}/states/raid", {})
        provision("inspect")
        settle()
        get(f"/v1/nodes/{node}/inventory")
        get(f"/v1/nodes/{node}/bios?detail=True")
        get(f"/v1/nodes/{node}/bios")
        get(f"/v1/nodes/{node}/firmware")
        provision("clean", clean_steps=CLEAN)
        settle()
        provision("clean", clean_steps=UNKNOWN)
        settle()
        provision("clean", clean_steps=[{"interface": "nosuch", "step": "x"}])
        provision("clean")
        send(version, "DELETE", f"/v1/nodes/{node}/maintenance")
        provision("manage")
        settle()
        provision("provide")
        settle()
        power = lambda target, **more: send(version, "PUT", f"/v1/nodes/{node}/states/power", {"target": target, **more})
        power("power on")
        settle()
        power("rebooting")
        settle()
        power("soft power off", timeout=30)
        settle()
        power("nosuch")
        power("power off", timeout=0)
        get(f"/v1/nodes/{node}/management/boot_device/supported")
        send(version, "PUT", f"/v1/nodes/{node}/management/boot_device", {"boot_device": "pxe", "persistent": False})
        get(f"/v1/nodes/{node}/management/boot_device")
        send(version, "PUT", f"/v1/nodes/{node}/states/secure_boot", {"target": True})
        settle()
        send(version, "PUT", f"/v1/nodes/{node}/states/boot_mode", {"target": "bios"})
        send(version, "PUT", f"/v1/nodes/{node}/states/boot_mode", {"target": "nosuch"})
        settle()
        get(f"/v1/nodes/{node}/vifs")
        send(version, "POST", f"/v1/nodes/{node}/vifs", {"id": ident(5)})
        get(f"/v1/nodes/{node}/vifs")
        send(version, "DELETE", f"/v1/nodes/{node}/vifs/{ident(5)}")
        get(f"/v1/nodes/{node}/vmedia")
        send(version, "POST", f"/v1/nodes/{node}/vmedia", {"device_type": "cdrom", "image_url": "http://192.0.2.1/i.iso"})
        settle()
        send(version, "DELETE", f"/v1/nodes/{node}/vmedia")
        settle()
        provision("active", deploy_steps=STEPS)
        provision("active", configdrive="http://192.0.2.1/config")
        settle()
        get(f"/v1/nodes/{node}")
        patch({"op": "replace", "path": "/instance_uuid", "value": ident(6)})
        send(version, "DELETE", "/v1/nodes/" + node)
        send(version, "PUT", f"/v1/nodes/{node}/maintenance", {"reason": "metal3"})
        get(f"/v1/nodes/{node}?fields=maintenance,maintenance_reason,fault")
        send(version, "DELETE", f"/v1/nodes/{node}/maintenance")
        provision("service", service_steps=[{"interface": "firmware", "step": "update",
                                             "args": {"settings": [{"component": "bios", "url": "http://192.0.2.1/b"}]}}])
        settle()
        send(version, "PUT", f"/v1/nodes/{node}/maintenance", {})
        provision("abort")
        settle()
        send(version, "DELETE", f"/v1/nodes/{node}/maintenance")
        provision("rebuild")
        settle()
        provision("abort")
        settle()
        provision("deleted")
        settle()
        send(version, "POST", "/v1/allocations", {"resource_class": "metal3", "name": f"claim-{number}", "uuid": ident(7),
                                                    "candidate_nodes": [node], "extra": {"a": "b"}})
        record.add("raw", version, "settle", node, state=service.settle(node))
        service.matched(ident(7))
        get("/v1/allocations/" + ident(7))
        get("/v1/allocations?resource_class=metal3")
        send(version, "DELETE", "/v1/allocations/" + ident(7))
        get(f"/v1/nodes/{node}/history")
        get(f"/v1/nodes/{node}/management/indicators")
        get(f"/v1/nodes/{node}/children")
        get("/v1/shards")
        get("/v1/portgroups/detail")
        get("/v1/volume/connectors?detail=True")
        get("/v1/volume/targets?detail=True")
        get("/v1/deploy_templates?detail=True")
        get("/v1/runbooks?detail=True")
        get("/v1/chassis/detail")
        send(version, "POST", "/v1/events", {"events": [{"event": "network.bind_port", "port_id": ident(8),
                                                           "mac_address": "52:54:00:00:00:01", "status": "ACTIVE"}]})
        send(version, "POST", "/v1/events", {"events": [{"event": "nosuch"}]})
        send(version, "PUT", f"/v1/nodes/{node}/traits", {"traits": ["CUSTOM_X", "HW_CPU_X86_VMX"]})
        get(f"/v1/nodes/{node}/traits")
        send(version, "DELETE", f"/v1/nodes/{node}/traits")
        send(version, "DELETE", "/v1/ports/" + ident(3))
        resources(version, send, ident, node, number)
        send(version, "DELETE", "/v1/nodes/" + node)
        send(version, "DELETE", "/v1/nodes/" + node)
    for line in uncalled(used):
        record.incomplete(f"no raw request {line}")


def resources(version, send, ident, node, number):
    """What Metal3 does not use, and gophercloud or other clients do."""
    n = "/v1/nodes/" + node
    change = [add("/extra/a", 1)]
    get = lambda path: send(version, "GET", path)
    get("/v1/nodes")
    get("/v1/nodes/validate?node_uuid=" + node)
    get(n + "/states/console")
    send(version, "PUT", n + "/states/console", {"enabled": "maybe"})
    send(version, "PUT", n + "/management/inject_nmi", {})
    get(n + "/management/indicators/led@system")
    send(version, "PUT", n + "/management/indicators/led@system", {"state": "blinking"})
    for base in (n, "/v1/drivers/fake-hardware"):
        get(base + "/vendor_passthru/methods")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            send(version, method, base + "/vendor_passthru/nosuch", {} if method in ("POST", "PUT", "PATCH") else None)
    send(version, "PUT", n + "/traits/CUSTOM_Y")
    send(version, "PUT", n + "/traits/bad")
    send(version, "DELETE", n + "/traits/CUSTOM_Y")
    send(version, "DELETE", n + "/traits/CUSTOM_Y")
    get(n + "/bios/nosuch")
    get(n + "/history/" + ident(99))
    get(n + "/allocation")
    send(version, "DELETE", n + "/allocation")
    get("/v1/conductors")
    get("/v1/conductors/localhost")

    chassis, group, port = ident(11), ident(12), ident(13)
    send(version, "POST", "/v1/chassis", {"uuid": chassis, "description": "c"})
    get("/v1/chassis/" + chassis)
    get("/v1/chassis")
    send(version, "PATCH", "/v1/chassis/" + chassis, change)
    send(version, "PATCH", n, [add("/chassis_uuid", chassis)])
    get(f"/v1/chassis/{chassis}/nodes")
    get(f"/v1/chassis/{chassis}/nodes/detail")
    send(version, "DELETE", "/v1/chassis/" + chassis)
    send(version, "PATCH", n, [{"op": "remove", "path": "/chassis_uuid"}])
    send(version, "DELETE", "/v1/chassis/" + chassis)

    address = f"52:54:00:6b:{number:02x}:"
    send(version, "POST", "/v1/portgroups", {"uuid": group, "node_uuid": node, "name": f"raw-{number}", "address": address + "12",
                                             "mode": "active-backup", "properties": {"miimon": "100"}})
    send(version, "POST", "/v1/portgroups", {"node_uuid": node, "address": address + "12"})
    send(version, "POST", "/v1/ports", {"uuid": port, "node_uuid": node, "address": address + "13", "portgroup_uuid": group})
    get("/v1/portgroups/" + group)
    get("/v1/portgroups")
    send(version, "PATCH", "/v1/portgroups/" + group, change)
    for path in (f"{n}/ports", f"{n}/portgroups", f"{n}/portgroups/detail", f"/v1/portgroups/{group}/ports",
                 f"/v1/portgroups/{group}/ports/detail"):
        get(path)
    get(f"{n}/portgroups/{group}/ports")
    get("/v1/ports")
    send(version, "DELETE", "/v1/portgroups/" + group)
    send(version, "DELETE", "/v1/ports/" + port)
    send(version, "DELETE", "/v1/portgroups/" + group)

    get("/v1/volume")
    get(n + "/volume")
    for kind, body in (("connectors", {"type": "iqn", "connector_id": f"iqn.raw{number}"}),
                       ("targets", {"volume_type": "iscsi", "boot_index": 0, "volume_id": "v",
                                    "properties": {"auth_password": "s"}})):
        one = f"/v1/volume/{kind}/{ident(14)}"
        send(version, "POST", "/v1/volume/" + kind, {"uuid": ident(14), "node_uuid": node, **body})
        send(version, "POST", "/v1/volume/" + kind, {"node_uuid": node, **body})
        get(one)
        get(f"{n}/volume/{kind}")
        send(version, "PATCH", one, change)
        send(version, "DELETE", one)
        send(version, "DELETE", one)

    send(version, "PATCH", "/v1/allocations/" + ident(99), change)
    for path, body, later in (
            ("/v1/deploy_templates", {"name": f"CUSTOM_RAW{number}", "steps": STEPS}, change),
            ("/v1/runbooks", {"name": f"CUSTOM_RAW{number}", "steps": BOOK}, change),
            ("/v1/inspection_rules", {"actions": RULE, "conditions": [], "priority": 1}, [add("/description", "d")])):
        one = f"{path}/{ident(15)}"
        send(version, "POST", path, {"uuid": ident(15), **body})
        send(version, "POST", path, {"uuid": ident(15), **body})
        get(path)
        get(one)
        send(version, "PATCH", one, later)
        if path == "/v1/runbooks":
            for at in (version, "1.115"):
                send(at, "PUT", one + "/traits", {"traits": ["CUSTOM_A"]})
                send(at, "PUT", one + "/traits/CUSTOM_B")
                send(at, "GET", one + "/traits")
                send(at, "DELETE", one + "/traits/CUSTOM_B")
                send(at, "DELETE", one + "/traits")
        send(version, "DELETE", one)
        send(version, "DELETE", one)
    get("/v1/lookup?node_uuid=" + node)
    get("/v1/lookup?addresses=" + address + "13")
    send(version, "POST", "/v1/heartbeat/" + node, {"callback_url": "https://192.0.2.1:9999"})
    send(version, "POST", "/v1/continue_inspection", {"inventory": {}})


def uncalled(used):
    """Endpoints that no request was sent to."""
    def called(method, path):
        parts = path.split("/")
        return any(method == m and len(parts) == len(p.split("/")) and
                   all(a == b or a.startswith("{") for a, b in zip(parts, p.split("/"))) for m, p in used)
    listed = re.findall(r"^\| ([A-Z]+) (\S+) \| 1\.", ENDPOINTS.read_text(), re.M)
    return [f"{method} {path}" for method, path in listed
            if not called(method, path) and f"{method} {path}" not in NOT_CALLED] if listed else ["is listed at all"]
