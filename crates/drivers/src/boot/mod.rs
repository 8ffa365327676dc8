//! Implementations of the boot interface.

pub mod fake;
pub mod ipxe;
pub mod pxe;
pub mod redfish_virtual_media;
