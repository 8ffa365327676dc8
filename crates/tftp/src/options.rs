//! Negotiation of options: what a client asks for, what the server grants (RFC 2347 to 2349, RFC 7440).

use std::time::Duration;

use crate::packet::OptionList;

/// Block size when none is negotiated.
pub const DEFAULT_BLKSIZE: u16 = 512;
/// Smallest block size of RFC 2348.
pub const MIN_BLKSIZE: u16 = 8;
/// Largest block size of RFC 2348.
pub const MAX_BLKSIZE: u16 = 65464;

/// What the server grants at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest block in bytes. The default, 1468, fills an Ethernet frame without fragments.
    pub max_blksize: u16,
    /// Longest window in blocks; at most 32768 of it counts.
    pub max_windowsize: u16,
    /// Wait before the first repetition when the client names none; it doubles up to eight times itself.
    pub timeout: Duration,
    /// How often a packet is sent before the transfer is given up.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blksize: 1468,
            max_windowsize: 64,
            timeout: Duration::from_secs(1),
            attempts: 6,
        }
    }
}

/// What holds for one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Bytes of a full block.
    pub blksize: u16,
    /// Blocks between acknowledgements.
    pub windowsize: u16,
    /// Wait before the first repetition.
    pub timeout: Duration,
    /// Attempts before giving up.
    pub attempts: u32,
    /// The options that are acknowledged; empty when the transfer starts with data at once.
    pub granted: OptionList,
}

/// Decides about the options of a request. Unknown options, bad values and repetitions are left out of the answer, which
/// is how a server refuses them. `size` is the file's length; `None` when it is not known before the end.
pub fn negotiate(requested: &OptionList, size: Option<u64>, limits: &Limits) -> Negotiated {
    let mut result = Negotiated {
        blksize: DEFAULT_BLKSIZE,
        windowsize: 1,
        timeout: limits.timeout,
        attempts: limits.attempts.max(1),
        granted: Vec::new(),
    };
    for (name, value) in requested {
        if result.granted.iter().any(|(seen, _)| seen == name) {
            continue;
        }
        let Ok(number) = value.trim().parse::<u64>() else {
            continue;
        };
        let granted = match name.as_str() {
            "blksize" if (u64::from(MIN_BLKSIZE)..=u64::from(MAX_BLKSIZE)).contains(&number) => {
                let most = limits.max_blksize.clamp(MIN_BLKSIZE, MAX_BLKSIZE);
                result.blksize = u16::try_from(number).unwrap_or(most).min(most);
                u64::from(result.blksize)
            }
            "windowsize" if (1..=65535).contains(&number) => {
                let most = limits.max_windowsize.clamp(1, 32768);
                result.windowsize = u16::try_from(number).unwrap_or(most).min(most);
                u64::from(result.windowsize)
            }
            "timeout" if (1..=255).contains(&number) => {
                result.timeout = Duration::from_secs(number);
                number
            }
            "tsize" => match size {
                Some(size) => size,
                None => continue,
            },
            _ => continue,
        };
        result.granted.push((name.clone(), granted.to_string()));
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn grants() {
        let check = |requested: &[(&str, &str)], granted: &str, blksize, windowsize| {
            let requested: OptionList = requested
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            let result = negotiate(&requested, Some(1000), &Limits::default());
            let text: Vec<_> = result
                .granted
                .iter()
                .map(|(n, v)| format!("{n}={v}"))
                .collect();
            assert_eq!(text.join(" "), granted, "{requested:?}");
            assert_eq!((result.blksize, result.windowsize), (blksize, windowsize));
        };
        check(&[], "", 512, 1);
        check(&[("tsize", "0")], "tsize=1000", 512, 1);
        check(&[("blksize", "1428")], "blksize=1428", 1428, 1);
        check(&[("blksize", "8192")], "blksize=1468", 1468, 1);
        check(&[("blksize", "8")], "blksize=8", 8, 1);
        check(&[("blksize", "7")], "", 512, 1);
        check(&[("blksize", "65465")], "", 512, 1);
        check(&[("blksize", "-1"), ("blksize", "64")], "blksize=64", 64, 1);
        check(
            &[("blksize", "64"), ("blksize", "128")],
            "blksize=64",
            64,
            1,
        );
        check(&[("windowsize", "8")], "windowsize=8", 512, 8);
        check(&[("windowsize", "900")], "windowsize=64", 512, 64);
        check(&[("windowsize", "0")], "", 512, 1);
        check(&[("timeout", "3")], "timeout=3", 512, 1);
        check(&[("timeout", "0"), ("timeout", "256")], "", 512, 1);
        check(&[("multicast", ""), ("x", "1")], "", 512, 1);
        check(
            &[("tsize", "0"), ("blksize", "1024"), ("windowsize", "4")],
            "tsize=1000 blksize=1024 windowsize=4",
            1024,
            4,
        );
    }

    #[test]
    fn an_unknown_size_is_not_promised() {
        let asked = vec![("tsize".to_owned(), "0".to_owned())];
        assert_eq!(negotiate(&asked, None, &Limits::default()).granted, vec![]);
    }
}
