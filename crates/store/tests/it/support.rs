//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{
    Fault, MacAddress, Node, NodeId, OperationId, Port, PortId, Portgroup, PortgroupId, SessionId,
    Timestamp,
};
use bessemer_store::{
    NewOperation, NodeChange, OperationStatus, OperationUpdate, Store, TimelineEvent,
    TimelineSource,
};
use serde_json::json;

pub const TTL: Duration = Duration::from_secs(60);

/// A connection past the store.
pub fn raw_sqlite(url: &str) -> rusqlite::Connection {
    rusqlite::Connection::open(url.strip_prefix("sqlite://").unwrap()).unwrap()
}

/// A column of texts, past the store.
pub fn sqlite_texts(url: &str, sql: &str) -> Vec<String> {
    let connection = raw_sqlite(url);
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

pub fn node(name: &str) -> Node {
    let mut node = Node::new(NodeId::random(), "ipmi", Timestamp::now());
    node.name = Some(name.to_owned());
    node
}

pub async fn stored(store: &Store, name: &str) -> Node {
    let node = node(name);
    store.create_node(&node, Vec::new()).await.unwrap();
    node
}

pub fn mac(n: u32) -> MacAddress {
    let [_, a, b, c] = n.to_be_bytes();
    MacAddress([0x52, 0x54, 0, a, b, c])
}

pub fn port(node: NodeId, address: MacAddress) -> Port {
    Port {
        id: PortId::random(),
        node,
        address,
        name: None,
        description: None,
        extra: Default::default(),
        internal_info: Default::default(),
        local_link_connection: Default::default(),
        pxe_enabled: true,
        portgroup: None,
        physical_network: None,
        is_smartnic: false,
        vendor: None,
        category: None,
        available_for_dynamic_portgroup: true,
        created_at: Timestamp::now(),
        updated_at: None,
    }
}

pub fn portgroup(node: NodeId) -> Portgroup {
    Portgroup {
        id: PortgroupId::random(),
        node,
        address: None,
        name: None,
        extra: Default::default(),
        internal_info: Default::default(),
        standalone_ports_supported: true,
        mode: "active-backup".into(),
        properties: Default::default(),
        physical_network: None,
        category: None,
        dynamic_portgroup: false,
        created_at: Timestamp::now(),
        updated_at: None,
    }
}

pub fn change(f: impl Fn(&mut Node) + Send + Sync + 'static) -> NodeChange {
    Arc::new(move |node| {
        f(node);
        Ok(())
    })
}

pub fn refuse(text: &'static str) -> NodeChange {
    Arc::new(move |_| Err(Fault::conflict(text)))
}

pub fn nothing() -> NodeChange {
    change(|_| {})
}

pub fn event(text: &str) -> TimelineEvent {
    TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Api,
        text: text.to_owned(),
        data: None,
    }
}

pub const FLOWS: &[(&str, i32)] = &[("deploy", 1)];

pub fn deploy() -> NewOperation {
    NewOperation {
        id: OperationId::random(),
        flow: "deploy".into(),
        flow_version: 1,
        phase: "first".into(),
        args: json!({"a": 1}),
        data: json!({}),
    }
}

pub fn update(status: OperationStatus) -> OperationUpdate {
    OperationUpdate {
        status,
        flow: "deploy".into(),
        flow_version: 1,
        phase: "second".into(),
        data: json!({"step": 2}),
        wake_at: None,
        deadline_at: None,
        reason: Some("waiting for the agent".into()),
        keep_attempts: false,
        still_restored: false,
        consumed: Vec::new(),
    }
}

pub async fn session(store: &Store, host: &str) -> SessionId {
    store
        .register_conductor(host, "", &json!({}), TTL)
        .await
        .unwrap()
}
