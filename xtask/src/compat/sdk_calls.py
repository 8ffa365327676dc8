"""Every verb of openstacksdk's bare-metal proxy.

The verbs are enumerated from the proxy itself: one that is not called fails the run.
"""
import inspect
import warnings

from record import error_of

STEPS = [{"interface": "deploy", "step": "deploy", "args": {}, "priority": 10}]
BOOK = [{"interface": "management", "step": "reset_bios", "args": {}, "order": 1}]
RULE = [{"op": "set-attribute", "args": {"path": "/description", "value": "seen"}}]


def uuid(n):
    return f"0000000a-0000-4000-8000-5dc0{n:08x}"


def plain(value):
    """What a call gave, as JSON."""
    from openstack import resource
    if isinstance(value, resource.Resource):
        found = value.to_dict(computed=False, original_names=False)
        return {key: plain(item) for key, item in found.items() if key != "location"}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    if hasattr(value, "status_code"):
        return {"status": value.status_code, "text": value.text}
    return type(value).__name__


class Caller:
    def __init__(self, connection, record):
        self.proxy, self.record, self.used = connection.baremetal, record, set()

    def __call__(self, verb, *args, **kwargs):
        self.used.add(verb)
        request = f"{verb}({', '.join([repr(a) for a in args] + [f'{k}={v!r}' for k, v in kwargs.items()])})"
        result, seen = None, {}
        try:
            result = getattr(self.proxy, verb)(*args, **kwargs)
            if inspect.isgenerator(result):
                result = list(result)
            seen["result"] = plain(result)
        except Exception as error:
            seen["error"] = f"{type(error).__name__}: {error_of(str(error))}"
        self.record.add("sdk", "negotiated", verb, request, **seen)
        return result


def tell(service, record):
    warnings.filterwarnings("ignore")
    import openstack
    from openstack.baremetal.v1 import _common
    # conflicts are asked again for half a minute: the answers are the same, the wait is not needed
    _common.RETRIABLE_STATUS_CODES = [503]
    connection = openstack.connect(load_envvars=False, load_yaml_config=False, auth_type="none",
                                   endpoint=service.url, baremetal_endpoint_override=service.url)
    type(connection.baremetal).retriable_status_codes = [503]
    call = Caller(connection, record)
    settle = service.settle
    patch = lambda op, path, *value: [{"op": op, "path": path, **({"value": value[0]} if value else {})}]

    call("drivers")
    call("drivers", details=True)
    call("get_driver", "fake-hardware")
    call("get_driver", "nosuch")
    call("list_driver_vendor_passthru", "fake-hardware")
    call("call_driver_vendor_passthru", "fake-hardware", "POST", "nosuch", {})
    call("conductors")
    call("conductors", details=True)
    call("get_conductor", "localhost")
    call("get_conductor", "nosuch")

    chassis = uuid(1)
    call("create_chassis", id=chassis, description="c", extra={"a": 1})
    call("chassis")
    call("chassis", details=True)
    call("find_chassis", chassis)
    call("find_chassis", uuid(99))
    call("get_chassis", chassis)
    call("get_chassis", chassis, fields=["uuid", "description"])
    call("update_chassis", chassis, description="d")
    call("patch_chassis", chassis, patch("add", "/extra/b", 2))
    call("get_chassis", uuid(99))

    node, other = uuid(11), uuid(12)
    call("create_node", id=node, name="sdk1", driver="fake-hardware", chassis_id=chassis, resource_class="sdk",
         properties={"cpus": 1}, driver_info={"k": "v"})
    call("create_node", id=node, name="sdk1", driver="fake-hardware")
    call("create_node", id=other, driver="fake-hardware", provision_state="manageable")
    call("create_node", driver="nosuch")
    settle(other)
    call("nodes")
    call("nodes", details=True)
    call("nodes", fields=["uuid", "name", "extra"])
    call("nodes", provision_state="enroll")
    call("nodes", limit=1)
    call("find_node", "sdk1")
    call("find_node", "nosuch")
    call("find_node", "nosuch", ignore_missing=False)
    call("get_node", "sdk1")
    call("get_node", node, fields=["uuid", "driver_info"])
    call("get_node", uuid(99))
    call("update_node", node, extra={"x": 1}, description="text")
    call("patch_node", node, patch("add", "/extra/y", [1]))
    call("patch_node", node, patch("add", "/nosuch", 1))
    call("validate_node", node, required=())
    call("validate_node", node)
    call("set_node_maintenance", node, "why")
    call("unset_node_maintenance", node)
    call("add_node_trait", node, "CUSTOM_A")
    call("set_node_traits", node, ["CUSTOM_B", "CUSTOM_C"])
    call("set_node_traits", node, ["bad"])
    call("remove_node_trait", node, "CUSTOM_C")
    call("remove_node_trait", node, "CUSTOM_NOSUCH")
    call("get_node", node, fields=["uuid", "traits"])
    call("get_node_boot_device", node)
    call("set_node_boot_device", node, "pxe", persistent=True)
    call("set_node_boot_device", node, "nosuch")
    call("get_node_supported_boot_devices", node)
    call("set_node_boot_mode", node, "uefi")
    settle(node)
    call("set_node_secure_boot", node, True)
    settle(node)
    call("inject_nmi_to_node", node)
    call("list_node_vendor_passthru", node)
    call("call_node_vendor_passthru", node, "POST", "third_method_sync", {"bar": "meow"})
    call("call_node_vendor_passthru", node, "POST", "nosuch")
    call("get_node_console", node)
    call("enable_node_console", node)
    settle(node)
    call("disable_node_console", node)
    settle(node)
    call("list_node_firmware", node)
    call("attach_vmedia_to_node", node, "cdrom", "http://192.0.2.1/x.iso")
    settle(node)
    call("detach_vmedia_from_node", node)
    settle(node)
    call("detach_vmedia_from_node", node, device_types=["cdrom"])
    settle(node)
    call("get_node_inventory", node)

    port, group = uuid(21), uuid(22)
    call("create_port_group", id=group, node_id=node, name="sdkpg", address="52:54:00:5d:00:22", mode="active-backup")
    call("port_groups")
    call("port_groups", details=True)
    call("find_port_group", "sdkpg")
    call("find_port_group", "nosuch")
    call("get_port_group", group)
    call("get_port_group", uuid(99))
    call("update_port_group", group, extra={"a": 1})
    call("patch_port_group", group, patch("replace", "/mode", "802.3ad"))
    call("create_port", id=port, node_id=node, address="52:54:00:5d:00:21", is_pxe_enabled=True, port_group_id=group,
         local_link_connection={"switch_id": "aa:bb:cc:dd:ee:ff", "port_id": "1"})
    call("create_port", node_id=node, address="52:54:00:5d:00:21")
    call("ports")
    call("ports", details=True)
    call("ports", node=node)
    call("ports", fields=["uuid", "extra"])
    call("find_port", port)
    call("find_port", "nosuch")
    call("get_port", port)
    call("get_port", uuid(99))
    call("update_port", port, extra={"b": 2})
    call("patch_port", port, patch("add", "/physical_network", "net"))
    call("list_node_vifs", node)
    call("attach_vif_to_node", node, uuid(31))
    call("attach_vif_to_node", node, uuid(32), port=port)
    call("list_node_vifs", node)
    call("detach_vif_from_node", node, uuid(31))
    call("detach_vif_from_node", node, uuid(32))
    call("detach_vif_from_node", node, uuid(33))
    call("delete_port", port)
    call("delete_port", port, ignore_missing=False)
    call("delete_port_group", group)
    call("delete_port_group", group, ignore_missing=False)

    connector, target = uuid(41), uuid(42)
    call("create_volume_connector", id=connector, node_id=node, type="iqn", connector_id="iqn.sdk")
    call("volume_connectors")
    call("volume_connectors", details=True)
    call("find_volume_connector", connector)
    call("find_volume_connector", uuid(99))
    call("get_volume_connector", connector)
    call("update_volume_connector", connector, extra={"a": 1})
    call("patch_volume_connector", connector, patch("replace", "/type", "ip"))
    call("create_volume_target", id=target, node_id=node, volume_type="iscsi", boot_index=0, volume_id="v")
    call("volume_targets")
    call("volume_targets", details=True)
    call("find_volume_target", target)
    call("find_volume_target", uuid(99))
    call("get_volume_target", target)
    call("update_volume_target", target, extra={"a": 1})
    call("patch_volume_target", target, patch("replace", "/volume_id", "w"))
    call("set_node_power_state", node, "power off")
    settle(node)
    call("update_volume_target", target, extra={"a": 1})
    call("patch_volume_target", target, patch("replace", "/volume_id", "w"))
    call("update_volume_connector", connector, extra={"a": 1})
    call("patch_volume_connector", connector, patch("replace", "/type", "ip"))
    call("delete_volume_target", target)
    call("delete_volume_target", target, ignore_missing=False)
    call("delete_volume_connector", connector)
    call("delete_volume_connector", connector, ignore_missing=False)

    call("set_node_power_state", node, "power on", wait=True, timeout=20)
    call("wait_for_node_power_state", node, "power on", timeout=20)
    call("wait_for_node_reservation", node, timeout=20)
    call("set_node_provision_state", node, "manage", wait=True, timeout=20)
    call("wait_for_nodes_provision_state", [node], "manageable", timeout=20)
    call("set_node_provision_state", node, "provide", wait=True, timeout=20)
    call("set_node_provision_state", node, "nosuch")

    allocation = uuid(51)
    call("create_allocation", id=allocation, name="sdka", resource_class="sdk", traits=["CUSTOM_B"])
    call("wait_for_allocation", allocation, timeout=20)
    call("allocations")
    call("allocations", resource_class="sdk")
    call("get_allocation", allocation)
    call("get_allocation", uuid(99))
    call("update_allocation", allocation, extra={"a": 1})
    call("patch_allocation", allocation, patch("replace", "/name", "sdkb"))
    found = call("get_allocation", allocation)
    call("wait_for_status", found, "active", failures=["error"], interval=0.1, wait=5, attribute="state")
    call("delete_allocation", allocation)
    call("delete_allocation", allocation, ignore_missing=False)
    call("wait_for_delete", found, interval=0.1, wait=5)

    call("set_node_provision_state", node, "active", wait=True, timeout=20)
    call("get_node", node, fields=["provision_state", "instance_info"])
    call("set_node_provision_state", node, "deleted", wait=True, timeout=20)

    template = uuid(61)
    call("create_deploy_template", id=template, name="CUSTOM_SDK", steps=STEPS)
    call("deploy_templates")
    call("deploy_templates", details=True)
    call("find_deploy_template", "CUSTOM_SDK")
    call("find_deploy_template", "CUSTOM_NOSUCH")
    call("get_deploy_template", template)
    call("update_deploy_template", template, extra={"a": 1})
    call("patch_deploy_template", template, patch("replace", "/name", "CUSTOM_SDL"))
    call("delete_deploy_template", template)
    call("delete_deploy_template", template, ignore_missing=False)

    book = uuid(71)
    call("create_runbook", id=book, name="CUSTOM_BOOK", steps=BOOK)
    call("runbooks")
    call("runbooks", details=True)
    call("get_runbook", book)
    call("update_runbook", book, extra={"a": 1})
    call("patch_runbook", book, patch("add", "/owner", "o"))
    call("add_runbook_trait", book, "CUSTOM_A")
    call("set_runbook_traits", book, ["CUSTOM_B", "CUSTOM_C"])
    call("remove_runbook_trait", book, "CUSTOM_B")
    call("get_runbook", book)
    call("delete_runbook", book)
    call("delete_runbook", book, ignore_missing=False)

    rule = uuid(81)
    call("create_inspection_rule", id=rule, description="r", actions=RULE, priority=3)
    call("create_inspection_rule", id=rule, description="r", actions=RULE, priority=3, conditions=[])
    call("inspection_rules")
    call("inspection_rules", details=True)
    call("get_inspection_rule", rule)
    call("get_inspection_rule", uuid(99))
    call("update_inspection_rule", rule, description="s")
    call("patch_inspection_rule", rule, patch("replace", "/priority", 4))
    call("delete_inspection_rule", rule)
    call("delete_inspection_rule", rule, ignore_missing=False)

    call("delete_node", node)
    call("delete_node", other)
    call("delete_node", other, ignore_missing=False)
    call("delete_chassis", chassis)
    call("delete_chassis", chassis, ignore_missing=False)

    verbs = {name for name, value in vars(type(call.proxy)).items()
             if inspect.isfunction(value) and not name.startswith("_")}
    for verb in sorted(verbs - call.used):
        record.incomplete(f"no call of openstacksdk's baremetal.{verb}")
