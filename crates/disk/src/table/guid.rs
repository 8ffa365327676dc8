//! GUIDs as GPT stores them: the first three groups little-endian.

use std::fmt;

/// A GUID in the byte order of the disk.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Linux filesystem data.
    pub const LINUX_FILESYSTEM: Guid =
        Guid::from_uuid(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4_u128.to_be_bytes());
    /// EFI system partition.
    pub const EFI_SYSTEM: Guid =
        Guid::from_uuid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128.to_be_bytes());

    /// From the sixteen bytes of a UUID in their usual order (RFC 9562).
    pub const fn from_uuid(uuid: [u8; 16]) -> Self {
        let u = uuid;
        Guid([
            u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13],
            u[14], u[15],
        ])
    }

    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Guid(bytes)
    }

    /// As stored in a table.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0
    }

    /// All zero: an unused entry.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the swap is its own inverse
        for (i, byte) in Guid::from_uuid(self.0).0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
