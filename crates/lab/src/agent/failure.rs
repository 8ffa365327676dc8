//! How commands fail, in upstream's classes.

use bessemer_wire::CommandError;

/// A failed or refused command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Upstream's class.
    pub class: &'static str,
    /// HTTP status of the class.
    pub code: u16,
    /// The class in words.
    pub message: &'static str,
    pub details: String,
}

macro_rules! classes {
    ($($name:ident: $class:literal, $code:literal, $message:literal;)*) => {
        impl Failure {
            $(pub fn $name(details: impl Into<String>) -> Self {
                Self { class: $class, code: $code, message: $message, details: details.into() }
            })*
        }
    };
}

classes! {
    invalid_command: "InvalidCommandError", 400, "Invalid command";
    invalid_params: "InvalidCommandParamsError", 400, "Invalid command parameters";
    not_found: "RequestedObjectNotFoundError", 404, "Not found";
    busy: "AgentIsBusy", 409, "Agent is busy";
    version_mismatch: "VersionMismatch", 409, "Hardware managers version mismatch, reload agent with correct version";
    download: "ImageDownloadError", 500, "Error downloading image";
    checksum: "ImageChecksumError", 500, "Error verifying image checksum";
    write: "ImageWriteError", 500, "Error writing image to device";
    invalid_image: "InvalidImage", 500, "The provided image is not valid for use";
    device_not_found: "DeviceNotFound", 404, "Error finding the disk or partition device to deploy the image onto";
    erase: "BlockDeviceEraseError", 500, "Error erasing block device";
    cleaning: "CleaningError", 500, "Clean step failed";
    deployment: "DeploymentError", 500, "Deploy step failed";
    servicing: "ServicingError", 500, "Service step failed";
    execution: "CommandExecutionError", 500, "Command execution failed";
}

impl Failure {
    /// As it crosses the wire.
    pub fn to_wire(&self) -> CommandError {
        CommandError {
            kind: self.class.to_owned(),
            code: self.code,
            message: self.message.to_owned(),
            details: self.details.clone(),
        }
    }

    /// For the log and for refusals.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.message, self.details)
    }
}
