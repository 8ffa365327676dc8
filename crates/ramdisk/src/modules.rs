//! Kernel modules: which files a list of names needs, and in which order they must be loaded.
//!
//! The dependencies are read from the modules themselves (`.modinfo` section of the ELF file: `depends=`, `softdep=pre:`), so
//! that no index has to be generated first: Debian's kernel packages carry none. Names are compared as the kernel does, `-` and `_`
//! alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Dependencies of one module, by name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Modules without whose symbols this one does not load.
    pub depends: Vec<String>,
    /// Modules that should be there first, if they exist.
    pub soft: Vec<String>,
}

/// The modules of one unpacked kernel.
#[derive(Debug)]
pub struct ModuleTree {
    root: PathBuf,
    kernel: String,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// One module in load order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Normalised name.
    pub name: String,
    /// Path below `lib/modules/<version>`, uncompressed (`kernel/.../x.ko`).
    pub path: String,
    /// Content, uncompressed.
    pub data: Vec<u8>,
}

impl ModuleTree {
    /// Reads the list of modules below `root`, the directory `lib/modules/<version>` of an unpacked kernel package.
    pub fn open(root: &Path, kernel: &str) -> Result<ModuleTree, Error> {
        let mut files = BTreeMap::new();
        walk(root, &mut |path| {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return;
            };
            if let Some((stem, ending)) = name.split_once(".ko")
                && matches!(ending, "" | ".xz" | ".gz" | ".zst")
            {
                files.insert(normalise(stem), path.to_owned());
            }
        })?;
        let list = root.join("modules.builtin");
        let text = std::fs::read_to_string(&list).map_err(Error::io("reading", &list))?;
        let builtin = text
            .lines()
            .filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"))
            .map(normalise)
            .collect();
        Ok(ModuleTree {
            root: root.to_owned(),
            kernel: kernel.to_owned(),
            files,
            builtin,
        })
    }

    /// Whether the kernel can provide the module, as a file or built in.
    pub fn has(&self, name: &str) -> bool {
        let name = normalise(name);
        self.files.contains_key(&name) || self.builtin.contains(&name)
    }

    /// The modules that `wanted` needs, each once, dependencies first, otherwise in the order asked for.
    pub fn resolve<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Module>, Error> {
        let mut done = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(&normalise(name), &mut Vec::new(), &mut seen, &mut done)?;
        }
        Ok(done)
    }

    fn visit(
        &self,
        name: &str,
        path: &mut Vec<String>,
        seen: &mut BTreeSet<String>,
        done: &mut Vec<Module>,
    ) -> Result<(), Error> {
        if self.builtin.contains(name) || seen.contains(name) {
            return Ok(());
        }
        if path.iter().any(|above| above == name) {
            return Err(Error::ModuleCycle {
                module: name.to_owned(),
                through: path.join(" -> "),
            });
        }
        let file = self.files.get(name).ok_or_else(|| Error::NoModule {
            module: name.to_owned(),
            kernel: self.kernel.clone(),
        })?;
        let data = read_module(file)?;
        let info = parse_modinfo(&data).map_err(|why| Error::Module {
            path: file.clone(),
            why,
        })?;
        path.push(name.to_owned());
        for soft in &info.soft {
            if self.has(soft) && !path.contains(soft) {
                self.visit(soft, path, seen, done)?;
            }
        }
        for dependency in &info.depends {
            self.visit(dependency, path, seen, done)?;
        }
        path.pop();
        seen.insert(name.to_owned());
        let relative = file
            .strip_prefix(&self.root)
            .unwrap_or(file)
            .to_string_lossy();
        let end = relative.rfind(".ko").map_or(relative.len(), |at| at + 3);
        let relative = relative.get(..end).unwrap_or(&relative).to_owned();
        done.push(Module {
            name: name.to_owned(),
            path: relative,
            data,
        });
        Ok(())
    }
}

/// The kernel's form of a module name.
fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

fn walk(directory: &Path, found: &mut dyn FnMut(&Path)) -> Result<(), Error> {
    for entry in std::fs::read_dir(directory).map_err(Error::io("listing", directory))? {
        let entry = entry.map_err(Error::io("listing", directory))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("looking at", &path))?;
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_file() {
            found(&path);
        }
    }
    Ok(())
}

/// Reads a module; Debian compresses them from release 13 on. They go into the archive uncompressed, which is compressed as a whole.
fn read_module(path: &Path) -> Result<Vec<u8>, Error> {
    let (program, package) = match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => ("xz", "xz-utils"),
        Some("gz") => ("gzip", "gzip"),
        Some("zst") => ("zstd", "zstd"),
        _ => return std::fs::read(path).map_err(Error::io("reading", path)),
    };
    let mut command = Command::new(program);
    command.arg("-dc").arg(path);
    crate::kernel::run(&mut command, package)
}

/// Reads the dependencies out of a 64-bit little-endian ELF object's `.modinfo` section.
pub fn parse_modinfo(data: &[u8]) -> Result<ModuleInfo, &'static str> {
    let section = modinfo_section(data)?;
    let mut info = ModuleInfo::default();
    for field in section.split(|byte| *byte == 0) {
        let Ok(text) = std::str::from_utf8(field) else {
            continue;
        };
        if let Some(names) = text.strip_prefix("depends=") {
            info.depends.extend(
                names
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(normalise),
            );
        } else if let Some(rule) = text.strip_prefix("softdep=") {
            let pre = rule.split("post:").next().unwrap_or_default();
            if let Some(names) = pre.trim().strip_prefix("pre:") {
                info.soft.extend(names.split_whitespace().map(normalise));
            }
        }
    }
    Ok(info)
}

fn modinfo_section(data: &[u8]) -> Result<&[u8], &'static str> {
    if data.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit little-endian ELF file");
    }
    let cut = "the ELF file is cut off";
    let table = usize::try_from(read_u64(data, 0x28).ok_or(cut)?).map_err(|_| cut)?;
    let size = usize::from(read_u16(data, 0x3a).ok_or(cut)?);
    let count = usize::from(read_u16(data, 0x3c).ok_or(cut)?);
    let names = usize::from(read_u16(data, 0x3e).ok_or(cut)?);
    let content = |index: usize| -> Option<&[u8]> {
        let header = table.checked_add(index.checked_mul(size)?)?;
        let offset = usize::try_from(read_u64(data, header.checked_add(0x18)?)?).ok()?;
        let length = usize::try_from(read_u64(data, header.checked_add(0x20)?)?).ok()?;
        data.get(offset..offset.checked_add(length)?)
    };
    let strings = content(names).ok_or(cut)?;
    for index in 0..count {
        let header = table.checked_add(index * size).ok_or(cut)?;
        let name = read_u32(data, header).ok_or(cut)? as usize;
        if strings
            .get(name..)
            .is_some_and(|name| name.starts_with(b".modinfo\0"))
        {
            return content(index).ok_or(cut);
        }
    }
    Err("no .modinfo section")
}

pub(crate) fn read_u16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at.checked_add(2)?)?
        .try_into()
        .ok()
        .map(u16::from_le_bytes)
}

pub(crate) fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

pub(crate) fn read_u64(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..at.checked_add(8)?)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// A minimal ELF object: header, `.modinfo`, string table, three section headers.
    pub(crate) fn module(info: &str) -> Vec<u8> {
        let info = info.replace(' ', "\0").replace('~', " ");
        let strings = b"\0.modinfo\0.shstrtab\0";
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(64, 0);
        let info_at = out.len();
        out.extend_from_slice(info.as_bytes());
        let strings_at = out.len();
        out.extend_from_slice(strings);
        out.resize(out.len().next_multiple_of(8), 0);
        let table = out.len();
        let mut header = |name: u32, offset: usize, size: usize| {
            let mut section = vec![0u8; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            section[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            out.extend_from_slice(&section);
        };
        header(0, 0, 0);
        header(1, info_at, info.len());
        header(10, strings_at, strings.len());
        out[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        out[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        out[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
        out[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
        out
    }

    #[test]
    fn modinfo() {
        let check = |text: &str, depends: &[&str], soft: &[&str]| {
            let info = parse_modinfo(&module(text)).unwrap();
            assert_eq!(info.depends, depends, "{text}");
            assert_eq!(info.soft, soft, "{text}");
        };
        check("license=GPL depends= name=x", &[], &[]);
        check("depends=a,b-c intree=Y", &["a", "b_c"], &[]);
        check("softdep=pre:~crc32c depends=x", &["x"], &["crc32c"]);
        check("softdep=post:~late depends=", &[], &[]);
        check("softdep=pre:~a~b~post:~c", &[], &["a", "b"]);
        assert_eq!(
            parse_modinfo(b"text"),
            Err("not a 64-bit little-endian ELF file")
        );
        assert_eq!(
            parse_modinfo(&module("")[..70]),
            Err("the ELF file is cut off")
        );
    }

    #[test]
    fn load_order() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("kernel/net")).unwrap();
        let files = [
            ("virtio_net", "depends=net_failover,virtio-ring"),
            ("net_failover", "depends=failover"),
            ("failover", "depends="),
            ("virtio-ring", "depends= softdep=pre:~crc~builtin~absent"),
            ("crc", ""),
            ("loop-a", "depends=loop-b"),
            ("loop-b", "depends=loop-a"),
            ("orphan", "depends=nowhere"),
        ];
        for (name, text) in files {
            std::fs::write(root.join(format!("kernel/net/{name}.ko")), module(text)).unwrap();
        }
        std::fs::write(
            root.join("modules.builtin"),
            "kernel/x/builtin.ko\nkernel/fs/ext4.ko\n",
        )
        .unwrap();
        let tree = ModuleTree::open(root, "6.1.0-test").unwrap();
        let check = |wanted: &[&str], expected: &str| {
            let found = match tree.resolve(wanted.iter().copied()) {
                Ok(list) => list
                    .iter()
                    .map(|module| module.name.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{wanted:?}");
        };
        check(
            &["virtio_net"],
            "failover net_failover crc virtio_ring virtio_net",
        );
        check(
            &["crc", "virtio-net", "failover"],
            "crc failover net_failover virtio_ring virtio_net",
        );
        check(&["ext4"], "");
        check(&["orphan"], "kernel 6.1.0-test has no module named nowhere");
        check(
            &["loop_a"],
            "module loop_a depends on itself through loop_a -> loop_b",
        );
        let list = tree.resolve(["virtio_ring"]).unwrap();
        assert_eq!(list[1].path, "kernel/net/virtio-ring.ko");
    }
}
