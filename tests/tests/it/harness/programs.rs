//! The programs under test, found beside the running test.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

/// A program of the workspace.
#[derive(Debug, Clone, Copy)]
pub enum Binary {
    Server,
    Lab,
    Agent,
}

impl Binary {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "bessemer",
            Self::Lab => "bessemer-lab",
            Self::Agent => "bessemer-agent",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Server => "bessemer-server",
            Self::Lab => "bessemer-lab",
            Self::Agent => "bessemer-agent",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Server => "BESSEMER_SERVER",
            Self::Lab => "BESSEMER_LAB",
            Self::Agent => "BESSEMER_AGENT",
        }
    }
}

/// Where the program is: what its variable names, else the one in the target directory of this test. The test command
/// builds it before; alone, `cargo test -p bessemer-tests` builds it here when it is missing.
pub fn program(binary: Binary) -> PathBuf {
    if let Some(path) = std::env::var_os(binary.variable()) {
        return path.into();
    }
    let this = std::env::current_exe().unwrap();
    let directory = this.ancestors().nth(2).unwrap();
    let path = directory.join(binary.name());
    if path.is_file() {
        return path;
    }
    // one build for all tests of all processes that find it missing
    let lock = std::fs::File::create(directory.join(".scenario-build")).unwrap();
    rustix::fs::flock(lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    if !path.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", binary.package(), "--bin", binary.name()])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .unwrap();
        assert!(built.success(), "{} does not build", binary.package());
    }
    assert!(path.is_file(), "{} is not in {}", binary.name(), directory.display());
    path
}
