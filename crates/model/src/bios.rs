//! A BIOS setting of a node, as the BMC lists it.

use serde::{Deserialize, Serialize};

/// One setting. What the BMC says nothing about is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BiosSetting {
    pub name: String,
    pub value: Option<String>,
    /// `Enumeration`, `String`, `Integer`, `Boolean` or `Password` (Redfish attribute registry).
    pub attribute_type: Option<String>,
    pub allowable_values: Option<Vec<String>>,
    pub lower_bound: Option<i64>,
    pub upper_bound: Option<i64>,
    /// Characters.
    pub min_length: Option<i64>,
    /// Characters.
    pub max_length: Option<i64>,
    pub read_only: Option<bool>,
    pub reset_required: Option<bool>,
    /// The value differs from every other machine's (a serial number, for example).
    pub unique: Option<bool>,
}

impl BiosSetting {
    /// A setting of which only the value is known.
    #[must_use]
    pub fn new(name: impl Into<String>, value: Option<String>) -> Self {
        Self {
            name: name.into(),
            value,
            ..Self::default()
        }
    }
}
