//! Disk images on their way to a disk: what a file is, how big it becomes, where its bytes belong.
//!
//! An image is placed in one sequential pass over its bytes: every byte is hashed, and what it means is handed to a
//! [`BlockSink`]. A qcow2 needs its tables first ([`Qcow2Map::read`], by ranges); raw needs nothing. Memory stays bounded
//! whatever the image says of itself.
//!
//! This crate must never follow a name that it finds inside an image (a backing file, an external data file): such images
//! are refused. It knows no HTTP, no nodes and no block devices; callers bring a [`RangeSource`] and a [`BlockSink`].
//!
//! Specification: the qcow2 format as published in QEMU's documentation (docs/interop/qcow2); the other formats are only
//! recognised, by their magic.

mod bytes_at;
mod checksum;
mod convert;
mod error;
mod format;
pub mod fuzz;
mod place;
mod qcow2;
mod raw;
mod sink;
mod source;

pub use checksum::{Algorithm, Checksum, Hasher};
pub use convert::{Converted, convert_to_raw, inspect_source, virtual_size};
pub use error::{Class, Error, Refusal};
pub use format::{Format, HEAD_LEN, inspect};
pub use place::{Placed, Placer};
pub use qcow2::{Compression, Limits, Qcow2Header, Qcow2Map, Qcow2Placer};
pub use raw::{RAW_FORMATS, RawPlacer};
pub use sink::{BlockSink, SparseFile};
pub use source::{FileSource, RangeSource};
