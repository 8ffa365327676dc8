//! A directory tree that is served read-only, and which no path leaves: neither `..` nor a symbolic link.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use tokio::io::AsyncReadExt;

use crate::source::{FileSource, OpenError, TftpFile};

/// Firmware writes `\boot\x` and `/boot/x` where it means `boot/x`. `None` when the path is not one that is served.
pub fn clean_path(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    if path.chars().any(char::is_control) {
        return None;
    }
    let mut clean = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => clean.push(part),
        }
    }
    (!clean.is_empty()).then(|| clean.join("/"))
}

/// A tree below a directory.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens a regular file by its path below the root. Symbolic links are followed as long as they stay below the root;
    /// the kernel checks it while it resolves the path, so that nobody can swap a directory in between. Blocks.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] also for directories and for paths that leave the tree: which of the two it is is nobody's
    /// business outside.
    pub fn open_file(&self, path: &str) -> Result<std::fs::File, OpenError> {
        let path = clean_path(path).ok_or(OpenError::NotFound)?;
        let root = rustix::fs::openat(
            CWD,
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| open_error(errno.into()))?;
        let file = rustix::fs::openat2(
            &root,
            path.as_str(),
            // a fifo must not hold the caller
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|errno| open_error(errno.into()))?;
        let file = std::fs::File::from(file);
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(OpenError::NotFound),
            Err(error) => Err(open_error(error)),
        }
    }
}

fn open_error(error: io::Error) -> OpenError {
    use io::ErrorKind as Kind;
    // EXDEV: the path left the tree; ELOOP: too many or forbidden links
    let left = [
        rustix::io::Errno::XDEV,
        rustix::io::Errno::LOOP,
        rustix::io::Errno::NXIO,
    ]
    .iter()
    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename => OpenError::NotFound,
        _ if left => OpenError::NotFound,
        Kind::PermissionDenied => OpenError::Denied("the server may not read the file".to_owned()),
        _ => OpenError::Failed(format!("the file cannot be opened: {}", error.kind())),
    }
}

/// A file on disk.
pub struct DiskFile {
    size: u64,
    reader: tokio::io::BufReader<tokio::fs::File>,
}

impl DiskFile {
    /// Serves an open file. Blocks for one `stat`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(file: std::fs::File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let file = tokio::fs::File::from_std(file);
        Ok(Self {
            size,
            reader: tokio::io::BufReader::with_capacity(64 * 1024, file),
        })
    }
}

#[async_trait::async_trait]
impl TftpFile for DiskFile {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).await
    }
}

#[async_trait::async_trait]
impl FileSource for Tree {
    async fn open(&self, path: &str, _peer: SocketAddr) -> Result<Box<dyn TftpFile>, OpenError> {
        let tree = self.clone();
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            DiskFile::new(tree.open_file(&path)?).map_err(open_error)
        });
        match opened.await {
            Ok(Ok(file)) => Ok(Box::new(file)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(OpenError::Failed("the server is stopping".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths() {
        for (input, expected) in [
            ("a", Some("a")),
            ("/a/b", Some("a/b")),
            ("\\a\\b", Some("a/b")),
            ("//a/./b/", Some("a/b")),
            ("a/../b", None),
            ("..", None),
            ("\\..\\x", None),
            ("a\nb", None),
            ("/", None),
            ("", None),
            ("..a/b..", Some("..a/b..")),
        ] {
            assert_eq!(clean_path(input).as_deref(), expected, "{input}");
        }
    }

    #[test]
    fn nothing_leaves_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("dir/file"), "hello").unwrap();
        symlink("dir/file", at("inside")).unwrap();
        symlink(outside.path().join("secret"), at("absolute")).unwrap();
        symlink("../../../../../../../../etc/passwd", at("relative")).unwrap();
        symlink(outside.path(), at("directory")).unwrap();
        symlink("loop", at("loop")).unwrap();
        rustix::fs::mknodat(
            CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let tree = Tree::new(root.path());
        for path in ["dir/file", "/dir//file", "\\dir\\file", "inside"] {
            let mut text = String::new();
            tree.open_file(path)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "hello", "{path}");
        }
        for path in [
            "absolute",
            "relative",
            "directory/secret",
            "loop",
            "fifo",
            "dir",
            "dir/file/x",
            "../x",
            "missing",
            "",
        ] {
            assert_eq!(
                tree.open_file(path).err(),
                Some(OpenError::NotFound),
                "{path}"
            );
        }
        assert_eq!(
            Tree::new(at("no such root")).open_file("x").err(),
            Some(OpenError::NotFound)
        );
    }
}
