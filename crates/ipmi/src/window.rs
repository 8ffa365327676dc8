//! Which session sequence numbers were seen (section 6.12.13): drops repeats, allows late packets.

/// How far behind the highest number a packet may come. The specification asks for 16 or 8; more costs nothing.
const BEHIND: u32 = 63;

/// Sequence numbers of one direction of one session.
///
/// Numbers ahead are accepted at any distance: packets are authenticated before they get here, so a
/// jump means loss, not forgery, and refusing it would lose the session for good.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    highest: Option<u32>,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// True once for each number that is new enough.
    pub fn accept(&mut self, number: u32) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.seen = 1;
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        if ahead != 0 && ahead < u32::MAX / 2 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = Some(number);
            return true;
        }
        let behind = highest.wrapping_sub(number);
        if behind > BEHIND {
            return false;
        }
        let bit = 1u64 << behind;
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_ancient_numbers_are_dropped() {
        fn check(numbers: &[u32], expected: &[bool]) {
            let mut window = Window::default();
            let got: Vec<bool> = numbers.iter().map(|n| window.accept(*n)).collect();
            assert_eq!(got, expected, "{numbers:?}");
        }
        check(
            &[1, 2, 3, 3, 2, 1],
            &[true, true, true, false, false, false],
        );
        check(&[1, 5, 3, 3, 4, 2], &[true, true, true, false, true, true]);
        check(&[100, 37, 36], &[true, true, false]);
        check(&[1, 200, 137, 136, 200], &[true, true, true, false, false]);
        check(
            &[u32::MAX, 0, 1, u32::MAX, 0],
            &[true, true, true, false, false],
        );
        check(&[0, 1], &[true, true]);
    }
}
