//! The image as a whole: descriptors, path tables, directories of both trees, then the files' bytes once.

use crate::boot::{self, Boot};
use crate::record::{
    Moment, Target, alternate_name, both16, both32, directory_record, pack, pad, posix_attributes,
    rock_ridge_reference, susp_start,
};
use crate::tree::{Contents, Node, Tree, View};
use crate::{Error, SECTOR};

/// Zeroes behind what is booted: loaders read whole chunks, and firmware fails reads across the end of a disc. As many as
/// the usual writers add.
const BEHIND: u32 = 150;
/// Sectors before the first descriptor: the system area.
const SYSTEM_AREA: usize = 16;
const FOLDER_MODE: u32 = 0o040_555;
const FILE_MODE: u32 = 0o100_444;

/// Where the bytes of an image come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Bytes(Vec<u8>),
    /// The file of this number, as [`crate::Builder::add_outside`] counts them.
    Outside(usize),
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of its first byte within the image.
    pub offset: u64,
    pub len: u64,
    pub source: Source,
}

/// An image as parts that follow each other without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pieces: Vec<Piece>,
    len: u64,
}

impl Layout {
    /// Bytes of the whole image.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true: an image has its descriptors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn add_bytes(&mut self, more: impl IntoIterator<Item = u8>) {
        if !matches!(
            self.pieces.last(),
            Some(Piece {
                source: Source::Bytes(_),
                ..
            })
        ) {
            self.pieces.push(Piece {
                offset: self.len,
                len: 0,
                source: Source::Bytes(Vec::new()),
            });
        }
        if let Some(Piece {
            source: Source::Bytes(bytes),
            len,
            ..
        }) = self.pieces.last_mut()
        {
            bytes.extend(more);
            self.len = self.len - *len + bytes.len() as u64;
            *len = bytes.len() as u64;
        }
    }

    fn add_outside(&mut self, number: usize, len: u64) {
        if len > 0 {
            self.pieces.push(Piece {
                offset: self.len,
                len,
                source: Source::Outside(number),
            });
            self.len += len;
        }
    }

    fn pad(&mut self) {
        let rest = self.len % SECTOR as u64;
        if rest > 0 {
            let zeroes = usize::try_from(SECTOR as u64 - rest).unwrap_or(0);
            self.add_bytes(std::iter::repeat_n(0, zeroes));
        }
    }
}

pub(crate) fn layout(
    label: &str,
    publisher: &str,
    time: u32,
    boot: &Boot,
    tree: &mut Tree,
) -> Result<Layout, Error> {
    let moment = Moment::from_unix(time);
    let bootable = boot.is_some();
    // two descriptors of volumes and the terminator; El Torito's record is the second, its catalogue follows them all
    let descriptors = if bootable { 5 } else { 3 };
    let mut next = u32::try_from(SYSTEM_AREA + descriptors).map_err(|_| Error::TooLarge)?;
    // then for each view: two path tables and the directories; sizes do not depend on positions
    let mut views = Vec::new();
    for view in [View::Primary, View::Joliet] {
        let plan = Plan::new(view, tree, next)?;
        next = plan.end;
        views.push(plan);
    }
    let mut files = Vec::new();
    for contents in &tree.files {
        let len = u32::try_from(contents.len()).map_err(|_| Error::TooLarge)?;
        files.push(Target {
            extent: next,
            len,
            is_folder: false,
        });
        next = next
            .checked_add(len.div_ceil(SECTOR as u32))
            .ok_or(Error::TooLarge)?;
    }
    if bootable {
        next = next.checked_add(BEHIND).ok_or(Error::TooLarge)?;
    }
    if u64::from(next) * SECTOR as u64 > u64::from(u32::MAX) {
        return Err(Error::TooLarge);
    }

    let mut image = Layout::default();
    image.add_bytes(std::iter::repeat_n(0, SYSTEM_AREA * SECTOR));
    let mut catalogue = None;
    for (nth, plan) in views.iter().enumerate() {
        image.add_bytes(plan.descriptor(label, publisher, moment, next));
        if nth == 0 && bootable {
            let place = SYSTEM_AREA + descriptors - 1;
            image.add_bytes(boot::record(
                u32::try_from(place).map_err(|_| Error::TooLarge)?,
            ));
            catalogue = Some(boot.catalogue(tree, &files)?);
        }
    }
    let mut terminator = b"\xffCD001\x01".to_vec();
    pad(&mut terminator);
    image.add_bytes(terminator);
    image.add_bytes(catalogue.into_iter().flatten());
    for plan in &views {
        for order in [Order::Little, Order::Big] {
            let mut table = plan.path_table(tree, order);
            pad(&mut table);
            image.add_bytes(table);
        }
        for folder in &plan.order {
            image.add_bytes(pack(&plan.records(tree, *folder, &files, moment)));
        }
    }
    let mut outside = 0;
    for contents in std::mem::take(&mut tree.files) {
        match contents {
            Contents::Bytes(bytes) => image.add_bytes(bytes),
            Contents::Outside(len) => {
                image.add_outside(outside, len);
                outside += 1;
            }
        }
        image.pad();
    }
    if bootable {
        image.add_bytes(std::iter::repeat_n(0, BEHIND as usize * SECTOR));
    }
    Ok(image)
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

/// Where one view's tables and directories lie.
struct Plan {
    view: View,
    /// Folders in the order of the path table: by level, by parent, by name.
    order: Vec<usize>,
    /// By folder index.
    targets: Vec<Target>,
    /// Little-endian path table; the big-endian one follows it.
    path_table: u32,
    path_table_len: u32,
    path_table_sectors: u32,
    end: u32,
}

impl Plan {
    fn new(view: View, tree: &Tree, start: u32) -> Result<Self, Error> {
        let nowhere = Target {
            extent: 0,
            len: 0,
            is_folder: true,
        };
        let mut plan = Plan {
            view,
            order: vec![0],
            targets: vec![nowhere; tree.folders.len()],
            path_table: start,
            path_table_len: 0,
            path_table_sectors: 0,
            end: 0,
        };
        let mut at = 0;
        while let Some(folder) = plan
            .order
            .get(at)
            .and_then(|index| tree.folders.get(*index))
        {
            for entry in view.entries(folder) {
                if let Node::Folder(index) = entry.node {
                    plan.order.push(*index);
                }
            }
            at += 1;
        }
        // a path table numbers its entries in 16 bits
        if plan.order.len() > usize::from(u16::MAX) {
            return Err(Error::TooLarge);
        }
        plan.path_table_len = u32::try_from(plan.path_table(tree, Order::Little).len())
            .map_err(|_| Error::TooLarge)?;
        plan.path_table_sectors = plan.path_table_len.div_ceil(SECTOR as u32);
        let mut next = start
            .checked_add(2 * plan.path_table_sectors)
            .ok_or(Error::TooLarge)?;
        let placeholder = vec![nowhere; tree.files.len()];
        for index in plan.order.clone() {
            let bytes = pack(&plan.records(tree, index, &placeholder, Moment::from_unix(0)));
            let len = u32::try_from(bytes.len()).map_err(|_| Error::TooLarge)?;
            if let Some(target) = plan.targets.get_mut(index) {
                *target = Target {
                    extent: next,
                    len,
                    is_folder: true,
                };
            }
            next = next
                .checked_add(len / SECTOR as u32)
                .ok_or(Error::TooLarge)?;
        }
        plan.end = next;
        Ok(plan)
    }

    fn target(&self, folder: usize) -> Target {
        self.targets.get(folder).copied().unwrap_or(Target {
            extent: 0,
            len: 0,
            is_folder: true,
        })
    }

    /// The records of a folder: itself, its parent, its entries.
    fn records(&self, tree: &Tree, index: usize, files: &[Target], moment: Moment) -> Vec<Vec<u8>> {
        let Some(folder) = tree.folders.get(index) else {
            return Vec::new();
        };
        let links = |index: usize| {
            let folders = tree.folders.get(index).map_or(0, |f| f.folders());
            u32::try_from(folders).unwrap_or(u32::MAX).saturating_add(2)
        };
        let rock_ridge = |fields: Vec<Vec<u8>>| match self.view {
            View::Primary => fields.concat(),
            View::Joliet => Vec::new(),
        };
        let mut own = vec![posix_attributes(FOLDER_MODE, links(index))];
        if index == 0 {
            own.insert(0, susp_start());
            own.push(rock_ridge_reference());
        }
        let parent = vec![posix_attributes(FOLDER_MODE, links(folder.parent))];
        let mut records = vec![
            directory_record(self.target(index), moment, &[0], &rock_ridge(own)),
            directory_record(
                self.target(folder.parent),
                moment,
                &[1],
                &rock_ridge(parent),
            ),
        ];
        for entry in self.view.entries(folder) {
            let (target, attributes) = match entry.node {
                Node::Folder(index) => (
                    self.target(*index),
                    posix_attributes(FOLDER_MODE, links(*index)),
                ),
                Node::File(index) => match files.get(*index) {
                    Some(target) => (*target, posix_attributes(FILE_MODE, 1)),
                    None => continue,
                },
            };
            let fields = rock_ridge(vec![attributes, alternate_name(entry.name)]);
            records.push(directory_record(target, moment, &entry.identifier, &fields));
        }
        records
    }

    /// ECMA-119 9.4.
    fn path_table(&self, tree: &Tree, order: Order) -> Vec<u8> {
        let mut table = Vec::new();
        for index in &self.order {
            let parent = tree.folders.get(*index).map_or(0, |f| f.parent);
            let identifier = match (index, tree.folders.get(parent)) {
                (0, _) | (_, None) => vec![0],
                (_, Some(parent)) => self
                    .view
                    .entries(parent)
                    .into_iter()
                    .find(|entry| matches!(entry.node, Node::Folder(i) if i == index))
                    .map_or(vec![0], |entry| entry.identifier),
            };
            let number = self.order.iter().position(|i| *i == parent).unwrap_or(0) + 1;
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            let extent = self.target(*index).extent;
            table.extend([u8::try_from(identifier.len()).unwrap_or(u8::MAX), 0]);
            match order {
                Order::Little => {
                    table.extend(extent.to_le_bytes().into_iter().chain(number.to_le_bytes()))
                }
                Order::Big => {
                    table.extend(extent.to_be_bytes().into_iter().chain(number.to_be_bytes()))
                }
            }
            table.extend(&identifier);
            if !identifier.len().is_multiple_of(2) {
                table.push(0);
            }
        }
        table
    }

    /// The view's volume descriptor: primary (ECMA-119 8.4) or Joliet's supplementary one (8.5).
    fn descriptor(&self, label: &str, publisher: &str, moment: Moment, sectors: u32) -> Vec<u8> {
        let joliet = self.view == View::Joliet;
        let text = |text: &str, len: usize| -> Vec<u8> {
            if joliet {
                let space = " ".encode_utf16().cycle();
                text.encode_utf16()
                    .chain(space)
                    .take(len / 2)
                    .flat_map(u16::to_be_bytes)
                    .chain([0])
                    .take(len)
                    .collect()
            } else {
                text.bytes()
                    .chain(std::iter::repeat(b' '))
                    .take(len)
                    .collect()
            }
        };
        let mut d = vec![if joliet { 2 } else { 1 }];
        d.extend(b"CD001\x01\0");
        d.extend(text("LINUX", 32));
        d.extend(text(label, 32));
        d.extend([0; 8]);
        d.extend(both32(sectors));
        // UCS-2 level 3
        let escapes: &[u8] = if joliet { b"%/E" } else { b"" };
        d.extend(escapes.iter().copied().chain(std::iter::repeat(0)).take(32));
        d.extend(both16(1));
        d.extend(both16(1));
        d.extend(both16(SECTOR as u16));
        d.extend(both32(self.path_table_len));
        d.extend(self.path_table.to_le_bytes());
        d.extend([0; 4]);
        d.extend((self.path_table + self.path_table_sectors).to_be_bytes());
        d.extend([0; 4]);
        d.extend(directory_record(self.target(0), moment, &[0], &[]));
        // volume set, publisher, preparer, application
        for text_of in ["", publisher, "", "BESSEMER"] {
            d.extend(text(text_of, 128));
        }
        // copyright, abstract and bibliographic files
        for _ in 0..3 {
            d.extend(text("", 37));
        }
        d.extend(moment.long());
        d.extend(moment.long());
        let unset: Vec<u8> = b"0000000000000000\0".to_vec();
        d.extend(&unset);
        d.extend(&unset);
        d.extend([1, 0]);
        pad(&mut d);
        d
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let make = |names: &[&str]| {
            let mut tree = Tree::default();
            for name in names {
                let bytes = Contents::Bytes(name.as_bytes().to_vec());
                tree.add(name, bytes).unwrap();
            }
            let layout = layout("config-2", "", 1, &Boot::default(), &mut tree).unwrap();
            let [
                Piece {
                    offset: 0,
                    source: Source::Bytes(bytes),
                    len,
                },
            ] = layout.pieces()
            else {
                panic!("{layout:?}")
            };
            assert_eq!((*len, layout.len()), (bytes.len() as u64, *len));
            bytes.clone()
        };
        let image = make(&["a/b", "a/c", "d"]);
        assert_eq!(image, make(&["a/b", "a/c", "d"]));
        assert_eq!(image.len() % SECTOR, 0);
        let at = |sector: usize| &image[sector * SECTOR..][..8];
        assert_eq!(at(16), b"\x01CD001\x01\0");
        assert_eq!(at(17), b"\x02CD001\x01\0");
        assert_eq!(at(18), b"\xffCD001\x01\0");
    }
}
