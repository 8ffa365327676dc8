//! Vital product data of SCSI devices (SPC-5, 7.7), as sysfs shows it. Outside bytes: everything is optional.

use crate::storage::array;

/// Unit serial number (page 0x80).
pub(crate) fn unit_serial(page: &[u8]) -> Option<String> {
    text(body(page, 0x80)?)
}

/// The NAA name of the logical unit (page 0x83), as hexadecimal digits: 16, or 32 for a name with vendor extension.
pub(crate) fn naa(page: &[u8]) -> Option<String> {
    let mut rest = body(page, 0x83)?;
    let mut best: Option<String> = None;
    while let [protocol_and_code, kind, _, len, tail @ ..] = rest {
        let name = tail.get(..usize::from(*len))?;
        // binary, associated with the logical unit, of type NAA
        if protocol_and_code & 0x0f == 1 && kind & 0x3f == 3 && matches!(name.len(), 8 | 16) {
            let digits: String = name.iter().map(|b| format!("{b:02x}")).collect();
            if best.as_ref().is_none_or(|b| b.len() < digits.len()) {
                best = Some(digits);
            }
        }
        rest = tail.get(usize::from(*len)..)?;
    }
    best
}

/// Model of an ATA disk in full (page 0x89 holds its IDENTIFY data; the SCSI model field is cut at 16 characters).
pub(crate) fn ata_model(page: &[u8]) -> Option<String> {
    if page.get(1) != Some(&0x89) {
        return None;
    }
    // IDENTIFY begins at byte 60; the model is in words 27 to 46, two characters to a word, swapped
    let swapped: Vec<u8> = page
        .get(60 + 54..60 + 94)?
        .chunks_exact(2)
        .flat_map(|w| w.iter().rev().copied())
        .collect();
    text(&swapped)
}

fn body(page: &[u8], code: u8) -> Option<&[u8]> {
    if page.get(1) != Some(&code) {
        return None;
    }
    let len = usize::from(u16::from_be_bytes(array(page, 2)?));
    let end = len.saturating_add(4).min(page.len());
    page.get(4..end)
}

/// Printable text without padding, or none.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    (!printable.is_empty()).then_some(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        assert_eq!(
            unit_serial(b"\0\x80\0\x08  S3R1AL\0"),
            Some("S3R1AL".into())
        );
        assert_eq!(
            unit_serial(b"\0\x80\0\xff AB"),
            Some("AB".into()),
            "a length beyond the page"
        );
        assert_eq!(unit_serial(b"\0\x83\0\x02AB"), None);
        assert_eq!(unit_serial(b"\0\x80\0\x04    "), None);
        let page = b"\0\x83\0\x1c\x02\x01\0\x04QEMU\x01\x03\0\x08\x50\x00\xc5\x00\x12\x34\x56\x78\x61\x93\0\x04\0\0\0\0";
        assert_eq!(naa(page), Some("5000c50012345678".into()));
        assert_eq!(
            naa(b"\0\x83\0\x10\x01\x03\0\x40\x50"),
            None,
            "a descriptor beyond the page"
        );
    }
}
