//! Ethernet addresses as DHCP, TFTP paths and URLs write them.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// `52-54-00-77-00-01`: the form that iPXE's `${mac:hexhyp}` gives and that URLs carry.
    pub fn dashed(&self) -> String {
        self.joined('-')
    }

    fn joined(&self, separator: char) -> String {
        let mut text = String::with_capacity(17);
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(separator);
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// Whether the address names a group of stations, which no client may have.
    pub fn is_multicast(&self) -> bool {
        self.0.first().is_some_and(|first| first & 1 == 1)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(':'))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six bytes in hexadecimal with `:` or `-` between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address")]
pub struct ParseMacError;

impl FromStr for MacAddress {
    type Err = ParseMacError;

    /// Reads `52:54:00:77:00:01` and `52-54-00-77-00-01`, in either case.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(ParseMacError),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn reads_and_writes() {
        let mac = MacAddress([0x52, 0x54, 0, 0x77, 0, 0xab]);
        let good = Some(mac);
        for (input, expected) in [
            ("52:54:00:77:00:ab", good),
            ("52-54-00-77-00-AB", good),
            ("52:54:00:77:00", None),
            ("52:54:00:77:00:ab:cd", None),
            ("52:54-00:77:00:ab", None),
            ("5254007700ab", None),
            ("+2:54:00:77:00:ab", None),
            ("", None),
        ] {
            assert_eq!(input.parse().ok(), expected, "{input}");
        }
        assert_eq!(mac.to_string(), "52:54:00:77:00:ab");
        assert_eq!(mac.dashed(), "52-54-00-77-00-ab");
    }
}
