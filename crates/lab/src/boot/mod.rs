//! What a host does from power on until something boots: DHCP as firmware and as iPXE, TFTP, boot scripts, HTTP.

pub mod cd;
pub mod dhcp;
pub mod fetch;
pub mod ipxe;
pub mod tftp;
