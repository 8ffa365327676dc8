//! `no-vendor`: for hardware without methods of its own.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, Interface, VendorInterface, unsupported};

pub struct NoVendor;

impl Interface for NoVendor {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Vendor
    }

    fn name(&self) -> &'static str {
        "no-vendor"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl VendorInterface for NoVendor {}
