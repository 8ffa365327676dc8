"""Drives a BMC of the lab with sushy, the Redfish library of OpenStack; prints nothing when all is as it should be.

Arguments: address, user, password, kind of authentication (session or basic).
"""

import sys

import sushy
from sushy import auth, exceptions

address, user, password, kind = sys.argv[1:]


def connect(secret):
    given = {
        "session": auth.SessionAuth,
        "basic": auth.BasicAuth,
    }[kind](user, secret)
    return sushy.Sushy(address, verify=False, auth=given)


def refused(call, *errors):
    try:
        call()
    except errors as error:
        return str(error)
    raise AssertionError("not refused")


refused(lambda: connect("wrong").get_system_collection().get_members(), exceptions.AccessError)

root = connect(password)
(system,) = root.get_system_collection().get_members()
assert system.manufacturer == "Bessemer", system.manufacturer
assert len(root.get_chassis_collection().get_members()) == 1
(manager,) = system.managers
assert manager.firmware_version == "1.0"
assert [c.identity for c in system.chassis] == ["1"]
assert system.memory_summary.size_gib > 0
assert len(system.processors.get_members()) == 1
macs = system.ethernet_interfaces.summary
assert list(macs.values()) == [sushy.STATE_ENABLED], macs
assert system.simple_storage.max_size_bytes > 2**30

# power
assert system.power_state == sushy.POWER_STATE_OFF
refused(lambda: system.reset_system(sushy.RESET_FORCE_RESTART), exceptions.HTTPError)
system.reset_system(sushy.RESET_ON)
system.refresh(force=True)
assert system.power_state == sushy.POWER_STATE_ON

# boot device: once and for good, and with a mode
for device, seen in [
    (sushy.BOOT_SOURCE_TARGET_PXE, "pxe"),
    (sushy.BOOT_SOURCE_TARGET_CD, "cdrom"),
    (sushy.BOOT_SOURCE_TARGET_HDD, "disk"),
]:
    for enabled in (sushy.BOOT_SOURCE_ENABLED_CONTINUOUS, sushy.BOOT_SOURCE_ENABLED_ONCE):
        system.set_system_boot_options(device, enabled, sushy.BOOT_SOURCE_MODE_UEFI)
        system.refresh(force=True)
        assert (system.boot.target, system.boot.enabled) == (device, enabled), system.boot
        assert system.boot.mode == sushy.BOOT_SOURCE_MODE_UEFI
assert sushy.BOOT_SOURCE_TARGET_PXE in system.get_allowed_system_boot_source_values()
system.set_indicator_led(sushy.INDICATOR_LED_LIT)
system.refresh(force=True)
assert system.indicator_led == sushy.INDICATOR_LED_LIT

# virtual media
slots = system.virtual_media.get_members()
(cd,) = [slot for slot in slots if sushy.VIRTUAL_MEDIA_CD in slot.media_types]
assert not cd.inserted
cd.insert_media("http://127.0.0.1:8080/boot.iso")
cd.refresh(force=True)
assert cd.inserted and cd.image == "http://127.0.0.1:8080/boot.iso" and cd.image_name == "boot.iso"
refused(lambda: cd.insert_media("http://127.0.0.1:8080/other.iso"), exceptions.HTTPError)
refused(lambda: cd.insert_media("smb://127.0.0.1/boot.iso"), exceptions.HTTPError)
cd.eject_media()
cd.refresh(force=True)
assert not cd.inserted and not cd.image

# BIOS settings wait for a restart, and so does the task that follows them
bios = system.bios
registry = bios.get_attribute_registry()
names = {entry.name for entry in registry.registry_entries.attributes}
assert names == set(bios.attributes), names
assert bios.supported_apply_times == [sushy.APPLY_TIME_ON_RESET]
bios.set_attributes({"ProcTurboMode": "Disabled", "BootWait": 9}, sushy.APPLY_TIME_ON_RESET)
bios.refresh(force=True)
assert bios.attributes["ProcTurboMode"] == "Enabled"
assert bios.pending_attributes["ProcTurboMode"] == "Disabled"
refused(lambda: bios.set_attributes({"NoSuch": 1}), exceptions.HTTPError)
tasks = root.get_task_service().tasks.get_members()
assert [task.task_state for task in tasks] == [sushy.TASK_STATE_PENDING], [t.task_state for t in tasks]
system.reset_system(sushy.RESET_FORCE_RESTART)
bios.refresh(force=True)
assert bios.attributes["ProcTurboMode"] == "Disabled" and bios.attributes["BootWait"] == 9
assert not bios.pending_attributes
tasks = root.get_task_service().tasks.get_members()
assert [task.task_state for task in tasks] == [sushy.TASK_STATE_COMPLETED]
bios.reset_bios()
system.reset_system(sushy.RESET_FORCE_RESTART)
bios.refresh(force=True)
assert bios.attributes["ProcTurboMode"] == "Enabled"

# secure boot
secure = system.secure_boot
assert secure.enabled is False
secure.set_enabled(True)
system.reset_system(sushy.RESET_FORCE_RESTART)
secure.refresh(force=True)
assert secure.enabled is True and secure.current_boot == sushy.SECURE_BOOT_ENABLED

# a session is made, listed and ended
if kind == "session":
    sessions = root.get_session_service().sessions.get_members()
    assert [session.username for session in sessions] == [user] * len(sessions)
    assert sessions
system.reset_system(sushy.RESET_GRACEFUL_SHUTDOWN)
system.reset_system(sushy.RESET_FORCE_OFF)
system.refresh(force=True)
assert system.power_state == sushy.POWER_STATE_OFF
refused(lambda: root.get_system("/redfish/v1/Systems/2"), exceptions.ResourceNotFoundError)
