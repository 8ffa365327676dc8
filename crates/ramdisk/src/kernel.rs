//! A Debian kernel without installing it: the package is downloaded with `apt-get download` and unpacked with `dpkg-deb -x`,
//! which needs no privileges and runs no hooks.
//!
//! Must never install a package, and must never change a kernel that is already in the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Flavour};

/// An unpacked kernel in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Release as `uname -r` shows it, such as `6.1.0-56-cloud-amd64`.
    pub version: String,
    /// Debian's version of the package.
    pub package_version: String,
    /// The bootable image.
    pub image: PathBuf,
    /// `lib/modules/<version>`.
    pub modules: PathBuf,
}

/// Gets the newest kernel of a flavour that the machine's package index knows, or the named release. Downloads only what the
/// cache does not hold; when the index is empty, the newest cached kernel of the flavour is taken.
///
/// Errors: [`Error::NoKernelPackage`], [`Error::Program`], [`Error::Kernel`], [`Error::MissingProgram`], [`Error::Io`].
pub fn fetch(cache: &Path, flavour: Flavour, release: Option<&str>) -> Result<Kernel, Error> {
    let kernels = cache.join("kernels");
    std::fs::create_dir_all(&kernels).map_err(Error::io("creating", &kernels))?;
    let lock_path = kernels.join("lock");
    let lock = std::fs::File::create(&lock_path).map_err(Error::io("creating", &lock_path))?;
    lock.lock().map_err(Error::io("locking", &lock_path))?;

    let package = match release {
        Some(release) => Some(format!("linux-image-{release}")),
        None => newest_package(flavour)?,
    };
    let version = match &package {
        Some(package) => package_version(package)?,
        None => None,
    };
    let (Some(package), Some(version)) = (package, version) else {
        let cached = newest_cached(&kernels, flavour, release)?;
        return cached.ok_or_else(|| Error::NoKernelPackage {
            wanted: release.unwrap_or(flavour.meta_package()).to_owned(),
        });
    };
    // an epoch's colon is legal in a path, but a nuisance in everything that takes lists of paths
    let target = kernels.join(format!("{package}_{}", version.replace(':', "%3a")));
    if !target.is_dir() {
        tracing::info!(%package, %version, "downloading the kernel package");
        let scratch = tempfile::Builder::new()
            .prefix(".unpack-")
            .tempdir_in(&kernels)
            .map_err(Error::io("creating a directory in", &kernels))?;
        download(&package, &version, scratch.path())?;
        std::fs::rename(scratch.path().join("root"), &target)
            .map_err(Error::io("renaming to", &target))?;
    }
    open(&target)
}

fn newest_package(flavour: Flavour) -> Result<Option<String>, Error> {
    let mut command = Command::new("apt-cache");
    command.args([
        "depends",
        "--no-recommends",
        "--no-suggests",
        flavour.meta_package(),
    ]);
    // an unknown package is an exit code and an empty answer, not a reason to stop
    let text = match run(&mut command, "apt") {
        Err(Error::Program { .. }) => return Ok(None),
        other => other?,
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(|name| name.trim().to_owned())
        .find(|name| name.starts_with("linux-image-")))
}

fn package_version(package: &str) -> Result<Option<String>, Error> {
    let mut command = Command::new("apt-cache");
    command.args(["show", "--no-all-versions", package]);
    let text = match run(&mut command, "apt") {
        Err(Error::Program { .. }) => return Ok(None),
        other => other?,
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .map(|version| version.trim().to_owned()))
}

fn download(package: &str, version: &str, directory: &Path) -> Result<(), Error> {
    let mut command = Command::new("apt-get");
    command
        // apt as root drops to a user of its own, who could not write here
        .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
        .arg(format!("{package}={version}"))
        .current_dir(directory);
    run(&mut command, "apt")?;
    let archive = std::fs::read_dir(directory)
        .map_err(Error::io("listing", directory))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .ok_or_else(|| Error::Kernel {
            package: package.to_owned(),
            why: "apt-get download left no file".into(),
        })?;
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(&archive).arg(directory.join("root"));
    run(&mut command, "dpkg")?;
    Ok(())
}

fn newest_cached(
    kernels: &Path,
    flavour: Flavour,
    release: Option<&str>,
) -> Result<Option<Kernel>, Error> {
    let mut found: Vec<(Vec<u64>, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(kernels).map_err(Error::io("listing", kernels))? {
        let entry = entry.map_err(Error::io("listing", kernels))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((package, version)) = name.split_once('_') else {
            continue;
        };
        let Some(of) = package.strip_prefix("linux-image-") else {
            continue;
        };
        let cloud = of.contains("-cloud-");
        let fits = match release {
            Some(release) => of == release,
            None => cloud == (flavour == Flavour::Cloud),
        };
        if fits {
            let numbers = |text: &str| -> Vec<u64> {
                text.split(|c: char| !c.is_ascii_digit())
                    .filter_map(|part| part.parse().ok())
                    .collect()
            };
            found.push((numbers(version), entry.path()));
        }
    }
    found.sort();
    found.pop().map(|(_, path)| open(&path)).transpose()
}

/// Reads the layout of an unpacked kernel package.
fn open(root: &Path) -> Result<Kernel, Error> {
    let package = root
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let bad = |why: &str| Error::Kernel {
        package: package.clone(),
        why: why.to_owned(),
    };
    let list = ["usr/lib/modules", "lib/modules"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.is_dir())
        .ok_or_else(|| bad("no lib/modules"))?;
    let version = std::fs::read_dir(&list)
        .map_err(Error::io("listing", &list))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .next()
        .ok_or_else(|| bad("lib/modules is empty"))?;
    let image = root.join("boot").join(format!("vmlinuz-{version}"));
    if !image.is_file() {
        return Err(bad("no boot/vmlinuz"));
    }
    let package_version = package
        .split_once('_')
        .map(|(_, version)| version.replace("%3a", ":"))
        .unwrap_or_default();
    Ok(Kernel {
        modules: list.join(&version),
        version,
        package_version,
        image,
    })
}

/// Runs a program and gives its standard output; its messages go into the error.
pub(crate) fn run(command: &mut Command, package: &'static str) -> Result<Vec<u8>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::MissingProgram {
                program: program.clone(),
                package,
            },
            _ => Error::Io {
                what: "starting",
                path: PathBuf::from(&program),
                source,
            },
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let arguments: Vec<_> = command
        .get_args()
        .map(|part| part.to_string_lossy())
        .collect();
    Err(Error::Program {
        what: format!("{program} {} ({})", arguments.join(" "), output.status),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn unpacked(cache: &Path, package: &str, release: &str) {
        let root = cache.join("kernels").join(package);
        std::fs::create_dir_all(root.join("boot")).unwrap();
        std::fs::create_dir_all(root.join("lib/modules").join(release)).unwrap();
        std::fs::write(root.join(format!("boot/vmlinuz-{release}")), "k").unwrap();
    }

    #[test]
    fn newest_of_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        unpacked(
            cache.path(),
            "linux-image-6.1.0-9-cloud-amd64_6.1.30-1",
            "6.1.0-9-cloud-amd64",
        );
        unpacked(
            cache.path(),
            "linux-image-6.1.0-56-cloud-amd64_6.1.192-2",
            "6.1.0-56-cloud-amd64",
        );
        unpacked(
            cache.path(),
            "linux-image-6.12.1-amd64_6.12.1-1",
            "6.12.1-amd64",
        );
        let kernels = cache.path().join("kernels");
        let check = |flavour, release: Option<&str>, expected: Option<&str>| {
            let found = newest_cached(&kernels, flavour, release).unwrap();
            assert_eq!(found.map(|kernel| kernel.version).as_deref(), expected);
        };
        check(Flavour::Cloud, None, Some("6.1.0-56-cloud-amd64"));
        check(Flavour::Generic, None, Some("6.12.1-amd64"));
        check(
            Flavour::Cloud,
            Some("6.1.0-9-cloud-amd64"),
            Some("6.1.0-9-cloud-amd64"),
        );
        check(Flavour::Cloud, Some("5.0"), None);
    }

    #[test]
    fn layout_is_checked() {
        let cache = tempfile::tempdir().unwrap();
        unpacked(cache.path(), "linux-image-a_1%3a2-1", "6.1");
        let root = cache.path().join("kernels/linux-image-a_1%3a2-1");
        assert_eq!(open(&root).unwrap().package_version, "1:2-1");
        std::fs::remove_file(root.join("boot/vmlinuz-6.1")).unwrap();
        assert!(
            open(&root)
                .unwrap_err()
                .to_string()
                .contains("no boot/vmlinuz")
        );
    }
}
