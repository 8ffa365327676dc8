//! The cache outside the clone: build outputs, kernels, ramdisks, images, the upstream client.
//!
//! Its root is `$BESSEMER_CACHE`, else `bessemer` below `$XDG_CACHE_HOME`, else `~/.cache/bessemer`. An artifact is a directory
//! named by its kind and by a hash of everything it is made of; it is built beside its place under a lock and renamed, so a build
//! that dies leaves nothing that looks finished.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Artifacts of one kind that are kept beyond the one in use.
const KEEP: usize = 3;
/// An artifact used within this time is kept in any case: another clone may be working with it.
const KEEP_USED: Duration = Duration::from_secs(24 * 3600);

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens (and creates) the cache of this user.
    pub fn open() -> Result<Cache> {
        let root = bessemer_peers::cache_root()?;
        Cache::at(root)
    }

    /// A cache at a given place.
    pub fn at(root: impl Into<PathBuf>) -> Result<Cache> {
        let root = root.into();
        for name in ["artifacts", "locks", "runs"] {
            let path = root.join(name);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(Cache { root })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds, unless the user chose a place: a fresh clone on the same machine then finds its dependencies compiled.
    pub fn cargo_target(&self) -> PathBuf {
        absolute("CARGO_TARGET_DIR").unwrap_or_else(|| self.root.join("target"))
    }

    /// Waits for and holds the lock of that name until the file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join("locks").join(name);
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// The directory of an artifact, built by `build` into the directory it is given unless the cache has it.
    pub fn artifact(
        &self,
        kind: &str,
        key: Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let target = self
            .root
            .join("artifacts")
            .join(format!("{kind}-{}", key.finish()));
        let _lock = self.lock(kind)?;
        if !target.is_dir() {
            let scratch = tempfile::Builder::new()
                .prefix(&format!(".{kind}-"))
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .tempdir_in(self.root.join("artifacts"))
                .context("cannot create a directory in the cache")?;
            build(scratch.path()).with_context(|| format!("building {kind}"))?;
            std::fs::rename(scratch.keep(), &target)
                .with_context(|| format!("cannot create {}", target.display()))?;
        }
        let _ = File::open(&target).and_then(|file| file.set_modified(SystemTime::now()));
        self.evict(kind, &target);
        Ok(target)
    }

    /// Removes what is old of a kind, and what builds that died have left. The lock of the kind is held.
    fn evict(&self, kind: &str, current: &Path) {
        let Ok(entries) = std::fs::read_dir(self.root.join("artifacts")) else {
            return;
        };
        let mut old = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!(".{kind}-")) {
                let _ = std::fs::remove_dir_all(entry.path());
            } else if entry.path() != current
                && name
                    .strip_prefix(kind)
                    .and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(|hash| !hash.contains('-'))
                && let Ok(used) = entry.metadata().and_then(|data| data.modified())
            {
                old.push((used, entry.path()));
            }
        }
        old.sort();
        old.reverse();
        for (used, path) in old.into_iter().skip(KEEP) {
            if used.elapsed().is_ok_and(|age| age > KEEP_USED) {
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }
}

/// Hash of everything an artifact is made of.
#[derive(Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a named value.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Key {
        let value = value.as_ref();
        self.0.update(name.as_bytes());
        self.0.update([0]);
        self.0.update((value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds a file's content.
    pub fn with_file(self, name: &str, path: &Path) -> Result<Key> {
        Ok(self.with(name, sha256_file(path)?))
    }

    fn finish(self) -> String {
        let mut text = hex::encode(self.0.finalize());
        text.truncate(16);
        text
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = std::io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("reading {}", path.display()))?;
        match buffer.get(..length) {
            Some(part) if length > 0 => hash.update(part),
            _ => return Ok(hex::encode(hash.finalize())),
        }
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn built_once_by_what_it_is_made_of() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().join("cache")).unwrap();
        let mut builds = 0;
        let mut get = |input: &str| {
            cache.artifact("thing", Key::default().with("input", input), |path| {
                builds += 1;
                Ok(std::fs::write(path.join("out"), input)?)
            })
        };
        let one = get("a").unwrap();
        assert_eq!(get("a").unwrap(), one);
        let two = get("b").unwrap();
        assert_ne!(one, two);
        assert_eq!(std::fs::read_to_string(two.join("out")).unwrap(), "b");
        assert_eq!(builds, 2);
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        let failed = cache.artifact("thing", Key::default(), |_| anyhow::bail!("no luck"));
        assert_eq!(
            format!("{:#}", failed.unwrap_err()),
            "building thing: no luck"
        );
        assert_eq!(
            std::fs::read_dir(directory.path().join("artifacts"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn old_artifacts_go() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        for n in 0..6u8 {
            let path = cache
                .artifact("thing", Key::default().with("n", [n]), |_| Ok(()))
                .unwrap();
            let used = SystemTime::now() - Duration::from_secs(3 * 24 * 3600 + u64::from(n));
            File::open(path).unwrap().set_modified(used).unwrap();
        }
        cache.artifact("thing", Key::default(), |_| Ok(())).unwrap();
        cache.artifact("other", Key::default(), |_| Ok(())).unwrap();
        assert_eq!(
            std::fs::read_dir(directory.path().join("artifacts"))
                .unwrap()
                .count(),
            KEEP + 2
        );
    }
}
