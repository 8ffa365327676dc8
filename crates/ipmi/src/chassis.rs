//! Requests and answers of the commands that both sides know: device id (section 20.1), chassis
//! status and control (28.2, 28.3), boot options (28.12 to 28.14).
//!
//! Pure: data bytes of a message in, values out, and back.

use crate::wire::{Malformed, Reader};

/// Command numbers of the application network function (table G-1).
pub(crate) mod app {
    pub const GET_DEVICE_ID: u8 = 0x01;
    pub const COLD_RESET: u8 = 0x02;
    pub const WARM_RESET: u8 = 0x03;
    pub const GET_DEVICE_GUID: u8 = 0x08;
    pub const GET_SYSTEM_GUID: u8 = 0x37;
    pub const GET_CHANNEL_AUTHENTICATION: u8 = 0x38;
    pub const SET_SESSION_PRIVILEGE: u8 = 0x3b;
    pub const CLOSE_SESSION: u8 = 0x3c;
    pub const GET_CHANNEL_CIPHER_SUITES: u8 = 0x54;
}

/// Command numbers of the chassis network function.
pub(crate) mod command {
    pub const CAPABILITIES: u8 = 0x00;
    pub const STATUS: u8 = 0x01;
    pub const CONTROL: u8 = 0x02;
    pub const SET_BOOT_OPTIONS: u8 = 0x08;
    pub const GET_BOOT_OPTIONS: u8 = 0x09;
}

/// Boot option parameters (table 28-14).
pub(crate) mod parameter {
    pub const SET_IN_PROGRESS: u8 = 0;
    pub const VALID_BIT_CLEARING: u8 = 3;
    pub const BOOT_INFO_ACKNOWLEDGE: u8 = 4;
    pub const BOOT_FLAGS: u8 = 5;
}

/// Version of the parameters that is answered before them.
pub(crate) const PARAMETER_VERSION: u8 = 0x01;
/// Bit of parameter 3: the valid bit stays although no chassis control command comes within 60 s.
pub(crate) const KEEP_VALID_ON_TIMEOUT: u8 = 0x08;

/// What to do with the chassis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChassisControl {
    /// Hard power off.
    PowerDown = 0,
    PowerUp = 1,
    /// Off, a second or more of pause, on.
    PowerCycle = 2,
    HardReset = 3,
    /// A diagnostic interrupt, usually an NMI, to the processors.
    DiagnosticInterrupt = 4,
    /// Asks the operating system to shut down, by an ACPI over-temperature event.
    SoftShutdown = 5,
}

impl ChassisControl {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// From the data byte; the upper four bits are reserved.
    pub fn from_code(code: u8) -> Option<Self> {
        match code & 0x0f {
            0 => Some(Self::PowerDown),
            1 => Some(Self::PowerUp),
            2 => Some(Self::PowerCycle),
            3 => Some(Self::HardReset),
            4 => Some(Self::DiagnosticInterrupt),
            5 => Some(Self::SoftShutdown),
            _ => None,
        }
    }
}

/// Answer to Get Chassis Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChassisStatus {
    pub power_on: bool,
    pub power_overload: bool,
    pub power_fault: bool,
}

impl ChassisStatus {
    pub(crate) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data, "chassis status too short");
        let power = reader.u8()?;
        reader.take(2)?;
        Ok(Self {
            power_on: power & 0x01 != 0,
            power_overload: power & 0x02 != 0,
            power_fault: power & 0x08 != 0,
        })
    }
}

/// Answer to Get Device ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceId {
    pub device_id: u8,
    pub device_revision: u8,
    /// False while the firmware is being updated or the BMC starts.
    pub available: bool,
    pub firmware_major: u8,
    /// Decimal: the wire has BCD.
    pub firmware_minor: u8,
    /// Major and minor, (2, 0) for IPMI 2.0.
    pub ipmi_version: (u8, u8),
    /// IANA enterprise number, 20 bits.
    pub manufacturer_id: u32,
    pub product_id: u16,
    pub auxiliary_firmware: Option<[u8; 4]>,
}

impl DeviceId {
    pub(crate) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data, "device id too short");
        let [device_id, revision, major, minor, version, _support] = reader.array()?;
        Ok(Self {
            device_id,
            device_revision: revision & 0x0f,
            available: major & 0x80 == 0,
            firmware_major: major & 0x7f,
            firmware_minor: (minor >> 4).wrapping_mul(10).wrapping_add(minor & 0x0f),
            ipmi_version: (version & 0x0f, version >> 4),
            manufacturer_id: reader.u24()? & 0x0f_ffff,
            product_id: reader.u16()?,
            auxiliary_firmware: reader.array().ok(),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let unavailable = if self.available { 0 } else { 0x80 };
        let minor = ((self.firmware_minor / 10 % 10) << 4) | (self.firmware_minor % 10);
        let mut out = vec![
            self.device_id,
            self.device_revision & 0x0f,
            unavailable | self.firmware_major & 0x7f,
            minor,
            self.ipmi_version.1 << 4 | self.ipmi_version.0 & 0x0f,
            // additional device support: chassis device
            0x80,
        ];
        out.extend(self.manufacturer_id.to_le_bytes().into_iter().take(3));
        out.extend_from_slice(&self.product_id.to_le_bytes());
        out.extend(self.auxiliary_firmware.into_iter().flatten());
        out
    }
}

/// Boot device selector of the boot flags (parameter 5, data 2, bits 5 to 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootDevice {
    /// The firmware's own order.
    NoOverride = 0,
    Pxe = 1,
    /// Default hard disk.
    Disk = 2,
    /// Default hard disk, operating system in safe mode.
    Safe = 3,
    DiagnosticPartition = 4,
    Cdrom = 5,
    /// Firmware set-up.
    Bios = 6,
    RemoteFloppy = 7,
    RemoteCdrom = 8,
    /// Primary remote media; some makers' UEFI firmware means its disk by it.
    RemoteMedia = 9,
    RemoteDisk = 11,
    Floppy = 15,
}

impl BootDevice {
    const ALL: [Self; 12] = [
        Self::NoOverride,
        Self::Pxe,
        Self::Disk,
        Self::Safe,
        Self::DiagnosticPartition,
        Self::Cdrom,
        Self::Bios,
        Self::RemoteFloppy,
        Self::RemoteCdrom,
        Self::RemoteMedia,
        Self::RemoteDisk,
        Self::Floppy,
    ];

    /// The four-bit number, not shifted.
    pub fn selector(self) -> u8 {
        self as u8
    }

    /// None for a reserved number.
    pub fn from_selector(selector: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|device| device.selector() == selector)
    }
}

/// How long a boot device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Persistence {
    /// For the next boot.
    Once,
    /// For all future boots.
    Persistent,
}

/// The five data bytes of the boot flags, as they are: every bit is kept, also those without a name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BootFlags(pub [u8; 5]);

const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

impl BootFlags {
    /// Flags that are valid and set nothing but device, persistence and firmware.
    pub fn new(device: BootDevice, persistence: Persistence, efi: bool) -> Self {
        let persistent = if persistence == Persistence::Persistent {
            PERSISTENT
        } else {
            0
        };
        let efi = if efi { EFI } else { 0 };
        Self([VALID | persistent | efi, device.selector() << 2, 0, 0, 0])
    }

    pub fn valid(self) -> bool {
        self.0[0] & VALID != 0
    }

    pub fn persistent(self) -> bool {
        self.0[0] & PERSISTENT != 0
    }

    /// For UEFI firmware; false means BIOS ("PC compatible").
    pub fn efi(self) -> bool {
        self.0[0] & EFI != 0
    }

    /// None for a reserved number.
    pub fn device(self) -> Option<BootDevice> {
        BootDevice::from_selector(self.0[1] >> 2 & 0x0f)
    }

    /// The same with the valid bit cleared: the firmware ignores the rest then.
    pub fn invalidated(self) -> Self {
        let [first, rest @ ..] = self.0;
        let [b, c, d, e] = rest;
        Self([first & !VALID, b, c, d, e])
    }
}

/// What Get System Boot Options says about the boot flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootOptions {
    /// False: the flags are not in force, the firmware boots by its own order.
    pub valid: bool,
    pub persistent: bool,
    pub efi: bool,
    /// None for a number that the specification reserves.
    pub device: Option<BootDevice>,
    /// All of it.
    pub flags: BootFlags,
}

impl BootOptions {
    /// From the answer for parameter 5. A parameter that the BMC marks as locked or invalid is reported as not valid.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data, "boot options too short");
        let [_version, parameter] = reader.array()?;
        if parameter & 0x7f != parameter::BOOT_FLAGS {
            return Err(Malformed(
                "boot options of another parameter than asked for",
            ));
        }
        let flags = BootFlags(reader.array()?);
        Ok(Self {
            valid: flags.valid() && parameter & 0x80 == 0,
            persistent: flags.persistent(),
            efi: flags.efi(),
            device: flags.device(),
            flags,
        })
    }
}

/// What Get Channel Authentication Capabilities says (section 22.13), as far as IPMI 2.0 needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelCapabilities {
    pub ipmi_2_0: bool,
    pub kg_set: bool,
}

impl ChannelCapabilities {
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data, "channel authentication capabilities too short");
        let [_channel, types, status, extended] = reader.array()?;
        Ok(Self {
            ipmi_2_0: types & 0x80 != 0 && extended & 0x02 != 0,
            kg_set: types & 0x80 != 0 && status & 0x20 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn boot_flags_have_the_bytes_that_ironic_sends() {
        fn check(device: BootDevice, persistence: Persistence, efi: bool, expected: [u8; 5]) {
            let flags = BootFlags::new(device, persistence, efi);
            assert_eq!(flags.0, expected);
            assert_eq!(flags.device(), Some(device));
            assert_eq!(
                (flags.valid(), flags.persistent(), flags.efi()),
                (true, persistence == Persistence::Persistent, efi)
            );
            assert!(!flags.invalidated().valid());
            assert_eq!(flags.invalidated().0[1..], flags.0[1..]);
        }
        check(
            BootDevice::Pxe,
            Persistence::Persistent,
            true,
            [0xe0, 0x04, 0, 0, 0],
        );
        check(
            BootDevice::Disk,
            Persistence::Once,
            true,
            [0xa0, 0x08, 0, 0, 0],
        );
        check(
            BootDevice::RemoteMedia,
            Persistence::Once,
            true,
            [0xa0, 0x24, 0, 0, 0],
        );
        check(
            BootDevice::Cdrom,
            Persistence::Once,
            false,
            [0x80, 0x14, 0, 0, 0],
        );
        check(
            BootDevice::Bios,
            Persistence::Persistent,
            false,
            [0xc0, 0x18, 0, 0, 0],
        );
        check(
            BootDevice::Safe,
            Persistence::Once,
            false,
            [0x80, 0x0c, 0, 0, 0],
        );
    }

    #[test]
    fn boot_options_are_read_back() {
        fn check(data: &[u8], expected: Result<(bool, Option<BootDevice>), Malformed>) {
            assert_eq!(
                BootOptions::parse(data).map(|options| (options.valid, options.device)),
                expected
            );
        }
        check(
            &[1, 5, 0xe0, 0x04, 0, 0, 0],
            Ok((true, Some(BootDevice::Pxe))),
        );
        check(
            &[1, 0x85, 0xe0, 0x04, 0, 0, 0],
            Ok((false, Some(BootDevice::Pxe))),
        );
        check(&[1, 5, 0x00, 0x28, 0, 0, 0], Ok((false, None)));
        check(
            &[1, 4, 0, 0, 0, 0, 0],
            Err(Malformed(
                "boot options of another parameter than asked for",
            )),
        );
        check(
            &[1, 5, 0, 0, 0, 0],
            Err(Malformed("boot options too short")),
        );
    }

    #[test]
    fn device_id_goes_both_ways() {
        let id = DeviceId {
            device_id: 0x20,
            device_revision: 1,
            available: true,
            firmware_major: 3,
            firmware_minor: 45,
            ipmi_version: (2, 0),
            manufacturer_id: 10876,
            product_id: 0x0902,
            auxiliary_firmware: Some([1, 2, 3, 4]),
        };
        assert_eq!(
            hex::encode(id.encode()),
            "200103450280".to_owned() + "7c2a00" + "0209" + "01020304"
        );
        assert_eq!(DeviceId::parse(&id.encode()).unwrap(), id);
        let short = DeviceId {
            auxiliary_firmware: None,
            ..id
        };
        assert_eq!(DeviceId::parse(&short.encode()).unwrap(), short);
        assert!(DeviceId::parse(&short.encode()[..10]).is_err());
    }

    #[test]
    fn chassis_and_channel_answers() {
        assert!(ChassisStatus::parse(&[0x21, 0, 0, 0]).unwrap().power_on);
        assert!(!ChassisStatus::parse(&[0x20, 0, 0]).unwrap().power_on);
        assert!(ChassisStatus::parse(&[0x21, 0]).is_err());
        let both = ChannelCapabilities::parse(&[1, 0x80, 0x24, 0x02, 0, 0, 0, 0]).unwrap();
        assert_eq!(
            both,
            ChannelCapabilities {
                ipmi_2_0: true,
                kg_set: true
            }
        );
        assert!(
            !ChannelCapabilities::parse(&[1, 0x17, 0x04, 0x02, 0, 0, 0, 0])
                .unwrap()
                .ipmi_2_0
        );
        for code in 0..=5 {
            assert_eq!(
                ChassisControl::from_code(code).map(ChassisControl::code),
                Some(code)
            );
        }
        assert_eq!(ChassisControl::from_code(6), None);
    }
}
