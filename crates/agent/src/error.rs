//! What can go wrong in a command, in the classes that upstream's agent names.
//!
//! Every variant becomes the `{type, code, message, details}` object of a failed command or the body of a refused
//! request. The texts reach `last_error` of the node, so they are whole sentences that name the object and what to
//! check, and they must never hold a password, a token or a URL with credentials.

use bessemer_wire::CommandError;

/// Failure of one command or request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command's name is not known to its extension or not of the form `extension.command`.
    #[error("Invalid command: {0}")]
    InvalidCommand(String),
    /// A parameter is missing or has the wrong shape.
    #[error("Invalid command parameters: {0}")]
    InvalidParams(String),
    /// No such extension or command id.
    #[error("Not found: {0}")]
    NotFound(String),
    /// Another command is still running.
    #[error("Agent is busy: executing command {0}")]
    Busy(String),
    /// The image could not be fetched.
    #[error("Error downloading image: {0}")]
    ImageDownload(String),
    /// The image arrived but is not the one that was promised.
    #[error("Error verifying image checksum: {0}")]
    ImageChecksum(String),
    /// The disk refused the image.
    #[error("Error writing image to device: {0}")]
    ImageWrite(String),
    /// The image is of a kind that must not be deployed.
    #[error("The provided image is not valid for use: {0}")]
    InvalidImage(String),
    /// No disk fits the hints, or a partition that must exist does not.
    #[error("Error finding the disk or partition device to deploy the image onto: {0}")]
    DeviceNotFound(String),
    /// A disk could not be erased.
    #[error("Error erasing block device: {0}")]
    Erase(String),
    /// A disk misbehaved.
    #[error("Block device caused unknown error: {0}")]
    BlockDevice(String),
    /// A disk carries a file system that belongs to a cluster.
    #[error("Protected device located, cleaning aborted: {0}")]
    Protected(String),
    /// A clean step failed or is not known.
    #[error("Clean step failed: {0}")]
    Cleaning(String),
    /// A deploy step failed or is not known.
    #[error("Deploy step failed: {0}")]
    Deployment(String),
    /// A service step failed or is not known.
    #[error("Service step failed: {0}")]
    Servicing(String),
    /// The conductor planned its steps with another version of the agent.
    #[error("Hardware managers version mismatch, reload agent with correct version: {0}")]
    VersionMismatch(String),
    /// Anything else.
    #[error("Command execution failed: {0}")]
    Execution(String),
}

impl Failure {
    /// HTTP status that upstream gives to this class.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::InvalidCommand(_) | Self::InvalidParams(_) => 400,
            Self::NotFound(_) | Self::DeviceNotFound(_) => 404,
            Self::Busy(_) | Self::VersionMismatch(_) => 409,
            _ => 500,
        }
    }

    /// Name of upstream's class, title of the class, and the sentence.
    fn parts(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::InvalidCommand(d) => ("InvalidCommandError", "Invalid command", d.clone()),
            Self::InvalidParams(d) => (
                "InvalidCommandParamsError",
                "Invalid command parameters",
                d.clone(),
            ),
            Self::NotFound(d) => ("RequestedObjectNotFoundError", "Not found", d.clone()),
            Self::Busy(d) => (
                "AgentIsBusy",
                "Agent is busy",
                format!("executing command {d}"),
            ),
            Self::ImageDownload(d) => ("ImageDownloadError", "Error downloading image", d.clone()),
            Self::ImageChecksum(d) => (
                "ImageChecksumError",
                "Error verifying image checksum",
                d.clone(),
            ),
            Self::ImageWrite(d) => (
                "ImageWriteError",
                "Error writing image to device",
                d.clone(),
            ),
            Self::InvalidImage(d) => (
                "InvalidImage",
                "The provided image is not valid for use",
                d.clone(),
            ),
            Self::DeviceNotFound(d) => (
                "DeviceNotFound",
                "Error finding the disk or partition device to deploy the image onto",
                d.clone(),
            ),
            Self::Erase(d) => (
                "BlockDeviceEraseError",
                "Error erasing block device",
                d.clone(),
            ),
            Self::BlockDevice(d) => (
                "BlockDeviceError",
                "Block device caused unknown error",
                d.clone(),
            ),
            Self::Protected(d) => (
                "ProtectedDeviceError",
                "Protected device located, cleaning aborted",
                d.clone(),
            ),
            Self::Cleaning(d) => ("CleaningError", "Clean step failed", d.clone()),
            Self::Deployment(d) => ("DeploymentError", "Deploy step failed", d.clone()),
            Self::Servicing(d) => ("ServicingError", "Service step failed", d.clone()),
            Self::VersionMismatch(d) => (
                "VersionMismatch",
                "Hardware managers version mismatch, reload agent with correct version",
                d.clone(),
            ),
            Self::Execution(d) => (
                "CommandExecutionError",
                "Command execution failed",
                d.clone(),
            ),
        }
    }

    /// As it crosses the wire in `command_error`.
    #[must_use]
    pub fn to_wire(&self) -> CommandError {
        let (kind, message, details) = self.parts();
        CommandError {
            kind: kind.to_owned(),
            code: self.code(),
            message: message.to_owned(),
            details,
        }
    }
}

/// An error and its causes on one line, innermost last. Most libraries' errors show only their outermost layer.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
