//! Completion codes (section 5.2) and the status codes of session set-up (section 13.24), as sentences.

use std::fmt;

use crate::error::Class;

/// First data byte of every response: 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CompletionCode(pub u8);

impl CompletionCode {
    pub const OK: Self = Self(0x00);
    /// Boot options: parameter not supported. Set session privilege: user level does not allow it.
    pub const PARAMETER_NOT_SUPPORTED: Self = Self(0x80);
    /// Boot options: "set in progress" while somebody else's is in progress. Set session privilege: level not available.
    pub const SET_IN_PROGRESS: Self = Self(0x81);
    pub const LEVEL_NOT_AVAILABLE: Self = Self(0x81);
    pub const READ_ONLY: Self = Self(0x82);
    /// Close session: no such session.
    pub const INVALID_SESSION: Self = Self(0x87);
    pub const NODE_BUSY: Self = Self(0xc0);
    pub const INVALID_COMMAND: Self = Self(0xc1);
    pub const TIMEOUT: Self = Self(0xc3);
    pub const DATA_TRUNCATED: Self = Self(0xc6);
    pub const DATA_LENGTH: Self = Self(0xc7);
    pub const PARAMETER_OUT_OF_RANGE: Self = Self(0xc9);
    pub const INVALID_DATA_FIELD: Self = Self(0xcc);
    pub const CANNOT_PROVIDE: Self = Self(0xce);
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(0xd4);
    pub const NOT_IN_PRESENT_STATE: Self = Self(0xd5);
    pub const UNSPECIFIED: Self = Self(0xff);

    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// What the code says, as the end of a sentence. Command-specific codes are named as such.
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "done",
            0xc0 => "the BMC is busy",
            0xc1 => "the BMC does not know the command",
            0xc2 => "the command is not valid for this logical unit",
            0xc3 => "the BMC ran out of time while it carried the command out",
            0xc4 => "the BMC is out of space",
            0xc5 => "the reservation was cancelled or is not valid",
            0xc6 => "the request was cut short",
            0xc7 => "the request has the wrong length",
            0xc8 => "the request is longer than a field allows",
            0xc9 => "a parameter is out of range",
            0xca => "the BMC cannot return that many bytes",
            0xcb => "the sensor, record or data asked for does not exist",
            0xcc => "a field of the request is not valid",
            0xcd => "the command is not allowed for this sensor or record",
            0xce => "the BMC could not give an answer",
            0xcf => "the BMC took the request for a repeated one",
            0xd0 => "the sensor data repository is being updated",
            0xd1 => "the BMC is in firmware update mode",
            0xd2 => "the BMC is still starting",
            0xd3 => "the destination is not available",
            0xd4 => "the user's privilege level does not allow it",
            0xd5 => "the BMC does not support it in its present state",
            0xd6 => "a part of the command is switched off or not available",
            0xff => "unspecified error",
            0x01..=0x7e => "a code of the device's maker",
            0x80..=0xbe => "a code that only this command has",
            _ => "a reserved code",
        }
    }

    /// Whether asking again may help.
    pub fn class(self) -> Class {
        match self.0 {
            0xc0 | 0xcf => Class::RetryNow,
            0xc3 | 0xc4 | 0xce | 0xd0 | 0xd1 | 0xd2 | 0xd3 | 0xd5 | 0xff => Class::RetryLater,
            _ => Class::Never,
        }
    }
}

impl fmt::Display for CompletionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}, {}", self.0, self.meaning())
    }
}

/// Status of the open session and RAKP messages: 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetupStatus(pub u8);

impl SetupStatus {
    pub const OK: Self = Self(0x00);
    pub const INSUFFICIENT_RESOURCES: Self = Self(0x01);
    pub const INVALID_SESSION: Self = Self(0x02);
    pub const INVALID_AUTHENTICATION: Self = Self(0x04);
    pub const INVALID_INTEGRITY: Self = Self(0x05);
    pub const INVALID_ROLE: Self = Self(0x09);
    pub const UNAUTHORIZED_ROLE: Self = Self(0x0a);
    pub const INVALID_NAME_LENGTH: Self = Self(0x0c);
    pub const UNAUTHORIZED_NAME: Self = Self(0x0d);
    pub const INVALID_INTEGRITY_CHECK: Self = Self(0x0f);
    pub const INVALID_CONFIDENTIALITY: Self = Self(0x10);
    pub const NO_SUITE_MATCH: Self = Self(0x11);
    pub const ILLEGAL_PARAMETER: Self = Self(0x12);

    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    pub fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "done",
            0x01 => "the BMC has no free session",
            0x02 => "the BMC does not know the session",
            0x03 => "the BMC does not know the payload type",
            0x04 => "the BMC does not offer the authentication algorithm",
            0x05 => "the BMC does not offer the integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "the session is not active",
            0x09 => "the privilege level does not exist",
            0x0a => "the user may not have the privilege level",
            0x0b => "the BMC has no free session at that privilege level",
            0x0c => "the user name has a wrong length",
            0x0d => "the BMC does not know the user name",
            0x0e => "the BMC does not accept the identifier",
            0x0f => "an integrity check failed",
            0x10 => "the BMC does not offer the confidentiality algorithm",
            0x11 => "the BMC does not offer the cipher suite",
            0x12 => "a parameter is illegal",
            _ => "a reserved status",
        }
    }

    /// The BMC does not speak the cipher suite that was proposed: another one may work.
    pub(crate) fn refuses_suite(self) -> bool {
        matches!(self.0, 0x04 | 0x05 | 0x06 | 0x07 | 0x10 | 0x11)
    }
}

impl fmt::Display for SetupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status 0x{:02x}, {}", self.0, self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_sentences() {
        fn check(code: u8, sentence: &str, class: Class) {
            assert_eq!(CompletionCode(code).to_string(), sentence);
            assert_eq!(CompletionCode(code).class(), class);
        }
        check(0xc0, "0xc0, the BMC is busy", Class::RetryNow);
        check(
            0xc1,
            "0xc1, the BMC does not know the command",
            Class::Never,
        );
        check(0xd2, "0xd2, the BMC is still starting", Class::RetryLater);
        check(
            0xd4,
            "0xd4, the user's privilege level does not allow it",
            Class::Never,
        );
        check(0x05, "0x05, a code of the device's maker", Class::Never);
        check(
            0x80,
            "0x80, a code that only this command has",
            Class::Never,
        );
        check(0xe0, "0xe0, a reserved code", Class::Never);
        assert_eq!(
            SetupStatus(0x11).to_string(),
            "status 0x11, the BMC does not offer the cipher suite"
        );
        assert!(SetupStatus(0x11).refuses_suite() && !SetupStatus(0x0d).refuses_suite());
    }
}
