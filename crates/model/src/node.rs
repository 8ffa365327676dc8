//! A node: one bare-metal server under management.

use crate::notification::{Notice, Noticed};
use crate::provision::ProvisionState;
use crate::{ChassisId, Interfaces, NodeId, Object, PowerState, Timestamp};

/// `fault`: why maintenance was set by the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeHealthFault {
    PowerFailure,
    CleanFailure,
    RescueAbortFailure,
    ServiceFailure,
}

impl NodeHealthFault {
    pub const ALL: [Self; 4] = [
        Self::PowerFailure,
        Self::CleanFailure,
        Self::RescueAbortFailure,
        Self::ServiceFailure,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PowerFailure => "power failure",
            Self::CleanFailure => "clean failure",
            Self::RescueAbortFailure => "rescue abort failure",
            Self::ServiceFailure => "service failure",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.as_str() == text)
    }
}

/// Every field that the store keeps for a node; names as in the API reference. Secrets inside
/// `driver_info`, `instance_info` and `driver_internal_info` are clear here: mask before showing.
#[derive(Clone, PartialEq)]
pub struct Node {
    pub id: NodeId,
    /// Raised by every write; guards PATCH against a concurrent one.
    pub revision: i64,
    pub name: Option<String>,
    pub driver: String,
    pub interfaces: Interfaces,
    pub chassis: Option<ChassisId>,

    pub driver_info: Object,
    pub properties: Object,
    pub extra: Object,
    pub instance_info: Object,
    pub driver_internal_info: Object,
    pub network_data: Object,
    pub raid_config: Object,
    pub target_raid_config: Object,
    pub clean_step: Object,
    pub deploy_step: Object,
    pub service_step: Object,
    pub traits: Vec<String>,

    pub power_state: Option<PowerState>,
    pub target_power_state: Option<PowerState>,
    pub provision_state: ProvisionState,
    pub target_provision_state: Option<ProvisionState>,
    pub provision_updated_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// Host name of the conductor that holds the lease of the node's running operation; a view.
    pub reservation: Option<String>,
    pub conductor: Option<String>,

    pub maintenance: bool,
    pub maintenance_reason: Option<String>,
    pub fault: Option<NodeHealthFault>,
    pub protected: bool,
    pub protected_reason: Option<String>,
    pub retired: bool,
    pub retired_reason: Option<String>,
    pub automated_clean: Option<bool>,
    pub disable_power_off: bool,
    pub console_enabled: bool,

    pub instance_uuid: Option<String>,
    pub instance_name: Option<String>,
    pub resource_class: Option<String>,
    pub conductor_group: String,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    pub shard: Option<String>,
    pub parent_node: Option<NodeId>,
    pub allocation_uuid: Option<uuid::Uuid>,
    pub description: Option<String>,
    pub boot_mode: Option<String>,
    pub secure_boot: Option<bool>,
    pub health: Option<String>,

    pub inspection_started_at: Option<Timestamp>,
    pub inspection_finished_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,

    /// What a change does to the node that others are told of; empty in a node that was read, and not stored.
    pub notices: Vec<Noticed>,
}

impl Node {
    /// A node as `POST /v1/nodes` makes it before any field of the body is applied.
    #[must_use]
    pub fn new(id: NodeId, driver: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            revision: 1,
            name: None,
            driver: driver.into(),
            interfaces: Interfaces::default(),
            chassis: None,
            driver_info: Object::new(),
            properties: Object::new(),
            extra: Object::new(),
            instance_info: Object::new(),
            driver_internal_info: Object::new(),
            network_data: Object::new(),
            raid_config: Object::new(),
            target_raid_config: Object::new(),
            clean_step: Object::new(),
            deploy_step: Object::new(),
            service_step: Object::new(),
            traits: Vec::new(),
            power_state: None,
            target_power_state: None,
            provision_state: ProvisionState::Enroll,
            target_provision_state: None,
            provision_updated_at: None,
            last_error: None,
            reservation: None,
            conductor: None,
            maintenance: false,
            maintenance_reason: None,
            fault: None,
            protected: false,
            protected_reason: None,
            retired: false,
            retired_reason: None,
            automated_clean: None,
            disable_power_off: false,
            console_enabled: false,
            instance_uuid: None,
            instance_name: None,
            resource_class: None,
            conductor_group: String::new(),
            owner: None,
            lessee: None,
            shard: None,
            parent_node: None,
            allocation_uuid: None,
            description: None,
            boot_mode: None,
            secure_boot: None,
            health: None,
            inspection_started_at: None,
            inspection_finished_at: None,
            created_at: now,
            updated_at: None,
            notices: Vec::new(),
        }
    }

    /// Others are told of this, of the node as it is now, when the change that makes it is stored.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(Noticed::of(self, notice));
    }

    /// How messages name the node: its name when it has one, and always the id.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.id),
            None => self.id.to_string(),
        }
    }

    /// Value of `key` in the `capabilities` of `instance_info` or `properties` (`k:v,k:v` or an object).
    #[must_use]
    pub fn capability(&self, key: &str) -> Option<String> {
        [&self.instance_info, &self.properties]
            .into_iter()
            .find_map(|o| match o.get("capabilities") {
                Some(serde_json::Value::Object(map)) => {
                    map.get(key).and_then(|v| v.as_str()).map(str::to_owned)
                }
                Some(serde_json::Value::String(text)) => match serde_json::from_str::<Object>(text)
                {
                    Ok(map) => map.get(key).and_then(|v| v.as_str()).map(str::to_owned),
                    Err(_) => text
                        .split(',')
                        .filter_map(|pair| pair.split_once(':'))
                        .find(|(k, _)| k.trim() == key)
                        .map(|(_, v)| v.trim().to_owned()),
                },
                _ => None,
            })
    }
}

/// Names the node only: its dictionaries hold secrets.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("provision_state", &self.provision_state)
            .finish_non_exhaustive()
    }
}
