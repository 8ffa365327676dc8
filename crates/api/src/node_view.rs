//! The representation of a node: stored members chosen by bit mask and copied into one buffer in the
//! representation's key order. What does not differ from node to node is prepared once per request.

use std::sync::Arc;

use bessemer_model::{NodeField, ProvisionState, Timestamp};
use bessemer_store::{ConductorRow, NodeRowRef};

use crate::call::Call;
use crate::fault::ApiFault;
use crate::node_fields::FieldSet;
use crate::node_secrets::Secrecy;

/// One more than the largest field number.
const SLOTS: usize = 128;

/// The conductors that live now, for the field `conductor`.
pub struct Placement {
    conductors: Arc<[ConductorRow]>,
    now: Timestamp,
    /// Driver and conductor group of a node as JSON, and the conductors that can serve it: few pairs make up
    /// any list.
    known: Vec<(Vec<u8>, Vec<u8>, Vec<usize>)>,
}

impl Placement {
    /// Reads the conductors when the field is shown at all.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(call: &Call, fields: FieldSet) -> Result<Self, ApiFault> {
        let conductors = if fields.has(NodeField::Conductor) {
            call.store().conductors().await?
        } else {
            Arc::new([])
        };
        Ok(Self {
            conductors,
            now: Timestamp::now(),
            known: Vec::new(),
        })
    }

    /// The conductor that serves a node: the one that works on it, else the first by a hash of both among
    /// those of its group that know its driver. `None` when there is none.
    fn of(&mut self, id: &str, members: &Members<'_>) -> Option<&str> {
        let (driver, group) = (
            members.json(NodeField::Driver),
            members.json(NodeField::ConductorGroup),
        );
        let at = match self
            .known
            .iter()
            .position(|(d, g, _)| d == driver && g == group)
        {
            Some(at) => at,
            None => {
                let able = self.able(driver, group);
                self.known.push((driver.to_vec(), group.to_vec(), able));
                self.known.len().checked_sub(1)?
            }
        };
        let able = || {
            self.known
                .get(at)
                .into_iter()
                .flat_map(|(.., able)| able)
                .filter_map(|index| self.conductors.get(*index))
        };
        if able().nth(1).is_none() {
            return able().next().map(|c| c.hostname.as_str());
        }
        let present: Option<String> =
            serde_json::from_slice(members.json(NodeField::Conductor)).ok()?;
        let id = uuid::Uuid::parse_str(id).ok()?;
        able()
            .find(|c| present.as_deref() == Some(c.hostname.as_str()))
            .map(|c| c.hostname.as_str())
            .or_else(|| {
                let node = bessemer_model::NodeId(id);
                bessemer_model::placement::owner(node, able().map(|c| c.hostname.as_str()))
            })
    }

    fn able(&self, driver: &[u8], group: &[u8]) -> Vec<usize> {
        let text = |json: &[u8]| serde_json::from_slice::<String>(json).ok();
        let (Some(driver), Some(group)) = (text(driver), text(group)) else {
            return Vec::new();
        };
        self.conductors
            .iter()
            .enumerate()
            .filter(|(_, c)| {
                c.expires_at > self.now
                    && c.conductor_group.eq_ignore_ascii_case(&group)
                    && c.catalogue.get(&driver).is_some()
            })
            .map(|(index, _)| index)
            .collect()
    }
}

/// The members of one node by field.
struct Members<'r>([Option<&'r [u8]>; SLOTS]);

impl<'r> Members<'r> {
    fn of(row: NodeRowRef<'r>) -> Self {
        let mut slots = [None; SLOTS];
        for (field, json) in row.members() {
            if let Some(slot) = slots.get_mut(usize::from(field.number())) {
                *slot = Some(json);
            }
        }
        Self(slots)
    }

    fn json(&self, field: NodeField) -> &'r [u8] {
        self.0
            .get(usize::from(field.number()))
            .copied()
            .flatten()
            .unwrap_or(b"null")
    }
}

/// The two links of a node or of what is below it, up to the UUID and behind it.
struct Links {
    own: Vec<u8>,
    bookmark: Vec<u8>,
    end: Vec<u8>,
}

impl Links {
    fn new(call: &Call, suffix: &str) -> Self {
        // the base may be anything that an operator writes
        let quoted = serde_json::Value::from(call.base.as_str()).to_string();
        let base = quoted.trim_matches('"');
        Self {
            own: format!("[{{\"href\":\"{base}/v1/nodes/").into_bytes(),
            bookmark: format!("{suffix}\",\"rel\":\"self\"}},{{\"href\":\"{base}/nodes/")
                .into_bytes(),
            end: format!("{suffix}\",\"rel\":\"bookmark\"}}]").into_bytes(),
        }
    }

    fn append(&self, id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.own);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.bookmark);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.end);
    }
}

/// Where a shown field comes from.
enum From {
    Member,
    Links(Links),
    Conductor,
    ProvisionState,
}

/// How a request sees nodes.
pub struct NodeView {
    minor: u16,
    placement: Placement,
    secrecy: Secrecy,
    /// In the order of the representation: the field, what stands before its value, and whence it comes.
    fields: Vec<(NodeField, Vec<u8>, From)>,
}

impl NodeView {
    pub fn new(call: &Call, fields: FieldSet, placement: Placement, secrecy: Secrecy) -> Self {
        let mut shown: Vec<(NodeField, Vec<u8>, From)> = Vec::new();
        for field in NodeField::ALL.iter().filter(|f| fields.has(**f)) {
            let before = if shown.is_empty() { '{' } else { ',' };
            let from = match field {
                NodeField::Links => From::Links(Links::new(call, "")),
                NodeField::Ports => From::Links(Links::new(call, "/ports")),
                NodeField::States => From::Links(Links::new(call, "/states")),
                NodeField::Portgroups => From::Links(Links::new(call, "/portgroups")),
                NodeField::Volume => From::Links(Links::new(call, "/volume")),
                NodeField::Conductor => From::Conductor,
                NodeField::ProvisionState => From::ProvisionState,
                _ => From::Member,
            };
            let key = format!("{before}\"{}\":", field.name());
            shown.push((*field, key.into_bytes(), from));
        }
        Self {
            minor: call.version.0,
            placement,
            secrecy,
            fields: shown,
        }
    }

    /// The members that a row must have to be shown, and to be placed when `placed`.
    pub fn needs(&self, placed: bool) -> Vec<NodeField> {
        let mut needs: Vec<NodeField> = self.fields.iter().map(|(field, ..)| *field).collect();
        if placed || needs.contains(&NodeField::Conductor) {
            needs.extend([
                NodeField::Conductor,
                NodeField::Driver,
                NodeField::ConductorGroup,
            ]);
        }
        needs.extend(self.secrecy.needs());
        needs
    }

    /// Whether this conductor serves the node.
    pub fn is_served_by(&mut self, row: NodeRowRef<'_>, conductor: &str) -> bool {
        self.placement.of(row.id, &Members::of(row)) == Some(conductor)
    }

    /// Appends the representation of a node.
    pub fn append(&mut self, row: NodeRowRef<'_>, out: &mut Vec<u8>) {
        let members = Members::of(row);
        let replaced = self.secrecy.replaced(
            row.id,
            members.json(NodeField::Owner),
            members.json(NodeField::Lessee),
        );
        for (field, key, from) in &self.fields {
            out.extend_from_slice(key);
            if let Some((_, json)) = replaced.iter().find(|(f, _)| f == field) {
                out.extend_from_slice(json.as_bytes());
                continue;
            }
            match from {
                From::Member => out.extend_from_slice(members.json(*field)),
                From::Links(links) => links.append(row.id, out),
                From::Conductor => match self.placement.of(row.id, &members) {
                    Some(name) => {
                        let name = serde_json::Value::from(name).to_string();
                        out.extend_from_slice(name.as_bytes());
                    }
                    None => out.extend_from_slice(b"null"),
                },
                From::ProvisionState => match state_at(self.minor, row.provision_state) {
                    Some(state) => {
                        out.push(b'"');
                        out.extend_from_slice(state.as_bytes());
                        out.push(b'"');
                    }
                    None => out.extend_from_slice(b"null"),
                },
            }
        }
        if self.fields.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

fn state_at(minor: u16, state: ProvisionState) -> Option<&'static str> {
    match state {
        ProvisionState::Available if minor < 2 => None,
        ProvisionState::InspectWait if minor < 39 => Some(ProvisionState::Inspecting.as_str()),
        other => Some(other.as_str()),
    }
}

/// The provision state as a client of this version knows it.
pub fn shown_state(call: &Call, state: ProvisionState) -> Option<&'static str> {
    state_at(call.version.0, state)
}
