//! Network boot: DHCP, router advertisements, TFTP and HTTP for nodes, tied to what the store says that each node boots.
//!
//! What it is for: [`Netboot::bind`] opens the sockets that the settings name, [`Netboot::run`] serves until cancelled. What
//! a node boots is its *boot row*, read through [`BootDirectory`]; everything that happens is recorded there as a sentence
//! in the node's timeline, and strangers are remembered in [`Strangers`] for failure reports.
//!
//! What it must never do: decide what a node boots, write a node, answer a host that neither the store nor a discovery
//! range knows, or hand out a file outside the directories that it was given and the files that boot rows name.
//!
//! Where it is specified: the crates `dhcp` and `tftp` name their RFCs; RFC 9110 and 9112 for HTTP. Paths:
//!
//! | path | by | what |
//! |---|---|---|
//! | `boot/ipxe` | both | script that tries each interface's own script |
//! | `boot/<mac-with-dashes>/boot.ipxe` | both | the node's script |
//! | `ramdisk/<mac-with-dashes>/kernel`, `.../initramfs` | both | the files of the node's boot row |
//! | `vmedia/<node>/<secret>/boot.iso` | HTTP | the node's image for virtual media, made while it is sent |
//! | `ipxe/<name>` | both | loaders |
//! | `images/<path>`, else `<path>` | HTTP | `[deploy] http_root` |
//! | `<name>` | TFTP | loaders, then `[pxe] tftp_root` |

mod dhcp;
pub mod directory;
mod files;
pub mod fuzz;
mod http;
mod journal;
mod media;
mod memory;
mod ra;
mod range;
pub mod script;
mod service;
pub mod settings;
mod tftp;

use std::path::PathBuf;

pub use directory::{
    Boot, BootDirectory, DirectoryError, Event, Host, LeaseRequest, MediaBoot, Ramdisk, Source,
    StoreDirectory, Transport, Unknown,
};
pub use journal::{Stranger, Strangers};
pub use memory::MemoryDirectory;
pub use service::{Addresses, Netboot};
pub use settings::Settings;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not do it.
    #[error("not permitted: {what}; {remedy}")]
    NotPermitted {
        /// What was tried.
        what: String,
        /// What the operator can do.
        remedy: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// An address or port cannot be used.
    #[error("{what}")]
    Socket {
        /// What was tried, with the address.
        what: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A setting makes no sense.
    #[error("{why}")]
    Settings {
        /// Which, and why.
        why: String,
    },
    /// An operator's template cannot be read or parsed.
    #[error("boot script template {path} cannot be used")]
    Template {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again later: an address may not be there yet.
    RetryLater,
    /// The operator has to change something.
    Never,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Socket { .. } => ErrorClass::RetryLater,
            Self::NotPermitted { .. } | Self::Settings { .. } | Self::Template { .. } => {
                ErrorClass::Never
            }
        }
    }

    /// An error of a socket call, told apart by what the operator can do.
    pub(crate) fn socket(what: String, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            Self::NotPermitted {
                what,
                remedy: "run as root, or give the program the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW",
                source,
            }
        } else {
            Self::Socket { what, source }
        }
    }
}
