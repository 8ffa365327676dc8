//! Erasing what a disk says of itself: tables, superblocks, labels. The data stays; this is metadata cleaning, quick on
//! any size, and it must leave nothing by which an old system, array or volume could come to life again.

use crate::signature::{Found, signatures_in};
use crate::storage;
use crate::table::all_partitions;
use crate::{Error, Storage};

/// Bytes zeroed at both ends of the disk and of each partition. Covers every end-of-disk RAID format, the first and last
/// ZFS labels, VMFS at 1 and 2 MiB, and 33 sectors of GPT many times over.
const SPAN: u64 = 4 * 1024 * 1024;

/// What [`wipe_metadata`] came across.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiped {
    /// Marks that were there before, on the disk and in its partitions.
    pub found: Vec<Found>,
    /// Partitions that any of the tables spoke of.
    pub partitions: usize,
}

/// Zeroes both ends and every known mark, in each partition first and then on the disk itself, and looks again.
///
/// The tables go last: an interrupted wipe still knows the partitions when it is repeated.
/// Errors: [`Error::Io`]; [`Error::Remains`] when a mark can still be read afterwards.
pub fn wipe_metadata(storage: &mut dyn Storage) -> Result<Wiped, Error> {
    let mut regions = all_partitions(storage)?;
    let partitions = regions.len();
    regions.push((0, storage.size()));
    // from the end: logical partitions before the extended one whose first sector begins their chain, the disk last
    regions.sort_unstable_by(|a, b| b.cmp(a));
    let mut found = Vec::new();
    for (start, len) in &regions {
        found.extend(signatures_in(storage, *start, *len)?);
    }
    for (start, len) in &regions {
        for mark in found
            .iter()
            .filter(|mark| mark.offset >= *start && mark.offset - *start < *len)
        {
            storage::zero(storage, mark.offset, mark.len)?;
        }
        wipe_range_ends(storage, *start, *len)?;
    }
    storage::flush(storage)?;
    for (start, len) in regions {
        if let Some(rest) = signatures_in(storage, start, len)?.first() {
            return Err(Error::Remains {
                what: rest.what,
                offset: rest.offset,
            });
        }
    }
    found.sort_unstable_by_key(|f| (f.offset, f.what));
    found.dedup();
    Ok(Wiped { found, partitions })
}

/// Zeroes the first and the last 4 MiB of a range (all of a smaller one), without looking at it.
pub fn wipe_range_ends(storage: &mut dyn Storage, start: u64, len: u64) -> Result<(), Error> {
    let len = len.min(storage.size().saturating_sub(start));
    if len <= 2 * SPAN {
        return storage::zero(storage, start, len);
    }
    storage::zero(storage, start, SPAN)?;
    storage::zero(storage, start.saturating_add(len - SPAN), SPAN)
}
