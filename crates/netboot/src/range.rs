//! Byte ranges of HTTP requests (RFC 9110 section 14).

/// What a `Range` header asks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range, one that we do not understand, or several, which RFC 9110 allows to ignore.
    Everything,
    /// First and last byte, both included, inside the file.
    Part { first: u64, last: u64 },
    /// Nothing that the file has.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of this length.
pub(crate) fn wanted(header: Option<&str>, length: u64) -> Wanted {
    let Some(spec) = header.and_then(|text| {
        let (unit, spec) = text.split_once('=')?;
        unit.trim()
            .eq_ignore_ascii_case("bytes")
            .then(|| spec.trim())
    }) else {
        return Wanted::Everything;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Wanted::Everything;
    };
    let (first, last) = (number(first), number(last));
    match (first, last) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                return Wanted::Everything;
            }
            let Some(end) = length.checked_sub(1).filter(|end| first <= *end) else {
                return Wanted::Unsatisfiable;
            };
            Wanted::Part {
                first,
                last: last.unwrap_or(end).min(end),
            }
        }
        (Some(None), Some(Some(suffix))) => match length.checked_sub(1) {
            Some(end) if suffix > 0 => Wanted::Part {
                first: length.saturating_sub(suffix),
                last: end,
            },
            _ => Wanted::Unsatisfiable,
        },
        _ => Wanted::Everything,
    }
}

/// Digits only: `Some(None)` for nothing, `None` for anything else. A number too large for 64 bits lies beyond every file.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        use Wanted::{Everything, Unsatisfiable};
        let part = |first, last| Wanted::Part { first, last };
        for (header, length, expected) in [
            (None, 10, Everything),
            (Some("bytes=0-0"), 10, part(0, 0)),
            (Some("bytes=0-9"), 10, part(0, 9)),
            (Some("bytes=2-"), 10, part(2, 9)),
            (Some("bytes=2-99"), 10, part(2, 9)),
            (Some("bytes = 2 - 3"), 10, part(2, 3)),
            (Some("BYTES=9-9"), 10, part(9, 9)),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-30"), 10, part(0, 9)),
            (Some("bytes=-0"), 10, Unsatisfiable),
            (Some("bytes=10-"), 10, Unsatisfiable),
            (Some("bytes=10-12"), 10, Unsatisfiable),
            (Some("bytes=0-"), 0, Unsatisfiable),
            (Some("bytes=-1"), 0, Unsatisfiable),
            (Some("bytes=99999999999999999999-"), 10, Unsatisfiable),
            (Some("bytes=0-99999999999999999999"), 10, part(0, 9)),
            (Some("bytes=3-2"), 10, Everything),
            (Some("bytes=0-1,4-5"), 10, Everything),
            (Some("bytes=-"), 10, Everything),
            (Some("bytes=a-b"), 10, Everything),
            (Some("bytes=+1-2"), 10, Everything),
            (Some("lines=1-2"), 10, Everything),
            (Some("bytes"), 10, Everything),
        ] {
            assert_eq!(wanted(header, length), expected, "{header:?} of {length}");
        }
    }
}
