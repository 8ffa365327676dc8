//! A database with something in every table: what backups, checks and upgrades are tried on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{
    Allocation, AllocationId, AllocationState, BiosSetting, Chassis, ChassisId, DeployTemplate,
    DeployTemplateId, FirmwareComponent, HistoryId, InspectionRule, InspectionRuleId, Inventory,
    MacAddress, Node, NodeId, Object, OperationId, Port, PortId, Portgroup, PortgroupId,
    PowerState, ProvisionState, Runbook, RunbookId, RunbookStep, TemplateStep, Timestamp,
    VolumeConnector, VolumeConnectorId, VolumeTarget, VolumeTargetId,
};
use serde_json::{Value, json};

use crate::{
    BootKind, BootRow, HistoryRow, NewOperation, SignalKind, Store, StoreError, TimelineEvent,
    TimelineSource,
};

/// The node that runs an instance.
pub const ACTIVE: &str = "5a1c3f0e-0000-4000-8000-000000000001";
/// The node that is being deployed: a conductor holds its operation, and an agent has called.
pub const DEPLOYING: &str = "5a1c3f0e-0000-4000-8000-000000000002";
/// The node that is free.
pub const FREE: &str = "5a1c3f0e-0000-4000-8000-000000000003";
/// The operation of [`DEPLOYING`].
pub const OPERATION: &str = "5a1c3f0e-0000-4000-8000-000000000010";
/// The BMC password of every node.
pub const PASSWORD: &str = "correct-horse-battery";
/// The token of the agent of [`DEPLOYING`].
pub const TOKEN: &str = "an-agents-token-of-forty-three-characters-00";

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Internal(format!("{text} is not an id")))
}

fn node(text: &str, name: &str) -> Result<Node, StoreError> {
    let mut node = Node::new(id(text)?, "ipmi", Timestamp::now());
    node.name = Some(name.to_owned());
    node.driver_info = object(json!({
        "ipmi_address": "192.0.2.7", "ipmi_username": "admin", "ipmi_password": PASSWORD,
    }));
    node.properties = object(json!({"cpu_arch": "x86_64", "memory_mb": 4096}));
    node.extra = object(json!({"rack": "ü 7", "quote": "\"'\\"}));
    node.traits = vec!["CUSTOM_A".into()];
    node.resource_class = Some("baremetal".into());
    node.power_state = Some(PowerState::Off);
    Ok(node)
}

fn event(text: &str) -> TimelineEvent {
    TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Bmc,
        text: text.to_owned(),
        data: Some(json!({"ms": 12})),
    }
}

/// Fills an empty database.
///
/// # Errors
/// The store's.
pub async fn populate(store: &Store) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let chassis = Chassis {
        id: id::<ChassisId>("5a1c3f0e-0000-4000-8000-000000000020")?,
        description: Some("row 1".into()),
        extra: object(json!({"a": 1})),
        created_at: now,
        updated_at: None,
    };
    store.create_chassis(&chassis).await?;

    let mut active = node(ACTIVE, "active")?;
    active.chassis = Some(chassis.id);
    active.provision_state = ProvisionState::Active;
    active.power_state = Some(PowerState::On);
    active.instance_uuid = Some("5a1c3f0e-0000-4000-8000-000000000030".into());
    active.instance_info = object(json!({
        "image_source": "http://192.0.2.1/image", "image_url": format!("http://192.0.2.1/image?signature={PASSWORD}"),
        "configdrive": PASSWORD,
    }));
    let mut deploying = node(DEPLOYING, "deploying")?;
    deploying.provision_state = ProvisionState::Available;
    let mut free = node(FREE, "free")?;
    free.provision_state = ProvisionState::Available;
    free.parent_node = Some(active.id);
    for node in [&active, &deploying, &free] {
        store.create_node(node, vec![event("enrolled")]).await?;
    }
    network(store, active.id).await?;
    hardware(store, active.id).await?;
    steps(store).await?;

    let allocation = Allocation {
        id: id::<AllocationId>("5a1c3f0e-0000-4000-8000-000000000040")?,
        name: Some("for-somebody".into()),
        node: None,
        state: AllocationState::Allocating,
        owner: None,
        last_error: None,
        resource_class: Some("no-such-class".into()),
        traits: vec!["CUSTOM_A".into()],
        candidate_nodes: vec![FREE.into()],
        extra: object(json!({"a": "b"})),
        created_at: now,
        updated_at: None,
    };
    store.create_allocation(&allocation).await?;

    let hour = Duration::from_secs(3600);
    let session = store
        .register_conductor("conductor-1", "", &json!({"ipmi": {}}), hour)
        .await?;
    deploy(store, deploying.id).await?;
    let able: &[(&str, i32)] = &[("deploy", 1)];
    store.claim(session, able, Timestamp::now(), 10).await?;
    store
        .signal(
            deploying.id,
            SignalKind::Heartbeat,
            Value::Null,
            None,
            vec![event("first heartbeat")],
        )
        .await?;
    store
        .set_boot(&BootRow {
            node: deploying.id,
            kind: BootKind::Ramdisk,
            kernel: Some("file:///kernel".into()),
            ramdisk: Some("file:///ramdisk".into()),
            kernel_params: "nofb".into(),
            updated_at: now,
        })
        .await?;
    let address = |last| Ipv4Addr::new(192, 0, 2, last);
    store
        .lease_address(
            "192.0.2.0/24",
            MacAddress([0x52, 0x54, 0, 0, 0, 1]),
            address(100),
            address(110),
            &[],
            hour,
            now,
        )
        .await?;
    store
        .quarantine_address("192.0.2.0/24", address(109), now.after(hour))
        .await
}

async fn network(store: &Store, node: NodeId) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let group = Portgroup {
        id: id::<PortgroupId>("5a1c3f0e-0000-4000-8000-000000000050")?,
        node,
        address: Some(MacAddress([0x52, 0x54, 0, 0, 1, 0])),
        name: Some("bond".into()),
        extra: Object::new(),
        internal_info: Object::new(),
        standalone_ports_supported: true,
        mode: "active-backup".into(),
        properties: object(json!({"miimon": "100"})),
        physical_network: None,
        category: None,
        dynamic_portgroup: false,
        created_at: now,
        updated_at: None,
    };
    store.create_portgroup(&group).await?;
    let port = Port {
        id: id::<PortId>("5a1c3f0e-0000-4000-8000-000000000051")?,
        node,
        address: MacAddress([0x52, 0x54, 0, 0, 0, 1]),
        name: None,
        description: Some("the first".into()),
        extra: Object::new(),
        internal_info: object(json!({"tenant_vif_port_id": "v"})),
        local_link_connection: object(json!({"switch_id": "aa:bb:cc:dd:ee:ff", "port_id": "1"})),
        pxe_enabled: true,
        portgroup: Some(group.id),
        physical_network: Some("physnet1".into()),
        is_smartnic: false,
        vendor: None,
        category: None,
        available_for_dynamic_portgroup: true,
        created_at: now,
        updated_at: None,
    };
    store.create_port(&port).await?;
    store
        .create_volume_connector(&VolumeConnector {
            id: id::<VolumeConnectorId>("5a1c3f0e-0000-4000-8000-000000000052")?,
            node,
            kind: "iqn".into(),
            connector_id: "iqn.2017-07.org.example:1".into(),
            extra: Object::new(),
            created_at: now,
            updated_at: None,
        })
        .await?;
    store
        .create_volume_target(&VolumeTarget {
            id: id::<VolumeTargetId>("5a1c3f0e-0000-4000-8000-000000000053")?,
            node,
            volume_type: "iscsi".into(),
            properties: object(json!({"target_portal": "192.0.2.9:3260"})),
            boot_index: 0,
            volume_id: "v-1".into(),
            extra: Object::new(),
            created_at: now,
            updated_at: None,
        })
        .await
}

async fn hardware(store: &Store, node: NodeId) -> Result<(), StoreError> {
    store
        .set_inventory(
            node,
            Inventory {
                inventory: object(json!({"cpu": {"count": 2}})),
                plugin_data: object(json!({"boot_interface": "52:54:00:00:00:01"})),
                at: Timestamp::now(),
            },
        )
        .await?;
    store
        .sync_bios_settings(node, vec![BiosSetting::new("Turbo", Some("on".into()))])
        .await?;
    let bmc = FirmwareComponent {
        component: "bmc".into(),
        current_version: Some("1.2".into()),
        ..FirmwareComponent::default()
    };
    store.sync_firmware_components(node, vec![bmc]).await?;
    store
        .add_history(vec![HistoryRow {
            id: id::<HistoryId>("5a1c3f0e-0000-4000-8000-000000000060")?,
            node,
            conductor: Some("conductor-1".into()),
            created_at: Timestamp::now(),
            severity: "ERROR".into(),
            event_type: "deployment".into(),
            event: "it failed once".into(),
            user: Some("u".into()),
            project: None,
            state: None,
            target_provision_state: None,
            duration_seconds: None,
        }])
        .await
}

async fn steps(store: &Store) -> Result<(), StoreError> {
    let now = Timestamp::now();
    store
        .create_deploy_template(&DeployTemplate {
            id: id::<DeployTemplateId>("5a1c3f0e-0000-4000-8000-000000000070")?,
            name: "CUSTOM_T".into(),
            extra: Object::new(),
            steps: vec![TemplateStep {
                interface: "bios".into(),
                step: "apply_configuration".into(),
                args: object(json!({"settings": []})),
                priority: 150,
            }],
            created_at: now,
            updated_at: None,
        })
        .await?;
    store
        .create_runbook(&Runbook {
            id: id::<RunbookId>("5a1c3f0e-0000-4000-8000-000000000071")?,
            name: "CUSTOM_R".into(),
            description: None,
            public: true,
            owner: None,
            disable_ramdisk: false,
            extra: Object::new(),
            steps: vec![RunbookStep {
                interface: "deploy".into(),
                step: "erase_devices_metadata".into(),
                args: Object::new(),
                order: 1,
            }],
            traits: vec!["CUSTOM_A".into()],
            created_at: now,
            updated_at: None,
        })
        .await?;
    store
        .create_inspection_rule(&InspectionRule {
            id: id::<InspectionRuleId>("5a1c3f0e-0000-4000-8000-000000000072")?,
            priority: 5,
            description: Some("d".into()),
            sensitive: false,
            phase: Some("main".into()),
            conditions: vec![json!({"op": "eq", "args": {"values": [1, 1]}})],
            actions: vec![json!({"op": "log", "args": {"msg": "x"}})],
            created_at: now,
            updated_at: None,
        })
        .await
}

/// A deploy that its agent works on.
async fn deploy(store: &Store, node: NodeId) -> Result<(), StoreError> {
    let operation = NewOperation {
        id: id::<OperationId>(OPERATION)?,
        flow: "deploy".into(),
        flow_version: 1,
        phase: "wait-agent".into(),
        args: json!({}),
        data: json!({"ramdisk": true, "step": 0}),
    };
    store
        .submit(
            node,
            operation,
            Arc::new(|node: &mut Node| {
                node.provision_state = ProvisionState::DeployWait;
                node.target_provision_state = Some(ProvisionState::Active);
                node.deploy_step =
                    object(json!({"interface": "deploy", "step": "deploy", "priority": 100}));
                node.driver_internal_info = object(json!({
                    "agent_secret_token": TOKEN, "agent_url": "https://192.0.2.101:9999",
                }));
                Ok(())
            }),
            vec![event("PUT provision")],
        )
        .await
        .map(|_| ())
}
