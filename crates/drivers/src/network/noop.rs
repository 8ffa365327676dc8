//! `noop`: the ports stay where they are, and VIFs are nobody's business.

use bessemer_model::InterfaceKind;

use crate::interface::{Interface, NetworkInterface};

pub struct NoopNetwork;

impl Interface for NoopNetwork {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Network
    }

    fn name(&self) -> &'static str {
        "noop"
    }
}

impl NetworkInterface for NoopNetwork {}
