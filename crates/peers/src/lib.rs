//! Programs that are not ours and judge us, for tests and tools: Python packages in virtual environments that are made once
//! and kept, and sushy-tools' Redfish emulator out of one. No part of the service.

#[cfg(feature = "testing")]
pub mod sushy;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// In an environment that is complete: what is in it.
const MARK: &str = "complete";

/// The user's cache: `$BESSEMER_CACHE`, else `bessemer` below `$XDG_CACHE_HOME`, else `~/.cache/bessemer`.
///
/// # Errors
/// When none of them is an absolute path.
pub fn cache_root() -> Result<PathBuf> {
    let absolute = |name: &str| {
        let value: Option<OsString> = std::env::var_os(name);
        value.map(PathBuf::from).filter(|path| path.is_absolute())
    };
    absolute("BESSEMER_CACHE")
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("bessemer")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/bessemer")))
        .ok_or_else(|| Error::other("neither BESSEMER_CACHE nor HOME is set to an absolute path"))
}

/// A virtual environment with these packages (as pip takes them) below `root`, made when it is not there, holds others or was
/// made by another interpreter. One process makes it, others wait; one that dies in between leaves nothing that looks finished.
///
/// # Errors
/// When Python or pip fails, with what it said.
pub fn venv(root: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = root.join(format!("venv-{name}"));
    // another interpreter does not find what this one installed
    let interpreter = run(Command::new("python3").arg("--version"))?;
    let wanted = format!("{}\n{}", interpreter.trim(), packages.join("\n"));
    let mark = venv.join(MARK);
    let locks = root.join("locks");
    fs::create_dir_all(&locks)?;
    let lock = File::create(locks.join(format!("venv-{name}")))?;
    lock.lock()?;
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(venv);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    run(Command::new(venv.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--no-compile",
        ])
        .arg("--disable-pip-version-check")
        .args(packages))?;
    fs::write(&mark, wanted)?;
    Ok(venv)
}

/// The interpreter of such an environment in the user's cache.
///
/// # Errors
/// As [`cache_root`] and [`venv`].
pub fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    Ok(venv(&cache_root()?, name, packages)?.join("bin/python"))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .map_err(|error| Error::other(format!("{command:?} does not start: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::other(format!(
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Asks again and again, until true.
///
/// # Panics
/// When it is not after 30 s.
#[cfg(feature = "testing")]
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    use std::time::{Duration, Instant};
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    /// What is left of a maker that died is made anew, and what fails leaves nothing that looks finished.
    #[test]
    fn what_is_not_complete_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join("venv-none/left");
        std::fs::create_dir_all(left.parent().unwrap()).unwrap();
        std::fs::write(&left, "").unwrap();
        // pip refuses to install nothing
        let failed = super::venv(root.path(), "none", &[])
            .unwrap_err()
            .to_string();
        assert!(failed.contains("pip"), "{failed}");
        assert!(!left.exists());
        let mark = root.path().join("venv-none").join(super::MARK);
        assert!(!mark.exists());
    }
}
