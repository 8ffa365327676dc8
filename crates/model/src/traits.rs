//! Names of traits: what nodes can do, what allocations want, and what deploy templates and runbooks go by.

/// The standard traits of the library os-traits 3, one a line, sorted.
const STANDARD: &str = include_str!("standard_traits.txt");

/// What a name of an operator's own has to look like, as messages quote it.
pub const CUSTOM_PATTERN: &str = "^CUSTOM_[A-Z0-9_]+$";

/// Longest name, in characters.
pub const LONGEST: usize = 255;

/// Whether this is a standard trait or one of an operator's own.
#[must_use]
pub fn is_trait(name: &str) -> bool {
    is_custom(name) || STANDARD.lines().any(|standard| standard == name)
}

fn is_custom(name: &str) -> bool {
    name.len() <= LONGEST
        && name.strip_prefix("CUSTOM_").is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, want| assert_eq!(is_trait(name), want, "{name}");
        check("CUSTOM_X", true);
        check("CUSTOM_", false);
        check("CUSTOM_x", false);
        check("HW_CPU_X86_VMX", true);
        check("HW_NOSUCH", false);
        check("", false);
        check("custom_X", false);
        check(&format!("CUSTOM_{}", "A".repeat(250)), false);
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(STANDARD.lines().is_sorted());
        assert!(STANDARD.lines().count() > 300);
    }
}
