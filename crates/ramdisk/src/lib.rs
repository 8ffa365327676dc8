//! Builds the deploy ramdisk: a Debian kernel and an initramfs whose main program is `bessemer-agent`.
//!
//! The initramfs holds the agent as `/init`, the kernel modules that the flavour needs, `/etc/bessemer/modules` (their paths, one a
//! line, in load order; the agent loads them with `finit_module`), the CA certificates of the build machine and the empty
//! directories that PID 1 mounts over. It is a `newc` archive, sorted and without time stamps, compressed with zstd, so that the
//! same inputs give the same bytes.
//!
//! Must never install packages, need privileges, or put a shell or any other program beside the agent into the ramdisk.

pub mod cpio;
mod error;
pub mod fuzz;
mod kernel;
mod modules;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use error::{Class, Error};
pub use kernel::{Kernel, fetch as fetch_kernel};
pub use modules::{Module, ModuleInfo, ModuleTree, parse_modinfo};

use cpio::{Archive, Entry};

/// Path of the list of modules inside the ramdisk.
pub const MODULE_LIST: &str = "etc/bessemer/modules";
/// Path of the description of what the ramdisk was made of.
pub const RELEASE_FILE: &str = "etc/bessemer/ramdisk-release";
/// Where Debian, and the ramdisk, keep the bundle of CA certificates.
pub const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Which kernel and which drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's cloud kernel and virtio drivers: virtual machines. Smallest and fastest.
    Cloud,
    /// Debian's generic kernel with the storage and network drivers of servers.
    Generic,
}

impl Flavour {
    /// Debian's package that depends on the newest kernel of the flavour.
    pub fn meta_package(self) -> &'static str {
        match self {
            Flavour::Cloud => "linux-image-cloud-amd64",
            Flavour::Generic => "linux-image-amd64",
        }
    }

    /// The flavour's name on command lines and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Cloud => "cloud",
            Flavour::Generic => "generic",
        }
    }

    /// Modules that must be there.
    fn required(self) -> &'static [&'static str] {
        match self {
            Flavour::Cloud => VIRTIO,
            Flavour::Generic => GENERIC,
        }
    }

    /// Modules that are taken when the kernel has them.
    fn optional(self) -> &'static [&'static str] {
        match self {
            Flavour::Cloud => &["nvme"],
            Flavour::Generic => GENERIC_OPTIONAL,
        }
    }
}

impl std::str::FromStr for Flavour {
    type Err = String;

    fn from_str(name: &str) -> Result<Flavour, String> {
        match name {
            "cloud" => Ok(Flavour::Cloud),
            "generic" => Ok(Flavour::Generic),
            other => Err(format!("unknown flavour {other}: it is cloud or generic")),
        }
    }
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

// the network first: the link comes up while the disks are still being found
const VIRTIO: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio-rng",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "isofs",
    "efivarfs",
];

const GENERIC: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "e1000",
    "e1000e",
    "igb",
    "ixgbe",
    "i40e",
    "ice",
    "bnxt_en",
    "tg3",
    "virtio-rng",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "ata_piix",
    "megaraid_sas",
    "mpt3sas",
    "sd_mod",
    "sr_mod",
    "isofs",
    "efivarfs",
    "ipmi_si",
    "ipmi_devintf",
    "xhci_pci",
    "ehci_pci",
    "usb_storage",
    "usbhid",
    "hid_generic",
];

const GENERIC_OPTIONAL: &[&str] = &[
    "mlx5_core",
    "mlx4_en",
    "igc",
    "bnx2",
    "bnx2x",
    "qede",
    "be2net",
    "cxgb4",
    "enic",
    "ena",
    "r8169",
    "vmxnet3",
    "vmd",
    "mpi3mr",
    "smartpqi",
    "aacraid",
    "hpsa",
    "vmw_pvscsi",
    "uas",
    "ipmi_ssif",
    "cdc_ether",
];

/// What to build and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kernel and drivers.
    pub flavour: Flavour,
    /// The statically linked `bessemer-agent`.
    pub agent: PathBuf,
    /// Directory for the two files.
    pub out_dir: PathBuf,
    /// Kernel release such as `6.1.0-56-cloud-amd64`; the newest of the flavour when absent.
    pub kernel_version: Option<String>,
    /// Where kernels are kept between builds.
    pub cache_dir: PathBuf,
    /// Modules beyond those of the flavour.
    pub extra_modules: Vec<String>,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// `<out_dir>/deploy-<flavour>.kernel`.
    pub kernel: PathBuf,
    /// `<out_dir>/deploy-<flavour>.initramfs`.
    pub initramfs: PathBuf,
    /// Release of the kernel.
    pub kernel_version: String,
    /// Bytes.
    pub sizes: Sizes,
    /// Paths below the ramdisk's root of the modules, in load order.
    pub modules: Vec<String>,
    /// Optional modules that this kernel does not have.
    pub absent: Vec<String>,
    /// SHA-256 of the initramfs, in hexadecimal.
    pub sha256: String,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub kernel: u64,
    pub initramfs: u64,
    /// The archive before compression: what it takes of the node's memory.
    pub unpacked: u64,
    pub agent: u64,
}

/// One line of an initramfs' listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub path: String,
    /// As `ls -l` shows it, such as `drwxr-xr-x`.
    pub mode: String,
    /// Bytes of a file, 0 for everything else.
    pub size: u64,
}

/// Builds kernel and initramfs, reads the result back and compares it with what was meant.
///
/// Errors: see [`Error`]; nothing is left under the final names when it fails.
pub fn build(options: &Options) -> Result<Built, Error> {
    let agent =
        std::fs::read(&options.agent).map_err(Error::io("reading the agent", &options.agent))?;
    check_static(&agent).map_err(|why| Error::Agent {
        path: options.agent.clone(),
        why,
    })?;
    let kernel = fetch_kernel(
        &options.cache_dir,
        options.flavour,
        options.kernel_version.as_deref(),
    )?;
    build_from(options, &agent, kernel)
}

fn build_from(options: &Options, agent: &[u8], kernel: Kernel) -> Result<Built, Error> {
    let tree = ModuleTree::open(&kernel.modules, &kernel.version)?;

    let (optional, absent): (Vec<&str>, Vec<&str>) = options
        .flavour
        .optional()
        .iter()
        .partition(|name| tree.has(name));
    let wanted = options.flavour.required().iter().copied();
    let wanted = wanted
        .chain(optional)
        .chain(options.extra_modules.iter().map(String::as_str));
    let modules = tree.resolve(wanted)?;
    let (archive, list) = assemble(agent, &kernel, options.flavour, modules, ca_bundle());

    let plain = archive.to_bytes();
    let packed = compress(&plain, &options.out_dir)?;
    std::fs::create_dir_all(&options.out_dir).map_err(Error::io("creating", &options.out_dir))?;
    let name = options.flavour.name();
    let initramfs = options.out_dir.join(format!("deploy-{name}.initramfs"));
    let kernel_out = options.out_dir.join(format!("deploy-{name}.kernel"));
    write_whole(&initramfs, &packed)?;
    self_check(&initramfs, &archive, &list)?;
    let image = std::fs::read(&kernel.image).map_err(Error::io("reading", &kernel.image))?;
    write_whole(&kernel_out, &image)?;

    Ok(Built {
        sizes: Sizes {
            kernel: image.len() as u64,
            initramfs: packed.len() as u64,
            unpacked: plain.len() as u64,
            agent: agent.len() as u64,
        },
        kernel: kernel_out,
        initramfs,
        kernel_version: kernel.version,
        modules: list,
        absent: absent.into_iter().map(str::to_owned).collect(),
        sha256: hex::encode(Sha256::digest(&packed)),
    })
}

/// Lists an initramfs (zstd, gzip or uncompressed), as the self-check does.
pub fn list(initramfs: &Path) -> Result<Vec<Listed>, Error> {
    let archive = read(initramfs)?;
    let line = |(path, entry): (&str, &Entry)| {
        let (kind, mode, size) = match entry {
            Entry::Directory { mode } => ('d', *mode, 0),
            Entry::File { mode, data } => ('-', *mode, data.len() as u64),
            Entry::Symlink { .. } => ('l', 0o777, 0),
            Entry::Character { mode, .. } => ('c', *mode, 0),
        };
        let bits = (0..9).rev().map(|bit| {
            let letter = ["x", "w", "r"].get(bit % 3).copied().unwrap_or("-");
            if mode >> bit & 1 == 1 { letter } else { "-" }
        });
        let mode = std::iter::once(kind.to_string())
            .chain(bits.map(str::to_owned))
            .collect();
        Listed {
            path: path.to_owned(),
            mode,
            size,
        }
    };
    Ok(archive.entries().map(line).collect())
}

/// Reads an initramfs (zstd, gzip or uncompressed).
pub fn read(initramfs: &Path) -> Result<Archive, Error> {
    let data = std::fs::read(initramfs).map_err(Error::io("reading", initramfs))?;
    let plain = match data.get(..4) {
        Some([0x28, 0xb5, 0x2f, 0xfd]) => {
            zstd::decode_all(data.as_slice()).map_err(Error::io("decompressing", initramfs))?
        }
        Some([0x1f, 0x8b, ..]) => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(
                &mut flate2::read::GzDecoder::new(data.as_slice()),
                &mut plain,
            )
            .map_err(Error::io("decompressing", initramfs))?;
            plain
        }
        _ => data,
    };
    Archive::from_bytes(&plain)
}

/// The tree of the ramdisk and the paths of its modules in load order.
fn assemble(
    agent: &[u8],
    kernel: &Kernel,
    flavour: Flavour,
    modules: Vec<Module>,
    ca_bundle: Option<Vec<u8>>,
) -> (Archive, Vec<String>) {
    let mut archive = Archive::default();
    for name in ["proc", "sys", "dev", "run", "etc", "root", "mnt"] {
        archive.directory(name, 0o755);
    }
    archive.directory("tmp", 0o1777);
    // the kernel opens these two before PID 1 has mounted devtmpfs
    archive.insert(
        "dev/console",
        Entry::Character {
            mode: 0o600,
            major: 5,
            minor: 1,
        },
    );
    archive.insert(
        "dev/null",
        Entry::Character {
            mode: 0o666,
            major: 1,
            minor: 3,
        },
    );
    archive.file("init", 0o755, agent);
    let mut list = Vec::new();
    for module in modules {
        let path = format!("lib/modules/{}/{}", kernel.version, module.path);
        archive.file(&path, 0o644, module.data);
        list.push(path);
    }
    let lines: String = list.iter().map(|path| format!("/{path}\n")).collect();
    archive.file(MODULE_LIST, 0o644, lines);
    let release = format!(
        "FLAVOUR={flavour}\nKERNEL={}\nKERNEL_PACKAGE_VERSION={}\nAGENT_SHA256={}\n",
        kernel.version,
        kernel.package_version,
        hex::encode(Sha256::digest(agent)),
    );
    archive.file(RELEASE_FILE, 0o644, release);
    if let Some(bundle) = ca_bundle {
        archive.file(CA_BUNDLE, 0o644, bundle);
    }
    (archive, list)
}

fn ca_bundle() -> Option<Vec<u8>> {
    std::fs::read(Path::new("/").join(CA_BUNDLE)).ok()
}

/// PID 1 has no dynamic linker beside it, and must be for the machine whose kernel it gets.
pub fn check_static(data: &[u8]) -> Result<(), &'static str> {
    const EM_X86_64: u16 = 62;
    const PT_INTERP: u32 = 3;
    if data.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("it is not a 64-bit ELF program");
    }
    let cut = "the ELF file is cut off";
    if modules::read_u16(data, 0x12).ok_or(cut)? != EM_X86_64 {
        return Err("it is not for x86-64");
    }
    let table = usize::try_from(modules::read_u64(data, 0x20).ok_or(cut)?).map_err(|_| cut)?;
    let size = usize::from(modules::read_u16(data, 0x36).ok_or(cut)?);
    let count = usize::from(modules::read_u16(data, 0x38).ok_or(cut)?);
    for index in 0..count {
        let at = table.checked_add(index * size).ok_or(cut)?;
        if modules::read_u32(data, at).ok_or(cut)? == PT_INTERP {
            return Err("it is dynamically linked (it names an interpreter); link it statically");
        }
    }
    Ok(())
}

fn compress(plain: &[u8], out_dir: &Path) -> Result<Vec<u8>, Error> {
    // measured: level 19 saves a tenth of the size and costs ten times the time
    zstd::encode_all(plain, 12).map_err(Error::io("compressing the archive for", out_dir))
}

fn write_whole(path: &Path, data: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(Error::io("creating a file in", directory))?;
    std::io::Write::write_all(&mut file, data).map_err(Error::io("writing", path))?;
    file.persist(path).map_err(|error| Error::Io {
        what: "renaming to",
        path: path.to_owned(),
        source: error.error,
    })?;
    Ok(())
}

fn self_check(path: &Path, meant: &Archive, modules: &[String]) -> Result<(), Error> {
    let bad = |why: String| Error::SelfCheck {
        path: path.to_owned(),
        why,
    };
    let found = read(path)?;
    if &found != meant {
        return Err(bad(
            "what was read back differs from what was written".into()
        ));
    }
    match found.get("init") {
        Some(Entry::File { mode, .. }) if mode & 0o111 != 0 => {}
        _ => return Err(bad("/init is not an executable file".into())),
    }
    match modules.iter().find(|module| found.get(module).is_none()) {
        Some(module) => Err(bad(format!("{module} is listed and missing"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
