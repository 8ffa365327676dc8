//! Named lists of steps: deploy templates, which deploys go by, and runbooks for cleaning and service.

use serde::{Deserialize, Serialize};

use crate::{DeployTemplateId, Object, RunbookId, Timestamp};

/// One step of a deploy template. The serialised form is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateStep {
    pub interface: String,
    pub step: String,
    pub args: Object,
    pub priority: i64,
}

/// Further steps for deploys of nodes whose `instance_info.traits` name the template.
#[derive(Debug, Clone, PartialEq)]
pub struct DeployTemplate {
    pub id: DeployTemplateId,
    /// A trait.
    pub name: String,
    pub extra: Object,
    pub steps: Vec<TemplateStep>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// One step of a runbook. The serialised form is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookStep {
    pub interface: String,
    pub step: String,
    pub args: Object,
    pub order: i64,
}

/// Steps for cleaning or service that an administrator has approved for nodes with one of its traits.
#[derive(Debug, Clone, PartialEq)]
pub struct Runbook {
    pub id: RunbookId,
    pub name: String,
    pub description: Option<String>,
    /// Anyone may use it; it then has no owner.
    pub public: bool,
    pub owner: Option<String>,
    pub disable_ramdisk: bool,
    pub extra: Object,
    pub steps: Vec<RunbookStep>,
    /// Sorted, once each.
    pub traits: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
