//! Implementations of the boot interface.

pub mod fake;
pub mod ipxe;
pub mod pxe;
