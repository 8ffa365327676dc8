//! What goes in and out of the store besides the model's own types.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::provision::ProvisionState;
use bessemer_model::{
    Fault, HistoryId, MacAddress, Node, NodeId, OperationId, Port, Portgroup, PortgroupId,
    SessionId, Timestamp,
};
use futures_util::future::BoxFuture;
use serde_json::Value;

/// Where the database is.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite:///absolute/path` or `postgresql://…` (unix socket by `?host=/dir`). Upstream's `[database] connection`.
    pub connection: String,
    /// Readers at once.
    pub readers: u32,
    /// How long a write waits for its turn before [`crate::StoreError::Unavailable`].
    pub busy_timeout: Duration,
    /// What secrets of nodes are encrypted with at rest.
    pub secrets: Arc<crate::Keys>,
    /// What others are told, and to whom; `None` = nobody is told anything.
    pub outbox: Option<Arc<crate::OutboxSettings>>,
    /// Only for tests: called before and after every stored write.
    pub probe: Option<Arc<dyn WriteProbe>>,
}

/// Called around every write command, so that a crash test can stop the world there.
pub trait WriteProbe: Send + Sync {
    /// `command` is the command's stable name. A future that never ends stops the caller there.
    fn at(&self, command: &'static str, point: Point) -> BoxFuture<'static, ()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeWrite,
    /// The commit is durable, the caller does not know yet.
    AfterCommit,
}

/// A change of a node as a re-runnable function: it runs inside the transaction on the row as it is then,
/// maybe several times, and must have no effect but on its argument. The store finds out which columns
/// changed, raises the revision and `updated_at`, and rewrites the document only when it has to.
pub type NodeChange = Arc<dyn Fn(&mut Node) -> Result<(), Fault> + Send + Sync>;

// ---- lists ------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortDirection {
    #[default]
    Ascending,
    Descending,
}

/// A page of a list. Keyset paging: rows after `marker` in the order of (`sort_key`, id).
/// NULLs sort first, text by code point, the internal id breaks ties.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most this many rows; 1..=1000.
    pub limit: u32,
    /// uuid of the last row of the page before.
    pub marker: Option<String>,
    /// A column of the resource; `id` = order of creation. The API has checked it against its own list.
    pub sort_key: Option<String>,
    pub direction: SortDirection,
}

/// Filters of `GET /v1/nodes`; all that are given must hold.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    pub chassis: Option<String>,
    pub instance_uuid: Option<String>,
    pub instance_name: Option<String>,
    pub associated: Option<bool>,
    pub maintenance: Option<bool>,
    pub retired: Option<bool>,
    pub provision_states: Option<Vec<ProvisionState>>,
    pub driver: Option<String>,
    pub resource_class: Option<String>,
    pub fault: Option<String>,
    pub conductor_group: Option<String>,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    /// Owner or lessee.
    pub project: Option<String>,
    pub description_contains: Option<String>,
    pub shards: Option<Vec<String>>,
    pub sharded: Option<bool>,
    pub parent_node: Option<NodeId>,
    /// Children are hidden unless this or `parent_node` is given.
    pub include_children: bool,
}

#[derive(Debug, Clone, Default)]
pub struct PortFilter {
    pub node: Option<NodeId>,
    pub address: Option<MacAddress>,
    pub portgroup: Option<PortgroupId>,
    pub description_contains: Option<String>,
    /// Of the node.
    pub shards: Option<Vec<String>>,
    pub conductor_groups: Option<Vec<String>>,
    /// Owner or lessee of the node.
    pub project: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct PortgroupFilter {
    pub node: Option<NodeId>,
    pub address: Option<MacAddress>,
    /// Of the node.
    pub shards: Option<Vec<String>>,
    pub conductor_groups: Option<Vec<String>>,
    /// Owner or lessee of the node.
    pub project: Option<String>,
}

/// Filters of volume connectors and volume targets.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    pub node: Option<NodeId>,
    /// Owner or lessee of the node.
    pub project: Option<String>,
}

/// A node with its ports and port groups, as they are within one transaction.
#[derive(Debug, Clone)]
pub struct Network {
    pub node: Node,
    pub ports: Vec<Port>,
    pub portgroups: Vec<Portgroup>,
}

/// A change of several ports and port groups of a node at once; as [`NodeChange`]. The node itself is only
/// read, and no row comes or goes.
pub type NetworkChange = Arc<dyn Fn(&mut Network) -> Result<(), Fault> + Send + Sync>;

/// What storing a whole set of settings or components did, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    pub created: Vec<String>,
    pub updated: Vec<String>,
    pub removed: Vec<String>,
}

/// A firmware component with what the store adds.
#[derive(Debug, Clone, PartialEq)]
pub struct FirmwareRow {
    pub component: bessemer_model::FirmwareComponent,
    /// The version at which it was seen first.
    pub initial_version: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// A BIOS setting with the times at which it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct BiosRow {
    pub setting: bessemer_model::BiosSetting,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// How many nodes a shard has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCount {
    /// `None`: the nodes that are in no shard.
    pub shard: Option<String>,
    pub nodes: u64,
}

/// A node as lists and single answers show it: the stored document (masked, serialised members) and the
/// volatile columns that are spliced in at output.
#[derive(Debug, Clone)]
pub struct NodeRow {
    pub id: NodeId,
    /// Serialised members: see `document.rs`. Iterate with `document::members`.
    pub document: bytes::Bytes,
    /// The members that change often, in the same layout.
    pub volatile: bytes::Bytes,
    pub provision_state: ProvisionState,
}

/// A [`NodeRow`] while its statement runs.
#[derive(Debug, Clone, Copy)]
pub struct NodeRowRef<'r> {
    /// The UUID as text.
    pub id: &'r str,
    pub document: &'r [u8],
    pub volatile: &'r [u8],
    pub provision_state: ProvisionState,
}

impl<'r> NodeRowRef<'r> {
    /// Every member with its JSON, each once, in no particular order.
    pub fn members(self) -> impl Iterator<Item = (bessemer_model::NodeField, &'r [u8])> {
        crate::document::members(self.document).chain(crate::document::members(self.volatile))
    }
}

// ---- operations -------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationStatus {
    /// May be claimed now.
    Ready,
    /// A session holds the lease.
    Running,
    /// May be claimed at `wake_at`, or when a signal comes.
    Waiting,
    /// Closed, reached its end.
    Finished,
    /// Closed, failed.
    Failed,
}

impl OperationStatus {
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::Running,
        Self::Waiting,
        Self::Finished,
        Self::Failed,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Waiting)
    }
}

/// One run of a verb on a node: the durable row. At most one open operation per node (unique index).
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: OperationId,
    pub node: NodeId,
    pub flow: String,
    pub flow_version: i32,
    pub phase: String,
    /// Claims since the last outcome: counted in the claim, reset by an outcome.
    pub attempt: i32,
    pub status: OperationStatus,
    /// What the client asked for; never changes.
    pub args: Value,
    /// The phases' own typed, versioned data.
    pub data: Value,
    pub wake_at: Option<Timestamp>,
    /// When the present wait is given up.
    pub deadline_at: Option<Timestamp>,
    /// Why it waits or retries, in words; shown to the operator.
    pub reason: Option<String>,
    pub owner: Option<SessionId>,
    pub fence: i64,
    /// Deaths that left a panic record naming this operation.
    pub panics: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The row came from a backup then, and nobody has looked yet at how far the device has come since the backup.
    pub restored_at: Option<Timestamp>,
}

/// What a conductor can work on.
#[derive(Debug, Clone, Default)]
pub struct Able {
    /// Flows with their versions.
    pub flows: Vec<(&'static str, i32)>,
    /// Conductor group of the nodes, in lower case, and drivers that are left to others; `None` = all nodes.
    pub nodes: Option<(String, Vec<String>)>,
}

impl From<&[(&'static str, i32)]> for Able {
    fn from(flows: &[(&'static str, i32)]) -> Self {
        Self {
            flows: flows.to_vec(),
            nodes: None,
        }
    }
}

impl<const N: usize> From<&[(&'static str, i32); N]> for Able {
    fn from(flows: &[(&'static str, i32); N]) -> Self {
        Self::from(flows.as_slice())
    }
}

/// A claimed operation with what the engine needs to run one phase of it.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub operation: Operation,
    pub node: Node,
    /// Unconsumed signals, oldest first.
    pub signals: Vec<Signal>,
}

/// A new operation to open.
#[derive(Debug, Clone)]
pub struct NewOperation {
    pub id: OperationId,
    pub flow: String,
    pub flow_version: i32,
    pub phase: String,
    pub args: Value,
    pub data: Value,
}

/// What one run of a phase leaves behind. Saved with the node change, guarded by session and fence.
#[derive(Debug, Clone)]
pub struct OperationUpdate {
    pub status: OperationStatus,
    /// May also switch the flow (delete goes on as clean).
    pub flow: String,
    pub flow_version: i32,
    pub phase: String,
    pub data: Value,
    pub wake_at: Option<Timestamp>,
    pub deadline_at: Option<Timestamp>,
    pub reason: Option<String>,
    /// A `Retry` keeps the count of attempts, every other outcome resets it to 0.
    pub keep_attempts: bool,
    /// Signals that this run has dealt with.
    pub consumed: Vec<i64>,
    /// Of a row from a backup: it is still not known how far the device has come.
    pub still_restored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    Heartbeat,
    Abort,
    Unhold,
    /// Something else happened that the phase may want to look at (command finished, port appeared).
    Wake,
    /// The ramdisk has sent what it found: `{"inventory": {…}, "plugin_data": {…}}`.
    Inspection,
}

impl SignalKind {
    pub const ALL: [Self; 5] = [
        Self::Heartbeat,
        Self::Abort,
        Self::Unhold,
        Self::Wake,
        Self::Inspection,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Abort => "abort",
            Self::Unhold => "unhold",
            Self::Wake => "wake",
            Self::Inspection => "inspection",
        }
    }
}

/// A stored signal to an open operation.
#[derive(Debug, Clone)]
pub struct Signal {
    pub id: i64,
    pub kind: SignalKind,
    pub payload: Value,
    pub at: Timestamp,
}

// ---- timeline, history ------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineSource {
    Api,
    State,
    Engine,
    Dhcp,
    Tftp,
    Http,
    Bmc,
    Agent,
    Image,
}

impl TimelineSource {
    pub const ALL: [Self; 9] = [
        Self::Api,
        Self::State,
        Self::Engine,
        Self::Dhcp,
        Self::Tftp,
        Self::Http,
        Self::Bmc,
        Self::Agent,
        Self::Image,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::State => "state",
            Self::Engine => "engine",
            Self::Dhcp => "dhcp",
            Self::Tftp => "tftp",
            Self::Http => "http",
            Self::Bmc => "bmc",
            Self::Agent => "agent",
            Self::Image => "image",
        }
    }
}

/// One line of a node's timeline. `text` is a sentence without secrets.
#[derive(Debug, Clone)]
pub struct TimelineEvent {
    pub at: Timestamp,
    pub source: TimelineSource,
    pub text: String,
    pub data: Option<Value>,
}

/// An entry of `GET /v1/nodes/{ident}/history`.
#[derive(Debug, Clone)]
pub struct HistoryRow {
    pub id: HistoryId,
    pub node: NodeId,
    pub conductor: Option<String>,
    pub created_at: Timestamp,
    /// `ERROR` or `INFO`.
    pub severity: String,
    pub event_type: String,
    pub event: String,
    /// Who asked for what led to it.
    pub user: Option<String>,
    pub project: Option<String>,
    /// The node's provision state when it happened.
    pub state: Option<String>,
    pub target_provision_state: Option<String>,
    /// How long the node had been in that state.
    pub duration_seconds: Option<i64>,
}

// ---- conductors, boot, DHCP -------------------------------------------------------------------------

/// A conductor as `/v1/conductors` shows it, with the catalogue that the API validates drivers by.
#[derive(Debug, Clone)]
pub struct ConductorRow {
    pub hostname: String,
    pub conductor_group: String,
    /// Hardware types with their interfaces: `drivers::Catalogue` serialised. The store does not look inside.
    pub catalogue: Value,
    pub session: SessionId,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    /// Where it answers other processes' calls.
    pub rpc: Option<RpcAddress>,
}

/// How another process calls a conductor: made anew at each of its starts.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RpcAddress {
    /// `https://address:port`
    pub url: String,
    /// The certificate that it shows, PEM; exactly this one is trusted.
    pub certificate: String,
    /// What the caller says; secret.
    pub token: String,
}

impl RpcAddress {
    pub(crate) fn stored(&self) -> Value {
        serde_json::json!({"url": self.url, "certificate": self.certificate, "token": self.token})
    }

    pub(crate) fn read(stored: Option<Value>) -> Option<Self> {
        serde_json::from_value(stored?).ok()
    }
}

/// Without the token.
impl std::fmt::Debug for RpcAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcAddress")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootKind {
    /// The deploy ramdisk, for cleaning, deploying and inspecting.
    Ramdisk,
    /// The same from virtual media: nothing over the network but the image itself.
    VirtualMedia,
    /// The node's own disk.
    Local,
}

impl BootKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ramdisk => "ramdisk",
            Self::VirtualMedia => "vmedia",
            Self::Local => "local",
        }
    }
}

/// What a node boots next over the network. Drivers prepare it, netboot serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRow {
    pub node: NodeId,
    pub kind: BootKind,
    /// `file:///path` or `http://…`.
    pub kernel: Option<String>,
    pub ramdisk: Option<String>,
    /// Whole kernel command line apart from `BOOTIF` and `initrd=`.
    pub kernel_params: String,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpLease {
    pub network: String,
    pub address: std::net::Ipv4Addr,
    pub mac: MacAddress,
    pub expires_at: Timestamp,
}
