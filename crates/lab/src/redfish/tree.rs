//! The documents of a Redfish BMC, made anew for every request from what the host is at that moment.

use bessemer_ipmi::{BootDevice, BootFlags};
use serde_json::{Value, json};

use super::board::{ATTRIBUTES, Board, Memory, Task};
use super::{ROOT, Reply, SESSIONS};
use crate::fault::Fault;
use crate::host::{Drive, Firmware, Stage};

pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(crate) const MANAGER: &str = "/redfish/v1/Managers/1";
pub(crate) const CHASSIS: &str = "/redfish/v1/Chassis/1";
pub(crate) const BIOS: &str = "/redfish/v1/Systems/1/Bios";
pub(crate) const BIOS_SETTINGS: &str = "/redfish/v1/Systems/1/Bios/Settings";
pub(crate) const SECURE_BOOT: &str = "/redfish/v1/Systems/1/SecureBoot";
pub(crate) const TASKS: &str = "/redfish/v1/TaskService/Tasks";
pub(crate) const MONITORS: &str = "/redfish/v1/TaskService/TaskMonitors";
const MEDIA: &str = "/redfish/v1/Systems/1/VirtualMedia";
const REGISTRY: &str = "BiosAttributeRegistryLab.v1_0_0";

/// The virtual drives, by the last part of their path.
pub(crate) const SLOTS: [(&str, Drive); 2] = [("Cd", Drive::Cd), ("Usb", Drive::Usb)];

/// Reset types of the system.
pub(crate) const RESETS: [&str; 8] = [
    "On",
    "ForceOn",
    "ForceOff",
    "GracefulShutdown",
    "GracefulRestart",
    "ForceRestart",
    "PowerCycle",
    "Nmi",
];
/// Boot devices and what they are in the host's boot flags.
pub(crate) const TARGETS: [(&str, BootDevice); 5] = [
    ("None", BootDevice::NoOverride),
    ("Pxe", BootDevice::Pxe),
    ("Cd", BootDevice::Cdrom),
    ("Hdd", BootDevice::Disk),
    ("BiosSetup", BootDevice::Bios),
];

/// What may be read by anybody (DSP0266, "Authentication requirements for resources and operations").
pub(crate) fn is_open(path: &str) -> bool {
    matches!(
        path,
        "/redfish" | "/redfish/v1" | "/redfish/v1/odata" | "/redfish/v1/$metadata"
    )
}

fn document(path: &str, kind: &str, name: &str, mut more: Value) -> Value {
    let id = path.rsplit('/').next().unwrap_or_default();
    let id = if path == ROOT { "RootService" } else { id };
    let mut body = json!({
        "@odata.type": format!("#{kind}"),
        "@odata.id": path,
        "Id": id,
        "Name": name,
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object_mut()) {
        body.extend(std::mem::take(more));
    }
    body
}

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

fn collection(path: &str, kind: &str, name: &str, members: &[String]) -> Value {
    let links: Vec<Value> = members.iter().map(|member| link(member)).collect();
    json!({
        "@odata.type": format!("#{kind}.{kind}"),
        "@odata.id": path,
        "Name": name,
        "Members@odata.count": links.len(),
        "Members": links,
    })
}

fn fine() -> Value {
    json!({"State": "Enabled", "Health": "OK"})
}

/// The document at a path; `None` when there is nothing.
pub(crate) fn get(board: &Board, path: &str) -> Option<Reply> {
    let body = match path {
        "/redfish" => json!({"v1": "/redfish/v1/"}),
        ROOT => root(board),
        "/redfish/v1/odata" => {
            let services: Vec<Value> = ["Systems", "Chassis", "Managers"]
                .iter()
                .map(|name| {
                    let url = format!("{ROOT}/{name}");
                    json!({"name": name, "kind": "Singleton", "url": url})
                })
                .collect();
            json!({"@odata.context": "/redfish/v1/$metadata", "value": services})
        }
        "/redfish/v1/$metadata" => Value::String(METADATA.to_owned()),
        "/redfish/v1/SessionService" => document(
            path,
            "SessionService.v1_1_3.SessionService",
            "Session Service",
            json!({"Status": fine(), "ServiceEnabled": true, "SessionTimeout": 1800, "Sessions": link(SESSIONS)}),
        ),
        "/redfish/v1/TaskService" => document(
            path,
            "TaskService.v1_1_2.TaskService",
            "Task Service",
            json!({"Status": fine(), "ServiceEnabled": true, "Tasks": link(TASKS)}),
        ),
        "/redfish/v1/Systems" => collection(
            path,
            "ComputerSystemCollection",
            "Systems",
            &[SYSTEM.to_owned()],
        ),
        "/redfish/v1/Managers" => {
            collection(path, "ManagerCollection", "Managers", &[MANAGER.to_owned()])
        }
        "/redfish/v1/Chassis" => {
            collection(path, "ChassisCollection", "Chassis", &[CHASSIS.to_owned()])
        }
        "/redfish/v1/Registries" => collection(
            path,
            "MessageRegistryFileCollection",
            "Registries",
            &[format!("{ROOT}/Registries/{REGISTRY}")],
        ),
        SYSTEM => system(board),
        MANAGER => manager(board),
        CHASSIS => chassis(board),
        BIOS => bios(board),
        BIOS_SETTINGS => document(
            path,
            "Bios.v1_1_0.Bios",
            "Pending BIOS settings",
            json!({"AttributeRegistry": REGISTRY, "Attributes": board.memory().pending}),
        ),
        SECURE_BOOT => secure_boot(board)?,
        SESSIONS => {
            let memory = board.memory();
            let members: Vec<String> = memory
                .sessions
                .keys()
                .map(|number| format!("{SESSIONS}/{number}"))
                .collect();
            collection(path, "SessionCollection", "Sessions", &members)
        }
        TASKS => {
            let memory = board.memory();
            let members: Vec<String> = memory
                .tasks
                .keys()
                .map(|number| format!("{TASKS}/{number}"))
                .collect();
            collection(path, "TaskCollection", "Tasks", &members)
        }
        _ => return below(board, path),
    };
    Some(Reply::ok(body))
}

fn below(board: &Board, path: &str) -> Option<Reply> {
    let rest = path.strip_prefix(ROOT)?.trim_start_matches('/');
    let parts: Vec<&str> = rest.split('/').collect();
    let body = match parts.as_slice() {
        ["SessionService", "Sessions", number] => {
            let memory = board.memory();
            let session = memory.sessions.get(&number.parse().ok()?)?;
            document(
                path,
                "Session.v1_0_0.Session",
                "Session",
                json!({"UserName": session.user}),
            )
        }
        ["TaskService", "Tasks", number] => {
            let number = number.parse().ok()?;
            task(number, board.memory().tasks.get(&number)?)
        }
        ["TaskService", "TaskMonitors", number] => {
            let number = number.parse().ok()?;
            return Some(monitor(number, board.memory().tasks.get(&number)?));
        }
        ["Registries", REGISTRY] => document(
            path,
            "MessageRegistryFile.v1_1_0.MessageRegistryFile",
            "BIOS attribute registry",
            json!({
                "Registry": REGISTRY,
                "Languages": ["en"],
                "Languages@odata.count": 1,
                "Location": [{"Language": "en", "Uri": format!("{path}/registry")}],
                "Location@odata.count": 1,
            }),
        ),
        ["Registries", REGISTRY, "registry"] => registry(),
        ["Systems", "1", rest @ ..] => of_system(board, path, rest)?,
        _ => return None,
    };
    Some(Reply::ok(body))
}

fn of_system(board: &Board, path: &str, rest: &[&str]) -> Option<Value> {
    let facts = &board.host.facts;
    let one = |kind: &str, name: &str| collection(path, kind, name, &[format!("{path}/1")]);
    Some(match rest {
        ["EthernetInterfaces"] => one("EthernetInterfaceCollection", "Ethernet interfaces"),
        ["EthernetInterfaces", "1"] => {
            let connected = !board.host.has(Fault::NoNetwork);
            document(
                path,
                "EthernetInterface.v1_4_1.EthernetInterface",
                "Ethernet interface",
                json!({
                    "Status": fine(),
                    "MACAddress": facts.mac,
                    "PermanentMACAddress": facts.mac,
                    "InterfaceEnabled": true,
                    "LinkStatus": if connected { "LinkUp" } else { "LinkDown" },
                    "SpeedMbps": 10_000,
                }),
            )
        }
        ["Processors"] => one("ProcessorCollection", "Processors"),
        ["Processors", "1"] => document(
            path,
            "Processor.v1_3_0.Processor",
            "Processor",
            json!({
                "Status": fine(),
                "ProcessorType": "CPU",
                "ProcessorArchitecture": "x86",
                "InstructionSet": "x86-64",
                "Model": "Lab",
                "MaxSpeedMHz": 2000,
                "TotalCores": facts.cpus,
                "TotalThreads": facts.cpus,
            }),
        ),
        ["SimpleStorage"] => one("SimpleStorageCollection", "Storage"),
        ["SimpleStorage", "1"] => document(
            path,
            "SimpleStorage.v1_2_0.SimpleStorage",
            "Storage",
            json!({
                "Status": fine(),
                "Devices": [{
                    "Name": "disk",
                    "CapacityBytes": facts.disk_gb.saturating_mul(1 << 30),
                    "Status": fine(),
                }],
            }),
        ),
        ["VirtualMedia"] => {
            let members: Vec<String> = SLOTS
                .iter()
                .map(|(name, _)| format!("{path}/{name}"))
                .collect();
            collection(path, "VirtualMediaCollection", "Virtual media", &members)
        }
        ["VirtualMedia", name] => {
            let (name, drive) = SLOTS.iter().find(|(known, _)| known == name)?;
            slot(board, path, name, *drive)
        }
        _ => return None,
    })
}

fn root(board: &Board) -> Value {
    document(
        ROOT,
        "ServiceRoot.v1_5_2.ServiceRoot",
        "Root Service",
        json!({
            "RedfishVersion": "1.8.0",
            "UUID": board.host.facts.system_uuid,
            "Vendor": "Bessemer",
            "Product": "Lab",
            "Systems": link(&format!("{ROOT}/Systems")),
            "Chassis": link(&format!("{ROOT}/Chassis")),
            "Managers": link(&format!("{ROOT}/Managers")),
            "Registries": link(&format!("{ROOT}/Registries")),
            "SessionService": link(&format!("{ROOT}/SessionService")),
            "Tasks": link(&format!("{ROOT}/TaskService")),
            "Links": {"Sessions": link(SESSIONS)},
        }),
    )
}

/// The boot override as the system shows it: target, duration, mode.
fn boot(memory: &Memory, flags: BootFlags) -> Value {
    let target = flags
        .valid()
        .then(|| flags.device())
        .flatten()
        .and_then(|device| TARGETS.iter().find(|(_, known)| *known == device))
        .map_or("None", |(name, _)| name);
    let enabled = match (target, flags.persistent()) {
        ("None", _) => "Disabled",
        (_, true) => "Continuous",
        (_, false) => "Once",
    };
    let targets = TARGETS.map(|(name, _)| name);
    json!({
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": targets,
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once", "Continuous"],
        "BootSourceOverrideMode": memory.mode,
        "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI", "Legacy"],
    })
}

fn system(board: &Board) -> Value {
    let facts = &board.host.facts;
    let (power, flags, stage) = board
        .host
        .look(|state| (state.power, state.flags, state.stage));
    let memory = board.memory();
    let progress = match stage {
        Stage::Off => "None",
        Stage::Firmware | Stage::NetworkBoot | Stage::Stuck => {
            "SystemHardwareInitializationComplete"
        }
        Stage::Ramdisk | Stage::Agent | Stage::LocalOs => "OSRunning",
    };
    let mut more = json!({
        "SystemType": "Physical",
        "Manufacturer": "Bessemer",
        "Model": "Lab",
        "SerialNumber": facts.serial_number,
        "UUID": facts.system_uuid,
        "BiosVersion": "1.0",
        "Status": fine(),
        "PowerState": if power { "On" } else { "Off" },
        "IndicatorLED": memory.lamp,
        "Boot": boot(&memory, flags),
        "BootProgress": {"LastState": progress},
        "ProcessorSummary": {"Count": 1, "Model": "Lab", "Status": fine()},
        "MemorySummary": {"TotalSystemMemoryGiB": facts.memory_mb / 1024, "Status": fine()},
        "Bios": link(BIOS),
        "Processors": link(&format!("{SYSTEM}/Processors")),
        "EthernetInterfaces": link(&format!("{SYSTEM}/EthernetInterfaces")),
        "SimpleStorage": link(&format!("{SYSTEM}/SimpleStorage")),
        "VirtualMedia": link(MEDIA),
        "Links": {"Chassis": [link(CHASSIS)], "ManagedBy": [link(MANAGER)]},
        "Actions": {"#ComputerSystem.Reset": {
            "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": RESETS,
        }},
    });
    if facts.firmware == Firmware::Uefi
        && let Some(members) = more.as_object_mut()
    {
        members.insert("SecureBoot".to_owned(), link(SECURE_BOOT));
    }
    document(
        SYSTEM,
        "ComputerSystem.v1_13_0.ComputerSystem",
        "System",
        more,
    )
}

fn manager(board: &Board) -> Value {
    document(
        MANAGER,
        "Manager.v1_10_0.Manager",
        "BMC",
        json!({
            "ManagerType": "BMC",
            "UUID": board.host.facts.system_uuid,
            "Manufacturer": "Bessemer",
            "Model": "Lab",
            "FirmwareVersion": "1.0",
            "PowerState": "On",
            "Status": fine(),
            "Links": {"ManagerForServers": [link(SYSTEM)], "ManagerForChassis": [link(CHASSIS)]},
            "Actions": {"#Manager.Reset": {
                "target": format!("{MANAGER}/Actions/Manager.Reset"),
                "ResetType@Redfish.AllowableValues": ["GracefulRestart", "ForceRestart"],
            }},
        }),
    )
}

fn chassis(board: &Board) -> Value {
    let power = board.host.look(|state| state.power);
    document(
        CHASSIS,
        "Chassis.v1_14_0.Chassis",
        "Chassis",
        json!({
            "ChassisType": "RackMount",
            "Manufacturer": "Bessemer",
            "Model": "Lab",
            "SerialNumber": board.host.facts.serial_number,
            "PowerState": if power { "On" } else { "Off" },
            "Status": fine(),
            "Links": {"ComputerSystems": [link(SYSTEM)], "ManagedBy": [link(MANAGER)]},
        }),
    )
}

fn bios(board: &Board) -> Value {
    document(
        BIOS,
        "Bios.v1_1_0.Bios",
        "BIOS settings",
        json!({
            "AttributeRegistry": REGISTRY,
            "Attributes": board.memory().bios,
            "@Redfish.Settings": {
                "@odata.type": "#Settings.v1_3_0.Settings",
                "SettingsObject": link(BIOS_SETTINGS),
                "SupportedApplyTimes": ["OnReset"],
            },
            "Actions": {"#Bios.ResetBios": {"target": format!("{BIOS}/Actions/Bios.ResetBios")}},
        }),
    )
}

fn registry() -> Value {
    let attributes: Vec<Value> = ATTRIBUTES
        .iter()
        .map(|(name, default, allowed)| {
            let mut entry = json!({
                "AttributeName": name,
                "DisplayName": name,
                "DefaultValue": default,
                "ReadOnly": false,
                "ResetRequired": true,
                "Type": if allowed.is_empty() { "Integer" } else { "Enumeration" },
            });
            if let Some(entry) = entry.as_object_mut() {
                if allowed.is_empty() {
                    let number: u32 = default.parse().unwrap_or_default();
                    entry.insert("DefaultValue".to_owned(), json!(number));
                    entry.insert("LowerBound".to_owned(), json!(0));
                    entry.insert("UpperBound".to_owned(), json!(300));
                } else {
                    let values: Vec<Value> = allowed
                        .iter()
                        .map(|value| json!({"ValueName": value, "ValueDisplayName": value}))
                        .collect();
                    entry.insert("Value".to_owned(), json!(values));
                }
            }
            entry
        })
        .collect();
    json!({
        "@odata.type": "#AttributeRegistry.v1_3_2.AttributeRegistry",
        "Id": REGISTRY,
        "Name": "BIOS attribute registry",
        "Language": "en",
        "OwningEntity": "Bessemer",
        "RegistryVersion": "1.0.0",
        "SupportedSystems": [{"ProductName": "Lab", "SystemId": "1"}],
        "RegistryEntries": {"Attributes": attributes},
    })
}

fn secure_boot(board: &Board) -> Option<Value> {
    if board.host.facts.firmware != Firmware::Uefi {
        return None;
    }
    let memory = board.memory();
    let current = if memory.secure_boot {
        "Enabled"
    } else {
        "Disabled"
    };
    Some(document(
        SECURE_BOOT,
        "SecureBoot.v1_1_0.SecureBoot",
        "Secure boot",
        json!({
            "SecureBootEnable": memory.secure_boot_wanted,
            "SecureBootCurrentBoot": current,
            "SecureBootMode": "UserMode",
        }),
    ))
}

fn slot(board: &Board, path: &str, name: &'static str, drive: Drive) -> Value {
    let real = board.host.look(|state| state.media.get(drive).cloned());
    let stale = board.memory().stale.get(name).cloned();
    let image = real.or(stale);
    let (title, types) = match drive {
        Drive::Cd => ("Virtual CD", vec!["CD", "DVD"]),
        Drive::Usb => ("Virtual USB stick", vec!["USBStick", "Floppy"]),
    };
    let file = image.as_deref().map(|url| {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    });
    document(
        path,
        "VirtualMedia.v1_3_2.VirtualMedia",
        title,
        json!({
            "MediaTypes": types,
            "Image": image,
            "ImageName": file,
            "Inserted": image.is_some(),
            "ConnectedVia": if image.is_some() { "URI" } else { "NotConnected" },
            "WriteProtected": true,
            "Actions": {
                "#VirtualMedia.InsertMedia": {
                    "target": format!("{path}/Actions/VirtualMedia.InsertMedia"),
                    "TransferProtocolType@Redfish.AllowableValues": ["HTTP", "HTTPS"],
                },
                "#VirtualMedia.EjectMedia": {
                    "target": format!("{path}/Actions/VirtualMedia.EjectMedia"),
                },
            },
        }),
    )
}

fn task(number: u64, task: &Task) -> Value {
    let (state, percent) = if task.done {
        ("Completed", 100)
    } else {
        ("Pending", 0)
    };
    document(
        &format!("{TASKS}/{number}"),
        "Task.v1_4_3.Task",
        task.name,
        json!({
            "TaskState": state,
            "TaskStatus": "OK",
            "PercentComplete": percent,
            "Messages": [],
            "TaskMonitor": format!("{MONITORS}/{number}"),
        }),
    )
}

/// What a task's monitor answers: 202 while it goes on (DSP0266, "Asynchronous operations").
pub(crate) fn monitor(number: u64, of: &Task) -> Reply {
    let mut reply = Reply::ok(task(number, of));
    if !of.done {
        reply.status = http::StatusCode::ACCEPTED;
        reply = reply.with(http::header::LOCATION, format!("{MONITORS}/{number}"));
    }
    reply
}

const METADATA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/ServiceRoot_v1.xml">
    <edmx:Include Namespace="ServiceRoot"/>
    <edmx:Include Namespace="ServiceRoot.v1_5_2"/>
  </edmx:Reference>
  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="Service">
      <EntityContainer Name="Service" Extends="ServiceRoot.v1_5_2.ServiceContainer"/>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
"#;
