//! Directory records (ECMA-119 9.1), their Rock Ridge fields, and dates.

use crate::SECTOR;

/// A number in both byte orders (ECMA-119 7.3.3).
pub(crate) fn both32(value: u32) -> [u8; 8] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], l[2], l[3], b[0], b[1], b[2], b[3]]
}

/// A number in both byte orders (ECMA-119 7.2.3).
pub(crate) fn both16(value: u16) -> [u8; 4] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], b[0], b[1]]
}

/// A moment, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Moment {
    /// From seconds since 1970 UTC, by the proleptic Gregorian calendar.
    pub fn from_unix(seconds: u32) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // days since 0000-03-01, so that the leap day ends a year
        let days = days + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Moment {
            year: year_of_era + era * 400 + u32::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// ECMA-119 9.1.5. The years of this format end in 2155.
    fn short(self) -> [u8; 7] {
        let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        [
            byte(self.year.saturating_sub(1900)),
            byte(self.month),
            byte(self.day),
            byte(self.hour),
            byte(self.minute),
            byte(self.second),
            0,
        ]
    }

    /// ECMA-119 8.4.26.1: sixteen digits and the offset from UTC.
    pub fn long(self) -> Vec<u8> {
        let Moment {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        let mut text =
            format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00").into_bytes();
        text.push(0);
        text
    }
}

/// What a record points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// First sector.
    pub extent: u32,
    /// Bytes.
    pub len: u32,
    pub is_folder: bool,
}

/// One directory record; its length is even and below 256 by the limits on names.
pub(crate) fn directory_record(
    target: Target,
    moment: Moment,
    identifier: &[u8],
    system_use: &[u8],
) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both32(target.extent));
    record.extend(both32(target.len));
    record.extend(moment.short());
    record.push(if target.is_folder { 2 } else { 0 });
    record.extend([0, 0]);
    record.extend(both16(1));
    record.push(u8::try_from(identifier.len()).unwrap_or(u8::MAX));
    record.extend(identifier);
    if identifier.len().is_multiple_of(2) {
        record.push(0);
    }
    record.extend(system_use);
    if !record.len().is_multiple_of(2) {
        record.push(0);
    }
    let len = u8::try_from(record.len()).unwrap_or(u8::MAX);
    if let Some(first) = record.first_mut() {
        *first = len;
    }
    record
}

/// Records behind each other; none crosses a sector (ECMA-119 6.8.1.1).
pub(crate) fn pack(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        if bytes.len() % SECTOR + record.len() > SECTOR {
            pad(&mut bytes);
        }
        bytes.extend(record);
    }
    pad(&mut bytes);
    bytes
}

/// Zeroes up to the next sector.
pub(crate) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
}

/// SUSP 5.3: says in the root's own record that system use fields follow this protocol.
pub(crate) fn susp_start() -> Vec<u8> {
    vec![b'S', b'P', 7, 1, 0xbe, 0xef, 0]
}

/// SUSP 5.5: names the Rock Ridge extension.
pub(crate) fn rock_ridge_reference() -> Vec<u8> {
    let (identifier, descriptor) = (b"RRIP_1991A", b"Rock Ridge");
    let mut field = vec![b'E', b'R', 8 + 10 + 10, 1, 10, 10, 0, 1];
    field.extend(identifier);
    field.extend(descriptor);
    field
}

/// RRIP 4.1.1: mode, links, user and group (root's).
pub(crate) fn posix_attributes(mode: u32, links: u32) -> Vec<u8> {
    let mut field = vec![b'P', b'X', 36, 1];
    for value in [mode, links, 0, 0] {
        field.extend(both32(value));
    }
    field
}

/// RRIP 4.1.4: the name as it really is.
pub(crate) fn alternate_name(name: &str) -> Vec<u8> {
    let mut field = vec![
        b'N',
        b'M',
        u8::try_from(name.len() + 5).unwrap_or(u8::MAX),
        1,
        0,
    ];
    field.extend(name.as_bytes());
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u32, expected: &str) {
        assert_eq!(
            Moment::from_unix(seconds).long(),
            format!("{expected}00\0").into_bytes()
        );
    }

    #[test]
    fn dates() {
        check(0, "19700101000000");
        check(315_532_800, "19800101000000");
        check(951_782_399, "20000228235959");
        check(951_827_696, "20000229123456");
        check(1_709_251_199, "20240229235959");
        check(u32::MAX, "21060207062815");
    }

    #[test]
    fn records_do_not_cross_sectors() {
        let packed = pack(&vec![vec![100; 100]; 41]);
        assert_eq!(packed.len(), 3 * SECTOR);
        assert_eq!(packed[1999], 100);
        assert_eq!(packed[2000], 0);
        assert_eq!(packed[2048], 100);
    }
}
