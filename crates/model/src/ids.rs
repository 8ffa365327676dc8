//! Typed identifiers: a port's id cannot be passed where a node's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// Identifies a node.
    NodeId,
    /// Identifies a port.
    PortId,
    /// Identifies a chassis.
    ChassisId,
    /// Identifies an operation: one run of a verb on a node.
    OperationId,
    /// Identifies one run of a conductor process. A restarted conductor has a new session.
    SessionId,
    /// Identifies a conductor's row.
    ConductorId,
    /// Identifies an entry of a node's history.
    HistoryId,
    /// Identifies a port group.
    PortgroupId,
    /// Identifies a volume connector.
    VolumeConnectorId,
    /// Identifies a volume target.
    VolumeTargetId,
    /// Identifies an allocation, and the instance on the node that it gets.
    AllocationId,
    /// Identifies a deploy template.
    DeployTemplateId,
    /// Identifies a runbook.
    RunbookId,
    /// Identifies an inspection rule.
    InspectionRuleId,
}

/// A 48-bit MAC address, shown in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

/// The text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Expected a MAC address but received {0}.")]
pub struct MacAddressError(pub String);

impl MacAddress {
    /// With dashes, as iPXE's `${mac:hexhyp}` and pxelinux write it.
    #[must_use]
    pub fn dashed(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MacAddressError(text.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = text.split(['-', ':']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(
                text.parse::<MacAddress>()
                    .ok()
                    .map(|m| m.to_string())
                    .as_deref(),
                want,
                "{text}"
            );
        };
        check("52:54:00:AB:00:01", Some("52:54:00:ab:00:01"));
        check("52-54-00-ab-00-01", Some("52:54:00:ab:00:01"));
        check("52:54:00:ab:00", None);
        check("52:54:00:ab:00:01:02", None);
        check("52:54:00:ab:00:+1", None);
        check("", None);
    }
}
