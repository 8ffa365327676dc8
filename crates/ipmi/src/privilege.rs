//! Privilege levels (section 6.8) and their names.

/// What a session may do. Ordered: a higher level includes the lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Privilege {
    Callback = 1,
    User = 2,
    Operator = 3,
    #[default]
    Administrator = 4,
    Oem = 5,
}

impl Privilege {
    /// The number on the wire.
    pub fn level(self) -> u8 {
        self as u8
    }

    /// From the number on the wire; the upper four bits are reserved and ignored.
    pub fn from_level(level: u8) -> Option<Self> {
        match level & 0x0f {
            1 => Some(Self::Callback),
            2 => Some(Self::User),
            3 => Some(Self::Operator),
            4 => Some(Self::Administrator),
            5 => Some(Self::Oem),
            _ => None,
        }
    }

    /// From the name that operators write: `CALLBACK`, `USER`, `OPERATOR`, `ADMINISTRATOR`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Callback,
            Self::User,
            Self::Operator,
            Self::Administrator,
            Self::Oem,
        ]
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Callback => "CALLBACK",
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
            Self::Oem => "OEM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels_go_both_ways() {
        for (name, level) in [
            ("callback", 1),
            ("USER", 2),
            ("Operator", 3),
            ("ADMINISTRATOR", 4),
        ] {
            let privilege = Privilege::from_name(name);
            assert_eq!(privilege.map(Privilege::level), Some(level));
            assert_eq!(Privilege::from_level(level), privilege);
        }
        assert_eq!(Privilege::from_name("root"), None);
        assert_eq!(Privilege::from_level(0), None);
        assert!(Privilege::Administrator > Privilege::Operator);
    }
}
