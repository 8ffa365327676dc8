#!/usr/bin/env python3
"""Records how nodes go through their states with `fake-hardware`, and what stays on them.

    record_provisioning.py URL VERSION     as record_drivers.py

Told again to the real conductor with the real drivers (`tests/tests/it/driver_api.rs`).
"""
from record import NEW, uuid
from record_drivers import Waiting

STEP = {"interface": "deploy", "step": "deploy", "args": {}, "priority": 90}


def provisioning():
    s = Waiting("provisioning")
    ident = uuid(901)
    node = "/v1/nodes/" + ident

    def verb(target, *state, **more):
        s("PUT", node + "/states/provision", NEW, body={"target": target, **more})
        if state:
            s.until(ident, "provision_state", state[0])

    def shown(*fields):
        s("GET", node + "?fields=" + ",".join(fields), NEW)

    def patch(*ops):
        # upstream's notes about steps and power
        s("PATCH", node, NEW, body=[dict(zip(("op", "path", "value"), op)) for op in ops], ours={"differs": ["driver_internal_info"]})

    s("POST", "/v1/nodes", NEW, body={"driver": "nosuch"})
    s("POST", "/v1/nodes", NEW, body={"uuid": ident, "driver": "fake-hardware", "inspect_interface": "fake"})
    s("PUT", node + "/states/power", NEW, body={"target": "power on"})
    s.until(ident, "power_state", "power on")

    # when an inspection was
    verb("manage", "manageable")
    shown("inspection_started_at", "inspection_finished_at")
    verb("inspect", "manageable")
    shown("provision_state", "inspection_started_at", "inspection_finished_at", "power_state")

    # a list whose steps need the ramdisk, without one
    clean = [{"interface": "bios", "step": "factory_reset"}]
    verb("clean", "clean failed", clean_steps=clean, disable_ramdisk=True)
    shown("provision_state", "target_provision_state", "maintenance", "fault", "clean_step", "power_state")
    verb("clean", clean_steps=clean)
    verb("clean", runbook="CUSTOM_NOSUCH")
    verb("manage", "manageable")
    verb("clean", "manageable", clean_steps=clean)
    shown("provision_state", "power_state")

    # deployed: kind of image and drive stay on the node; the core step keeps its place
    verb("provide", "available")
    shown("provision_state", "power_state")
    patch(("add", "/instance_info/image_source", "http://192.0.2.1/i.qcow2"))
    verb("active", deploy_steps=[STEP])
    shown("provision_state", "power_state")
    verb("active", "active", configdrive="http://192.0.2.1/drive")
    shown("provision_state", "instance_info", "power_state")
    verb("active", deploy_steps=[STEP])
    verb("abort")

    patch(("add", "/protected", True))
    verb("deleted")
    verb("rebuild")
    patch(("add", "/protected", False))

    # a service that failed
    verb("service", "service failed", service_steps=[{"interface": "deploy", "step": "nosuch"}])
    s("PUT", node + "/maintenance", NEW, body={"reason": "looked at"})
    verb("abort")
    s("DELETE", node + "/maintenance", NEW)
    verb("abort", "active")
    shown("provision_state", "target_provision_state", "power_state")
    verb("deleted", "available")
    shown("provision_state", "instance_info", "instance_uuid", "power_state")

    # of several mistakes the first in the schema's order is named
    actions = [{"op": "set-attribute", "args": {"path": "/description", "value": "x"}}]
    for body in [{"conditions": None, "sensitive": "true"}, {"sensitive": "true", "phase": 5}, {"priority": -1, "uuid": 5},
                 {"nosuch": 1, "priority": "x"}]:
        s("POST", "/v1/inspection_rules", NEW, body={"actions": actions, **body})
    for body in [{"resource_class": 5, "name": 5}, {"name": 5, "candidate_nodes": 5}, {"nosuch": 1, "name": 5}, {"name": 5}]:
        s("POST", "/v1/allocations", NEW, body=body)
    s.save()


if __name__ == "__main__":
    provisioning()
