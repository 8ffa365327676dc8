//! `no-firmware`: for boards whose firmware is updated by other means.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, FirmwareInterface, Interface, unsupported};

pub struct NoFirmware;

impl Interface for NoFirmware {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Firmware
    }

    fn name(&self) -> &'static str {
        "no-firmware"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl FirmwareInterface for NoFirmware {}
