//! Directories that disappear with their process, also when it is killed.
//!
//! A janitor is a shell in a session of its own that holds the read end of a pipe. The write end is only in this process; when it
//! is gone, for whatever reason, the janitor reads the end of file and cleans up. Ctrl-C does not reach it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context, Result};

use crate::process::command;

/// A directory and the janitor that removes it.
#[derive(Debug)]
pub struct Ephemeral {
    path: PathBuf,
    pipe: Option<ChildStdin>,
    janitor: Child,
}

impl Ephemeral {
    /// Takes charge of a directory. `before` is a shell script that runs first, with the directory as `$1`: for instance to stop a
    /// server that works there.
    pub fn adopt(path: &Path, before: &str) -> Result<Ephemeral> {
        // processes that die at the same time may still be writing: try again until it is gone
        let script = format!(
            "trap '' INT TERM HUP; cat >/dev/null; {before}\n\
             n=0; while [ $n -lt 100 ]; do rm -rf \"$1\" 2>/dev/null && exit; n=$((n+1)); sleep 0.1; done"
        );
        let mut janitor = command("sh");
        janitor
            .arg("-c")
            .arg(script)
            .arg("sh")
            .arg(path)
            .current_dir("/")
            .process_group(0);
        let mut janitor = janitor
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a shell")?;
        let pipe = janitor.stdin.take();
        Ok(Ephemeral {
            path: path.to_owned(),
            pipe,
            janitor,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.janitor.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn removed_with_its_script() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("file"), "x").unwrap();
        let ephemeral = Ephemeral::adopt(&inner, "cp \"$1/file\" \"$1/../witness\"").unwrap();
        assert!(ephemeral.path().join("file").exists());
        drop(ephemeral);
        assert!(!inner.exists());
        assert!(outer.path().join("witness").exists());
    }
}
