//! What the service tells other programs: upstream's versioned notifications, member by member.
//!
//! Names and versions of the payloads are those of Ironic 39.0.0. A payload holds no secrets: what the API hides is hidden
//! here too, and what the API shows to the privileged only is withheld whole.

use serde_json::{Value, json};

use crate::masking::{MASK, masked};
use crate::{
    Allocation, Chassis, DeployTemplate, Event, InspectionRule, InterfaceKind, Node, Object, Port,
    Portgroup, PowerState, PowerTarget, ProvisionState, Runbook, Timestamp, VolumeConnector,
    VolumeTarget,
};

/// How important a notification is; those below `[DEFAULT] notification_level` are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    pub const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
    ];

    /// As the option is written, and topics end.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// How far an action has come: the end of an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Start,
    End,
    Error,
    Success,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::Error => "error",
            Self::Success => "success",
        }
    }

    /// What it is sent as.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::Error => Level::Error,
            _ => Level::Info,
        }
    }
}

/// `baremetal.<object>.<action>.<status>`
#[must_use]
pub fn event_type(object: &str, action: &str, status: Status) -> String {
    format!("baremetal.{object}.{action}.{}", status.as_str())
}

/// What happened to a node in a change, apart from what its fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The provision state moved.
    ProvisionSet {
        event: Event,
        from: ProvisionState,
        from_target: Option<ProvisionState>,
    },
    /// The service switches the power.
    PowerSet { status: Status, to: PowerTarget },
    /// The power was found to be other than recorded.
    PowerCorrected { from: Option<PowerState> },
    /// `console_set`, `console_restore` or `console_stop`.
    Console {
        action: &'static str,
        status: Status,
    },
}

/// A notice with the states that the node had at that moment; later ones of the same change may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    pub notice: Notice,
    provision_state: ProvisionState,
    target_provision_state: Option<ProvisionState>,
    power_state: Option<PowerState>,
    target_power_state: Option<PowerState>,
}

impl Noticed {
    pub(crate) fn of(node: &Node, notice: Notice) -> Self {
        Self {
            notice,
            provision_state: node.provision_state,
            target_provision_state: node.target_provision_state,
            power_state: node.power_state,
            target_power_state: node.target_power_state,
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match &self.notice {
            Notice::ProvisionSet { event, from, .. } => {
                match (event, works(*from), works(self.provision_state)) {
                    (Event::Fail, ..) => Status::Error,
                    (_, false, true) => Status::Start,
                    (_, true, false) => Status::End,
                    _ => Status::Success,
                }
            }
            Notice::PowerSet { status, .. } | Notice::Console { status, .. } => *status,
            Notice::PowerCorrected { .. } => Status::Success,
        }
    }

    /// The action's name in the event type.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match &self.notice {
            Notice::ProvisionSet { .. } => "provision_set",
            Notice::PowerSet { .. } => "power_set",
            Notice::PowerCorrected { .. } => "power_state_corrected",
            Notice::Console { action, .. } => action,
        }
    }

    /// What is told, of the node as it is stored with the change.
    #[must_use]
    pub fn payload(&self, node: &Node) -> Payload {
        let mut data = node_data(node);
        let mut set = |name: &str, value: Value| {
            data.insert(name.to_owned(), value);
        };
        set("provision_state", self.provision_state.as_str().into());
        set(
            "target_provision_state",
            self.target_provision_state
                .map(ProvisionState::as_str)
                .into(),
        );
        set(
            "power_state",
            self.power_state.map(PowerState::as_str).into(),
        );
        set(
            "target_power_state",
            self.target_power_state.map(PowerState::as_str).into(),
        );
        let (name, version) = match &self.notice {
            Notice::ProvisionSet {
                event,
                from,
                from_target,
            } => {
                // Upstream has a name of its own for a failed delete.
                let event = match (from, event) {
                    (ProvisionState::Deleting, Event::Fail) => "error",
                    (_, event) => event.as_str(),
                };
                set("event", event.into());
                set("previous_provision_state", from.as_str().into());
                set(
                    "previous_target_provision_state",
                    from_target.map(ProvisionState::as_str).into(),
                );
                set("instance_info", instance_info(node));
                set(
                    "driver_internal_info",
                    masked(&Value::Object(node.driver_internal_info.clone())),
                );
                ("NodeSetProvisionStatePayload", "1.18")
            }
            Notice::PowerSet { to, .. } => {
                set("to_power", to.as_str().into());
                ("NodeSetPowerStatePayload", "1.17")
            }
            Notice::PowerCorrected { from } => {
                set("from_power", from.map(PowerState::as_str).into());
                ("NodeCorrectedPowerStatePayload", "1.17")
            }
            Notice::Console { .. } => ("NodePayload", "1.17"),
        };
        Payload {
            name,
            version,
            data,
        }
    }
}

/// Upstream's "unstable" states, between which and the others a notification is a start or an end. Holds are not of them.
fn works(state: ProvisionState) -> bool {
    use crate::provision::StateKind;
    matches!(state.kind(), StateKind::Transient | StateKind::Wait)
}

/// A versioned object.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    name: &'static str,
    version: &'static str,
    data: Object,
}

impl Payload {
    /// As it is sent.
    #[must_use]
    pub fn wire(&self) -> Value {
        json!({
            "ironic_object.name": self.name,
            "ironic_object.namespace": "ironic",
            "ironic_object.version": self.version,
            "ironic_object.data": self.data,
        })
    }

    /// Of an object that is not stored yet, with the members that the client gave: others are null, dictionaries empty, as upstream tells
    /// it.
    #[must_use]
    pub fn given(mut self, known: impl Fn(&str) -> bool) -> Self {
        for (name, value) in &mut self.data {
            if !known(name) {
                *value = match value {
                    Value::Object(_) => Value::Object(Object::new()),
                    _ => Value::Null,
                };
            }
        }
        self
    }

    /// One of its members.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.data.get(name)
    }

    /// With another member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.data.insert(name.to_owned(), value);
        self
    }
}

/// An object of the API whose creation, change and deletion is told.
pub trait Told {
    /// As it stands in event types.
    const OBJECT: &'static str;
    fn payload(&self) -> Payload;
}

fn at(time: Option<Timestamp>) -> Value {
    time.map(|time| {
        let text = time.to_string();
        format!("{}Z", text.get(..19).unwrap_or(&text))
    })
    .into()
}

fn object(value: &Object) -> Value {
    Value::Object(value.clone())
}

fn instance_info(node: &Node) -> Value {
    let mut shown = masked(&Value::Object(node.instance_info.clone()));
    if let Some(url) = shown.get_mut("image_url") {
        *url = MASK.into();
    }
    shown
}

/// What is withheld whole.
fn redacted() -> Value {
    json!({"redacted_contents": "** Value redacted: not published on the notification bus. **"})
}

fn data(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

/// The members that every payload of a node has.
fn node_data(node: &Node) -> Object {
    let mut members = data(json!({
        "clean_step": node.clean_step,
        "conductor_group": node.conductor_group,
        "console_enabled": node.console_enabled,
        "created_at": at(Some(node.created_at)),
        "deploy_step": node.deploy_step,
        "description": node.description,
        "disable_power_off": node.disable_power_off,
        "driver": node.driver,
        "extra": node.extra,
        "boot_mode": node.boot_mode,
        "secure_boot": node.secure_boot,
        "inspection_finished_at": at(node.inspection_finished_at),
        "inspection_started_at": at(node.inspection_started_at),
        "instance_uuid": node.instance_uuid,
        "last_error": node.last_error,
        "maintenance": node.maintenance,
        "maintenance_reason": node.maintenance_reason,
        "fault": node.fault.map(|fault| fault.as_str()),
        "name": node.name,
        "owner": node.owner,
        "lessee": node.lessee,
        "power_state": node.power_state,
        "properties": node.properties,
        "protected": node.protected,
        "protected_reason": node.protected_reason,
        "provision_state": node.provision_state.as_str(),
        "provision_updated_at": at(node.provision_updated_at),
        "resource_class": node.resource_class,
        "retired": node.retired,
        "retired_reason": node.retired_reason,
        "target_power_state": node.target_power_state,
        "target_provision_state": node.target_provision_state.map(ProvisionState::as_str),
        "traits": node.traits,
        "updated_at": at(node.updated_at),
        "uuid": node.id,
    }));
    for kind in InterfaceKind::ALL {
        // upstream's payload knows no firmware interface
        if kind != InterfaceKind::Firmware {
            members.insert(kind.field().to_owned(), node.interfaces.get(kind).into());
        }
    }
    members
}

impl Told for Node {
    const OBJECT: &'static str = "node";

    fn payload(&self) -> Payload {
        let mut data = node_data(self);
        data.insert("chassis_uuid".into(), json!(self.chassis));
        data.insert("instance_info".into(), instance_info(self));
        data.insert(
            "driver_info".into(),
            masked(&Value::Object(self.driver_info.clone())),
        );
        Payload {
            name: "NodeCRUDPayload",
            version: "1.15",
            data,
        }
    }
}

/// `baremetal.node.maintenance_set`
#[must_use]
pub fn maintenance(node: &Node) -> Payload {
    Payload {
        name: "NodePayload",
        version: "1.17",
        data: node_data(node),
    }
}

impl Told for Port {
    const OBJECT: &'static str = "port";

    fn payload(&self) -> Payload {
        Payload {
            name: "PortCRUDPayload",
            version: "1.8",
            data: data(json!({
                "address": self.address,
                "extra": object(&self.extra),
                "local_link_connection": object(&self.local_link_connection),
                "pxe_enabled": self.pxe_enabled,
                "node_uuid": self.node,
                "portgroup_uuid": self.portgroup,
                "physical_network": self.physical_network,
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
                "is_smartnic": self.is_smartnic,
                "name": self.name,
                "description": self.description,
                "vendor": self.vendor,
                "category": self.category,
                "available_for_dynamic_portgroup": self.available_for_dynamic_portgroup,
            })),
        }
    }
}

impl Told for Portgroup {
    const OBJECT: &'static str = "portgroup";

    fn payload(&self) -> Payload {
        Payload {
            name: "PortgroupCRUDPayload",
            version: "1.3",
            data: data(json!({
                "address": self.address,
                "category": self.category,
                "extra": object(&self.extra),
                "mode": self.mode,
                "name": self.name,
                "node_uuid": self.node,
                "physical_network": self.physical_network,
                "properties": object(&self.properties),
                "standalone_ports_supported": self.standalone_ports_supported,
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
                "dynamic_portgroup": self.dynamic_portgroup,
            })),
        }
    }
}

impl Told for Chassis {
    const OBJECT: &'static str = "chassis";

    fn payload(&self) -> Payload {
        Payload {
            name: "ChassisCRUDPayload",
            version: "1.0",
            data: data(json!({
                "description": self.description,
                "extra": object(&self.extra),
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

impl Told for Allocation {
    const OBJECT: &'static str = "allocation";

    fn payload(&self) -> Payload {
        Payload {
            name: "AllocationCRUDPayload",
            version: "1.1",
            data: data(json!({
                "uuid": self.id,
                "name": self.name,
                // only told when it is deleted, as upstream does
                "node_uuid": Value::Null,
                "state": self.state.as_str(),
                "last_error": self.last_error,
                "owner": self.owner,
                "resource_class": self.resource_class,
                "traits": self.traits,
                "candidate_nodes": self.candidate_nodes,
                "extra": object(&self.extra),
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
            })),
        }
    }
}

impl Told for VolumeConnector {
    const OBJECT: &'static str = "volumeconnector";

    fn payload(&self) -> Payload {
        Payload {
            name: "VolumeConnectorCRUDPayload",
            version: "1.0",
            data: data(json!({
                "extra": object(&self.extra),
                "type": self.kind,
                "connector_id": self.connector_id,
                "node_uuid": self.node,
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

impl Told for VolumeTarget {
    const OBJECT: &'static str = "volumetarget";

    fn payload(&self) -> Payload {
        // They hold credentials, and the API shows them to the privileged only.
        let properties = if self.properties.is_empty() {
            object(&self.properties)
        } else {
            redacted()
        };
        Payload {
            name: "VolumeTargetCRUDPayload",
            version: "1.0",
            data: data(json!({
                "boot_index": self.boot_index,
                "extra": object(&self.extra),
                "node_uuid": self.node,
                "properties": properties,
                "volume_id": self.volume_id,
                "volume_type": self.volume_type,
                "created_at": at(Some(self.created_at)),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

impl Told for DeployTemplate {
    const OBJECT: &'static str = "deploytemplate";

    fn payload(&self) -> Payload {
        Payload {
            name: "DeployTemplateCRUDPayload",
            version: "1.0",
            data: data(json!({
                "created_at": at(Some(self.created_at)),
                "extra": object(&self.extra),
                "name": self.name,
                "steps": self.steps,
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

impl Told for Runbook {
    const OBJECT: &'static str = "runbook";

    fn payload(&self) -> Payload {
        Payload {
            name: "RunbookCRUDPayload",
            version: "1.1",
            data: data(json!({
                "created_at": at(Some(self.created_at)),
                "description": self.description,
                "disable_ramdisk": self.disable_ramdisk,
                "extra": object(&self.extra),
                "name": self.name,
                "owner": self.owner,
                "public": self.public,
                "steps": self.steps,
                "traits": self.traits,
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

impl Told for InspectionRule {
    const OBJECT: &'static str = "inspectionrule";

    fn payload(&self) -> Payload {
        let shown = |rows: &[Value]| {
            if self.sensitive {
                json!([redacted()])
            } else {
                json!(rows)
            }
        };
        Payload {
            name: "InspectionRuleCRUDPayload",
            version: "1.0",
            data: data(json!({
                "created_at": at(Some(self.created_at)),
                "description": self.description,
                "phase": self.phase,
                "priority": self.priority,
                "scope": Value::Null,
                "sensitive": self.sensitive,
                "actions": shown(&self.actions),
                "conditions": shown(&self.conditions),
                "updated_at": at(self.updated_at),
                "uuid": self.id,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::NodeId;

    #[test]
    fn levels_are_ordered_and_read_back() {
        assert!(Level::ALL.is_sorted());
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
    }

    /// The kinds of status, by where the node comes from and goes to.
    #[test]
    fn status_of_a_move() {
        use ProvisionState as S;
        let check = |from, event, to, want| {
            let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
            node.provision_state = to;
            let noticed = Noticed::of(
                &node,
                Notice::ProvisionSet {
                    event,
                    from,
                    from_target: None,
                },
            );
            assert_eq!(noticed.status(), want, "{from} {event}");
        };
        check(S::Enroll, Event::Manage, S::Verifying, Status::Start);
        check(S::Verifying, Event::Done, S::Manageable, Status::End);
        check(S::Deploying, Event::Wait, S::DeployWait, Status::Success);
        check(S::Available, Event::Manage, S::Manageable, Status::Success);
        check(S::Deploying, Event::Fail, S::DeployFailed, Status::Error);
        check(S::DeployWait, Event::Abort, S::DeployFailed, Status::End);
        check(S::Deploying, Event::Hold, S::DeployHold, Status::End);
    }

    #[test]
    fn no_secret_is_told() {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        for info in [
            &mut node.driver_info,
            &mut node.instance_info,
            &mut node.driver_internal_info,
        ] {
            info.insert("ipmi_password".into(), "hunter2".into());
            info.insert("agent_secret_token".into(), "hunter2".into());
        }
        node.instance_info
            .insert("image_url".into(), "http://x?signature=hunter2".into());
        node.notice(Notice::ProvisionSet {
            event: Event::Deploy,
            from: ProvisionState::Available,
            from_target: None,
        });
        let told = node.notices.first().unwrap().payload(&node);
        for payload in [node.payload(), maintenance(&node), told] {
            let text = payload.wire().to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
        let target = VolumeTarget {
            id: crate::VolumeTargetId::random(),
            node: node.id,
            volume_type: "iscsi".into(),
            properties: data(json!({"auth_method": "hunter2"})),
            boot_index: 0,
            volume_id: "v".into(),
            extra: Object::new(),
            created_at: Timestamp(0),
            updated_at: None,
        };
        assert!(!target.payload().wire().to_string().contains("hunter2"));
    }
}
