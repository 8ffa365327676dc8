//! What can go wrong in the store, by what a caller can do about it.

use bessemer_model::{Fault, NodeId};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The row does not exist (any more).
    #[error("{what} {id} could not be found.")]
    NotFound { what: &'static str, id: String },
    /// A unique index refused the row. `field` is `uuid`, `name`, `instance_uuid` or `address`.
    #[error("A {what} with {field} {value} already exists.")]
    Duplicate {
        what: &'static str,
        field: &'static str,
        value: String,
    },
    /// The row was changed since the caller read it.
    #[error("Node {node} was changed by someone else since it was read; read it again and retry.")]
    Changed { node: NodeId },
    /// A conductor holds the lease of the node's running operation. Upstream's text, which clients match.
    #[error(
        "Node {node} is locked by host {holder}, please retry after the current operation is completed."
    )]
    Locked { node: String, holder: String },
    /// The node already has an open operation.
    #[error("Node {node} already has an operation in progress ({flow}); wait for it or abort it.")]
    OperationOpen { node: NodeId, flow: String },
    /// A change refused by its own rules; passed through to whoever gave the change.
    #[error("{0}")]
    Refused(Fault),
    /// Session expired or the operation was claimed by another: the caller must stop touching it.
    #[error("the lease of operation {operation} is lost (fence {fence}): another conductor has it")]
    LeaseLost { operation: String, fence: i64 },
    /// A secret that cannot be decrypted. `what` is the member and the row.
    #[error("the secret {what} cannot be read: {why}")]
    Sealed { what: String, why: String },
    /// The schema is older or newer than this program's.
    #[error("{0}")]
    Schema(String),
    /// A backup cannot be made, read or restored; nothing was changed.
    #[error("{0}")]
    Backup(String),
    /// The disk is full, the file is read-only, an I/O error: nothing was written.
    #[error(
        "the database cannot be written: {0}; check free space and permissions of the data directory"
    )]
    Storage(String),
    /// The database did not answer in time or refuses connections.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Anything else that the engine said; a bug of ours.
    #[error("database: {0}")]
    Internal(String),
}
