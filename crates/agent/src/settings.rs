//! Settings of the agent: kernel parameters (`ipa-…`, upstream's names) and command line.
//!
//! Unknown words of the kernel command line are ignored, since most of them belong to the kernel or to other programs;
//! an `ipa-` parameter with a bad value is told and its default kept, because an agent that does not start cannot say
//! why. Specification: upstream's documentation of the agent's kernel parameters.
//!
//! Must never print the token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// Where the agent looks for the hardware. Tests point these at directories of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Normally `/sys`.
    pub sys: PathBuf,
    /// Normally `/proc`.
    pub proc: PathBuf,
    /// Normally `/dev`.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bare Metal API, tried in order; empty until told.
    pub api_urls: Vec<Url>,
    /// Where the agent's own API listens.
    pub listen: SocketAddr,
    /// Address under which the conductor reaches the agent; found by a route look-up when not given.
    pub advertise_host: Option<String>,
    /// Port under which the conductor reaches the agent.
    pub advertise_port: Option<u16>,
    /// Serve TLS with an own certificate (always, unless `ipa-advertise-protocol=http`).
    pub tls: bool,
    pub node_uuid: Option<uuid::Uuid>,
    /// Where the inventory is sent at the start, when the node is inspected.
    pub inspection_callback_url: Option<Url>,
    /// Token that was put into the boot media, if any.
    pub agent_token: Option<SecretString>,
    /// Version of the Bare Metal API to speak instead of the negotiated one.
    pub api_version: Option<(u32, u32)>,
    pub lookup_timeout: Duration,
    /// First pause between look-ups; grows.
    pub lookup_interval: Duration,
    /// How often and how long to wait for an address on the network.
    pub ip_lookup_attempts: u32,
    pub ip_lookup_timeout: Duration,
    pub http_request_timeout: Duration,
    /// Do not verify certificates of API and image servers.
    pub insecure: bool,
    /// PEM file with authorities for API and image servers, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Only this interface is configured and advertised.
    pub network_interface: Option<String>,
    /// MAC that the machine booted from, lower case with colons.
    pub boot_mac: Option<String>,
    pub disk_wait_attempts: u32,
    pub disk_wait_delay: Duration,
    pub hardware_initialization_delay: Duration,
    pub image_connection_timeout: Duration,
    pub image_retries: u32,
    pub image_retry_interval: Duration,
    /// Zero: no limit.
    pub image_max_duration: Duration,
    /// Refuse to erase disks that carry cluster file systems.
    pub guard_special_filesystems: bool,
    pub ignore_bootloader_failure: bool,
    /// Sent as `X-Openstack-Request-Id`.
    pub global_request_id: Option<String>,
    pub debug: bool,
    pub roots: Roots,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_urls: Vec::new(),
            listen: SocketAddr::new(
                IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
                bessemer_wire::AGENT_PORT,
            ),
            advertise_host: None,
            advertise_port: None,
            tls: true,
            node_uuid: None,
            inspection_callback_url: None,
            agent_token: None,
            api_version: None,
            lookup_timeout: Duration::from_secs(600),
            lookup_interval: Duration::from_secs(1),
            ip_lookup_attempts: 6,
            ip_lookup_timeout: Duration::from_secs(10),
            http_request_timeout: Duration::from_secs(30),
            insecure: false,
            ca_file: None,
            network_interface: None,
            boot_mac: None,
            disk_wait_attempts: 10,
            disk_wait_delay: Duration::from_secs(3),
            hardware_initialization_delay: Duration::ZERO,
            image_connection_timeout: Duration::from_secs(60),
            image_retries: 9,
            image_retry_interval: Duration::from_secs(10),
            image_max_duration: Duration::ZERO,
            guard_special_filesystems: true,
            ignore_bootloader_failure: false,
            global_request_id: None,
            debug: false,
            roots: Roots::default(),
        }
    }
}

/// Why the command line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    #[error("unknown argument {0}; --help lists them")]
    Unknown(String),
    #[error("argument {0} needs a value")]
    NoValue(String),
    #[error("argument {name} does not take the value {value:?}: {why}")]
    Value {
        name: String,
        value: String,
        why: String,
    },
}

/// Help text of the program.
pub const HELP: &str = "bessemer-agent: the program inside the deploy ramdisk

As process 1 it takes its settings from the kernel command line (ipa-api-url, BOOTIF, ...). As an ordinary process:

  --api-url URL[,URL]      Bare Metal API
  --listen ADDRESS:PORT    where the agent's own API listens (default [::]:9999)
  --advertise HOST[:PORT]  what the conductor is told (default: address of the route to the API)
  --no-tls                 plain HTTP for the agent's own API
  --agent-token TOKEN      token known in advance, at least 32 characters
  --node-uuid UUID         look this node up instead of only the addresses
  --sysfs DIR --procfs DIR --dev-dir DIR
                           where hardware is described; disks may be plain files
  --ca-file FILE           authorities for API and image servers (PEM)
  --insecure               do not verify servers' certificates
  --param NAME=VALUE       any kernel parameter, e.g. --param ipa-lookup-timeout=60
  --debug                  more lines in the log
  --version
";

impl Settings {
    /// Takes what a kernel command line says over the present values; returns a sentence for each value refused.
    pub fn apply_kernel_command_line(&mut self, line: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        for word in split_words(line) {
            let (name, value) = match word.split_once('=') {
                Some((n, v)) => (n.to_owned(), Some(v.to_owned())),
                None => (word.clone(), None),
            };
            if let Err(why) = self.apply(&name, value.as_deref()) {
                complaints.push(format!(
                    "kernel parameter {name} does not take its value: {why}; the default is kept"
                ));
            }
        }
        complaints
    }

    /// One kernel parameter. Unknown ones are ignored.
    fn apply(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or_default();
        match name.replace('_', "-").as_str() {
            "BOOTIF" => self.boot_mac = Some(parse_bootif(text)?),
            "ipa-api-url" => self.api_urls = parse_api_urls(text)?,
            "ipa-inspection-callback-url" => {
                let url = Url::parse(text).map_err(|e| e.to_string())?;
                if !matches!(url.scheme(), "http" | "https") {
                    return Err("an http or https URL is wanted".to_owned());
                }
                self.inspection_callback_url = Some(url);
            }
            "ipa-listen-host" => self.listen.set_ip(parse(text)?),
            "ipa-listen-port" => self.listen.set_port(parse(text)?),
            "ipa-advertise-host" => self.advertise_host = non_empty(text),
            "ipa-advertise-port" => self.advertise_port = Some(parse(text)?),
            "ipa-advertise-protocol" => {
                self.tls = match text {
                    "http" => false,
                    "https" => true,
                    _ => return Err("http or https".to_owned()),
                }
            }
            "ipa-agent-token" => self.agent_token = non_empty(text).map(SecretString::from),
            "ipa-ironic-api-version" => self.api_version = Some(parse_version(text)?),
            "ipa-lookup-timeout" => self.lookup_timeout = seconds(text)?,
            "ipa-lookup-interval" => self.lookup_interval = seconds(text)?,
            "ipa-ip-lookup-attempts" => self.ip_lookup_attempts = parse(text)?,
            "ipa-ip-lookup-timeout" => self.ip_lookup_timeout = seconds(text)?,
            "ipa-http-request-timeout" => self.http_request_timeout = seconds(text)?,
            "ipa-insecure" => self.insecure = flag(value)?,
            "ipa-network-interface" => self.network_interface = non_empty(text),
            "ipa-disk-wait-attempts" => self.disk_wait_attempts = parse(text)?,
            "ipa-disk-wait-delay" => self.disk_wait_delay = seconds(text)?,
            "ipa-hardware-initialization-delay" => {
                self.hardware_initialization_delay = seconds(text)?;
            }
            "ipa-image-download-connection-timeout" => {
                self.image_connection_timeout = seconds(text)?;
            }
            "ipa-image-download-connection-retries" | "ipa-image-download-retries" => {
                self.image_retries = parse(text)?;
            }
            "ipa-image-download-connection-retry-interval"
            | "ipa-image-download-retry-interval" => {
                self.image_retry_interval = seconds(text)?;
            }
            "ipa-image-download-max-duration" => self.image_max_duration = seconds(text)?,
            "ipa-guard-special-filesystems" => self.guard_special_filesystems = flag(value)?,
            "ipa-ignore-bootloader-failure" => self.ignore_bootloader_failure = flag(value)?,
            "ipa-global-request-id" => self.global_request_id = non_empty(text),
            "ipa-debug" => self.debug = flag(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes command line arguments (without the program's name).
    pub fn apply_arguments(
        &mut self,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(), BadArgument> {
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((n, v)) if n.starts_with("--") => (n.to_owned(), Some(v.to_owned())),
                _ => (argument.clone(), None),
            };
            match name.as_str() {
                "--no-tls" => self.tls = false,
                "--insecure" => self.insecure = true,
                "--debug" => self.debug = true,
                "--api-url" | "--listen" | "--advertise" | "--agent-token" | "--node-uuid"
                | "--sysfs" | "--procfs" | "--dev-dir" | "--ca-file" | "--param" => {
                    let Some(value) = inline.or_else(|| rest.next()) else {
                        return Err(BadArgument::NoValue(name));
                    };
                    self.apply_valued(&name, &value)
                        .map_err(|why| BadArgument::Value {
                            value: if name == "--agent-token" {
                                "***".to_owned()
                            } else {
                                value.clone()
                            },
                            name: name.clone(),
                            why,
                        })?;
                }
                _ => return Err(BadArgument::Unknown(name)),
            }
        }
        Ok(())
    }

    fn apply_valued(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--api-url" => self.api_urls = parse_api_urls(value)?,
            "--listen" => self.listen = parse(value)?,
            "--advertise" => {
                if let Ok(address) = value.parse::<SocketAddr>() {
                    self.advertise_host = Some(address.ip().to_string());
                    self.advertise_port = Some(address.port());
                } else if let Some((host, port)) =
                    value.rsplit_once(':').filter(|(h, _)| !h.contains(':'))
                {
                    self.advertise_host = Some(host.to_owned());
                    self.advertise_port = Some(parse(port)?);
                } else {
                    self.advertise_host = Some(value.to_owned());
                }
            }
            "--agent-token" => self.agent_token = non_empty(value).map(SecretString::from),
            "--node-uuid" => self.node_uuid = Some(parse(value)?),
            "--sysfs" => self.roots.sys = value.into(),
            "--procfs" => self.roots.proc = value.into(),
            "--dev-dir" => self.roots.dev = value.into(),
            "--ca-file" => self.ca_file = Some(value.into()),
            "--param" => {
                let (n, v) = value.split_once('=').ok_or("NAME=VALUE is wanted")?;
                self.apply(n, Some(v))?;
            }
            _ => return Err("unknown".to_owned()),
        }
        Ok(())
    }
}

/// Splits a kernel command line as the kernel does: blanks separate, double quotes protect blanks.
#[must_use]
pub fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `01-52-54-00-77-00-00` (hardware type, then the address) or a plain MAC, to lower case with colons.
fn parse_bootif(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(['-', ':']).collect();
    let mac = match parts.len() {
        7 => parts.get(1..),
        6 => parts.get(..),
        _ => None,
    }
    .ok_or("not a MAC address")?;
    for part in mac {
        if part.len() != 2 || u8::from_str_radix(part, 16).is_err() {
            return Err("not a MAC address".to_owned());
        }
    }
    Ok(mac.join(":").to_lowercase())
}

fn parse_api_urls(text: &str) -> Result<Vec<Url>, String> {
    let mut urls = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        // `mdns` needs multicast discovery, which this agent does not have; say so rather than look up a host of that name
        if part == "mdns" {
            return Err("mdns is not supported; give the URL of the API".to_owned());
        }
        let trimmed = part.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
        let url = Url::parse(trimmed).map_err(|e| e.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("an http or https URL is wanted".to_owned());
        }
        urls.push(url);
    }
    if urls.is_empty() {
        return Err("no URL in it".to_owned());
    }
    Ok(urls)
}

fn parse_version(text: &str) -> Result<(u32, u32), String> {
    let (major, minor) = text.split_once('.').ok_or("MAJOR.MINOR is wanted")?;
    Ok((parse(major)?, parse(minor)?))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|e: <T as std::str::FromStr>::Err| e.to_string())
}

/// Seconds, whole or with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = parse(text)?;
    Duration::try_from_secs_f64(value).map_err(|e| e.to_string())
}

fn flag(value: Option<&str>) -> Result<bool, String> {
    match value.map(|v| v.trim().to_lowercase()).as_deref() {
        None | Some("1" | "true" | "yes" | "on" | "t" | "y") => Ok(true),
        Some("0" | "false" | "no" | "off" | "f" | "n" | "") => Ok(false),
        Some(_) => Err("true or false is wanted".to_owned()),
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The address to bind when the kernel has no IPv6.
#[must_use]
pub fn v4_any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn words() {
        for (line, expected) in [
            ("", vec![]),
            ("a b=c  d\n", vec!["a", "b=c", "d"]),
            ("x=\"a b\" \"y=1 2\" z", vec!["x=a b", "y=1 2", "z"]),
        ] {
            assert_eq!(split_words(line), expected, "{line}");
        }
    }

    #[test]
    fn kernel_command_line() {
        let mut s = Settings::default();
        let complaints = s.apply_kernel_command_line(
            "initrd=initrd quiet nofb systemd.journald.forward_to_console=yes ipa-api-url=http://10.77.0.1:6385/v1/,https://b:1/x \
             BOOTIF=01-52-54-00-AB-00-0c ipa-debug=1 ipa-listen-port=9998 ipa-lookup-timeout=300 ipa-insecure=0 ipa-unknown=3 \
             ipa-agent-token=abcd ipa-ip-lookup-attempts=many console=ttyS0",
        );
        assert_eq!(
            s.api_urls.iter().map(Url::as_str).collect::<Vec<_>>(),
            ["http://10.77.0.1:6385/", "https://b:1/x"]
        );
        assert_eq!(s.boot_mac.as_deref(), Some("52:54:00:ab:00:0c"));
        assert!(s.debug && !s.insecure && s.tls);
        assert_eq!(s.listen.port(), 9998);
        assert_eq!(s.lookup_timeout, Duration::from_secs(300));
        assert_eq!(s.ip_lookup_attempts, 6);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(!format!("{s:?}").contains("abcd"));
    }

    #[test]
    fn arguments() {
        let mut s = Settings::default();
        let take =
            |s: &mut Settings, a: &[&str]| s.apply_arguments(a.iter().map(|x| (*x).to_owned()));
        take(
            &mut s,
            &[
                "--api-url=http://127.0.0.1:1",
                "--listen",
                "127.0.0.1:2",
                "--advertise",
                "[::1]:3",
                "--param",
                "ipa-image-download-retries=2",
            ],
        )
        .unwrap();
        assert_eq!(s.advertise_host.as_deref(), Some("::1"));
        assert_eq!(s.advertise_port, Some(3));
        assert_eq!(s.image_retries, 2);
        for (bad, expected) in [
            (vec!["--wat"], "unknown argument --wat"),
            (vec!["--listen"], "needs a value"),
            (vec!["--listen", "x"], "does not take the value \"x\""),
            (vec!["--api-url", "mdns"], "mdns is not supported"),
        ] {
            let error = take(&mut s, &bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
