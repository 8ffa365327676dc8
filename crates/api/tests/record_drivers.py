#!/usr/bin/env python3
"""Records what concerns drivers: catalogue, RAID, boot mode, console, indicators, vendor methods, virtual media.

    record_drivers.py URL VERSION     URL of a running, empty Ironic (noauth, rpc none, host = localhost) with every
                                      hardware type and every implementation of every family enabled, and
                                      default_network_interface = noop

Told again to the real conductor with the real drivers (`tests/tests/it/driver_api.rs`). Marks of `ours` besides
those of record.py: `keys`: the values of the answer are prose of our own, the keys are the same; `with`: members that
only ours has; `without_descriptions`: the descriptions are prose of our own; `catalogue`: the answer is compared with
the table of what is missing.
"""
import json
import time

from record import ALL, NEW, Story, call, uuid


class Waiting(Story):
    def until(self, node, field, value):
        """Waits until a field has a value ("*": any but null) and nothing holds the node; the test waits likewise."""
        deadline = time.time() + 60
        while True:
            now = json.loads(call("GET", f"/v1/nodes/{node}?fields=reservation,{field}", NEW)[2])
            if not now["reservation"] and (now[field] == value or value == "*" and now[field] is not None):
                break
            if time.time() > deadline:
                raise SystemExit(f"{node}: {field} is {now}, not {value}")
            time.sleep(0.1)
        self.steps.append({"until": {"node": node, "field": field, "value": value}})

    def matched(self, allocation):
        """Waits until the conductor has looked at an allocation; the test waits likewise."""
        deadline = time.time() + 60
        while '"allocating"' in call("GET", "/v1/allocations/" + allocation, NEW)[2]:
            if time.time() > deadline:
                raise SystemExit(f"allocation {allocation} is not looked at")
            time.sleep(0.1)
        self.steps.append({"matched": allocation})


def catalogue():
    s = Story("driver_catalogue")
    whole = {"catalogue": True}
    steps = ["1.30", "1.32", "1.33", "1.37", "1.38", "1.39", "1.40", "1.85", "1.86", NEW]
    for driver in ("ipmi", "fake-hardware", "manual-management"):
        s("GET", "/v1/drivers/" + driver, ["1.1", "1.13", "1.14", "1.29"])
        s("GET", "/v1/drivers/" + driver, steps, ours=whole)
    for driver in ("redfish", "idrac", "intel-ipmi"):
        s("GET", "/v1/drivers/" + driver, NEW, ours=whole)
    s("GET", "/v1/drivers/fake-hardware/properties", ALL, ours={"keys": True})
    # of the default interfaces, which are not all the same
    proxies = ["image_http_proxy", "image_https_proxy", "image_no_proxy"]
    boot = ["force_persistent_boot_device"]
    s("GET", "/v1/drivers/ipmi/properties", ALL, ours={"keys": True, "with": proxies, "without": boot + [
        "ipmi_bridging", "ipmi_force_boot_device", "ipmi_local_address", "ipmi_target_address", "ipmi_target_channel",
        "ipmi_terminal_port", "ipmi_transit_address", "ipmi_transit_channel"]})
    s("GET", "/v1/drivers/manual-management/properties", NEW, ours={"keys": True, "with": proxies, "without": boot})
    s.save()


def calls():
    s = Waiting("driver_calls")
    fake, ipmi, bare = uuid(701), uuid(702), uuid(703)
    f, i, b = (f"/v1/nodes/{n}" for n in (fake, ipmi, bare))
    none = "/v1/nodes/" + uuid(799)
    s("POST", "/v1/nodes", "1.34", body={"uuid": fake, "name": "fake", "driver": "fake-hardware"})
    plain = {"console_interface": "no-console", "inspect_interface": "no-inspect", "deploy_interface": "direct"}
    s("POST", "/v1/nodes", "1.34", body={
        "uuid": ipmi, "name": "ipmi", "driver": "ipmi", **plain,
        "driver_info": {"ipmi_address": "192.0.2.1", "deploy_kernel": "http://192.0.2.2/k", "deploy_ramdisk": "http://192.0.2.2/r"}})
    s("POST", "/v1/nodes", "1.34", body={
        "uuid": bare, "name": "bare", "driver": "ipmi", "management_interface": "noop", "vendor_interface": "no-vendor", **plain})

    # validate
    s("GET", f + "/validate", ALL + ["1.30", "1.33", "1.38", "1.40", "1.86"])
    s("GET", i + "/validate", NEW, ours={"status": 200})
    s("GET", b + "/validate", NEW, ours={"status": 200})

    # RAID
    disk = {"raid_level": "1", "size_gb": 100}
    for version in ("1.1", "1.11"):
        s("PUT", f + "/states/raid", version, body={"logical_disks": [disk]})
    for version in ("1.12", NEW):
        s("PUT", f + "/states/raid", version, body={"logical_disks": [dict(disk, is_root_volume=True)]})
        s("GET", f + "/states", version)
    s("PUT", f + "/states/raid", NEW, body={})
    s("GET", f + "/states", NEW)
    for body in [{"a": 1}, {"logical_disks": []}, {"logical_disks": {}}, {"logical_disks": [1]}, {"logical_disks": [{}]},
                 {"logical_disks": [{"raid_level": "1"}]}, {"logical_disks": [{"size_gb": 1}]}, {"logical_disks": [disk], "x": 1},
                 {"logical_disks": [dict(disk, is_root_volume=True), dict(disk, is_root_volume=True)]}]:
        s("PUT", f + "/states/raid", NEW, body=body)
    for change in [{"raid_level": "9"}, {"raid_level": 1}, {"size_gb": "x"}, {"size_gb": -1}, {"size_gb": 1.5}, {"size_gb": None},
                   {"size_gb": "MAX"}, {"volume_name": 5}, {"is_root_volume": "yes"}, {"share_physical_disks": 1},
                   {"disk_type": "tape"}, {"interface_type": "nvme"}, {"number_of_physical_disks": 0},
                   {"number_of_physical_disks": "2"}, {"controller": 5}, {"physical_disks": ["a"]},
                   {"physical_disks": ["a"], "controller": "c"}, {"physical_disks": [{"size": 1}], "controller": "c"},
                   {"physical_disks": [{"a": 1}, {"b": 2}], "controller": "c"}, {"physical_disks": ["a", {"a": 1}], "controller": "c"},
                   {"physical_disks": "a", "controller": "c"}, {"nosuch": 1}, {"nosuch": 1, "other": 2}]:
        s("PUT", f + "/states/raid", NEW, body={"logical_disks": [dict(disk, **change)]})
    s("PUT", f + "/states/raid", NEW, body=[])
    s("PUT", f + "/states/raid", NEW, body="x")
    s("PUT", f + "/states/raid", NEW)
    s("PUT", f + "/states/raid", NEW, raw="{", ours={"status": 400})
    s("PUT", f + "/states/raid?x=1", NEW, body={})
    s("PUT", i + "/states/raid", NEW, body={"logical_disks": [disk]})
    s("PUT", i + "/states/raid", NEW, body={})
    s("PUT", none + "/states/raid", NEW, body={})
    s("GET", f + "/states/raid", NEW, ours={"status": 405})
    for driver in ("fake-hardware", "ipmi"):
        s("GET", f"/v1/drivers/{driver}/raid/logical_disk_properties", ["1.1", "1.11"])
        s("GET", f"/v1/drivers/{driver}/raid/logical_disk_properties", ["1.12", "1.34", NEW], ours={"keys": True})
    s("GET", "/v1/drivers/nosuch/raid/logical_disk_properties", NEW)
    s("GET", "/v1/drivers/fake-hardware/raid/logical_disk_properties?x=1", NEW)

    # boot mode and secure boot
    for what, good, bad in (("boot_mode", "uefi", "x"), ("secure_boot", True, "x")):
        p = f"{f}/states/{what}"
        s("PUT", p, ["1.1", "1.34", "1.75"], body={"target": good})
        s("PUT", p, ["1.76"], body={"target": good})
        s.until(fake, "last_error", "*")
        s("PUT", p, NEW, body={"target": good})
        s.until(fake, "last_error", "*")
        for body in [{"target": bad}, {"target": None}, {}, {"target": good, "x": 1}, {"target": 5}, {"target": [1]}]:
            s("PUT", p, NEW, body=body)
        s("PUT", f"{none}/states/{what}", NEW, body={"target": good})
        s("PUT", f"{b}/states/{what}", "1.76", body={"target": good})
        s.until(bare, "last_error", "*")
        s("GET", p, NEW, ours={"status": 405})

    # console
    s("GET", f + "/states/console", ALL)
    s("PUT", f + "/states/console", "1.1", body={"enabled": True})
    s.until(fake, "console_enabled", True)
    s("GET", f + "/states/console", ALL)
    s("PUT", f + "/states/console", NEW, body={"enabled": True})
    s("PUT", f + "/states/console?enabled=false", NEW)
    s.until(fake, "console_enabled", False)
    s("PUT", f + "/states/console", "1.34", body={"enabled": "yes"})
    s.until(fake, "console_enabled", True)
    s("PATCH", f, NEW, body=[{"op": "replace", "path": "/driver", "value": "ipmi"}])
    s("PUT", "/v1/nodes/fake/states/console", NEW, body={"enabled": "off"})
    s.until(fake, "console_enabled", False)
    for body in [{}, {"enabled": "maybe"}, {"enabled": True, "x": 1}, {"enabled": 5}]:
        s("PUT", f + "/states/console", NEW, body=body)
    s("GET", b + "/states/console", NEW)
    s("PUT", b + "/states/console", NEW, body={"enabled": True})
    s("PUT", b + "/states/console", NEW, body={"enabled": False})
    s("GET", none + "/states/console", NEW)
    s("PUT", none + "/states/console", NEW, body={"enabled": True})
    s("DELETE", f + "/states/console", NEW)

    # indicators
    p = f + "/management/indicators"
    s("GET", p, ALL + ["1.62", "1.63"])
    s("GET", "/v1/nodes/fake/management/indicators", NEW)
    s("GET", p + "?x=1", NEW, ours={"status": 400})
    s("GET", p + "/led@system", ALL + ["1.62", "1.63"])
    s("GET", p + "/led-0@chassis", NEW)
    s("GET", p + "/led@chassis", NEW)
    s("GET", p + "/led@nosuch", NEW)
    s("GET", p + "/led", NEW)
    s("GET", p + "/@", NEW)
    s("PUT", p + "/led@system", ["1.1", "1.63", NEW], body={"state": "on"})
    s("PUT", p + "/led", NEW, body={"state": "on"})
    s("PUT", p + "/led@system", NEW, body={})
    s("PUT", p + "/led@system", NEW, body={"state": 5})
    s("GET", b + "/management/indicators", NEW)
    s("GET", i + "/management/indicators", NEW)
    s("GET", i + "/management/indicators/led@system", NEW)
    s("PUT", i + "/management/indicators/led@system", NEW, body={"state": "on"})
    s("GET", none + "/management/indicators", NEW)

    # boot device and NMI
    for node in (f, b):
        p = node + "/management/boot_device"
        s("GET", p, ALL)
        s("GET", p + "/supported", ALL)
        s("PUT", p, ALL, body={"boot_device": "pxe"})
        for body in [{"boot_device": "disk"}, {"boot_device": "pxe", "persistent": True}, {"boot_device": "pxe", "persistent": "no"},
                     {"boot_device": "nosuch"}, {"boot_device": None}, {"boot_device": 5}, {}, {"boot_device": "pxe", "persistent": "x"},
                     {"boot_device": "pxe", "x": 1}]:
            s("PUT", p, NEW, body=body)
        s("PUT", p + "?boot_device=pxe&persistent=true", NEW)
        s("PUT", node + "/management/inject_nmi", ["1.1", "1.28", "1.29", NEW], body={})
    s("GET", i + "/management/boot_device/supported", NEW)
    s("PUT", i + "/management/boot_device", NEW, body={"boot_device": "wanboot"})
    s("GET", none + "/management/boot_device", NEW)
    s("PUT", none + "/management/inject_nmi", NEW, body={})

    # vendor methods of a node
    p = f + "/vendor_passthru"
    s("GET", p + "/methods", ALL, ours={"without_descriptions": True})
    s("GET", i + "/vendor_passthru/methods", NEW, ours={"without_descriptions": True})
    s("GET", b + "/vendor_passthru/methods", NEW, ours={"status": 200})  # cached by driver there
    for version in ALL:
        s("POST", p + "/third_method_sync", version, body={"bar": "meow"})
    s("POST", p + "/third_method_sync", NEW, body={"bar": "x"})
    s("POST", p + "/third_method_sync", NEW, body={"bar": ["meow"]})
    s("POST", p + "?method=third_method_sync", NEW, body={"bar": "meow"})
    for body in [{}, {"bar": ""}, {"bar": None}, {"bar": 0}]:
        s("POST", p + "/third_method_sync", NEW, body=body)
    s("POST", p + "/third_method_sync", NEW)
    s("POST", p + "/third_method_sync", NEW, body=[1], ours={"status": 400})
    s("POST", p + "/third_method_sync", NEW, body={"bar": "meow", "x": 1}, ours={"status": 400})
    s("POST", p + "/third_method_sync?x=1", NEW, body={"bar": "meow"})
    for method in ("second_method", "fourth_method_shared_lock"):
        s("POST", p + "/" + method, ["1.1", NEW], body={"bar": "kazoo"})
        s("POST", p + "/" + method, NEW, body={})
        s.until(fake, "provision_state", "enroll")
    s("POST", p + "/log_passthrough", NEW, body={"any": "thing"})
    s.until(fake, "provision_state", "enroll")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        s(method, p + "/second_method", NEW, body=None if method in ("GET", "DELETE") else {"bar": "x"})
    s("POST", p + "/nosuch", ALL, body={})
    s("GET", p + "/nosuch", NEW)
    s("POST", p + "/methods", NEW, body={})
    s("POST", p + "/trigger_servicewait", NEW, body={})
    s("POST", p, NEW, body={})
    s("GET", p, NEW)
    s("POST", i + "/vendor_passthru/send_raw", NEW, body={})
    s("POST", i + "/vendor_passthru/send_raw", NEW, body={"raw_bytes": ""})
    s("GET", i + "/vendor_passthru/bmc_reset", NEW)
    s("POST", b + "/vendor_passthru/send_raw", NEW, body={"raw_bytes": "0x00 0x01"})
    s("POST", none + "/vendor_passthru/x", NEW, body={})
    s("GET", none + "/vendor_passthru/methods", NEW)

    # vendor methods of a driver
    p = "/v1/drivers/fake-hardware/vendor_passthru"
    s("GET", p + "/methods", ALL)
    s("GET", "/v1/drivers/nosuch/vendor_passthru/methods", NEW)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        s(method, p + "/x", NEW, body=None if method in ("GET", "DELETE") else {})
    s("POST", p + "?method=x", NEW, body={}, ours={"status": 400})
    s("POST", p, NEW, body={})
    s("POST", p + "/x?y=1", NEW, body={})
    s("POST", "/v1/drivers/nosuch/vendor_passthru/x", NEW, body={})

    # virtual media
    p = f + "/vmedia"
    s("GET", p, ["1.1", "1.88", "1.89", "1.92", "1.93", NEW])
    good = {"device_type": "cdrom", "image_url": "http://127.0.0.1:9/x.iso", "image_download_source": "http"}
    s("POST", p, ["1.1", "1.88"], body=good)
    s("POST", p, "1.89", body=good)
    s.until(fake, "last_error", "*")
    s("POST", p, NEW, body=good)
    s.until(fake, "last_error", "*")
    for body in [{}, {"device_type": "cdrom"}, {"image_url": "http://x/y"}, dict(good, device_type="tape"), dict(good, device_type=5),
                 dict(good, image_url=5), dict(good, image_url="x"), dict(good, image_url="ftp://x/y"), dict(good, image_url="FILE:///x"),
                 dict(good, image_download_source="x"), dict(good, x=1), dict(good, x=1, y=2), [], "x"]:
        s("POST", p, NEW, body=body)
    s("POST", p, NEW)
    s("DELETE", p, ["1.1", "1.88"])
    s("DELETE", p, "1.89")
    s.until(fake, "last_error", "*")
    s("DELETE", p + "?device_types=cdrom,disk", NEW)
    s.until(fake, "last_error", "*")
    s("DELETE", p + "?device_types=cdrom,tape,x", NEW)
    s("DELETE", p + "?x=1", NEW)
    s("GET", none + "/vmedia", NEW)
    s("POST", none + "/vmedia", NEW, body=good)
    s("POST", none + "/vmedia", NEW, body=dict(good, image_url="x"))
    s("DELETE", none + "/vmedia", NEW)
    s("PUT", p, NEW, body=good)

    for node in (fake, ipmi, bare):
        s("DELETE", "/v1/nodes/" + node, NEW)
    s.save()


if __name__ == "__main__":
    catalogue()
    calls()
