//! The store: SQLite by default, PostgreSQL for several controllers.
//!
//! Only this crate contains SQL and names sqlx and rusqlite; transactions never leave it and nothing but SQL is awaited
//! inside one. A write is a *command*: a re-runnable function over a transaction, with all the reads that
//! it decides by inside. On SQLite one writer task batches commands (SAVEPOINT each) and acknowledges
//! after the commit; on PostgreSQL commands run SERIALIZABLE and are retried on 40001 and 40P01.
//!
//! The store knows nothing of HTTP, drivers, flows or the network.

pub mod admin;
mod allocation;
mod bios;
mod boot;
mod chassis;
mod db;
pub mod document;
mod error;
mod failure;
mod figures;
mod firmware;
mod inventory;
mod lease;
mod list;
mod network;
mod node;
mod node_list;
mod operation;
mod outbox;
mod port;
mod portgroup;
mod reader;
mod requester;
mod resource;
pub mod secrets;
mod session;
mod sql;
mod steps;
mod store;
mod stranger;
pub mod testing;
mod timeline;
mod types;
mod volume_connector;
mod volume_target;
mod writer;

pub use allocation::{AllocationFilter, AllocationRetry, Backfill};
pub use boot::{MEDIA_BOOTLOADER, MediaSecret};
pub use error::StoreError;
pub use figures::Figures;
pub use outbox::{Announcement, Message, MessageKind, OutboxSettings, ReceiverRow};
pub use requester::Requester;
pub use resource::Change;
pub use secrets::{KeyError, Keys};
pub use store::Store;
pub use stranger::Stranger;
pub use types::{
    Able, BiosRow, BootKind, BootRow, Claimed, ConductorRow, DhcpLease, FirmwareRow, HistoryRow,
    Network, NetworkChange, NewOperation, NodeChange, NodeFilter, NodeRow, NodeRowRef, Operation,
    OperationStatus, OperationUpdate, Page, Point, PortFilter, PortgroupFilter, RpcAddress,
    Settings, ShardCount, Signal, SignalKind, SortDirection, Synced, TimelineEvent, TimelineSource,
    VolumeFilter, WriteProbe,
};
