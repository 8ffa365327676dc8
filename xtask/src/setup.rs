//! Makes a fresh Debian machine ready: installs the packages whose programs or files are missing, and only those.
//!
//! Asking for a package whose program is there already can do harm: a program from a newer source (backports) then conflicts with
//! the older package that apt would choose for its neighbour. So a package is asked for by what we need of it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::process::{command, find_program, is_root, output, run};

/// What is needed, and the package that brings it.
enum Need {
    Program(&'static str),
    File(&'static str),
    /// A program that must be statically linked.
    Static(&'static str),
    /// A module of Debian's own Python.
    Python(&'static str),
    /// PostgreSQL's server programs, in a directory with a version.
    Postgres,
}

use Need::{File, Postgres, Program, Python, Static};

const BUILD: &[(Need, &str)] = &[
    (Program("cc"), "gcc"),
    (File("/usr/include/stdio.h"), "libc6-dev"),
    (Program("make"), "make"),
    (Program("git"), "git"),
    (
        File("/etc/ssl/certs/ca-certificates.crt"),
        "ca-certificates",
    ),
];

const TESTBED: &[(Need, &str)] = &[
    (Program("qemu-system-x86_64"), "qemu-system-x86"),
    (Program("qemu-img"), "qemu-utils"),
    (File("/usr/share/OVMF/OVMF_CODE_4M.fd"), "ovmf"),
    (File("/usr/lib/ipxe/snponly.efi"), "ipxe"),
    (File("/usr/lib/ipxe/qemu/efi-virtio.rom"), "ipxe-qemu"),
    (Program("ipmitool"), "ipmitool"),
    (Program("ipmi_sim"), "openipmi"),
    (Program("dnsmasq"), "dnsmasq-base"),
    (Program("ip"), "iproute2"),
    (Program("unshare"), "util-linux"),
    (Program("setpriv"), "util-linux"),
    (Static("busybox"), "busybox-static"),
    (Program("mmd"), "mtools"),
    (Program("mkfs.vfat"), "dosfstools"),
    (Program("mke2fs"), "e2fsprogs"),
    (Program("sgdisk"), "gdisk"),
    (Program("xorriso"), "xorriso"),
    (Program("genisoimage"), "genisoimage"),
    (Program("grub-mkimage"), "grub-common"),
    (File("/usr/lib/grub/i386-pc/boot.img"), "grub-pc-bin"),
    (
        File("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
        "grub-efi-amd64-signed",
    ),
    (File("/usr/lib/shim/shimx64.efi.signed"), "shim-signed"),
];

const TESTS: &[(Need, &str)] = &[
    (Postgres, "postgresql"),
    (Program("cpio"), "cpio"),
    (Program("zstd"), "zstd"),
    (Program("xz"), "xz-utils"),
    (Program("atftp"), "atftp"),
    (Program("tftp"), "tftp-hpa"),
    (Program("curl"), "curl"),
    (Program("sfdisk"), "fdisk"),
    (Python("venv"), "python3-venv"),
];

/// Not of `make test`: the package starts a broker of its own that listens.
const NOTIFICATIONS: &[(Need, &str)] = &[
    (
        File("/usr/lib/rabbitmq/bin/rabbitmq-server"),
        "rabbitmq-server",
    ),
    (Python("venv"), "python3-venv"),
];

const DEMO: &[(Need, &str)] = &[
    (Program("mmdebstrap"), "mmdebstrap"),
    (Python("ensurepip"), "python3-venv"),
];

/// For what the machine is made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    Build,
    Demo,
    Test,
    Notifications,
    All,
}

impl Purpose {
    fn needs(self) -> Vec<&'static (Need, &'static str)> {
        let lists: &[&[(Need, &str)]] = match self {
            Purpose::Build => &[BUILD],
            Purpose::Demo => &[BUILD, TESTBED, DEMO],
            Purpose::Test => &[BUILD, TESTBED, TESTS],
            Purpose::Notifications => &[BUILD, NOTIFICATIONS],
            Purpose::All => &[BUILD, TESTBED, TESTS, NOTIFICATIONS, DEMO],
        };
        lists.iter().flat_map(|list| list.iter()).collect()
    }
}

impl Need {
    fn is_there(&self) -> bool {
        match self {
            Program(name) => find_program(name).is_some(),
            File(path) => Path::new(path).exists(),
            Static(name) => find_program(name)
                .and_then(|path| std::fs::read(path).ok())
                .is_some_and(|data| bessemer_ramdisk::check_static(&data).is_ok()),
            Python(module) => {
                let mut python = command("/usr/bin/python3");
                python.args(["-c", &format!("import {module}")]);
                python.stdout(Stdio::null()).stderr(Stdio::null());
                python.status().is_ok_and(|status| status.success())
            }
            Postgres => crate::postgres::programs().is_ok(),
        }
    }
}

/// Installs what is missing and opens `/dev/net/tun`. Does nothing, and needs no privileges, when all is there.
pub fn setup(purpose: Purpose) -> Result<()> {
    let mut missing: Vec<&str> = purpose
        .needs()
        .into_iter()
        .filter(|(need, _)| !need.is_there())
        .map(|(_, package)| *package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        install(&missing)?;
        let still: Vec<&str> = purpose
            .needs()
            .into_iter()
            .filter(|(need, _)| !need.is_there())
            .map(|(_, package)| *package)
            .collect();
        if !still.is_empty() {
            bail!(
                "installed, but what is needed of it is still not found: {}",
                still.join(" ")
            );
        }
    }
    if !matches!(purpose, Purpose::Build | Purpose::Notifications) {
        open_tun()?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!(
            "missing: {list} (names of Debian's packages). This is not a Debian machine: install their programs by hand"
        );
    }
    println!("installing Debian packages: {list}");
    let apt = |arguments: &[&str]| -> Result<()> {
        let mut command =
            privileged("apt-get").with_context(|| format!("missing packages: {list}"))?;
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        output(&mut command).map(drop)
    };
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    if apt(&arguments).is_err() {
        // the index may be absent or older than the mirror
        apt(&["update", "-q"])?;
        apt(&arguments).context("apt-get cannot install what is needed")?;
    }
    Ok(())
}

/// A command with the administrator's rights: as it is for root, through sudo for others.
pub fn privileged(program: &str) -> Result<std::process::Command> {
    if is_root() {
        return Ok(command(program));
    }
    if find_program("sudo").is_none() {
        bail!("{program} needs the administrator's rights: run this as root, or install sudo");
    }
    let mut sudo = command("sudo");
    sudo.stdin(Stdio::inherit())
        .arg("--preserve-env=DEBIAN_FRONTEND,LC_ALL,TMPDIR")
        .arg(program);
    Ok(sudo)
}

/// The testbed's network cards need the tun device; as the machine comes, only root may open it.
fn open_tun() -> Result<()> {
    let path = Path::new("/dev/net/tun");
    if !path.exists() {
        bail!(
            "/dev/net/tun does not exist: the kernel's tun module is needed for the machines' network (modprobe tun)"
        );
    }
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .is_ok()
    {
        return Ok(());
    }
    println!("allowing every user to open /dev/net/tun");
    run(privileged("chmod")
        .context("/dev/net/tun cannot be opened")?
        .arg("666")
        .arg(path))
}
