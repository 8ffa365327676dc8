//! Hardware types: one constant each.

pub mod fake;
pub mod ipmi;

use bessemer_model::InterfaceKind;

/// A hardware type: which implementations its nodes may use, in order of preference.
#[derive(Debug)]
pub struct HardwareType {
    pub name: &'static str,
    pub description: &'static str,
    pub interfaces: &'static [(InterfaceKind, &'static [&'static str])],
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
