//! Stub bodies until the engine behind them is written; signatures are fixed.
#![allow(unused_variables, clippy::unused_async)]
use crate::*;
use bessemer_model::{
    Chassis, ChassisId, MacAddress, Node, NodeId, OperationId, Port, PortId, SessionId, Timestamp,
};
use serde_json::Value;
use std::time::Duration;

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    // ---- set-up
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// One statement that reads: the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- nodes
    /// Stores a new node (revision 1). Duplicate uuid, name, instance_uuid are `Duplicate`.
    pub async fn create_node(
        &self,
        node: &Node,
        timeline: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// By UUID or name.
    pub async fn find_node(&self, ident: &str) -> Result<Option<Node>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// By any of the MAC addresses of its ports; `None` when none or more than one node matches.
    pub async fn find_node_by_macs(&self, macs: &[MacAddress]) -> Result<Option<Node>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// What lists show; never decodes more than the page.
    pub async fn list_node_rows(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Vec<NodeRow>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_node_row(&self, ident: &str) -> Result<Option<NodeRow>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn list_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Vec<Node>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// The API's write: refused with `Locked` while a lease is held (unless `ignore_lease`), with `Changed` when `revision` is given and differs.
    pub async fn update_node(
        &self,
        id: NodeId,
        revision: Option<i64>,
        ignore_lease: bool,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Deletes the node with its ports, boot row, leases, history, timeline and closed operations. Locked / OperationOpen as above.
    pub async fn delete_node(&self, id: NodeId) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn count_nodes(&self) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- ports
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_port(&self, id: PortId) -> Result<Option<Port>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn find_port_by_mac(&self, mac: MacAddress) -> Result<Option<Port>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// By UUID or name.
    pub async fn find_port(&self, ident: &str) -> Result<Option<Port>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn list_ports(
        &self,
        filter: &PortFilter,
        page: &Page,
    ) -> Result<Vec<Port>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Writes all columns of an existing port.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn delete_port(&self, id: PortId) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- chassis
    pub async fn create_chassis(&self, chassis: &Chassis) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_chassis(&self, id: ChassisId) -> Result<Option<Chassis>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn list_chassis(&self, page: &Page) -> Result<Vec<Chassis>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn update_chassis(&self, chassis: &Chassis) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// `Refused` (400) while nodes belong to it.
    pub async fn delete_chassis(&self, id: ChassisId) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- conductors and sessions
    /// Opens a session for this process: replaces the conductor's row of the same hostname, whose old session expires at once.
    pub async fn register_conductor(
        &self,
        hostname: &str,
        conductor_group: &str,
        catalogue: &Value,
        ttl: Duration,
    ) -> Result<SessionId, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// False when the session has expired or was replaced: the process must stop working and register anew.
    pub async fn renew_session(
        &self,
        session: SessionId,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Ends the session at a clean stop; its running operations may be claimed at once.
    pub async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn list_conductors(&self) -> Result<Vec<ConductorRow>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- operations
    /// Opens an operation and applies the node change (which makes the state transition) in one transaction. `Locked`/`OperationOpen` when one is open.
    pub async fn submit(
        &self,
        node: NodeId,
        operation: NewOperation,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_open_operation(&self, node: NodeId) -> Result<Option<Operation>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Stores a signal to the open operation of the node together with a node change (heartbeat columns). False when none is open (the change is made all the same).
    pub async fn signal(
        &self,
        node: NodeId,
        kind: SignalKind,
        payload: Value,
        change: Option<NodeChange>,
        timeline: Vec<TimelineEvent>,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Claims up to `limit` due operations of known flows: ready; waiting with wake_at <= now, deadline_at <= now, or an unconsumed signal; running under a session that has expired. Raises fence and attempt, sets owner, status running and the node's reservation. Refused (empty) when the session has expired.
    pub async fn claim(
        &self,
        session: SessionId,
        flows: &[(&'static str, i32)],
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Earliest wake_at/deadline_at of open operations that are not running, for the engine's sleep.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Saves an outcome: guarded by session and fence (`LeaseLost`). Applies the change, stores timeline and history, releases the lease (reservation) unless status is Running, consumes signals.
    pub async fn save_outcome(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        update: OperationUpdate,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
        history: Vec<HistoryRow>,
    ) -> Result<Node, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Guarded write in the middle of a phase (progress, power state seen): changes the node and the timeline, keeps the lease.
    pub async fn save_progress(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Still ours? Checked before a destructive device call.
    pub async fn holds_lease(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// A panic record: names the operation, so that its third death by panic fails it. Returns the count.
    pub async fn record_panic(
        &self,
        operation: OperationId,
        text: &str,
    ) -> Result<i32, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// A conductor's write to a node without an operation (power sync): refused with `Locked` while an operation is open.
    pub async fn update_idle_node(
        &self,
        session: SessionId,
        node: NodeId,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Open operations per status, for capacity and metrics.
    pub async fn count_open_operations(&self, flow: &str) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- timeline, history
    pub async fn add_timeline(
        &self,
        node: NodeId,
        events: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Newest last; at most `limit` newest, after row id `after` when given; with row ids.
    pub async fn list_timeline(
        &self,
        node: NodeId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, TimelineEvent)>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn add_history(&self, rows: Vec<HistoryRow>) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn list_history(
        &self,
        node: NodeId,
        page: &Page,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    // ---- boot rows, DHCP leases
    pub async fn set_boot(&self, row: &BootRow) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn get_boot(&self, node: NodeId) -> Result<Option<BootRow>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn clear_boot(&self, node: NodeId) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// The address of this MAC in this network: the one it has (renewed), or `reserved`, or the first free (or longest expired) of the range; never the same address twice. `None` when the range is exhausted.
    pub async fn lease_address(
        &self,
        network: &str,
        mac: MacAddress,
        first: std::net::Ipv4Addr,
        last: std::net::Ipv4Addr,
        excluded: &[std::net::Ipv4Addr],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<DhcpLease>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Same, but only looks.
    pub async fn get_lease(
        &self,
        network: &str,
        mac: MacAddress,
    ) -> Result<Option<DhcpLease>, StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    pub async fn release_lease(&self, network: &str, mac: MacAddress) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
    /// Address that another host answered for (DHCPDECLINE): not given again before `until`.
    pub async fn quarantine_address(
        &self,
        network: &str,
        address: std::net::Ipv4Addr,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        Err(StoreError::Internal("not written".into()))
    }
}
