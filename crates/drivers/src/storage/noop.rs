//! `noop`: the node has its own disks only.

use bessemer_model::InterfaceKind;

use crate::interface::{Interface, StorageInterface};

pub struct NoopStorage;

impl Interface for NoopStorage {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Storage
    }

    fn name(&self) -> &'static str {
        "noop"
    }
}

impl StorageInterface for NoopStorage {}
