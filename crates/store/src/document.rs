//! The stored document of a node: the members of its representation that change seldom, masked and already
//! serialised, so that a list copies bytes instead of building values.
//!
//! Layout: for each member its field number (u16, little endian), the length of its JSON (u32, little
//! endian) and the JSON itself. Derived here and nowhere else; never holds a secret in the clear. Readers
//! pass over numbers that they do not know, so that an older controller reads a newer one's rows.

use bessemer_model::{FieldSource, InterfaceKind, MASK, Node, NodeField, Object, masked};
use serde::Serialize;

/// The members of a document in stored order. Ends early at bytes that are not a member.
#[must_use]
pub fn members(document: &[u8]) -> Members<'_> {
    Members { rest: document }
}

/// See [`members`].
#[derive(Debug, Clone)]
pub struct Members<'d> {
    rest: &'d [u8],
}

impl<'d> Iterator for Members<'d> {
    type Item = (NodeField, &'d [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, rest) = self.rest.split_first_chunk::<2>()?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let json = rest.get(..length)?;
            self.rest = rest.get(length..)?;
            if let Some(field) = NodeField::from_number(u16::from_le_bytes(*number)) {
                return Some((field, json));
            }
        }
    }
}

/// The document of a node.
pub(crate) fn encode(node: &Node) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    for field in NodeField::ALL {
        if field.source() != FieldSource::Document {
            continue;
        }
        let Some(json) = member(node, *field) else {
            continue;
        };
        append_member(*field, &mut out, |out| {
            out.extend_from_slice(json.as_bytes())
        });
    }
    out
}

/// Appends one member whose JSON `write` appends.
pub(crate) fn append_member(field: NodeField, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&field.number().to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let json = out.len();
    write(out);
    // No member comes near 4 GiB: a request body is bounded far below.
    match (
        u32::try_from(out.len() - json),
        out.get_mut(start + 2..json),
    ) {
        (Ok(length), Some(place)) => place.copy_from_slice(&length.to_le_bytes()),
        _ => out.truncate(start),
    }
}

/// Appends text as a JSON string.
pub(crate) fn append_text(text: &str, out: &mut Vec<u8>) {
    let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(json(text).as_bytes());
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    // Serialising these cannot fail: keys are strings and there are no foreign types.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn hidden(object: &Object) -> String {
    json(&masked(&serde_json::Value::Object(object.clone())))
}

/// An image's URL may carry a signature that opens it: hidden as upstream hides it.
fn hidden_instance(object: &Object) -> String {
    let mut shown = masked(&serde_json::Value::Object(object.clone()));
    if let Some(url) = shown.get_mut("image_url")
        && url.as_str() != Some("")
        && !url.is_null()
    {
        *url = MASK.into();
    }
    json(&shown)
}

/// The JSON of one field as a client may see it; `None` for what only the API can make.
#[must_use]
pub fn member(node: &Node, field: NodeField) -> Option<String> {
    use NodeField as F;
    let interface = |kind| json(&node.interfaces.get(kind));
    Some(match field {
        F::Uuid => json(&node.id),
        F::CreatedAt => json(&node.created_at),
        F::UpdatedAt => json(&node.updated_at),
        F::AutomatedClean => json(&node.automated_clean),
        F::BiosInterface => interface(InterfaceKind::Bios),
        F::BootInterface => interface(InterfaceKind::Boot),
        F::BootMode => json(&node.boot_mode),
        F::CleanStep => json(&node.clean_step),
        F::ConductorGroup => json(&node.conductor_group),
        F::ConsoleEnabled => json(&node.console_enabled),
        F::ConsoleInterface => interface(InterfaceKind::Console),
        F::DeployInterface => interface(InterfaceKind::Deploy),
        F::DeployStep => json(&node.deploy_step),
        F::Description => json(&node.description),
        F::DisablePowerOff => json(&node.disable_power_off),
        F::Driver => json(&node.driver),
        F::DriverInfo => hidden(&node.driver_info),
        F::DriverInternalInfo => hidden(&node.driver_internal_info),
        F::Extra => json(&node.extra),
        F::Fault => json(&node.fault.map(|f| f.as_str())),
        F::FirmwareInterface => interface(InterfaceKind::Firmware),
        F::Health => json(&node.health),
        F::InspectInterface => interface(InterfaceKind::Inspect),
        F::InspectionFinishedAt => json(&node.inspection_finished_at),
        F::InspectionStartedAt => json(&node.inspection_started_at),
        F::InstanceInfo => hidden_instance(&node.instance_info),
        F::InstanceName => json(&node.instance_name),
        F::InstanceUuid => json(&node.instance_uuid),
        F::LastError => json(&node.last_error),
        F::Lessee => json(&node.lessee),
        F::Maintenance => json(&node.maintenance),
        F::MaintenanceReason => json(&node.maintenance_reason),
        F::ManagementInterface => interface(InterfaceKind::Management),
        F::Name => json(&node.name),
        F::NetworkData => json(&node.network_data),
        F::NetworkInterface => interface(InterfaceKind::Network),
        F::Owner => json(&node.owner),
        F::ParentNode => json(&node.parent_node),
        F::PowerInterface => interface(InterfaceKind::Power),
        F::PowerState => json(&node.power_state),
        F::Properties => json(&node.properties),
        F::Protected => json(&node.protected),
        F::ProtectedReason => json(&node.protected_reason),
        F::ProvisionState => json(node.provision_state.as_str()),
        F::ProvisionUpdatedAt => json(&node.provision_updated_at),
        F::RaidConfig => json(&node.raid_config),
        F::RaidInterface => interface(InterfaceKind::Raid),
        F::RescueInterface => interface(InterfaceKind::Rescue),
        F::Reservation => json(&node.reservation),
        F::ResourceClass => json(&node.resource_class),
        F::Retired => json(&node.retired),
        F::RetiredReason => json(&node.retired_reason),
        F::SecureBoot => json(&node.secure_boot),
        F::ServiceStep => json(&node.service_step),
        F::Shard => json(&node.shard),
        F::StorageInterface => interface(InterfaceKind::Storage),
        F::TargetPowerState => json(&node.target_power_state),
        F::TargetProvisionState => json(&node.target_provision_state.map(|s| s.as_str())),
        F::TargetRaidConfig => json(&node.target_raid_config),
        F::Traits => json(&node.traits),
        F::VendorInterface => interface(InterfaceKind::Vendor),
        F::Conductor => json(&node.conductor),
        F::AllocationUuid => json(&node.allocation_uuid),
        F::ChassisUuid => json(&node.chassis),
        F::Links | F::Ports | F::States | F::Portgroups | F::Volume => return None,
    })
}

/// Reads arbitrary bytes as a document: must end, and never panic.
pub mod fuzz {
    /// Walks the members of any bytes.
    pub fn fuzz_document(data: &[u8]) {
        let total: usize = super::members(data).map(|(_, json)| json.len()).sum();
        assert!(total <= data.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Timestamp};
    use rand::{RngExt, SeedableRng};

    fn node() -> Node {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(1));
        node.name = Some("n\"1\"".into());
        node.driver_info
            .insert("ipmi_password".into(), "hunter2".into());
        node.instance_info
            .insert("image_url".into(), "http://x?signature=hunter2".into());
        node.traits = vec!["CUSTOM_X".into()];
        node
    }

    #[test]
    fn every_document_field_is_a_member_and_no_secret_is() {
        let document = encode(&node());
        let fields: Vec<_> = members(&document).map(|(f, _)| f).collect();
        let want: Vec<_> = NodeField::ALL
            .iter()
            .copied()
            .filter(|f| f.source() == FieldSource::Document)
            .collect();
        assert_eq!(fields, want);
        for (_, json) in members(&document) {
            serde_json::from_slice::<serde_json::Value>(json).unwrap();
        }
        assert!(!String::from_utf8_lossy(&document).contains("hunter2"));
    }

    #[test]
    fn unknown_numbers_are_passed_over() {
        let mut bytes = vec![0xff, 0xff, 2, 0, 0, 0, b'1', b'2'];
        bytes.extend(encode(&node()));
        assert_eq!(
            members(&bytes).next().map(|(f, _)| f),
            Some(NodeField::Uuid)
        );
    }

    #[test]
    fn any_bytes() {
        let valid = encode(&node());
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        for _ in 0..5000 {
            let mut bytes = valid.clone();
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(0..=bytes.len()));
            fuzz::fuzz_document(&bytes);
        }
    }
}
