//! The programs under test, found beside the running test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// A program of the workspace.
#[derive(Clone, Copy)]
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

/// Where the program is: what its variable names, as the test command sets it after building all programs. Without it
/// (`cargo test -p bessemer-tests`) the programs are built here, since one that is there already may be older than what
/// this test was made of.
pub fn program(binary: Binary) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = std::env::var_os(binary.variable()) {
        return path.into();
    }
    let path = BUILT.get_or_init(build).join(binary.name());
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// Builds all of them into this test's target directory.
fn build() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    // target/debug/deps/it-hash
    let directory = this.ancestors().nth(2).unwrap().to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bins"]);
    for binary in [Binary::Server, Binary::Lab, Binary::Agent] {
        command.args(["-p", binary.package()]);
    }
    let built = command
        .env("CARGO_TARGET_DIR", directory.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .unwrap();
    assert!(built.success(), "the programs do not build");
    directory
}
