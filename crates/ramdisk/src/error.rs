//! What can go wrong while a ramdisk is built, by what the caller can do about it.

use std::path::PathBuf;

/// Whether and when trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The package mirror or another process was in the way.
    RetryLater,
    /// The input or the machine must be changed first.
    Never,
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that the build calls is not installed.
    #[error(
        "the program {program} is needed to build a ramdisk and is not installed; install Debian's package {package}"
    )]
    MissingProgram {
        program: String,
        package: &'static str,
    },

    /// A program ran and reported failure.
    #[error("{what} failed: {stderr}")]
    Program { what: String, stderr: String },

    /// The package index knows no kernel of the flavour.
    #[error(
        "no kernel package for {wanted} in the package index; run apt-get update and check the package sources"
    )]
    NoKernelPackage { wanted: String },

    /// The unpacked package does not have the layout of a Debian kernel.
    #[error("kernel package {package} is malformed: {why}")]
    Kernel { package: String, why: String },

    /// A module that must be in the ramdisk is neither a file nor built in.
    #[error("kernel {kernel} has no module named {module}")]
    NoModule { module: String, kernel: String },

    /// A module file cannot be understood.
    #[error("module {path} is malformed: {why}", path = path.display())]
    Module { path: PathBuf, why: &'static str },

    /// Modules depend on each other in a circle.
    #[error("module {module} depends on itself through {through}")]
    ModuleCycle { module: String, through: String },

    /// The agent cannot be PID 1 of an initramfs.
    #[error("{path} cannot be the ramdisk's main program: {why}", path = path.display())]
    Agent { path: PathBuf, why: &'static str },

    /// An archive (ours, read back, or somebody else's) is malformed.
    #[error("initramfs is malformed at byte {offset}: {why}")]
    Archive { offset: usize, why: &'static str },

    /// What was written is not what was meant.
    #[error("self-check of {path}: {why}", path = path.display())]
    SelfCheck { path: PathBuf, why: String },

    /// A file could not be read or written.
    #[error("{what} {path}", path = path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Error {
    /// Whether and when trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Error::Program { .. } | Error::NoKernelPackage { .. } => Class::RetryLater,
            _ => Class::Never,
        }
    }

    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}
