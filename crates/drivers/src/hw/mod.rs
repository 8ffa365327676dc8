//! Hardware types: one constant each.

pub mod fake;
pub mod ipmi;
pub mod manual;
pub mod redfish;

use bessemer_model::InterfaceKind;

/// A hardware type: which implementations its nodes may use, in order of preference.
#[derive(Debug)]
pub struct HardwareType {
    pub name: &'static str,
    pub description: &'static str,
    pub interfaces: &'static [(InterfaceKind, &'static [&'static str])],
    /// Its nodes may use any enabled implementation; the lists only give the defaults.
    pub any: bool,
}

impl HardwareType {
    /// Implementations of one family, most preferred first.
    #[must_use]
    pub fn supported(&self, kind: InterfaceKind) -> &'static [&'static str] {
        self.interfaces
            .iter()
            .find(|(k, _)| *k == kind)
            .map_or(&[], |(_, names)| names)
    }
}

/// What every type has unless its row says otherwise. Order as upstream's, by which defaults are chosen.
pub(crate) mod common {
    pub const BIOS: &[&str] = &["no-bios"];
    pub const BOOT: &[&str] = &["ipxe", "pxe"];
    pub const CONSOLE: &[&str] = &["no-console"];
    pub const DEPLOY: &[&str] = &["direct"];
    pub const FIRMWARE: &[&str] = &["no-firmware"];
    pub const INSPECT: &[&str] = &["agent", "no-inspect"];
    pub const NETWORK: &[&str] = &["noop"];
    pub const RAID: &[&str] = &["no-raid", "agent"];
    pub const RESCUE: &[&str] = &["no-rescue", "agent"];
    pub const STORAGE: &[&str] = &["noop"];
}
