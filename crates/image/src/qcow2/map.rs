//! Phase one: where in the file each piece of the disk lies.
//!
//! The map is bounded by [`Limits::table_memory`]; a table may be referenced once only, so that what is read stays below
//! the file's size. Every table's digest is kept, and the sequential pass proves that it saw the same tables: otherwise a
//! server could answer ranges from one image and the download, with its right checksum, from another.

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::Qcow2Header;
use crate::bytes_at::be64;
use crate::{Error, HEAD_LEN, RangeSource};

/// Bytes that one request for tables asks for at most (a single L2 table may be bigger: up to 2 MiB).
const GROUP: u64 = 1024 * 1024;
/// Requests for tables under way at once.
const CONCURRENT: usize = 4;

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZERO: u64 = 1;

/// What a caller is willing to spend on an image.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory for everything that is kept of the tables.
    pub table_memory: usize,
    /// Bytes of the target; a bigger image is refused before its tables are read.
    pub virtual_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            table_memory: 64 * 1024 * 1024,
            virtual_size: u64::MAX,
        }
    }
}

/// A run of the file that belongs to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Byte offset in the file.
    pub host: u64,
    /// Byte offset on the disk.
    pub guest: u64,
    /// Plain: bytes, in the file as on the disk. Compressed: bytes in the file at most; on the disk it is one cluster.
    len: u64,
}

const COMPRESSED_FLAG: u64 = 1 << 63;

impl Extent {
    fn plain(host: u64, guest: u64, len: u64) -> Self {
        Extent { host, guest, len }
    }

    fn compressed(host: u64, guest: u64, len: u64) -> Self {
        Extent {
            host,
            guest,
            len: len | COMPRESSED_FLAG,
        }
    }

    pub fn is_compressed(&self) -> bool {
        self.len & COMPRESSED_FLAG != 0
    }

    pub fn host_len(&self) -> u64 {
        self.len & !COMPRESSED_FLAG
    }

    pub fn host_end(&self) -> u64 {
        self.host.saturating_add(self.host_len())
    }
}

/// A run of tables and what it looked like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub host: u64,
    pub len: u64,
    pub digest: [u8; 32],
}

/// The layout of an image: everything that [`super::Qcow2Placer`] has to know beforehand.
#[derive(Clone, Debug)]
pub struct Qcow2Map {
    pub(super) header: Qcow2Header,
    pub(super) file_size: u64,
    /// In the order of the disk.
    pub(super) extents: Vec<Extent>,
    /// In the order of the file, disjoint.
    pub(super) tables: Vec<Table>,
}

impl Qcow2Map {
    /// [`Qcow2Map::read_within`] the default limits.
    pub async fn read(source: &dyn RangeSource) -> Result<Self, Error> {
        Self::read_within(source, &Limits::default()).await
    }

    /// Reads header, L1 and L2 tables.
    ///
    /// Errors: the header's ([`Qcow2Header::parse`]); [`Error::TooSmall`] when the disk exceeds the limit;
    /// [`Error::Length`] when the file ends before something that it refers to; [`Error::Malformed`] for impossible
    /// entries; [`Error::Unsupported`] when the tables exceed the memory limit; whatever the source says.
    pub async fn read_within(source: &dyn RangeSource, limits: &Limits) -> Result<Self, Error> {
        let file_size = source.size();
        let head_len = usize::try_from(file_size).unwrap_or(HEAD_LEN).min(HEAD_LEN);
        let head = source.read_at(0, head_len).await?;
        let header = Qcow2Header::parse(&head, Some(file_size))?;
        if header.virtual_size > limits.virtual_size {
            return Err(Error::TooSmall {
                needed: header.virtual_size,
                capacity: limits.virtual_size,
            });
        }
        let mut builder = Builder {
            header,
            file_size,
            extents: Vec::new(),
            tables: Vec::new(),
            budget: limits.table_memory,
        };
        let header_bytes = usize::try_from(builder.header.header_len)
            .ok()
            .and_then(|len| head.get(..len));
        builder.add_table(
            0,
            header_bytes
                .ok_or_else(|| Error::malformed("the file ends within the qcow2 header"))?,
        )?;
        let groups = builder.read_l1(source).await?;
        let reads = groups.into_iter().map(|group| async move {
            let bytes = source.read_at(group.host, group.len()?).await?;
            Ok::<_, Error>((group, bytes))
        });
        let mut reads = stream::iter(reads).buffered(CONCURRENT);
        while let Some((group, bytes)) = reads.try_next().await? {
            builder.add_l2_group(&group, &bytes)?;
        }
        drop(reads);
        builder.finish()
    }

    pub fn header(&self) -> &Qcow2Header {
        &self.header
    }

    /// Size of the disk in bytes.
    pub fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    /// Size of the file in bytes: what the sequential pass has to deliver.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Bytes of the disk that the image holds data for; the rest reads as zero.
    pub fn allocated(&self) -> u64 {
        self.extents
            .iter()
            .map(|e| self.guest_end(e).saturating_sub(e.guest))
            .sum()
    }

    /// Runs of the disk (offset, length in bytes) without data, in order.
    pub fn zero_ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        let mut extents = self.extents.iter();
        let mut over = false;
        std::iter::from_fn(move || {
            while !over {
                let (start, end) = match extents.next() {
                    Some(extent) => (extent.guest, self.guest_end(extent)),
                    None => {
                        over = true;
                        (self.virtual_size(), self.virtual_size())
                    }
                };
                let from = std::mem::replace(&mut at, end);
                if start > from {
                    return Some((from, start - from));
                }
            }
            None
        })
    }

    /// Memory that the map holds, in bytes.
    pub fn memory(&self) -> usize {
        self.extents.capacity() * size_of::<Extent>() + self.tables.capacity() * size_of::<Table>()
    }

    fn guest_end(&self, extent: &Extent) -> u64 {
        let len = if extent.is_compressed() {
            self.header.cluster_size()
        } else {
            extent.host_len()
        };
        extent.guest.saturating_add(len).min(self.virtual_size())
    }
}

/// L2 tables that lie behind each other in the file.
struct Group {
    host: u64,
    /// L1 index of each table.
    indexes: Vec<u64>,
    table_len: u64,
}

impl Group {
    fn len(&self) -> Result<usize, Error> {
        let len = self
            .table_len
            .checked_mul(self.indexes.len() as u64)
            .and_then(|len| usize::try_from(len).ok());
        len.ok_or_else(|| Error::malformed("L2 tables too long"))
    }
}

struct Builder {
    header: Qcow2Header,
    file_size: u64,
    extents: Vec<Extent>,
    tables: Vec<Table>,
    /// Bytes of memory left.
    budget: usize,
}

impl Builder {
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            Error::unsupported("the qcow2 tables are too big to be kept in memory; use larger clusters or a raw image")
        })?;
        Ok(())
    }

    fn add_table(&mut self, host: u64, bytes: &[u8]) -> Result<(), Error> {
        grow(&mut self.tables, &mut self.budget)?;
        self.tables.push(Table {
            host,
            len: bytes.len() as u64,
            digest: Sha256::digest(bytes).into(),
        });
        Ok(())
    }

    async fn read_l1(&mut self, source: &dyn RangeSource) -> Result<Vec<Group>, Error> {
        let needed = self.header.l1_needed();
        let bytes = usize::try_from(needed.saturating_mul(8))
            .map_err(|_| Error::malformed("L1 table too long"))?;
        // the table itself, and at worst one group for each entry
        self.spend(bytes)?;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let l1 = source.read_at(self.header.l1_offset, bytes).await?;
        self.add_table(self.header.l1_offset, &l1)?;
        let cluster = self.header.cluster_size();
        let mut groups: Vec<Group> = Vec::new();
        for index in 0..needed {
            let entry = usize::try_from(index * 8).ok().and_then(|at| be64(&l1, at));
            let entry = entry.ok_or_else(|| Error::malformed("L1 table too short"))?;
            let host = entry & OFFSET_MASK;
            if host == 0 {
                continue;
            }
            self.check_cluster("L2 table", host, cluster)?;
            self.spend(8)?;
            match groups.last_mut() {
                Some(group)
                    if group.host.checked_add(cluster * group.indexes.len() as u64)
                        == Some(host)
                        && cluster * (group.indexes.len() as u64 + 1) <= GROUP =>
                {
                    group.indexes.push(index);
                }
                _ => {
                    self.spend(size_of::<Group>())?;
                    groups.push(Group {
                        host,
                        indexes: vec![index],
                        table_len: cluster,
                    });
                }
            }
        }
        Ok(groups)
    }

    fn add_l2_group(&mut self, group: &Group, bytes: &[u8]) -> Result<(), Error> {
        let table_len =
            usize::try_from(group.table_len).map_err(|_| Error::malformed("L2 table too long"))?;
        if bytes.len() != group.len()? {
            return Err(Error::Length {
                expected: group.len()? as u64,
                received: bytes.len() as u64,
            });
        }
        self.add_table(group.host, bytes)?;
        for (index, table) in group
            .indexes
            .iter()
            .zip(bytes.chunks_exact(table_len.max(1)))
        {
            self.add_l2(*index, table)?;
        }
        Ok(())
    }

    fn add_l2(&mut self, index: u64, table: &[u8]) -> Result<(), Error> {
        let cluster = self.header.cluster_size();
        let mut guest = index * self.header.l2_coverage();
        let step = if self.header.extended_l2 { 16 } else { 8 };
        for entry in table.chunks_exact(step) {
            if guest >= self.header.virtual_size {
                break;
            }
            let word = be64(entry, 0).unwrap_or(0);
            if word & COMPRESSED != 0 {
                self.add_compressed(word, guest)?;
            } else if self.header.extended_l2 {
                self.add_subclusters(word, be64(entry, 8).unwrap_or(0), guest)?;
            } else if word & ALL_ZERO != 0 {
                if self.header.version < 3 {
                    return Err(Error::malformed("a zero cluster in a version 2 image"));
                }
            } else if word & OFFSET_MASK != 0 {
                self.add_plain(word & OFFSET_MASK, guest, cluster)?;
            }
            guest += cluster;
        }
        Ok(())
    }

    fn add_subclusters(&mut self, word: u64, bitmap: u64, guest: u64) -> Result<(), Error> {
        let (host, sub) = (word & OFFSET_MASK, self.header.cluster_size() / 32);
        for i in 0..32 {
            let (data, zero) = (bitmap >> i & 1 != 0, bitmap >> (32 + i) & 1 != 0);
            if data && (zero || host == 0) {
                return Err(Error::malformed(format!(
                    "subcluster {i} at byte {guest} is data and is not"
                )));
            }
            let at = guest.saturating_add(i * sub);
            if data && at < self.header.virtual_size {
                self.check_alignment("data cluster", host)?;
                self.add_plain(host.saturating_add(i * sub), at, sub)?;
            }
        }
        Ok(())
    }

    fn add_plain(&mut self, host: u64, guest: u64, len: u64) -> Result<(), Error> {
        let len = len.min(self.header.virtual_size.saturating_sub(guest));
        if !self.header.extended_l2 {
            self.check_alignment("data cluster", host)?;
        }
        self.check_end(host, len)?;
        if let Some(last) = self.extents.last_mut() {
            let whole = last.host_len();
            if !last.is_compressed()
                && last.host.checked_add(whole) == Some(host)
                && last.guest + whole == guest
            {
                last.len += len;
                return Ok(());
            }
        }
        self.push(Extent::plain(host, guest, len))
    }

    /// A compressed cluster's descriptor: byte offset below, number of further 512-byte sectors above it.
    fn add_compressed(&mut self, word: u64, guest: u64) -> Result<(), Error> {
        let sector_bits = self.header.cluster_bits - 8;
        let offset_bits = 62 - sector_bits;
        let host = word & ((1 << offset_bits) - 1);
        let sectors = (word >> offset_bits) & ((1 << sector_bits) - 1);
        let len = (sectors + 1) * 512 - (host & 511);
        // the last sector of a file need not be whole
        let len = match self.file_size.checked_sub(host) {
            Some(left) if left > 0 && len < left.saturating_add(512) => len.min(left),
            _ => {
                return Err(Error::Length {
                    expected: host.saturating_add(len),
                    received: self.file_size,
                });
            }
        };
        self.push(Extent::compressed(host, guest, len))
    }

    fn push(&mut self, extent: Extent) -> Result<(), Error> {
        grow(&mut self.extents, &mut self.budget)?;
        self.extents.push(extent);
        Ok(())
    }

    fn check_alignment(&self, what: &str, host: u64) -> Result<(), Error> {
        if host & (self.header.cluster_size() - 1) != 0 {
            return Err(Error::malformed(format!(
                "the {what} at byte {host} is not at a cluster"
            )));
        }
        Ok(())
    }

    fn check_end(&self, host: u64, len: u64) -> Result<(), Error> {
        let end = host.saturating_add(len);
        if end > self.file_size {
            return Err(Error::Length {
                expected: end,
                received: self.file_size,
            });
        }
        Ok(())
    }

    fn check_cluster(&self, what: &str, host: u64, len: u64) -> Result<(), Error> {
        self.check_alignment(what, host)?;
        self.check_end(host, len)
    }

    fn finish(mut self) -> Result<Qcow2Map, Error> {
        self.tables.sort_unstable_by_key(|table| table.host);
        for pair in self.tables.windows(2) {
            if let [a, b] = pair
                && a.host.saturating_add(a.len) > b.host
            {
                return Err(Error::malformed(format!(
                    "two tables share byte {}",
                    b.host
                )));
            }
        }
        Ok(Qcow2Map {
            header: self.header,
            file_size: self.file_size,
            extents: self.extents,
            tables: self.tables,
        })
    }
}

/// Makes room for one more, by a quarter, within the budget.
fn grow<T>(items: &mut Vec<T>, budget: &mut usize) -> Result<(), Error> {
    if items.len() < items.capacity() {
        return Ok(());
    }
    let more = (items.len() / 4).max(64);
    let bytes = more * size_of::<T>();
    *budget = budget.checked_sub(bytes).ok_or_else(|| {
        Error::unsupported(
            "the qcow2 tables are too big to be kept in memory; use larger clusters or a raw image",
        )
    })?;
    items.reserve_exact(more);
    Ok(())
}
