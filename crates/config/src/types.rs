//! Values of options that are more than a number or a text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value::{Bad, OptionValue, closest, parse_inline};

/// An option whose value is one of a few words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),* }

        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl OptionValue for $name {
            fn kind() -> String {
                Self::WORDS.join(" | ")
            }
            fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
                match value.get_ref().as_str() {
                    Some(text) => Self::from_text(text),
                    None => Err(Bad::wrong_type("a text", value)),
                }
            }
            fn from_text(text: &str) -> Result<Self, Bad> {
                Self::parse(text).ok_or_else(|| {
                    let hint = closest(text, Self::WORDS.iter().copied())
                        .map(|w| format!("; did you mean \"{w}\"?"))
                        .unwrap_or_default();
                    Bad::new(format!("\"{text}\" is not one of {}{hint}", Self::WORDS.join(", ")))
                })
            }
            fn show(&self) -> Option<String> {
                Some(format!("\"{}\"", self.as_str()))
            }
        }
    };
}

words! {
    /// Who may call the API.
    AuthStrategy { Noauth = "noauth", HttpBasic = "http_basic", Keystone = "keystone" }
}
words! {
    /// Oldest version of TLS that is spoken.
    TlsVersion { V1_2 = "1.2", V1_3 = "1.3" }
}
words! {
    /// How a node boots when neither its capabilities nor its BMC say.
    BootMode { Uefi = "uefi", Bios = "bios" }
}
words! {
    /// Who answers DHCP for nodes.
    DhcpProvider { Builtin = "builtin", None = "none" }
}
words! {
    /// The least important notifications that are sent.
    NotificationLevel { Debug = "debug", Info = "info", Warning = "warning", Error = "error", Critical = "critical" }
}
words! {
    /// How notifications go to the message bus.
    NotificationDriver { Messagingv2 = "messagingv2", Noop = "noop" }
}
words! {
    /// How log lines look.
    LogFormat { Text = "text", Json = "json" }
}

impl OptionValue for Vec<NotificationDriver> {
    fn kind() -> String {
        format!("list of {}", NotificationDriver::kind())
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        Vec::<String>::from_toml(value)?
            .iter()
            .map(|word| NotificationDriver::from_text(word))
            .collect()
    }
    fn from_text(text: &str) -> Result<Self, Bad> {
        Vec::<String>::from_text(text)?
            .iter()
            .map(|word| NotificationDriver::from_text(word))
            .collect()
    }
    fn show(&self) -> Option<String> {
        let words: Vec<String> = self.iter().map(|d| d.as_str().to_owned()).collect();
        words.show()
    }
}

/// Name of this machine.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// A pretended duration of the fake interfaces: seconds, or `min,max` for a random one between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FakeDelay {
    pub min: Duration,
    pub max: Duration,
}

impl FakeDelay {
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.max.is_zero()
    }
}

impl OptionValue for FakeDelay {
    fn kind() -> String {
        "seconds, or \"min,max\"".into()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        match value.get_ref() {
            DeValue::String(text) => Self::from_text(text),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let one = Duration::from_toml(value)?;
                Ok(Self { min: one, max: one })
            }
            _ => Err(Bad::wrong_type("seconds or \"min,max\"", value)),
        }
    }
    fn from_text(text: &str) -> Result<Self, Bad> {
        let (min, max) = match text.split_once(',') {
            Some((min, max)) => (Duration::from_text(min)?, Duration::from_text(max)?),
            None => {
                let one = Duration::from_text(text)?;
                (one, one)
            }
        };
        if max < min {
            return Err(Bad::new(format!(
                "\"{text}\": the second number is the larger one"
            )));
        }
        Ok(Self { min, max })
    }
    fn show(&self) -> Option<String> {
        if self.min == self.max {
            self.min.show()
        } else {
            Some(format!(
                "\"{},{}\"",
                self.min.as_secs_f64(),
                self.max.as_secs_f64()
            ))
        }
    }
}

/// A network on which the built-in DHCP answers: one `[[dhcp.network]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpNetwork {
    /// The network; also its name in the store.
    pub cidr: Ipv4Net,
    /// First and last address that are given out.
    pub range_start: Ipv4Addr,
    pub range_end: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub lease_seconds: u32,
    /// Answer hosts that have no port, so that they can be discovered. Off: known MAC addresses only.
    pub discovery: bool,
}

impl DhcpNetwork {
    const KEYS: [&'static str; 7] = [
        "cidr",
        "range_start",
        "range_end",
        "router",
        "dns",
        "lease_seconds",
        "discovery",
    ];

    fn from_table(table: &DeTable<'_>, whole: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        for key in table.keys() {
            if !Self::KEYS.contains(&key.get_ref().as_ref()) {
                let hint = closest(key.get_ref(), Self::KEYS)
                    .map(|w| format!("; did you mean {w}?"))
                    .unwrap_or_default();
                return Err(
                    Bad::new(format!("a dhcp.network has no {}{hint}", key.get_ref()))
                        .at(key.span()),
                );
            }
        }
        let field = |name: &str| {
            table
                .iter()
                .find(|(key, _)| key.get_ref() == name)
                .map(|(_, value)| value)
        };
        let needed = |name: &str| {
            field(name)
                .ok_or_else(|| Bad::new(format!("a dhcp.network needs {name}")).at(whole.span()))
        };
        let address = |value: &Spanned<DeValue<'_>>, name: &str| match IpAddr::from_toml(value) {
            Ok(IpAddr::V4(v4)) => Ok(v4),
            Ok(IpAddr::V6(_)) => {
                Err(Bad::new(format!("{name}: only IPv4 is served")).at(value.span()))
            }
            Err(bad) => Err(bad.within(name).at(value.span())),
        };
        let cidr_value = needed("cidr")?;
        let cidr: Ipv4Net = cidr_value
            .get_ref()
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                Bad::new("cidr: give an IPv4 network such as \"192.0.2.0/24\"")
                    .at(cidr_value.span())
            })?;
        let cidr = cidr.trunc();
        let inside = |name: &str| {
            let value = needed(name)?;
            let address = address(value, name)?;
            if !cidr.contains(&address) || address == cidr.network() || address == cidr.broadcast()
            {
                return Err(
                    Bad::new(format!("{name}: {address} is not a host of {cidr}")).at(value.span()),
                );
            }
            Ok(address)
        };
        let range_start = inside("range_start")?;
        let range_end = inside("range_end")?;
        if range_end < range_start {
            return Err(Bad::new(format!(
                "range_end: {range_end} lies before range_start {range_start}"
            ))
            .at(needed("range_end")?.span()));
        }
        let router = field("router").map(|v| address(v, "router")).transpose()?;
        let mut dns = Vec::new();
        if let Some(value) = field("dns") {
            match value.get_ref().as_array() {
                Some(items) => {
                    for item in items.iter() {
                        dns.push(address(item, "dns")?);
                    }
                }
                None => dns.push(address(value, "dns")?),
            }
        }
        let lease_seconds = match field("lease_seconds") {
            Some(value) => match u32::from_toml(value) {
                Ok(seconds) if seconds >= 30 => seconds,
                Ok(_) => {
                    return Err(Bad::new("lease_seconds: at least 30").at(value.span()));
                }
                Err(bad) => return Err(bad.within("lease_seconds").at(value.span())),
            },
            None => 600,
        };
        let discovery = match field("discovery") {
            Some(value) => {
                bool::from_toml(value).map_err(|b| b.within("discovery").at(value.span()))?
            }
            None => false,
        };
        Ok(Self {
            cidr,
            range_start,
            range_end,
            router,
            dns,
            lease_seconds,
            discovery,
        })
    }
}

impl OptionValue for Vec<DhcpNetwork> {
    fn kind() -> String {
        "list of tables: cidr, range_start, range_end, router?, dns?, lease_seconds?, discovery?"
            .into()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(Bad::wrong_type(
                "a list of tables ([[dhcp.network]])",
                value,
            ));
        };
        items
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => DhcpNetwork::from_table(table, item),
                None => Err(Bad::wrong_type("a table", item)),
            })
            .collect()
    }
    fn from_text(text: &str) -> Result<Self, Bad> {
        parse_inline(text)
    }
    fn show(&self) -> Option<String> {
        self.is_empty().then(|| "[]".to_owned())
    }
}
