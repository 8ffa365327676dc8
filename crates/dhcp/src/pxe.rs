//! What boot firmware says about itself in DHCP, and what it wants to hear.
//!
//! Four kinds of client: a plain operating system, a PXE ROM (BIOS or EFI, loads by TFTP), an EFI HTTP boot client, and
//! iPXE. The first three get a loader, iPXE gets a script; nothing here knows what the script says.
//!
//! Specified by RFC 4578 (options 93, 94, 97), the PXE 2.1 specification (option 60 `PXEClient`, option 43 discovery
//! control), UEFI 2.10 section 24.7 (`HTTPClient`), RFC 3004 (option 77) and iPXE's use of option 175.

use std::net::Ipv4Addr;

use crate::packet::{Packet, code, printable, suboption};

/// PXE option 43, sub-option 6, bit 3: use the boot file of this very offer, ask nobody else. Without it EDK2 takes an
/// offer that says `PXEClient` for one that must be completed by a request to port 4011.
const USE_OFFERED_BOOT_FILE: [u8; 4] = [6, 1, 8, 255];
/// Option 175, sub-option 176: iPXE does not wait for a proxy DHCP server's offer.
const NO_PROXY_DHCP: [u8; 3] = [176, 1, 1];
/// Option 175, sub-option 19: this iPXE can HTTP.
const IPXE_HTTP: u8 = 19;

/// Firmware of a client, from option 93.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// PC BIOS (0).
    Bios,
    /// EFI on 32-bit x86 (6, HTTP 15).
    EfiIa32,
    /// EFI on x86-64 (7 and 9, HTTP 16 and 17).
    EfiX64,
    /// EFI on 64-bit ARM (11, HTTP 19).
    EfiArm64,
    /// A number that we have no loader for.
    Other(u16),
}

impl Firmware {
    /// Firmware and whether the number means HTTP boot, of one architecture number in IANA's registry.
    pub fn from_number(number: u16) -> (Self, bool) {
        match number {
            0 => (Self::Bios, false),
            6 => (Self::EfiIa32, false),
            // IANA calls 7 x64 and 9 EBC; RFC 4578 as printed had them the other way round, and firmware sends both
            7 | 9 => (Self::EfiX64, false),
            11 => (Self::EfiArm64, false),
            15 => (Self::EfiIa32, true),
            16 | 17 => (Self::EfiX64, true),
            19 => (Self::EfiArm64, true),
            20 => (Self::Bios, true),
            other => (Self::Other(other), false),
        }
    }

    /// How a sentence names it.
    pub fn name(self) -> String {
        match self {
            Self::Bios => "BIOS".to_owned(),
            Self::EfiIa32 => "EFI ia32".to_owned(),
            Self::EfiX64 => "EFI x86-64".to_owned(),
            Self::EfiArm64 => "EFI arm64".to_owned(),
            Self::Other(number) => format!("architecture {number}"),
        }
    }
}

/// What kind of client sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// An operating system or anything else that boots nothing.
    Plain,
    /// A PXE ROM.
    Pxe(Firmware),
    /// An EFI HTTP boot client.
    HttpBoot(Firmware),
    /// iPXE, from a ROM or chain-loaded.
    Ipxe {
        /// Firmware under it, when it says so.
        firmware: Option<Firmware>,
        /// Whether it can fetch by HTTP.
        http: bool,
    },
}

impl ClientKind {
    /// Reads the kind from options 60, 77, 93 and 175.
    pub fn of(packet: &Packet) -> Self {
        let options = &packet.options;
        let class = options.get(code::VENDOR_CLASS).unwrap_or_default();
        let mut firmware = None;
        let mut http_arch = false;
        let (archs, _) = options
            .get(code::CLIENT_ARCH)
            .unwrap_or_default()
            .as_chunks::<2>();
        let numbers: Vec<u16> = if archs.is_empty() {
            arch_in_class(class).into_iter().collect()
        } else {
            archs.iter().map(|a| u16::from_be_bytes(*a)).collect()
        };
        // the list is in the client's order of preference: the first that we know counts
        for number in numbers {
            let (this, http) = Firmware::from_number(number);
            if firmware.is_none() || matches!(firmware, Some(Firmware::Other(_))) {
                firmware = Some(this);
                http_arch = http;
            }
        }

        let etherboot = options.get(code::IPXE);
        if has_user_class(options.get(code::USER_CLASS).unwrap_or_default(), b"iPXE") {
            // iPXE that says nothing of its features is new enough to have HTTP
            let http = etherboot.is_none_or(|features| {
                suboption(features, IPXE_HTTP).is_some_and(|v| v.first().is_some_and(|b| *b != 0))
            });
            return Self::Ipxe { firmware, http };
        }
        if let Some(features) = etherboot
            && class.starts_with(b"PXEClient")
        {
            // gPXE and iPXE alike; only what can fetch by HTTP understands our scripts
            if suboption(features, IPXE_HTTP).is_some() {
                return Self::Ipxe {
                    firmware,
                    http: true,
                };
            }
        }
        if class.starts_with(b"HTTPClient") || http_arch {
            return Self::HttpBoot(firmware.unwrap_or(Firmware::EfiX64));
        }
        if class.starts_with(b"PXEClient") {
            return Self::Pxe(firmware.unwrap_or(Firmware::Bios));
        }
        Self::Plain
    }

    /// What a sentence says in brackets after the MAC: `iPXE, BIOS`; `None` for a plain client.
    pub fn description(self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Pxe(firmware) => Some(format!("PXE, {}", firmware.name())),
            Self::HttpBoot(firmware) => Some(format!("HTTP boot, {}", firmware.name())),
            Self::Ipxe { firmware, http } => {
                let mut text = "iPXE".to_owned();
                if let Some(firmware) = firmware {
                    text.push_str(", ");
                    text.push_str(&firmware.name());
                }
                if !http {
                    text.push_str(", without HTTP");
                }
                Some(text)
            }
        }
    }
}

/// Where loaders are, the same for every host of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootService {
    /// TFTP server: `siaddr`, options 66 and 150.
    pub tftp_server: Ipv4Addr,
    /// Loader of BIOS clients by TFTP, e.g. `undionly.kpxe`.
    pub bios_loader: Option<String>,
    /// Loader of EFI x86-64 clients, e.g. `snponly.efi`.
    pub efi_x64_loader: Option<String>,
    /// Loader of EFI arm64 clients.
    pub efi_arm64_loader: Option<String>,
    /// URL below which the same loaders are served by HTTP, without trailing slash; `None` when HTTP is off.
    pub http_loader_base: Option<String>,
}

/// What one host boots, when it boots from the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostScript {
    /// iPXE script by HTTP.
    pub http_url: Option<String>,
    /// iPXE script by TFTP, for iPXE without HTTP and for hosts that shall use TFTP alone.
    pub tftp_url: Option<String>,
}

/// The boot file for a client, or a sentence why there is none.
pub(crate) fn boot_file(
    kind: ClientKind,
    service: &BootService,
    script: &HostScript,
) -> Result<Option<String>, String> {
    let loader = |firmware: Firmware| {
        let found = match firmware {
            Firmware::Bios => &service.bios_loader,
            Firmware::EfiX64 => &service.efi_x64_loader,
            Firmware::EfiArm64 => &service.efi_arm64_loader,
            Firmware::EfiIa32 | Firmware::Other(_) => &None,
        };
        found
            .clone()
            .ok_or_else(|| format!("no loader for {} is configured", firmware.name()))
    };
    match kind {
        ClientKind::Plain => Ok(None),
        ClientKind::Pxe(firmware) => loader(firmware).map(Some),
        ClientKind::HttpBoot(firmware) => {
            let base = service
                .http_loader_base
                .as_deref()
                .ok_or("no HTTP service is configured")?;
            Ok(Some(format!("{base}/{}", loader(firmware)?)))
        }
        ClientKind::Ipxe { http, .. } => {
            let url = match (&script.http_url, &script.tftp_url) {
                (Some(url), _) if http => url,
                (_, Some(url)) => url,
                (Some(_), None) => {
                    return Err("this iPXE has no HTTP and no TFTP script is configured".to_owned());
                }
                (None, None) => return Err("no boot script is configured".to_owned()),
            };
            Ok(Some(url.clone()))
        }
    }
}

/// Writes what a booting client wants to hear into a reply: boot file in the field and in option 67, TFTP server in
/// `siaddr` and options 66 and 150, vendor class, PXE discovery control, machine identifier.
pub(crate) fn write_boot_options(
    reply: &mut Packet,
    request: &Packet,
    kind: ClientKind,
    service: &BootService,
    file: &str,
) {
    if matches!(kind, ClientKind::Plain) {
        return;
    }
    // ROMs of BIOS times read only the field, EFI prefers the option; the field is 127 bytes long
    if file.len() < 128 {
        reply.file = file.as_bytes().to_vec();
    }
    reply.options.set(code::BOOT_FILE, file.as_bytes());
    match kind {
        ClientKind::HttpBoot(_) => {
            // without this class in the reply EDK2 ignores it
            reply.options.set(code::VENDOR_CLASS, *b"HTTPClient");
            return;
        }
        ClientKind::Pxe(_) => {
            reply.options.set(code::VENDOR_CLASS, *b"PXEClient");
            reply
                .options
                .set(code::VENDOR_OPTIONS, USE_OFFERED_BOOT_FILE);
        }
        ClientKind::Ipxe { .. } => reply.options.set(code::IPXE, NO_PROXY_DHCP),
        ClientKind::Plain => {}
    }
    reply.siaddr = service.tftp_server;
    let name = service.tftp_server.to_string();
    reply.options.set(code::TFTP_SERVER_NAME, name.as_bytes());
    reply.sname = name.into_bytes();
    reply
        .options
        .set_addresses(code::TFTP_SERVER_ADDRESS, &[service.tftp_server]);
    if let Some(uuid) = request.options.get(code::CLIENT_UUID) {
        reply.options.set(code::CLIENT_UUID, uuid);
    }
}

/// `PXEClient:Arch:00007:UNDI:003016`: the number after `Arch:`.
fn arch_in_class(class: &[u8]) -> Option<u16> {
    let text = printable(class);
    let mut parts = text.split(':');
    parts.find(|part| *part == "Arch")?;
    parts.next()?.parse().ok()
}

/// Whether option 77 holds a class: in RFC 3004's list of length-prefixed values, or bare, as iPXE sends it.
fn has_user_class(option: &[u8], class: &[u8]) -> bool {
    if option == class {
        return true;
    }
    let mut rest = option;
    while let [length, tail @ ..] = rest {
        let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else {
            return false;
        };
        if value == class {
            return true;
        }
        rest = tail;
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::MacAddress;

    fn packet(options: &[(u8, &[u8])]) -> Packet {
        let mut packet = Packet::request(MacAddress([2, 0, 0, 0, 0, 1]), 1);
        for (code, value) in options {
            packet.options.set(*code, *value);
        }
        packet
    }

    #[test]
    fn kinds() {
        use Firmware::*;
        let pxe: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";
        let ipxe = |firmware, http| ClientKind::Ipxe { firmware, http };
        for (options, expected) in [
            (vec![], ClientKind::Plain),
            (
                vec![(60, &b"udhcp 1.35"[..]), (93, &[0, 7][..])],
                ClientKind::Plain,
            ),
            (vec![(60, pxe)], ClientKind::Pxe(Bios)),
            (
                vec![(60, b"PXEClient:Arch:00007:UNDI:003000")],
                ClientKind::Pxe(EfiX64),
            ),
            (vec![(60, b"PXEClient")], ClientKind::Pxe(Bios)),
            (vec![(60, b"PXEClient:Arch:x")], ClientKind::Pxe(Bios)),
            (vec![(60, pxe), (93, &[0, 7])], ClientKind::Pxe(EfiX64)),
            (vec![(60, pxe), (93, &[0, 9])], ClientKind::Pxe(EfiX64)),
            (vec![(60, pxe), (93, &[0, 11])], ClientKind::Pxe(EfiArm64)),
            (
                vec![(60, pxe), (93, &[0, 200, 0, 7, 0, 0])],
                ClientKind::Pxe(EfiX64),
            ),
            (vec![(60, pxe), (93, &[7])], ClientKind::Pxe(Bios)),
            (vec![(60, pxe), (93, &[1, 0])], ClientKind::Pxe(Other(256))),
            (
                vec![(60, b"HTTPClient:Arch:00016:UNDI:003001"), (93, &[0, 16])],
                ClientKind::HttpBoot(EfiX64),
            ),
            (
                vec![(60, pxe), (93, &[0, 0]), (77, b"iPXE")],
                ipxe(Some(Bios), true),
            ),
            (vec![(77, b"\x04iPXE")], ipxe(None, true)),
            (vec![(77, b"\x03abc\x04iPXE")], ipxe(None, true)),
            (vec![(77, b"\x09iPXE")], ClientKind::Plain),
            (vec![(77, b"iPXE"), (175, &[19, 1, 1])], ipxe(None, true)),
            (vec![(77, b"iPXE"), (175, &[177, 1, 1])], ipxe(None, false)),
            (vec![(60, pxe), (175, &[19, 1, 1])], ipxe(Some(Bios), true)),
        ] {
            assert_eq!(ClientKind::of(&packet(&options)), expected, "{options:?}");
        }
    }

    #[test]
    fn boot_files() {
        let service = BootService {
            tftp_server: [10, 0, 0, 1].into(),
            bios_loader: Some("undionly.kpxe".into()),
            efi_x64_loader: Some("snponly.efi".into()),
            efi_arm64_loader: None,
            http_loader_base: Some("http://10.0.0.1/ipxe".into()),
        };
        let script = HostScript {
            http_url: Some("http://10.0.0.1/s".into()),
            tftp_url: Some("tftp://10.0.0.1/s".into()),
        };
        let http = HostScript {
            tftp_url: None,
            ..script.clone()
        };
        let ipxe = |http| ClientKind::Ipxe {
            firmware: None,
            http,
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        for (kind, script, expected) in [
            (ClientKind::Plain, &script, Ok(None)),
            (
                ClientKind::Pxe(Firmware::Bios),
                &script,
                some("undionly.kpxe"),
            ),
            (
                ClientKind::Pxe(Firmware::EfiX64),
                &script,
                some("snponly.efi"),
            ),
            (
                ClientKind::Pxe(Firmware::EfiArm64),
                &script,
                Err("no loader for EFI arm64 is configured".to_owned()),
            ),
            (
                ClientKind::HttpBoot(Firmware::EfiX64),
                &script,
                some("http://10.0.0.1/ipxe/snponly.efi"),
            ),
            (ipxe(true), &script, some("http://10.0.0.1/s")),
            (ipxe(false), &script, some("tftp://10.0.0.1/s")),
            (
                ipxe(false),
                &http,
                Err("this iPXE has no HTTP and no TFTP script is configured".to_owned()),
            ),
        ] {
            assert_eq!(boot_file(kind, &service, script), expected, "{kind:?}");
        }
    }
}
