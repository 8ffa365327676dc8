//! Every option of Bessemer as data: name, type, default, meaning, and who reads it.
//!
//! Section and option names are upstream's wherever the meaning is the same. An option is one row in
//! `sections/`; the struct field, the parser, `bessemer serve --help`, the annotated example
//! (`docs/bessemer.example.toml`) and the reference (`docs/options.md`) come from that row. An option that
//! nobody reads must not exist.
//!
//! How to use it:
//!
//! ```ignore
//! let config = Config::load(&Sources {
//!     base: Base::Plain,                       // or Base::Dev for `serve --dev`
//!     file: Some("/etc/bessemer/bessemer.toml".into()),
//!     env: std::env::vars_os().collect(),      // BESSEMER__SECTION__OPTION is picked out
//!     set: vec!["conductor.automated_clean=false".into()],
//! })?;
//! config.check_for_serve()?;                   // what only a server needs: authentication stated, …
//! config.conductor.deploy_callback_timeout     // a Duration
//! config.database_url()                        // what follows from several options is a method
//! ```
//!
//! Later sources win: defaults, file, environment, `--set`. Tests start from [`Config::dev`] and change
//! fields. This crate never opens a socket and reads no file but the one it is told to.

mod error;
pub mod import;
mod load;
mod reference;
mod sections;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

pub use error::ConfigError;
pub use import::{ImportError, Imported, import};
pub use load::{Base, ENV_PREFIX, Sources};
pub use reference::{example, reference};
pub use sections::{
    Agent, Api, Conductor, Config, Database, Defaults, Deploy, Dhcp, Fake, Healthcheck, Ipmi,
    KeystoneAuthtoken, Log, Netboot, Notifications, OsloMessagingNotifications,
    OsloMessagingRabbit, OsloPolicy, Pxe, SensorData, Ssl,
};
pub use types::{
    AuthStrategy, BootMode, DhcpNetwork, DhcpProvider, FakeDelay, LogFormat, NotificationDriver,
    NotificationLevel, TlsVersion,
};
pub use value::OptionInfo;

impl Config {
    /// What `serve --dev` starts from: loopback, no authentication, fake hardware besides the real types.
    #[must_use]
    pub fn dev() -> Self {
        let mut config = Self::default();
        config.default.auth_strategy = Some(AuthStrategy::Noauth);
        config.default.enabled_hardware_types = vec!["fake-hardware".into(), "ipmi".into()];
        config.api.host_ip = IpAddr::from([127, 0, 0, 1]);
        config
    }

    /// Every option with its documentation, in the order of the reference.
    #[must_use]
    pub fn options() -> Vec<OptionInfo> {
        sections::options()
    }

    /// Connection string of the database. Secret: it may carry a password.
    #[must_use]
    pub fn database_url(&self) -> SecretString {
        match &self.database.connection {
            Some(url) => SecretString::from(url.expose_secret().to_owned()),
            None => SecretString::from(format!(
                "sqlite://{}",
                self.default.state_path.join("bessemer.sqlite").display()
            )),
        }
    }

    /// Directory that netboot serves over HTTP and drivers write to.
    #[must_use]
    pub fn http_root(&self) -> PathBuf {
        self.deploy
            .http_root
            .clone()
            .unwrap_or_else(|| self.default.state_path.join("http"))
    }

    /// URL, without a slash at the end, under which the agent reaches the API.
    #[must_use]
    pub fn callback_url(&self) -> String {
        match self
            .deploy
            .external_callback_url
            .as_ref()
            .or(self.api.public_endpoint.as_ref())
        {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!(
                "{}://{}:{}",
                self.api_scheme(),
                url_host(self.default.my_ip),
                self.api.port
            ),
        }
    }

    /// How the API is reached without a proxy.
    #[must_use]
    pub fn api_scheme(&self) -> &'static str {
        if self.api.enable_ssl_api {
            "https"
        } else {
            "http"
        }
    }

    /// Certificate and key of the API's listener: `[api]`, else `[ssl]`, as upstream looks for them.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] when neither has both.
    pub fn api_certificate(&self) -> Result<(PathBuf, PathBuf), ConfigError> {
        [
            (&self.api.cert_file, &self.api.key_file),
            (&self.ssl.cert_file, &self.ssl.key_file),
        ]
        .into_iter()
        .find_map(|(certificate, key)| Some((certificate.clone()?, key.clone()?)))
        .ok_or_else(|| {
            ConfigError::Missing(
                "api.cert_file and api.key_file are not set: with api.enable_ssl_api the API needs a \
                 certificate and its key"
                    .into(),
            )
        })
    }

    /// `enabled_<family>_interfaces`; `None` = all that the enabled hardware types support.
    #[must_use]
    pub fn enabled_interfaces(&self, family: &str) -> Option<&[String]> {
        let d = &self.default;
        match family {
            "bios" => &d.enabled_bios_interfaces,
            "boot" => &d.enabled_boot_interfaces,
            "console" => &d.enabled_console_interfaces,
            "deploy" => &d.enabled_deploy_interfaces,
            "firmware" => &d.enabled_firmware_interfaces,
            "inspect" => &d.enabled_inspect_interfaces,
            "management" => &d.enabled_management_interfaces,
            "network" => &d.enabled_network_interfaces,
            "power" => &d.enabled_power_interfaces,
            "raid" => &d.enabled_raid_interfaces,
            "rescue" => &d.enabled_rescue_interfaces,
            "storage" => &d.enabled_storage_interfaces,
            "vendor" => &d.enabled_vendor_interfaces,
            _ => &None,
        }
        .as_deref()
    }

    /// `default_<family>_interface`.
    #[must_use]
    pub fn default_interface(&self, family: &str) -> Option<&str> {
        let d = &self.default;
        match family {
            "bios" => &d.default_bios_interface,
            "boot" => &d.default_boot_interface,
            "console" => &d.default_console_interface,
            "deploy" => &d.default_deploy_interface,
            "firmware" => &d.default_firmware_interface,
            "inspect" => &d.default_inspect_interface,
            "management" => &d.default_management_interface,
            "network" => &d.default_network_interface,
            "power" => &d.default_power_interface,
            "raid" => &d.default_raid_interface,
            "rescue" => &d.default_rescue_interface,
            "storage" => &d.default_storage_interface,
            "vendor" => &d.default_vendor_interface,
            _ => &None,
        }
        .as_deref()
    }

    /// Deploy kernel and ramdisk for an architecture, `None` when not configured.
    #[must_use]
    pub fn deploy_images(&self, arch: &str) -> (Option<&str>, Option<&str>) {
        let c = &self.conductor;
        (
            c.deploy_kernel_by_arch
                .get(arch)
                .or(c.deploy_kernel.as_ref())
                .map(String::as_str),
            c.deploy_ramdisk_by_arch
                .get(arch)
                .or(c.deploy_ramdisk.as_ref())
                .map(String::as_str),
        )
    }

    /// EFI system partition of images for virtual media for an architecture.
    #[must_use]
    pub fn bootloader(&self, arch: &str) -> Option<&str> {
        let c = &self.conductor;
        c.bootloader_by_arch
            .get(arch)
            .or(c.bootloader.as_ref())
            .map(String::as_str)
    }

    /// URL of the HTTP boot service as BMCs reach it, without a slash at the end.
    #[must_use]
    pub fn media_url(&self) -> String {
        let given = self.deploy.external_http_url.as_ref();
        match given.or(self.deploy.http_url.as_ref()) {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let port = self.netboot.http_port;
                let address = std::net::SocketAddr::new(self.default.my_ip, port);
                format!("http://{address}")
            }
        }
    }

    /// The same of the rescue ramdisk.
    #[must_use]
    pub fn rescue_images(&self, arch: &str) -> (Option<&str>, Option<&str>) {
        let c = &self.conductor;
        (
            c.rescue_kernel_by_arch
                .get(arch)
                .or(c.rescue_kernel.as_ref())
                .map(String::as_str),
            c.rescue_ramdisk_by_arch
                .get(arch)
                .or(c.rescue_ramdisk.as_ref())
                .map(String::as_str),
        )
    }

    /// What a server needs besides well-formed values: whoever answers on the network must have been told
    /// how to authenticate.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] with a sentence that names the option.
    pub fn check_for_serve(&self) -> Result<(), ConfigError> {
        match self.default.auth_strategy {
            None => {
                return Err(ConfigError::Missing(
                    "DEFAULT.auth_strategy is not set, and there is no default that answers strangers. \
                     Set it to \"keystone\", to \"http_basic\" (users in DEFAULT.http_basic_auth_user_file), or to \
                     \"noauth\" when everyone who reaches the API may do everything; `bessemer serve --dev` is for a \
                     first look on loopback"
                        .into(),
                ));
            }
            Some(AuthStrategy::Keystone) if self.keystone_authtoken.auth_url.is_none() => {
                return Err(ConfigError::Missing(
                    "keystone_authtoken.auth_url is not set: with DEFAULT.auth_strategy = \"keystone\" the \
                     service must know where Keystone is"
                        .into(),
                ));
            }
            Some(AuthStrategy::Noauth | AuthStrategy::HttpBasic | AuthStrategy::Keystone) => {}
        }
        if self.api.enable_ssl_api {
            self.api_certificate()?;
        }
        if self.netboot.enabled
            && self.dhcp.dhcp_provider == DhcpProvider::Builtin
            && !self.dhcp.network.is_empty()
            && self.netboot.interface.is_none()
        {
            return Err(ConfigError::Missing(
                "netboot.interface is not set: DHCP must know on which network interface it answers".into(),
            ));
        }
        Ok(())
    }
}

/// An address as it stands in a URL.
fn url_host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
