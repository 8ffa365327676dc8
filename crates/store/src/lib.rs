//! The store: SQLite by default, PostgreSQL for several controllers.
//!
//! Only this crate contains SQL and names sqlx and rusqlite; transactions never leave it and nothing but SQL is awaited
//! inside one. A write is a *command*: a re-runnable function over a transaction, with all the reads that
//! it decides by inside. On SQLite one writer task batches commands (SAVEPOINT each) and acknowledges
//! after the commit; on PostgreSQL commands run SERIALIZABLE and are retried on 40001 and 40P01.
//!
//! The store knows nothing of HTTP, drivers, flows or the network.

mod boot;
mod chassis;
mod db;
pub mod document;
mod error;
mod failure;
mod lease;
mod list;
mod node;
mod node_list;
mod operation;
mod port;
mod reader;
mod requester;
mod session;
mod sql;
mod store;
pub mod testing;
mod timeline;
mod types;
mod writer;

pub use error::StoreError;
pub use requester::Requester;
pub use store::Store;
pub use types::{
    BootKind, BootRow, Claimed, ConductorRow, DhcpLease, HistoryRow, NewOperation, NodeChange,
    NodeFilter, NodeRow, NodeRowRef, Operation, OperationStatus, OperationUpdate, Page, Point,
    PortFilter, Settings, Signal, SignalKind, SortDirection, TimelineEvent, TimelineSource,
    WriteProbe,
};
