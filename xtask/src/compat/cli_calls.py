"""Every command of `openstack baremetal`, in one story that is told at several microversions.

The commands are enumerated from the client's entry points: one that no line of the story uses fails the run.
The client's shell runs in this process, once per version.
"""
import contextlib
import importlib.metadata
import io
import json
import logging
import shlex
import sys

from record import error_of

VERSIONS = ["latest", "1.34", "1.1"]
GROUP = "openstack.baremetal.v1"

STEPS = '[{"interface": "deploy", "step": "deploy", "args": {"a_password": "s", "b": 1}, "priority": 10}]'
BOOK = '[{"interface": "management", "step": "reset_bios", "args": {"a": 1}, "order": 1}]'
CLEAN = '[{"interface": "bios", "step": "factory_reset"}]'
ACTIONS = '[{"op": "set-attribute", "args": {"path": "/description", "value": "seen"}}]'
CONDITIONS = '[{"op": "eq", "args": {"values": [1, 1]}}]'

# {V} is the number of the version, {N1} and so on are UUIDs of this version; lines "@settle NODE" and
# "@matched ALLOCATION" wait
STORY = r"""
driver list
driver list --long
driver list --type dynamic
driver list --type classic
driver list --fields name hosts
driver show fake-hardware
driver show ipmi
driver show redfish
driver show fake-hardware --fields name default_boot_interface
driver show nosuch
driver property list fake-hardware
driver property list ipmi
driver property list redfish
driver property list nosuch
driver raid property list fake-hardware
driver raid property list ipmi
driver raid property list nosuch
driver passthru list fake-hardware
driver passthru list ipmi
driver passthru list nosuch
driver passthru call fake-hardware nosuch
driver passthru call ipmi nosuch --arg a=b --http-method GET
conductor list
conductor list --long
conductor list --fields hostname conductor_group drivers
conductor list --limit 1 --sort hostname:asc
conductor show localhost
conductor show localhost --fields hostname alive
conductor show nosuch

chassis create --uuid {C1} --description one --extra a=1 --extra b=[1,2]
chassis create --uuid {C1}
chassis create --uuid bad
chassis create --uuid {C2}
chassis list
chassis list --long
chassis list --fields uuid extra
chassis list --limit 1 --sort description:desc
chassis list --marker {C1}
chassis list --marker {C9}
chassis show {C1}
chassis show {C1} --fields description
chassis show {C9}
chassis set {C1} --description two --extra a=3 --extra c=x
chassis set {C9} --description two
chassis unset {C1} --description --extra a
chassis unset {C1} --extra nosuch
chassis show {C1}
chassis delete {C2}
chassis delete {C9} {C2}

create {FILE}
create nosuch.json
chassis show {C3}
node show {N9}
port show {P9}
node delete {N9}
chassis delete {C3}

node create --driver fake-hardware --uuid {N1} --chassis-uuid {C1} --property cpu_arch=x86_64 --property memory_mb=1024 --extra e=1 --driver-info deploy_kernel=http://k --driver-info a_password=secret
node create --driver fake-hardware --uuid {N1}
node create --driver nosuch --uuid {N5}
node create --driver fake-hardware --uuid bad
node create --driver fake-hardware --uuid {N2} --name two-{V}
node create --driver fake-hardware --uuid {N5} --name two-{V}
node create --driver ipmi --uuid {N3} --name three-{V} --driver-info ipmi_address=192.0.2.3 --driver-info ipmi_password=s --resource-class rc --conductor-group "" --automated-clean --lessee l --description d --shard s --instance-name i
node create --driver ipmi --uuid {N3} --name three-{V} --driver-info ipmi_address=192.0.2.3
node set {N3} --owner o
node create --driver redfish --uuid {N4} --driver-info redfish_address=https://192.0.2.4 --driver-info redfish_system_id=/redfish/v1/Systems/1 --boot-interface ipxe --deploy-interface direct --power-interface redfish --management-interface redfish --inspect-interface redfish --network-interface noop --storage-interface noop --raid-interface no-raid --bios-interface redfish --vendor-interface no-vendor --console-interface no-console --rescue-interface no-rescue --firmware-interface no-firmware --parent-node {N3} --disable-power-off --no-automated-clean
node create --driver fake-hardware --uuid {N5} --boot-interface nosuch
node create --driver fake-hardware --uuid {N5} --parent-node {N3} --description child
node create --driver fake-hardware --uuid {N6} --network-data '{{"links": [], "networks": [], "services": []}}'
node create --driver fake-hardware --uuid {N7} --resource-class big
node list
node list --long
node list --fields uuid name driver properties
node list --fields uuid traits
node list --limit 2
node list --limit 1 --marker {N1}
node list --sort name:desc
node list --sort uuid:desc
node list --sort extra:asc
node list --maintenance
node list --no-maintenance
node list --retired
node list --no-retired
node list --associated
node list --unassociated
node list --fault "power failure"
node list --provision-state enroll
node list --driver ipmi
node list --resource-class rc
node list --conductor-group ""
node list --conductor localhost
node list --chassis {C1}
node list --owner o
node list --lessee l
node list --description-contains hil
node list --instance-name i
node list --sharded
node list --unsharded
node list --shards s
node list --include-children
node list --parent-node {N3}
shard list
node show {N1}
node show two-{V}
node show {N3}
node show {N4}
node show {N1} --fields uuid driver_info
node show --instance {C9}
node show {N8}
node children list {N3}
node children list {N8}
node set {N1} --name one-{V} --property cpus=2 --extra x=y --driver-info z=1 --instance-info i=1
node set {N1} --resource-class baremetal --description text --owner me --lessee you --shard sh --conductor-group ""
node set {N1} --resource-class baremetal
node set {N1} --description text
node set {N1} --owner me --lessee you
node set {N1} --shard sh
node set {N1} --automated-clean
node set {N1} --no-automated-clean
node set {N1} --retired --retired-reason old
node set {N1} --protected --protected-reason why
node set {N1} --instance-uuid {C8}
node set {N1} --instance-name inst
node set {N1} --instance-uuid {C7}
node set {N1} --chassis-uuid {C1}
node set {N1} --network-data '{{"links": [], "networks": [], "services": []}}'
node set {N1} --target-raid-config '{{"logical_disks": [{{"size_gb": 100, "raid_level": "1"}}]}}'
node set {N1} --boot-interface fake --deploy-interface fake --power-interface fake --management-interface fake
node set {N1} --bios-interface fake --inspect-interface fake --raid-interface fake --vendor-interface fake --console-interface fake --rescue-interface fake --storage-interface noop --network-interface noop --firmware-interface fake
node set {N1} --boot-interface nosuch
node set {N1} --reset-boot-interface
node set {N1} --parent-node {N3}
node set {N1} --disable-power-off
node set {N1} --enable-power-off
node set {N2} --driver ipmi --reset-interfaces --driver-info ipmi_address=192.0.2.9
node set {N2} --driver fake-hardware --reset-interfaces
node set {N8} --name x
node show {N1}
node unset {N1} --instance-uuid --instance-name
node unset {N1} --instance-uuid
node unset {N1} --property cpus --extra x --driver-info z --instance-info i
node unset {N1} --extra nosuch
node unset {N1} --name
node unset {N1} --resource-class
node unset {N1} --description
node unset {N1} --owner
node unset {N1} --lessee
node unset {N1} --shard
node unset {N1} --parent-node
node unset {N1} --automated-clean
node unset {N1} --retired
node unset {N1} --retired-reason
node unset {N1} --protected
node unset {N1} --protected-reason
node unset {N1} --conductor-group
node unset {N1} --chassis-uuid
node unset {N1} --network-data
node unset {N1} --target-raid-config
node unset {N1} --boot-interface
node unset {N1} --bios-interface
node unset {N1} --console-interface
node unset {N1} --deploy-interface
node unset {N1} --firmware-interface
node unset {N1} --inspect-interface
node unset {N1} --management-interface
node unset {N1} --network-interface
node unset {N1} --power-interface
node unset {N1} --raid-interface
node unset {N1} --rescue-interface
node unset {N1} --storage-interface
node unset {N1} --vendor-interface
node show {N1}
node validate {N1}
node validate {N3}
node validate {N4}
node validate {N8}
node maintenance set {N1} --reason broken
node list --maintenance
node show {N1} --fields maintenance maintenance_reason
node maintenance unset {N1}
node maintenance set {N8}
node maintenance unset {N8}

node trait add {N1} CUSTOM_A CUSTOM_B
node add trait {N1} HW_CPU_X86_VMX
node add trait {N1} bad
node trait list {N1}
node trait list {N8}
node trait remove {N1} CUSTOM_B
node remove trait {N1} CUSTOM_NOSUCH
node trait remove {N1} --all
node trait add {N1} CUSTOM_A
node list --fields uuid traits

port create 52:54:00:00:{V}:01 --node {N1} --uuid {P1} --extra a=1 --pxe-enabled true
port create 52:54:00:00:{V}:01 --node {N1} --uuid {P2}
port create 52:54:00:00:{V}:02 --node {N1} --uuid {P2} --local-link-connection switch_id=0a:1b:2c:3d:4e:5f --local-link-connection port_id=Eth1 --local-link-connection switch_info=sw
port create 52:54:00:00:{V}:03 --node {N1} --uuid {P3} --physical-network net --is-smartnic
port create 52:54:00:00:{V}:04 --node {N1} --uuid {P4} --name port-{V} --description d --vendor v --category c
port create 52:54:00:00:{V}:05 --node {N1} --uuid {P5}
port create notamac --node {N1}
port create 52:54:00:00:{V}:06 --node {N8}
port list
port list --long
port list --fields uuid address extra
port list --node {N1}
port list --address 52:54:00:00:{V}:01
port list --limit 1 --sort address:desc
port list --marker {P1}
port list --marker {P8}
port show {P1}
port show {P4}
port show --address 52:54:00:00:{V}:01
port show {P1} --fields address
port show {P8}
port set {P1} --address 52:54:00:00:{V}:11 --extra b=2
port set {P1} --pxe-disabled
port set {P1} --pxe-enabled
port set {P1} --physical-network other
port set {P1} --is-smartnic
port set {P1} --name n-{V}
port set {P1} --description x --vendor y --category z
port set {P1} --local-link-connection hostname=h --local-link-connection port_id=p
port set {P8} --extra a=1
port show {P1}
port unset {P1} --extra b
port unset {P1} --physical-network
port unset {P1} --is-smartnic
port unset {P1} --name --description --vendor --category
port unset {P1} --local-link-connection hostname
port unset {P8} --extra a
port show {P1}

port group create --node {N1} --uuid {G1} --name pg-{V} --address 52:54:00:00:{V}:21 --extra a=1 --mode 802.3ad --property miimon=100 --support-standalone-ports
port group create --node {N1} --uuid {G1} --name pg-{V} --address 52:54:00:00:{V}:21 --extra a=1
port group create --node {N1} --uuid {G2} --unsupport-standalone-ports
port group create --node {N1} --uuid {G3} --physical-network p --category c
port group create --node {N8}
port group list
port group list --long
port group list --fields uuid mode
port group list --node {N1}
port group list --address 52:54:00:00:{V}:21
port group list --limit 1 --sort uuid:desc
port group list --shards s
port group show {G1}
port group show pg-{V}
port group show --address 52:54:00:00:{V}:21
port group show {G1} --fields address
port group show {G8}
port group set {G1} --name pgx-{V} --extra b=2
port group set {G1} --mode active-backup --property a=b
port group set {G1} --address 52:54:00:00:{V}:22
port group set {G1} --unsupport-standalone-ports
port group set {G1} --support-standalone-ports
port group set {G1} --physical-network q --category d
port group set {G2} --node {N2}
port group set {G8} --name x
port group unset {G1} --name --address
port group unset {G1} --extra b --property a
port group unset {G1} --physical-network --category
port group unset {G8} --name
port group show {G1}
port set {P2} --port-group {G1}
port create 52:54:00:00:{V}:07 --node {N1} --uuid {P7} --port-group {G1}
port list --port-group {G1}
port group delete {G1}
port unset {P2} --port-group
port delete {P7}
port group delete {G1} {G2} {G3}
port group delete {G8}

node vif list {N1}
node vif attach {N1} {C5}
node vif attach {N1} {C5}
node vif attach {N1} {C6} --port-uuid {P3}
node vif attach {N1} {C6} --vif-info x=y
node vif list {N1}
node vif detach {N1} {C5}
node vif detach {N1} {C5}
node vif detach {N1} {C6}
node vif list {N8}
port delete {P2} {P3}
port delete {P8}

volume connector create --node {N1} --type iqn --connector-id iqn.2020-01.x:{V} --uuid {A1} --extra a=1
volume connector create --node {N1} --type iqn --connector-id iqn.2020-01.x:{V} --uuid {A2}
volume connector create --node {N8} --type ip --connector-id 1
volume connector list
volume connector list --long
volume connector list --fields uuid extra
volume connector list --node {N1}
volume connector list --limit 1 --sort uuid:asc
volume connector show {A1}
volume connector show {A1} --fields type
volume connector show {A9}
volume connector set {A1} --connector-id iqn.other:{V} --type mac --extra b=2
volume connector set {A1} --node {N2}
volume connector unset {A1} --extra a
volume connector unset {A1} --extra nosuch
volume connector set {A9} --type ip
volume connector show {A1}
volume target create --node {N1} --type iscsi --boot-index 0 --volume-id v0 --uuid {T1} --property target_iqn=i --property auth_password=p --extra a=1
volume target create --node {N1} --type iscsi --boot-index 0 --volume-id v1 --uuid {T2}
volume target create --node {N1} --type iscsi --boot-index -1 --volume-id v1 --uuid {T2}
volume target create --node {N8} --type iscsi --boot-index 0 --volume-id v0
volume target list
volume target list --long
volume target list --fields uuid properties
volume target list --node {N1}
volume target list --limit 1 --sort uuid:asc
volume target show {T1}
volume target show {T1} --fields volume_id
volume target show {T9}
volume target set {T1} --boot-index 1 --volume-id v2 --type fibre_channel --property x=y --extra b=2
volume target set {T1} --node {N2}
volume target unset {T1} --extra a --property x
volume target unset {T9} --extra a
volume target show {T1}
volume target delete {T1}
volume target delete {T9}
volume connector delete {A1}
volume connector delete {A9}

node bios setting list {N1}
node bios setting list {N1} --long
node bios setting list {N1} --fields name value
node bios setting show {N1} nosuch
node bios setting list {N8}
node firmware list {N1}
node firmware list {N8}
node boot device show {N1}
node boot device show {N1} --supported
node boot device set {N1} pxe
node boot device set {N1} disk --persistent
node boot device set {N1} wanboot
node boot device set {N8} pxe
node boot device show {N1}
node boot device show {N3} --supported
node boot mode set uefi {N1}
@settle {N1}
node boot mode set uefi {N8}
node secure boot on {N1}
@settle {N1}
node secure boot off {N1}
@settle {N1}
node inject nmi {N1}
node inject nmi {N8}
node console show {N1}
node console enable {N1}
@settle {N1}
node console show {N1}
node console disable {N1}
@settle {N1}
node console show {N8}
node passthru list {N1}
node passthru list {N3}
node passthru call {N1} second_method --arg bar=kungfu
@settle {N1}
node passthru call {N1} third_method_sync --arg bar=meow
node passthru call {N1} third_method_sync
node passthru call {N1} fourth_method_shared_lock --arg bar=woof
node passthru call {N1} first_method --arg bar=baz --http-method GET
node passthru call {N1} nosuch
node power on {N1}
@settle {N1}
node show {N1} --fields power_state target_power_state
node reboot {N1}
@settle {N1}
node reboot {N1} --soft
@settle {N1}
node power off {N1} --power-timeout 30
@settle {N1}
node power on {N1}
@settle {N1}
node power off {N1} --soft
@settle {N1}
node power on {N8}

node manage {N1}
@settle {N1}
node manage {N1}
node show {N1} --fields provision_state target_provision_state last_error
node manage {N2} --wait 30
node inspect {N1}
@settle {N1}
node inventory save {N1} --file inventory-{V}.json
node inventory save {N8}
node clean {N1} --clean-steps '{CLEAN}'
@settle {N1}
node show {N1} --fields provision_state clean_step last_error maintenance
node clean {N1} --clean-steps '[{{"interface": "deploy"}}]'
node clean {N1} --clean-steps '[{{"interface": "deploy", "step": "nosuch"}}]'
@settle {N1}
node show {N1} --fields provision_state clean_step maintenance
node manage {N1}
@settle {N1}
node clean {N1} --clean-steps '{CLEAN}' --disable-ramdisk
@settle {N1}
node clean {N1} --runbook CUSTOM_NOSUCH
node maintenance unset {N1}
node manage {N1}
@settle {N1}
node provide {N1}
@settle {N1}
node show {N1} --fields provision_state target_provision_state
node provide {N8}
node abort {N1}
node unhold {N1}

allocation create --resource-class big --name alloc-{V} --uuid {L1} --trait CUSTOM_A --candidate-node {N1} --extra a=1
@matched {L1}
allocation create --resource-class nosuch --uuid {L2}
@matched {L2}
allocation create
allocation create --resource-class big --uuid {L3} --owner me
@matched {L3}
allocation list
allocation list --long
allocation list --fields uuid state
allocation list --state error
allocation list --resource-class big
allocation list --node {N1}
allocation list --owner me
allocation list --limit 1 --sort uuid:asc
allocation show {L1}
allocation show alloc-{V}
allocation show {L1} --fields state
allocation show {L9}
allocation set {L1} --name allocx-{V} --extra b=2
allocation unset {L1} --name --extra b
allocation unset {L1} --extra nosuch
allocation set {L9} --name x
allocation show {L1}
allocation delete {L1} {L2}
allocation delete {L3}
allocation delete {L9}

node deploy {N1} --config-drive http://192.0.2.1/cd --deploy-steps '[{{"interface": "deploy", "step": "deploy", "args": {{}}, "priority": 50}}]'
node deploy {N1}
@settle {N1}
node show {N1} --fields provision_state target_provision_state instance_info last_error
node list --provision-state active
node deploy {N1}
node rebuild {N1}
@settle {N1}
node rebuild {N1} --config-drive http://192.0.2.1/cd2
@settle {N1}
node set {N1} --protected --protected-reason keep
node undeploy {N1}
node delete {N1}
node unset {N1} --protected
node rescue {N1} --rescue-password pw
@settle {N1}
node show {N1} --fields provision_state instance_info
node unrescue {N1}
@settle {N1}
node service {N1} --service-steps '[{{"interface": "vendor", "step": "log_passthrough"}}]'
@settle {N1}
node service {N1} --service-steps '[{{"interface": "bios", "step": "apply_configuration", "args": {{"settings": []}}}}]'
@settle {N1}
node service {N1} --runbook CUSTOM_NOSUCH
node abort {N1}
@settle {N1}
node show {N1} --fields provision_state maintenance fault
node maintenance unset {N1}
allocation create --node {N1} --uuid {L4} --name back-{V}
@matched {L4}
allocation show {L4}
allocation delete {L4}
node undeploy {N1}
@settle {N1}
node show {N1} --fields provision_state instance_info instance_uuid
node manage {N1}
@settle {N1}
node adopt {N1}
@settle {N1}
node show {N1} --fields provision_state last_error
node undeploy {N1}
@settle {N1}
node history list {N1}
node history list {N1} --long
node history get {N1} {C9}
node history list {N8}
node history get {N8} {C9}

deploy template create CUSTOM_T{V} --uuid {D1} --steps '{STEPS}' --extra a=1
deploy template create CUSTOM_T{V} --uuid {D2} --steps '{STEPS}'
deploy template create bad --uuid {D2} --steps '{STEPS}'
deploy template create CUSTOM_X --steps '[]'
deploy template create CUSTOM_X --steps '[{{"interface": "nosuch", "step": "x", "args": {{}}, "priority": 1}}]'
deploy template list
deploy template list --long
deploy template list --fields uuid steps
deploy template list --limit 1 --sort name:desc
deploy template show {D1}
deploy template show CUSTOM_T{V}
deploy template show {D1} --fields name
deploy template show CUSTOM_NOSUCH
deploy template set {D1} --name CUSTOM_U{V} --extra b=2
deploy template set {D1} --steps '{STEPS}'
deploy template unset {D1} --extra a
deploy template unset {D1} --extra nosuch
deploy template set CUSTOM_NOSUCH --extra a=1
deploy template show {D1}
deploy template delete {D1}
deploy template delete CUSTOM_NOSUCH

runbook create --name CUSTOM_R{V} --uuid {R1} --steps '{BOOK}' --extra a=1 --description d
runbook create --name CUSTOM_R{V} --uuid {R1} --steps '{BOOK}' --extra a=1
runbook create --name CUSTOM_R{V} --uuid {R2} --steps '{BOOK}'
runbook create --name free.name{V} --uuid {R2} --steps '{BOOK}' --public true
runbook create --name CUSTOM_P{V} --uuid {R3} --steps '{BOOK}' --owner o --disable-ramdisk
runbook create --name CUSTOM_X --steps '[]'
runbook list
runbook list --long
runbook list --fields uuid steps
runbook list --limit 1 --sort name:desc
runbook show {R1}
runbook show CUSTOM_R{V}
runbook show {R1} --fields name
runbook show CUSTOM_NOSUCH
runbook set {R1} --name CUSTOM_S{V} --extra b=2
runbook set {R1} --public true
runbook set {R1} --owner me
runbook set {R1} --steps '{BOOK}'
runbook set {R1} --disable-ramdisk true
runbook set {R1} --description new
runbook unset {R1} --description
runbook unset {R1} --owner
runbook unset {R1} --public
runbook unset {R1} --disable-ramdisk
runbook unset {R1} --extra a
runbook unset {R1} --extra nosuch
runbook set CUSTOM_NOSUCH --extra a=1
runbook show {R1}
runbook trait add {R1} CUSTOM_A CUSTOM_B
runbook trait add {R1} bad
runbook trait list {R1}
runbook trait remove {R1} CUSTOM_A
runbook trait remove {R1} CUSTOM_NOSUCH
runbook trait remove {R1} --all
runbook trait list {R1}
runbook trait list CUSTOM_NOSUCH
runbook delete {R1} {R2}
runbook delete {R3}
runbook delete CUSTOM_NOSUCH

inspection rule create --uuid {I1} --actions '{ACTIONS}' --conditions '{CONDITIONS}' --description d --priority 5 --phase main
inspection rule create --uuid {I1} --actions '{ACTIONS}'
inspection rule create --uuid {I2} --actions '{ACTIONS}' --sensitive true
inspection rule create --actions '[]'
inspection rule create --actions '[{{"op": "nosuch", "args": {{}}}}]'
inspection rule list
inspection rule list --long
inspection rule list --fields uuid actions
inspection rule list --limit 1 --sort priority:desc
inspection rule show {I1}
inspection rule show {I2}
inspection rule show {I1} --fields description
inspection rule show {I9}
inspection rule set {I1} --description e --priority 7
inspection rule set {I1} --phase main --conditions '{CONDITIONS}' --actions '{ACTIONS}'
inspection rule unset {I1} --description
inspection rule unset {I1} --priority --phase
inspection rule unset {I1} --condition 0
inspection rule set {I9} --description x
inspection rule unset {I9} --description
inspection rule show {I1}
inspection rule delete {I1} {I2}
inspection rule delete {I9}

node delete {N4}
node delete {N5}
node delete {N1} {N2} {N3}
node delete {N6} {N7}
node delete {N8}
chassis delete {C1}
port list
node list
"""


class Output(io.TextIOBase):
    """Standard output that goes to where the present step wants it."""

    def __init__(self):
        self.now = io.StringIO()

    def write(self, text):
        return self.now.write(text)

    def writable(self):
        return True

    def take(self):
        text, self.now = self.now.getvalue(), io.StringIO()
        return text


class Errors(logging.Handler):
    """What the client says besides its output."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())

    def take(self):
        lines, self.lines = self.lines, []
        return lines


class Client:
    """The client's shell at one version."""

    def __init__(self, url, version, out):
        from openstackclient import shell
        self.out, self.errors = out, Errors()
        self.shell = shell.OpenStackShell()
        self.options = ["--os-auth-type", "none", "--os-endpoint", url, "--os-baremetal-api-version", version]
        self.shell.run(self.options + ["baremetal", "conductor", "list", "-f", "json"])
        out.take()
        root = logging.getLogger("")
        root.handlers = [self.errors]
        for name in list(logging.Logger.manager.loggerDict):
            logger = logging.getLogger(name)
            logger.propagate, logger.handlers = True, []

    def run(self, words, json_output):
        argv = ["baremetal"] + words + (["-f", "json"] if json_output else [])
        self.errors.take()
        try:
            code = self.shell.run_subcommand(argv)
        except SystemExit as end:
            code = end.code
        except Exception as error:
            # a fault of the client's own
            code = f"{type(error).__name__}: {error}"
        text = self.out.take()
        try:
            answer = json.loads(text) if text.strip() else None
        except ValueError:
            answer = text
        return code, answer, [error_of(line) for line in self.errors.take()]


def commands():
    """Names of all commands, with whether each can give JSON."""
    from cliff import display
    found = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        words = point.name.split("_")[1:]
        found[tuple(words)] = issubclass(point.load(), display.DisplayCommandBase)
    return found


def names(version):
    """UUIDs and words of one version's story."""
    number = VERSIONS.index(version) + 1
    known = {"V": f"{number:02d}", "STEPS": STEPS, "BOOK": BOOK, "CLEAN": CLEAN,
             "ACTIONS": ACTIONS, "FILE": f"resources-{number}.json"}
    known["CONDITIONS"] = CONDITIONS
    for index, letter in enumerate("CNPGATLDRI"):
        for n in range(1, 10):
            known[f"{letter}{n}"] = f"0000000a-0000-4000-8000-{number:04x}{index:04x}{n:04x}"
    return known


def resources(known):
    """The file of `openstack baremetal create`."""
    address = f"52:54:00:00:{known['V']}:99"
    node = {"uuid": known["N9"], "driver": "fake-hardware", "ports": [{"uuid": known["P9"], "address": address}]}
    with open(known["FILE"], "w") as file:
        json.dump({"chassis": [{"uuid": known["C3"], "description": "of a file", "nodes": [node]}]}, file)


def tell(service, record):
    import ironicclient.common.http as http
    # 409 is asked again five times with two seconds between: the answers are the same, the wait is not needed
    http.DEFAULT_RETRY_INTERVAL = 0
    known_commands = commands()
    used = set()
    out = Output()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        for version in VERSIONS:
            client = Client(service.url, version, out)
            client.shell.client_manager.baremetal.http_client.conflict_retry_interval = 0
            known = names(version)
            resources(known)
            for line in STORY.splitlines():
                line = line.strip()
                if not line:
                    continue
                words = shlex.split(line.format(**known))
                if words[0] in ("@settle", "@matched"):
                    state = (service.settle if words[0] == "@settle" else service.matched)(words[1])
                    record.add("cli", version, words[0][1:], " ".join(words), state=state)
                    continue
                name = next((n for n in sorted(known_commands, key=len, reverse=True) if tuple(words[:len(n)]) == n),
                            None)
                if name is None:
                    record.incomplete(f"no such command: {line}")
                    continue
                used.add(name)
                code, answer, said = client.run(words, known_commands[name])
                record.add("cli", version, "baremetal " + " ".join(name), shlex.join(words), code=code, answer=answer,
                           said=said)
    for name in sorted(set(known_commands) - used):
        record.incomplete(f"no line of the story runs `openstack baremetal {' '.join(name)}`")
    print(f"{len(known_commands)} commands", file=sys.stderr)
