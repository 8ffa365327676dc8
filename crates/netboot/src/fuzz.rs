//! Fuzz targets: ordinary functions over arbitrary bytes. They must return, whatever the bytes are.

use crate::range::{Wanted, wanted};

/// Reads a `Range` header; a part must lie inside the file. The first byte chooses the file's length.
pub fn fuzz_range(data: &[u8]) {
    let Some((length, header)) = data.split_first() else {
        return;
    };
    let length = u64::from(*length);
    let text = String::from_utf8_lossy(header);
    if let Wanted::Part { first, last } = wanted(Some(&text), length) {
        assert!(first <= last && last < length);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn seeded_mutations() {
        let samples = ["\x0abytes=0-9", "\x00bytes=-5", "\x7fbytes=3-,5-6"];
        let mut rng = StdRng::seed_from_u64(9110);
        for round in 0..5000 {
            let mut bytes = samples[round % samples.len()].as_bytes().to_vec();
            for _ in 0..rng.random_range(0..5) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] = b"0123456789-,="[rng.random_range(0..13)],
                    _ => bytes.insert(at, rng.random()),
                }
            }
            fuzz_range(&bytes);
        }
    }
}
