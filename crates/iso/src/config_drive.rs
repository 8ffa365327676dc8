//! The config drive as cloud-init's ConfigDrive source and Ironic lay it out: label `config-2`, files below
//! `openstack/latest`.

use crate::{Builder, Error};

/// The volume label by which an instance finds its config drive.
pub const CONFIG_DRIVE_LABEL: &str = "config-2";

/// A config drive. The texts are JSON (not looked at here); `user_data` is whatever the user gave.
///
/// Errors: [`Error::TooLarge`].
pub fn config_drive(
    meta_data: &str,
    network_data: Option<&str>,
    user_data: Option<&[u8]>,
    vendor_data: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let mut builder = Builder::new(CONFIG_DRIVE_LABEL)?;
    builder.add_file("openstack/latest/meta_data.json", meta_data)?;
    if let Some(text) = network_data {
        builder.add_file("openstack/latest/network_data.json", text)?;
    }
    if let Some(bytes) = user_data {
        builder.add_file("openstack/latest/user_data", bytes)?;
    }
    if let Some(text) = vendor_data {
        builder.add_file("openstack/latest/vendor_data.json", text)?;
    }
    builder.build()
}
