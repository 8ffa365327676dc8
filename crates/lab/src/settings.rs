//! What a lab is started with. The same structure is the command line of `bessemer-lab run` and the argument of
//! [`crate::spawn`].

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::host::BmcKind;

/// A time between two bounds, in milliseconds on the command line: `250` or `100..400`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub shortest: Duration,
    pub longest: Duration,
}

impl Span {
    #[must_use]
    pub fn millis(shortest: u64, longest: u64) -> Self {
        Self {
            shortest: Duration::from_millis(shortest.min(longest)),
            longest: Duration::from_millis(longest.max(shortest)),
        }
    }

    /// The time at this fraction of the way from the shortest to the longest.
    #[must_use]
    pub fn at(self, fraction: f64) -> Duration {
        let width = self.longest.saturating_sub(self.shortest);
        let part = Duration::try_from_secs_f64(width.as_secs_f64() * fraction.clamp(0.0, 1.0));
        self.shortest.saturating_add(part.unwrap_or(width))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.trim()
                .parse::<u64>()
                .map_err(|_| format!("{part:?} is not a number of milliseconds"))
        };
        match text.split_once("..") {
            Some((low, high)) => {
                let (low, high) = (number(low)?, number(high)?);
                if low > high {
                    return Err(format!("{low} is more than {high}"));
                }
                Ok(Self::millis(low, high))
            }
            None => number(text).map(|n| Self::millis(n, n)),
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}..{}",
            self.shortest.as_millis(),
            self.longest.as_millis()
        )
    }
}

/// A time in seconds, a fraction or a range of them on the command line: `2.5` or `1..3`.
fn seconds(text: &str) -> Result<Span, String> {
    let number = |part: &str| {
        let seconds: f64 = part
            .trim()
            .parse()
            .map_err(|_| format!("{part:?} is not a number of seconds"))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("{part:?} is no possible time"))
    };
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (shortest, longest) = (number(low)?, number(high)?);
    if shortest > longest {
        return Err(format!("{low} is more than {high}"));
    }
    Ok(Span { shortest, longest })
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if (0.0..1.0).contains(&p) => Ok(p),
        _ => Err("a probability from 0 up to, but not including, 1".to_owned()),
    }
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if f > 0.0 && f <= 1000.0 => Ok(f),
        _ => Err("a factor above 0, at most 1000".to_owned()),
    }
}

/// Which firmware the hosts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FirmwareChoice {
    Bios,
    Uefi,
    /// Hosts with an even number have UEFI, the others BIOS.
    Mixed,
}

/// How a lab is built and how it behaves.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Settings {
    /// How many hosts.
    #[arg(long, default_value_t = 1)]
    pub hosts: usize,
    /// Everything that is left to chance follows from this number.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the hosts' log goes, one JSON object a line.
    #[arg(long)]
    pub log: PathBuf,
    /// The Bare Metal API, for ramdisks whose kernel line has no `ipa-api-url`.
    #[arg(long)]
    pub api_url: Option<String>,
    /// Where DHCP requests go. Hosts ask as if through a relay, from addresses of their own.
    #[arg(long)]
    pub dhcp: SocketAddrV4,
    /// HTTP server that stands in for the server of boot URLs whose address is not on this computer.
    #[arg(long)]
    pub http: Option<String>,
    /// TFTP server from which loaders are fetched; without it loaders are taken to be in the network card.
    #[arg(long)]
    pub tftp: Option<SocketAddr>,
    /// Factor on every time that a host takes by itself; 0.1 is ten times faster.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub time_scale: f64,
    /// Probability with which a datagram, or an attempt of a request, is lost, each way.
    #[arg(long, default_value_t = 0.0, value_parser = probability)]
    pub loss: f64,
    /// How long a BMC thinks before it answers, in milliseconds.
    #[arg(long, default_value = "0..0")]
    pub bmc_delay: Span,
    /// Time from a power command to its effect, in milliseconds.
    #[arg(long, default_value = "0..0")]
    pub power_delay: Span,
    /// Time that firmware takes before it boots anything, in milliseconds.
    #[arg(long, default_value = "2000..5000")]
    pub boot_delay: Span,
    /// Time from the kernel's start to the agent's, in milliseconds.
    #[arg(long, default_value = "1500..3000")]
    pub ramdisk_delay: Span,
    /// How long writing an image takes at least, in seconds.
    #[arg(long, default_value = "3..6", value_parser = seconds)]
    pub write_seconds: Span,
    /// How long erasing all of a disk takes, in seconds; erasing only metadata takes a tenth.
    #[arg(long, default_value = "2..4", value_parser = seconds)]
    pub erase_seconds: Span,
    /// What the BMCs speak: host n has number n of this list, which begins again at its end.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ipmi")]
    pub bmc: Vec<BmcKind>,
    /// Probability with which a Redfish BMC answers 503, and with which it has forgotten its sessions.
    #[arg(long, default_value_t = 0.0, value_parser = probability)]
    pub bmc_faults: f64,
    /// First BMC address: host n gets this plus n, all at --bmc-port. Without it every BMC is on 127.0.0.1 at a port of
    /// its own.
    #[arg(long)]
    pub bmc_base: Option<Ipv4Addr>,
    /// Port of the BMCs with --bmc-base.
    #[arg(long, default_value_t = bessemer_ipmi::PORT, requires = "bmc_base")]
    pub bmc_port: u16,
    /// First address of the hosts' relays: host n gets this plus n. Its network is how the DHCP server finds the subnet.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 77, 128, 1))]
    pub address_base: Ipv4Addr,
    /// Firmware of the hosts.
    #[arg(long, value_enum, default_value_t = FirmwareChoice::Mixed)]
    pub firmware: FirmwareChoice,
    /// Size of every host's disk.
    #[arg(long, default_value_t = 32)]
    pub disk_gib: u64,
    /// User of the BMCs.
    #[arg(long, default_value = "admin")]
    pub bmc_user: String,
    /// Password of the BMCs; one for each, from the seed, when not given.
    #[arg(long)]
    pub bmc_password: Option<String>,
    /// Hosts are switched on at the start.
    #[arg(long)]
    pub powered_on: bool,
    /// Write the list of hosts, with the BMCs' passwords, to this file.
    #[arg(long)]
    pub inventory: Option<PathBuf>,
    /// Unix socket for commands, besides standard input.
    #[arg(long)]
    pub control: Option<PathBuf>,
}

impl Settings {
    /// The defaults, with what has none.
    #[must_use]
    pub fn new(hosts: usize, seed: u64, log: impl Into<PathBuf>, dhcp: SocketAddrV4) -> Self {
        Self {
            hosts,
            seed,
            log: log.into(),
            api_url: None,
            dhcp,
            http: None,
            tftp: None,
            time_scale: 1.0,
            loss: 0.0,
            bmc_delay: Span::millis(0, 0),
            power_delay: Span::millis(0, 0),
            boot_delay: Span::millis(2000, 5000),
            ramdisk_delay: Span::millis(1500, 3000),
            write_seconds: Span::millis(3000, 6000),
            erase_seconds: Span::millis(2000, 4000),
            bmc: vec![BmcKind::Ipmi],
            bmc_faults: 0.0,
            bmc_base: None,
            bmc_port: bessemer_ipmi::PORT,
            address_base: Ipv4Addr::new(127, 77, 128, 1),
            firmware: FirmwareChoice::Mixed,
            disk_gib: 32,
            bmc_user: "admin".to_owned(),
            bmc_password: None,
            powered_on: false,
            inventory: None,
            control: None,
        }
    }

    /// What the BMC of this host speaks.
    #[must_use]
    pub fn bmc_kind(&self, index: usize) -> BmcKind {
        let kinds = self.bmc.iter().cycle().nth(index % self.bmc.len().max(1));
        kinds.copied().unwrap_or_default()
    }

    /// A time of the hosts' own, scaled.
    #[must_use]
    pub fn scaled(&self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() * self.time_scale).unwrap_or(Duration::MAX)
    }

    /// A wait for somebody else, scaled, but never so short that a busy computer cannot answer in it.
    #[must_use]
    pub fn patience(&self, time: Duration, shortest: Duration) -> Duration {
        self.scaled(time).max(shortest.min(time))
    }

    /// The arguments after `bessemer-lab run` that give these settings.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        let range = |span: Span| {
            format!(
                "{}..{}",
                span.shortest.as_secs_f64(),
                span.longest.as_secs_f64()
            )
        };
        let firmware = match self.firmware {
            FirmwareChoice::Bios => "bios",
            FirmwareChoice::Uefi => "uefi",
            FirmwareChoice::Mixed => "mixed",
        };
        let kinds: Vec<_> = self
            .bmc
            .iter()
            .filter_map(clap::ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        let mut pairs = vec![
            ("--bmc", kinds.join(",")),
            ("--bmc-faults", self.bmc_faults.to_string()),
            ("--hosts", self.hosts.to_string()),
            ("--seed", self.seed.to_string()),
            ("--log", self.log.display().to_string()),
            ("--dhcp", self.dhcp.to_string()),
            ("--time-scale", self.time_scale.to_string()),
            ("--loss", self.loss.to_string()),
            ("--bmc-delay", self.bmc_delay.to_string()),
            ("--power-delay", self.power_delay.to_string()),
            ("--boot-delay", self.boot_delay.to_string()),
            ("--ramdisk-delay", self.ramdisk_delay.to_string()),
            ("--write-seconds", range(self.write_seconds)),
            ("--erase-seconds", range(self.erase_seconds)),
            ("--address-base", self.address_base.to_string()),
            ("--firmware", firmware.to_owned()),
            ("--disk-gib", self.disk_gib.to_string()),
            ("--bmc-user", self.bmc_user.clone()),
        ];
        if let Some(base) = self.bmc_base {
            pairs.push(("--bmc-base", base.to_string()));
            pairs.push(("--bmc-port", self.bmc_port.to_string()));
        }
        let optional = [
            ("--api-url", self.api_url.clone()),
            ("--http", self.http.clone()),
            ("--tftp", self.tftp.map(|a| a.to_string())),
            ("--bmc-password", self.bmc_password.clone()),
            (
                "--inventory",
                self.inventory.as_ref().map(|p| p.display().to_string()),
            ),
            (
                "--control",
                self.control.as_ref().map(|p| p.display().to_string()),
            ),
        ];
        pairs.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let mut arguments: Vec<String> = pairs
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        if self.powered_on {
            arguments.push("--powered-on".to_owned());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn arguments_go_both_ways() {
        let dhcp = "127.0.0.1:6767".parse().unwrap();
        let mut full = Settings::new(7, 9, "/tmp/x.jsonl", dhcp);
        full.bmc_base = Some(Ipv4Addr::new(127, 66, 0, 1));
        full.bmc_port = 6230;
        full.bmc = vec![BmcKind::Redfish, BmcKind::Ipmi, BmcKind::RedfishHttp];
        full.bmc_faults = 0.25;
        full.api_url = Some("http://127.0.0.1:6385".into());
        full.tftp = Some("127.0.0.1:6969".parse().unwrap());
        full.http = Some("http://127.0.0.1:8080".into());
        full.write_seconds = seconds("0.25..1.5").unwrap();
        full.time_scale = 0.125;
        full.loss = 0.1;
        full.powered_on = true;
        full.firmware = FirmwareChoice::Bios;
        full.control = Some("/tmp/c".into());
        full.inventory = Some("/tmp/i".into());
        full.bmc_password = Some("pw".into());
        for settings in [Settings::new(1, 1, "l", dhcp), full] {
            let arguments = std::iter::once("lab".to_owned()).chain(settings.to_arguments());
            assert_eq!(Line::try_parse_from(arguments).unwrap().settings, settings);
        }
    }

    #[test]
    fn spans() {
        for (text, expected) in [
            ("5", Ok(Span::millis(5, 5))),
            ("1..20", Ok(Span::millis(1, 20))),
            ("20..1", Err("20 is more than 1".to_owned())),
            ("x", Err("\"x\" is not a number of milliseconds".to_owned())),
        ] {
            assert_eq!(text.parse::<Span>(), expected, "{text}");
        }
        assert_eq!(Span::millis(10, 20).at(0.5), Duration::from_millis(15));
        assert!(seconds("-1").is_err());
        assert!(probability("1.0").is_err());
        assert!(scale("0").is_err());
    }
}
