//! A chassis: a named group of nodes.

use crate::{ChassisId, Object, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub struct Chassis {
    pub id: ChassisId,
    pub description: Option<String>,
    pub extra: Object,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
