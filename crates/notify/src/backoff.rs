//! How long is waited after a failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Doubles from one second to a minute, by how many attempts have failed.
pub fn after(failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(
        1u32.checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_ends() {
        let check = |failures, seconds| assert_eq!(after(failures), Duration::from_secs(seconds));
        check(0, 1);
        check(1, 1);
        check(2, 2);
        check(6, 32);
        check(7, 60);
        check(40, 60);
        check(u32::MAX, 60);
    }
}
