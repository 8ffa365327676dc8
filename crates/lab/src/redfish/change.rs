//! What can be changed at a Redfish BMC, and what it refuses.

use bessemer_ipmi::{BootDevice, BootFlags, Persistence};
use http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};

use super::board::{ATTRIBUTES, Board, factory};
use super::tree::{
    BIOS, BIOS_SETTINGS, MANAGER, RESETS, SECURE_BOOT, SLOTS, SYSTEM, TARGETS, get, monitor,
};
use super::{Reply, SESSIONS};
use crate::fault::Fault;
use crate::host::{Drive, PowerChange, Stage};

type Object = Map<String, Value>;

/// Where the test sends bodies.
#[cfg(test)]
pub(crate) const TARGETS_OF_CHANGES: [(Method, &str); 10] = [
    (Method::POST, SESSIONS),
    (
        Method::POST,
        "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
    ),
    (Method::POST, "/redfish/v1/Managers/1/Actions/Manager.Reset"),
    (
        Method::POST,
        "/redfish/v1/Systems/1/Bios/Actions/Bios.ResetBios",
    ),
    (
        Method::POST,
        "/redfish/v1/Systems/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia",
    ),
    (
        Method::POST,
        "/redfish/v1/Systems/1/VirtualMedia/Usb/Actions/VirtualMedia.EjectMedia",
    ),
    (Method::PATCH, SYSTEM),
    (Method::PATCH, BIOS_SETTINGS),
    (Method::PATCH, SECURE_BOOT),
    (Method::DELETE, SESSIONS),
];

/// A body: an object, or nothing at all.
pub(crate) fn document(bytes: &[u8]) -> Result<Object, Reply> {
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(document)) => Ok(document),
        _ => Err(bad(
            "MalformedJSON",
            "The request body submitted was malformed JSON and could not be parsed by the receiving service.",
        )),
    }
}

fn bad(id: &str, message: impl Into<String>) -> Reply {
    Reply::refused(StatusCode::BAD_REQUEST, id, message)
}

fn missing(name: &str) -> Reply {
    bad(
        "ActionParameterMissing",
        format!("The action requires the parameter {name} to be present in the request body."),
    )
}

fn not_in_list(name: &str, value: &Value) -> Reply {
    bad(
        "PropertyValueNotInList",
        format!(
            "The value {value} for the property {name} is not in the list of acceptable values."
        ),
    )
}

fn unknown(name: &str) -> Reply {
    bad(
        "PropertyUnknown",
        format!("The property {name} is not in the list of valid properties for the resource."),
    )
}

/// Carries out a request that is no GET.
pub(crate) fn change(board: &Board, method: &Method, path: &str, document: &Object) -> Reply {
    let not_allowed = || {
        Reply::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
            format!("{method} is not allowed at {path}."),
        )
    };
    let done = |outcome: Result<Reply, Reply>| outcome.unwrap_or_else(|refusal| refusal);
    match *method {
        Method::POST if path == SESSIONS => done(log_in(board, document)),
        Method::POST => match action(board, path, document) {
            Some(outcome) => done(outcome),
            None if get(board, path).is_some() => not_allowed(),
            None => Reply::not_found(path),
        },
        Method::PATCH => match path {
            SYSTEM => done(patch_system(board, document)),
            BIOS_SETTINGS => done(patch_bios(board, document)),
            SECURE_BOOT if get(board, path).is_some() => done(patch_secure_boot(board, document)),
            _ if get(board, path).is_some() => not_allowed(),
            _ => Reply::not_found(path),
        },
        Method::DELETE => {
            let number = path
                .strip_prefix(SESSIONS)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(|number| number.parse::<u64>().ok());
            let Some(number) = number else {
                return if get(board, path).is_some() {
                    not_allowed()
                } else {
                    Reply::not_found(path)
                };
            };
            match board.memory().sessions.remove(&number) {
                Some(_) => Reply::done(),
                None => Reply::not_found(path),
            }
        }
        _ => not_allowed(),
    }
}

fn log_in(board: &Board, document: &Object) -> Result<Reply, Reply> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let (Some(user), Some(password)) = (text("UserName"), text("Password")) else {
        return Err(bad(
            "PropertyMissing",
            "UserName and Password are required to create a session.",
        ));
    };
    if board.full() {
        return Err(Reply::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.",
        ));
    }
    let Some((number, token)) = board.log_in(user, password) else {
        return Err(Reply::refused(
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
            "The user name or password is wrong.",
        ));
    };
    let path = format!("{SESSIONS}/{number}");
    let mut reply = get(board, &path).unwrap_or_else(Reply::done);
    reply.status = StatusCode::CREATED;
    Ok(reply
        .with(http::HeaderName::from_static("x-auth-token"), token)
        .with(header::LOCATION, path))
}

/// The actions; `None` when there is none at this path.
fn action(board: &Board, path: &str, document: &Object) -> Option<Result<Reply, Reply>> {
    let (of, name) = path.split_once("/Actions/")?;
    Some(match (of, name) {
        (SYSTEM, "ComputerSystem.Reset") => reset(board, document),
        (MANAGER, "Manager.Reset") => {
            // a BMC that begins anew knows nobody any more
            board.memory().sessions.clear();
            board.host.log("bmc_reset", json!({}));
            Ok(Reply::done())
        }
        (BIOS, "Bios.ResetBios") => {
            let firmware = board.host.facts.firmware;
            board.set_pending(
                |memory| memory.pending = factory(firmware),
                "Reset of the BIOS settings",
            );
            Ok(Reply::done())
        }
        (of, name) => {
            let slot = of.rsplit('/').next().unwrap_or_default();
            let (slot, drive) = SLOTS.iter().find(|(known, _)| {
                *known == slot && of == format!("{SYSTEM}/VirtualMedia/{known}")
            })?;
            match name {
                "VirtualMedia.InsertMedia" => insert(board, slot, *drive, document),
                "VirtualMedia.EjectMedia" => Ok(eject(board, slot, *drive)),
                _ => return None,
            }
        }
    })
}

fn reset(board: &Board, document: &Object) -> Result<Reply, Reply> {
    let kind = document
        .get("ResetType")
        .ok_or_else(|| missing("ResetType"))?;
    let known = RESETS.iter().find(|known| kind.as_str() == Some(**known));
    let known = *known.ok_or_else(|| {
        bad(
            "ActionParameterNotSupported",
            format!("The parameter ResetType does not take the value {kind}."),
        )
    })?;
    let host = &board.host;
    let (on, stage) = host.look(|state| (state.power, state.stage));
    if !on && !matches!(known, "On" | "ForceOn" | "ForceOff" | "GracefulShutdown") {
        return Err(Reply::refused(
            StatusCode::CONFLICT,
            "ActionParameterValueConflict",
            format!(
                "The parameter ResetType with the value {known} conflicts with the power state of the system, which is off."
            ),
        ));
    }
    let change = match known {
        "On" | "ForceOn" => PowerChange::On,
        "ForceOff" => PowerChange::Off,
        "GracefulShutdown" => PowerChange::SoftOff,
        "PowerCycle" => PowerChange::Cycle,
        "Nmi" => {
            host.log("diagnostic_interrupt", json!({}));
            return Ok(Reply::done());
        }
        // nothing runs that could refuse a restart, but a system that ignores what it is asked
        "GracefulRestart" if stage == Stage::LocalOs && host.has(Fault::IgnoresSoftOff) => {
            host.log("soft_off_ignored", json!({"by": "bmc"}));
            return Ok(Reply::done());
        }
        _ => PowerChange::Reset,
    };
    host.power(change, "bmc");
    Ok(Reply::done())
}

fn patch_system(board: &Board, document: &Object) -> Result<Reply, Reply> {
    for name in document.keys() {
        if !matches!(name.as_str(), "Boot" | "IndicatorLED") {
            return Err(unknown(name));
        }
    }
    if let Some(lamp) = document.get("IndicatorLED") {
        let known = ["Lit", "Off", "Blinking"];
        let wanted = lamp.as_str().filter(|wanted| known.contains(wanted));
        let wanted = wanted.ok_or_else(|| not_in_list("IndicatorLED", lamp))?;
        board.memory().lamp = wanted.to_owned();
    }
    match document.get("Boot") {
        None => {}
        Some(Value::Object(wanted)) => boot(board, wanted)?,
        Some(other) => return Err(not_in_list("Boot", other)),
    }
    Ok(Reply::done())
}

fn boot(board: &Board, wanted: &Object) -> Result<(), Reply> {
    let flags = board.host.look(|state| state.flags);
    let mut device = flags
        .valid()
        .then(|| flags.device())
        .flatten()
        .unwrap_or(BootDevice::NoOverride);
    let mut enabled = match (device, flags.persistent()) {
        (BootDevice::NoOverride, _) => "Disabled",
        (_, true) => "Continuous",
        (_, false) => "Once",
    };
    let mut mode = board.memory().mode;
    let of = |list: &[&'static str], name: &str, value: &Value| {
        let found = list.iter().find(|known| value.as_str() == Some(**known));
        found.copied().ok_or_else(|| not_in_list(name, value))
    };
    for (name, value) in wanted {
        match name.as_str() {
            "BootSourceOverrideTarget" => {
                let found = TARGETS
                    .iter()
                    .find(|(known, _)| value.as_str() == Some(known));
                device = found.ok_or_else(|| not_in_list(name, value))?.1;
                // a device without a duration is for the next boot
                if enabled == "Disabled" {
                    enabled = "Once";
                }
            }
            "BootSourceOverrideEnabled" => {}
            "BootSourceOverrideMode" => mode = of(&["UEFI", "Legacy"], name, value)?,
            _ => return Err(unknown(name)),
        }
    }
    if let Some(value) = wanted.get("BootSourceOverrideEnabled") {
        let list = ["Disabled", "Once", "Continuous"];
        enabled = of(&list, "BootSourceOverrideEnabled", value)?;
    }
    board.memory().mode = mode;
    let persistence = match enabled {
        "Continuous" => Persistence::Persistent,
        _ => Persistence::Once,
    };
    let new = BootFlags::new(device, persistence, mode == "UEFI");
    let none = enabled == "Disabled" || device == BootDevice::NoOverride;
    board
        .host
        .set_boot_flags(if none { new.invalidated() } else { new });
    Ok(())
}

fn patch_bios(board: &Board, document: &Object) -> Result<Reply, Reply> {
    let mut later = false;
    let mut wanted = &Object::new();
    for (name, value) in document {
        match (name.as_str(), value) {
            ("Attributes", Value::Object(attributes)) => wanted = attributes,
            ("@Redfish.SettingsApplyTime", Value::Object(time)) => {
                let time = time.get("ApplyTime").unwrap_or(&Value::Null);
                if time.as_str() != Some("OnReset") {
                    return Err(not_in_list("ApplyTime", time));
                }
                later = true;
            }
            _ => return Err(unknown(name)),
        }
    }
    for (name, value) in wanted {
        let (_, _, allowed) = ATTRIBUTES
            .iter()
            .find(|(known, _, _)| known == name)
            .ok_or_else(|| unknown(name))?;
        let fits = if allowed.is_empty() {
            value.as_u64().is_some_and(|number| number <= 300)
        } else {
            value.as_str().is_some_and(|text| allowed.contains(&text))
        };
        if !fits {
            return Err(not_in_list(name, value));
        }
    }
    let number = board.set_pending(
        |memory| memory.pending.extend(wanted.clone()),
        "Change of the BIOS settings",
    );
    board.host.log("bios_settings", json!({"pending": wanted}));
    if !later {
        return Ok(Reply::done());
    }
    let task = board.memory().tasks.get(&number).cloned();
    Ok(task.map_or_else(Reply::done, |task| monitor(number, &task)))
}

fn patch_secure_boot(board: &Board, document: &Object) -> Result<Reply, Reply> {
    let mut wanted = None;
    for (name, value) in document {
        match (name.as_str(), value) {
            ("SecureBootEnable", Value::Bool(on)) => wanted = Some(*on),
            ("SecureBootEnable", other) => return Err(not_in_list(name, other)),
            _ => return Err(unknown(name)),
        }
    }
    if let Some(on) = wanted {
        board.set_pending(
            |memory| memory.secure_boot_wanted = on,
            "Change of secure boot",
        );
    }
    Ok(Reply::done())
}

fn insert(
    board: &Board,
    slot: &'static str,
    drive: Drive,
    document: &Object,
) -> Result<Reply, Reply> {
    let image = document.get("Image").ok_or_else(|| missing("Image"))?;
    let fits = |url: &&str| {
        url.len() <= 4096
            && url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    let url = image.as_str().filter(fits).ok_or_else(|| {
        bad(
            "ActionParameterValueFormatError",
            "The value for the parameter Image is no HTTP or HTTPS address.",
        )
    })?;
    if board.host.look(|state| state.media.get(drive).is_some()) {
        return Err(Reply::refused(
            StatusCode::CONFLICT,
            "ResourceInUse",
            "The change to the requested resource failed because the resource is in use or in transition.",
        ));
    }
    board.memory().stale.remove(slot);
    board.host.set_media(drive, Some(url.to_owned()));
    Ok(Reply::done())
}

fn eject(board: &Board, slot: &'static str, drive: Drive) -> Reply {
    let was = board.host.look(|state| state.media.get(drive).cloned());
    board.host.set_media(drive, None);
    let mut memory = board.memory();
    match was {
        Some(url) if board.host.has(Fault::StaleMedia) => {
            memory.stale.insert(slot, url);
        }
        _ => {
            memory.stale.remove(slot);
        }
    }
    Reply::done()
}
