//! Sets of node fields as bit masks: what a version shows, what a list shows, what `fields=` asks for.

use bessemer_model::NodeField;

use crate::call::Call;
use crate::fault::ApiFault;
use crate::versions::node_field_since;

/// Fields of a node, one bit each by their stored number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSet(u128);

impl FieldSet {
    pub const EMPTY: Self = Self(0);

    pub fn with(self, field: NodeField) -> Self {
        Self(self.0 | bit(field))
    }

    pub fn has(self, field: NodeField) -> bool {
        self.0 & bit(field) != 0
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

fn bit(field: NodeField) -> u128 {
    1u128.checked_shl(u32::from(field.number())).unwrap_or(0)
}

/// What the version of a call shows.
pub fn visible(call: &Call) -> FieldSet {
    NodeField::ALL
        .iter()
        .filter(|f| call.at_least(node_field_since(**f)))
        .fold(FieldSet::EMPTY, |set, f| set.with(*f))
}

/// Fields that lists show unless asked for others; the order is that of the link to the next page.
pub const LIST: [&str; 6] = [
    "instance_uuid",
    "maintenance",
    "power_state",
    "provision_state",
    "uuid",
    "name",
];

/// Fields that cannot be asked for: links, which are always there or never, and times.
const NOT_ASKABLE: [NodeField; 7] = [
    NodeField::Links,
    NodeField::Ports,
    NodeField::States,
    NodeField::Portgroups,
    NodeField::Volume,
    NodeField::CreatedAt,
    NodeField::UpdatedAt,
];

/// The fields that a client names.
///
/// # Errors
/// 400 for one that does not exist, 406 for one that is newer than the request.
pub fn asked(call: &Call, fields: &[String]) -> Result<FieldSet, ApiFault> {
    let known = |name: &String| NodeField::parse(name).filter(|f| !NOT_ASKABLE.contains(f));
    if fields
        .iter()
        .filter_map(known)
        .any(|f| !call.at_least(node_field_since(f)))
    {
        return Err(ApiFault::not_acceptable());
    }
    fields
        .iter()
        .try_fold(FieldSet::EMPTY.with(NodeField::Links), |set, name| {
            known(name)
                .map(|f| set.with(f))
                .ok_or_else(|| ApiFault::invalid(format!("Field {name} is not a valid field.")))
        })
}

/// What a list shows by default.
pub fn in_lists(call: &Call) -> FieldSet {
    LIST.iter()
        .filter_map(|name| NodeField::parse(name))
        .fold(FieldSet::EMPTY.with(NodeField::Links), FieldSet::with)
        .and(visible(call))
}
