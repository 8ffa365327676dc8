//! qcow2, read only and in one pass: header and tables by ranges first, then the file's bytes in order.
//!
//! Never reads a backing file or an external data file, never decrypts, never repairs. Only the active layer is placed;
//! internal snapshots are passed over. Specification: QEMU's docs/interop/qcow2.

mod header;
mod map;
mod placer;

pub use header::{Compression, Qcow2Header};
pub use map::{Limits, Qcow2Map};
pub use placer::Qcow2Placer;
