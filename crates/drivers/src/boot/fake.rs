//! Boot of a node that is not there.

use bessemer_model::InterfaceKind;

use crate::interface::{BootInterface, Interface};

pub struct FakeBoot;

impl Interface for FakeBoot {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Boot
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

impl BootInterface for FakeBoot {}
