//! Builds the workspace's programs and the deploy ramdisk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bessemer_ramdisk::Flavour;

use crate::cache::{Cache, Key, sha256_file};
use crate::process::{command, run};

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    // as cargo says it now: the program itself may have been built in another clone
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// The clone that the user works in, where reports are written: the workspace itself unless `make` runs a copy of it.
pub fn user_clone() -> PathBuf {
    std::env::var_os("BESSEMER_CLONE").map_or_else(workspace, PathBuf::from)
}

/// Makes a build directory that several clones use, one after the other, this clone's: cargo knows what is fresh by times, and
/// would take another clone's newer output for ours. Dependencies stay.
fn claim(directory: &Path) -> Result<()> {
    let owner = directory.join("owner");
    let ours = workspace().display().to_string();
    if std::fs::read_to_string(&owner).is_ok_and(|last| last.trim() == ours) {
        return Ok(());
    }
    let mut fingerprints = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        fingerprints.push(entry.path().join(".fingerprint"));
        for inner in std::fs::read_dir(entry.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            fingerprints.push(inner.path().join(".fingerprint"));
        }
    }
    for entry in fingerprints
        .iter()
        .filter_map(|path| std::fs::read_dir(path).ok())
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("bessemer-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    std::fs::create_dir_all(directory)?;
    std::fs::write(&owner, ours + "\n")?;
    Ok(())
}

/// Where cargo puts finished programs, as the environment tells it.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => workspace().join(path),
        None => workspace().join("target"),
    }
}

/// `cargo`, in the workspace. Intermediate files go to the cache unless the user chose a place, so that a fresh clone on the same
/// machine finds its dependencies compiled; finished programs stay with the clone.
pub fn cargo(cache: &Cache) -> Command {
    let mut cargo = command("cargo");
    // what the `cargo xtask` around us has set is about xtask, and would make cargo rebuild things
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST") || text == "CARGO" {
            cargo.env_remove(&name);
        }
    }
    if std::env::var_os("CARGO_TARGET_DIR").is_none()
        && std::env::var_os("CARGO_BUILD_BUILD_DIR").is_none()
    {
        let directory = cache.root().join("build");
        if let Err(error) = claim(&directory) {
            // at worst something is built twice, or cargo says what is wrong
            eprintln!(
                "cannot make {} this clone's: {error:#}",
                directory.display()
            );
        }
        cargo.env("CARGO_BUILD_BUILD_DIR", directory);
    }
    cargo.current_dir(workspace());
    cargo
}

/// The server, `bessemer`, as the development profile makes it.
pub fn server(cache: &Cache) -> Result<PathBuf> {
    run(cargo(cache).args(["build", "--locked", "--quiet", "-p", "bessemer-server"]))?;
    built(target_directory().join("debug/bessemer"))
}

/// The agent, statically linked and optimised.
pub fn agent(cache: &Cache) -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    // a place of its own: other flags, and nothing in common with the development build
    let target = cache.root().join("target-agent");
    claim(&target)?;
    let mut cargo = cargo(cache);
    cargo.args([
        "build",
        "--locked",
        "--quiet",
        "--profile",
        "agent",
        "--target",
        TARGET,
        "-p",
        "bessemer-agent",
    ]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("CARGO_BUILD_BUILD_DIR");
    run(&mut cargo)?;
    // another clone may build its own over it: keep this one under the name of its content
    let path = built(target.join(TARGET).join("agent/bessemer-agent"))?;
    let key = Key::default().with_file("agent", &path)?;
    let directory = cache.artifact("agent", key, |directory| {
        std::fs::copy(&path, directory.join("bessemer-agent"))?;
        Ok(())
    })?;
    built(directory.join("bessemer-agent"))
}

fn built(path: PathBuf) -> Result<PathBuf> {
    anyhow::ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// A deploy ramdisk in the cache.
#[derive(Debug, Clone)]
pub struct Ramdisk {
    /// Holds both files.
    pub directory: PathBuf,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
}

/// The deploy ramdisk with that agent. With `server`, made by its command `ramdisk build`, as an operator does it; without, by the
/// same library directly.
pub fn ramdisk(
    cache: &Cache,
    flavour: Flavour,
    agent: &Path,
    server: Option<&Path>,
) -> Result<Ramdisk> {
    let kernel = bessemer_ramdisk::fetch_kernel(cache.root(), flavour, None)
        .context("getting Debian's kernel")?;
    let mut key = Key::default()
        .with_file("agent", agent)?
        .with("flavour", flavour.name())
        .with(
            "kernel",
            format!("{} {}", kernel.version, kernel.package_version),
        );
    let mut sources: Vec<PathBuf> = std::fs::read_dir(workspace().join("crates/ramdisk/src"))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    sources.sort();
    for source in sources {
        key = key.with("source", sha256_file(&source)?);
    }
    let directory = cache.artifact(
        &format!("ramdisk_{flavour}"),
        key,
        |directory| match server {
            Some(server) => {
                let mut build = Command::new(server);
                build
                    .args(["ramdisk", "build", "--flavour", flavour.name(), "--agent"])
                    .arg(agent);
                build
                    .arg("--out")
                    .arg(directory)
                    .args(["--kernel-version", &kernel.version])
                    .arg("--cache")
                    .arg(cache.root());
                run(&mut build)
            }
            None => {
                let options = bessemer_ramdisk::Options {
                    flavour,
                    agent: agent.to_owned(),
                    out_dir: directory.to_owned(),
                    kernel_version: Some(kernel.version.clone()),
                    cache_dir: cache.root().to_owned(),
                    extra_modules: Vec::new(),
                };
                let built = bessemer_ramdisk::build(&options)?;
                let sizes = built.sizes;
                println!(
                    "deploy ramdisk {flavour}: kernel {} bytes, initramfs {} bytes ({} unpacked)",
                    sizes.kernel, sizes.initramfs, sizes.unpacked
                );
                Ok(())
            }
        },
    )?;
    Ok(Ramdisk {
        kernel: directory.join(format!("deploy-{flavour}.kernel")),
        initramfs: directory.join(format!("deploy-{flavour}.initramfs")),
        directory,
    })
}
