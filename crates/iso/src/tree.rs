//! The files and folders of an image, and their names in the two trees that are written of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;

/// ECMA-119 6.8.2.1: eight levels of directories, the root being the first.
const MAX_FOLDERS: usize = 7;
/// Joliet's limit, in UTF-16 units.
const MAX_NAME: usize = 64;
/// Room that a directory record of 254 bytes leaves for a Rock Ridge name beside the rest.
const MAX_NAME_BYTES: usize = 160;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Folder(usize),
    /// Index into [`Tree::files`].
    File(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub parent: usize,
    pub entries: BTreeMap<String, Node>,
}

impl Folder {
    pub fn folders(&self) -> usize {
        self.entries
            .values()
            .filter(|node| matches!(node, Node::Folder(_)))
            .count()
    }
}

/// What a file consists of.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    Bytes(Vec<u8>),
    /// So many bytes that somebody else has.
    Outside(u64),
}

impl Contents {
    pub fn len(&self) -> u64 {
        match self {
            Contents::Bytes(bytes) => bytes.len() as u64,
            Contents::Outside(len) => *len,
        }
    }
}

/// Folder 0 is the root.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub folders: Vec<Folder>,
    pub files: Vec<Contents>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree {
            folders: vec![Folder::default()],
            files: Vec::new(),
        }
    }
}

impl Tree {
    /// Index of the file at a path.
    pub fn find(&self, path: &str) -> Option<usize> {
        let mut at = self.folders.first()?;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            match at.entries.get(name)? {
                Node::File(index) => return names.peek().is_none().then_some(*index),
                Node::Folder(index) => at = self.folders.get(*index)?,
            }
        }
        None
    }

    pub fn add(&mut self, path: &str, contents: Contents) -> Result<(), Error> {
        let bad = || Error::BadPath(path.to_owned());
        let duplicate = || Error::Duplicate(path.to_owned());
        let mut names: Vec<&str> = path.split('/').collect();
        if names.len() > MAX_FOLDERS + 1 || !names.iter().all(|name| is_fine(name)) {
            return Err(bad());
        }
        let name = names.pop().ok_or_else(bad)?;
        let mut at = 0;
        for folder in names {
            let next = self.folders.len();
            let here = self.folders.get_mut(at).ok_or_else(bad)?;
            match here.entries.get(folder) {
                Some(Node::Folder(known)) => at = *known,
                Some(Node::File(_)) => return Err(duplicate()),
                None => {
                    here.entries.insert(folder.to_owned(), Node::Folder(next));
                    self.folders.push(Folder {
                        parent: at,
                        entries: BTreeMap::new(),
                    });
                    at = next;
                }
            }
        }
        let here = self.folders.get_mut(at).ok_or_else(bad)?;
        if here.entries.contains_key(name) {
            return Err(duplicate());
        }
        here.entries
            .insert(name.to_owned(), Node::File(self.files.len()));
        self.files.push(contents);
        Ok(())
    }
}

fn is_fine(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || matches!(c, '*' | ':' | ';' | '?' | '\\');
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && name.encode_utf16().count() <= MAX_NAME
        && !name.chars().any(forbidden)
}

/// Which of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Names of 8.3 characters, with Rock Ridge beside them.
    Primary,
    /// Names as they are, in UCS-2.
    Joliet,
}

/// One entry of a folder, as a view names it.
pub(crate) struct Named<'a> {
    pub identifier: Vec<u8>,
    pub name: &'a str,
    pub node: &'a Node,
}

impl View {
    /// The entries of a folder in the order in which the view wants them.
    pub fn entries(self, folder: &Folder) -> Vec<Named<'_>> {
        let mut taken = BTreeSet::new();
        let mut named: Vec<Named<'_>> = folder
            .entries
            .iter()
            .map(|(name, node)| {
                let is_file = matches!(node, Node::File(_));
                let identifier = match self {
                    View::Primary => short_name(name, is_file, &mut taken),
                    // like the usual writers, without the version number that the primary tree's names carry
                    View::Joliet => name.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                };
                Named {
                    identifier,
                    name,
                    node,
                }
            })
            .collect();
        named.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        named
    }
}

/// A name of upper-case letters, digits and underscores, unique within its folder.
fn short_name(name: &str, is_file: bool, taken: &mut BTreeSet<Vec<u8>>) -> Vec<u8> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if is_file && !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let (stem, extension) = (plain(stem, 8), plain(extension, 3));
    for number in 0u32.. {
        // the first of a kind keeps its eight letters, the next give up as many as their number needs
        let suffix = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        let kept: String = stem
            .chars()
            .take(8usize.saturating_sub(suffix.len()))
            .collect();
        let identifier = match is_file {
            true => format!("{kept}{suffix}.{extension};1"),
            false => format!("{kept}{suffix}"),
        };
        if taken.insert(identifier.clone().into_bytes()) {
            return identifier.into_bytes();
        }
    }
    Vec::new()
}

fn plain(text: &str, len: usize) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    text.chars().take(len).map(letter).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn none() -> Contents {
        Contents::Bytes(Vec::new())
    }

    fn check(path: &str, expected: bool) {
        assert_eq!(
            Tree::default().add(path, none()).is_ok(),
            expected,
            "{path:?}"
        );
    }

    #[test]
    fn paths_that_fit() {
        check("a", true);
        check("openstack/latest/meta_data.json", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check(&"\u{20ac}".repeat(54), false);
        check("1/2/3/4/5/6/7/file", true);
        check("1/2/3/4/5/6/7/8/file", false);
        for path in [
            "", "/", "/a", "a/", "a//b", "../a", "a/./b", "a;1", "a:b", "a\nb",
        ] {
            check(path, false);
        }
    }

    #[test]
    fn a_path_is_given_once() {
        let mut tree = Tree::default();
        tree.add("a/b", none()).unwrap();
        for path in ["a/b", "a", "a/b/c"] {
            assert_eq!(tree.add(path, none()), Err(Error::Duplicate(path.into())));
        }
        tree.add("a/c", none()).unwrap();
        assert_eq!(tree.find("a/c"), Some(1));
        for path in ["a", "a/d", "a/b/c", ""] {
            assert_eq!(tree.find(path), None, "{path}");
        }
    }

    #[test]
    fn short_names_are_unique() {
        let mut tree = Tree::default();
        for name in [
            "meta_data.json",
            "meta_data.js",
            "meta_datum.jso",
            ".profile",
            "user_data",
            "user_data2",
            "a.b.c",
        ] {
            tree.add(name, none()).unwrap();
        }
        let names: Vec<String> = View::Primary
            .entries(&tree.folders[0])
            .into_iter()
            .map(|e| String::from_utf8(e.identifier).unwrap())
            .collect();
        let expected = [
            "A_B.C;1",
            "META_DA1.JSO;1",
            "META_DAT.JS;1",
            "META_DAT.JSO;1",
            "USER_DA1.;1",
            "USER_DAT.;1",
            "_PROFILE.;1",
        ];
        assert_eq!(names, expected);
    }
}
