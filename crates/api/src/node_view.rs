//! The representation of a node: stored members and volatile columns, chosen by bit mask and copied into one
//! buffer in the representation's key order.

use bessemer_model::{NodeField, ProvisionState, Timestamp};
use bessemer_store::{ConductorRow, NodeRow, document};
use serde_json::Value;

use crate::call::Call;
use crate::fault::ApiFault;
use crate::node_fields::FieldSet;

/// One more than the largest field number.
const SLOTS: usize = 128;

/// The conductors that live now, for the field `conductor`.
pub struct Placement(Vec<ConductorRow>);

impl Placement {
    /// Reads the conductors when the field is shown at all.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(call: &Call, fields: FieldSet) -> Result<Self, ApiFault> {
        if !fields.has(NodeField::Conductor) {
            return Ok(Self(Vec::new()));
        }
        let now = Timestamp::now();
        let mut rows = call.store().list_conductors().await?;
        rows.retain(|row| row.expires_at > now);
        Ok(Self(rows))
    }

    /// The conductor that serves a node: the one that works on it, else the first by a hash of both among
    /// those of its group that know its driver. `None` when there is none.
    pub fn of(&self, row: &NodeRow) -> Option<&str> {
        let text = |field: NodeField| -> Option<String> {
            let json = document::members(&row.document)
                .find(|(f, _)| *f == field)
                .map(|(_, json)| json)
                .or_else(|| {
                    row.volatile
                        .iter()
                        .find(|(f, _)| *f == field)
                        .map(|(_, json)| json.as_bytes())
                })?;
            serde_json::from_slice::<Option<String>>(json).ok()?
        };
        let (driver, group) = (text(NodeField::Driver)?, text(NodeField::ConductorGroup)?);
        let able = || {
            self.0.iter().filter(|c| {
                c.conductor_group.eq_ignore_ascii_case(&group) && c.catalogue.get(&driver).is_some()
            })
        };
        let present = text(NodeField::Conductor);
        able()
            .find(|c| present.as_deref() == Some(c.hostname.as_str()))
            .or_else(|| able().max_by_key(|c| weight(&c.hostname, row.id.0.as_bytes())))
            .map(|c| c.hostname.as_str())
    }
}

/// FNV-1a: the same on every controller.
fn weight(host: &str, node: &[u8]) -> u64 {
    host.as_bytes()
        .iter()
        .chain(node)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Appends the representation of one node.
pub fn render(
    call: &Call,
    row: &NodeRow,
    fields: FieldSet,
    placement: &Placement,
    out: &mut Vec<u8>,
) {
    let mut slots: [Option<&[u8]>; SLOTS] = [None; SLOTS];
    let volatile = row.volatile.iter().map(|(f, json)| (*f, json.as_bytes()));
    for (field, json) in document::members(&row.document).chain(volatile) {
        if let Some(slot) = slots.get_mut(usize::from(field.number())) {
            *slot = Some(json);
        }
    }
    let path = format!("nodes/{}", row.id);
    out.push(b'{');
    let mut first = true;
    for field in NodeField::ALL {
        if !fields.has(*field) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.push(b'"');
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        let link = |suffix: &str| call.links(&format!("{path}{suffix}")).to_string();
        match field {
            NodeField::Links => out.extend_from_slice(link("").as_bytes()),
            NodeField::Ports => out.extend_from_slice(link("/ports").as_bytes()),
            NodeField::States => out.extend_from_slice(link("/states").as_bytes()),
            NodeField::Portgroups => out.extend_from_slice(link("/portgroups").as_bytes()),
            NodeField::Volume => out.extend_from_slice(link("/volume").as_bytes()),
            NodeField::Conductor => {
                let name = placement.of(row).map_or(Value::Null, Value::from);
                out.extend_from_slice(name.to_string().as_bytes());
            }
            NodeField::ProvisionState => match shown_state(call, row.provision_state) {
                Some(state) => {
                    out.push(b'"');
                    out.extend_from_slice(state.as_bytes());
                    out.push(b'"');
                }
                None => out.extend_from_slice(b"null"),
            },
            other => out.extend_from_slice(
                slots
                    .get(usize::from(other.number()))
                    .copied()
                    .flatten()
                    .unwrap_or(b"null"),
            ),
        }
    }
    out.push(b'}');
}

/// The provision state as a client of this version knows it.
pub fn shown_state(call: &Call, state: ProvisionState) -> Option<&'static str> {
    match state {
        ProvisionState::Available if !call.at_least(2) => None,
        ProvisionState::InspectWait if !call.at_least(39) => {
            Some(ProvisionState::Inspecting.as_str())
        }
        other => Some(other.as_str()),
    }
}
