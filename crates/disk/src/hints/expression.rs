//! The expressions of hints: an operator and its values.
//!
//! Text is compared in lower case and percent-encoded, as the service does it, so that `<` orders alike on both sides.

use crate::Error;

/// In the order in which they are tried: none may hide a longer one.
const OPERATORS: &[(&str, Operator)] = &[
    ("<or>", Operator::Or),
    ("<all-in>", Operator::AllIn),
    ("<range-in>", Operator::RangeIn),
    ("<in>", Operator::In),
    ("==", Operator::Equal),
    ("=", Operator::AtLeast),
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("s==", Operator::TextEqual),
    ("s!=", Operator::TextNotEqual),
    ("s<=", Operator::TextLessOrEqual),
    ("s<", Operator::TextLess),
    ("s>=", Operator::TextGreaterOrEqual),
    ("s>", Operator::TextGreater),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    AllIn,
    RangeIn,
    In,
    Equal,
    /// A single `=` means at least, for reasons of age.
    AtLeast,
    NotEqual,
    GreaterOrEqual,
    LessOrEqual,
    Greater,
    Less,
    TextEqual,
    TextNotEqual,
    TextLessOrEqual,
    TextLess,
    TextGreaterOrEqual,
    TextGreater,
}

/// An operator and how it is spelt.
type Spelt = (&'static str, Operator);

/// Operator (none when the text is a bare value) and values, in lower case.
fn split(name: &str, text: &str) -> Result<(Option<Spelt>, Vec<String>), Error> {
    let text = text.trim().to_lowercase();
    if text.is_empty() {
        return Err(Error::hint(format!("{name:?} is empty")));
    }
    let Some((spelling, operator)) = OPERATORS
        .iter()
        .find(|(spelling, _)| text.starts_with(spelling))
        .copied()
    else {
        return Ok((None, vec![text]));
    };
    let values: Vec<String> = text
        .split(spelling)
        .skip(1)
        .map(|value| value.trim().to_owned())
        .collect();
    if values.iter().any(String::is_empty) {
        return Err(Error::hint(format!(
            "{name:?} has an operator {spelling} without a value: {text:?}"
        )));
    }
    if values.len() > 1 && operator != Operator::Or {
        return Err(Error::hint(format!(
            "{name:?} has the operator {spelling} more than once: {text:?}"
        )));
    }
    Ok((Some((spelling, operator)), values))
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Equal(String),
    NotEqual(String),
    Less(String),
    LessOrEqual(String),
    Greater(String),
    GreaterOrEqual(String),
    Contains(String),
    ContainsAll(Vec<String>),
    OneOf(Vec<String>),
    /// The text is a number and satisfies this.
    Numeric(Number),
}

impl Text {
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let (operator, values) = split(name, text)?;
        let Some((spelling, operator)) = operator else {
            return Ok(Text::Equal(
                values.first().map(|v| quote(v)).unwrap_or_default(),
            ));
        };
        let first = values.first().cloned().unwrap_or_default();
        let quoted = quote(&first);
        Ok(match operator {
            Operator::TextEqual => Text::Equal(quoted),
            Operator::TextNotEqual => Text::NotEqual(quoted),
            Operator::TextLess => Text::Less(quoted),
            Operator::TextLessOrEqual => Text::LessOrEqual(quoted),
            Operator::TextGreater => Text::Greater(quoted),
            Operator::TextGreaterOrEqual => Text::GreaterOrEqual(quoted),
            Operator::In => Text::Contains(quoted),
            Operator::Or => Text::OneOf(values.iter().map(|value| quote(value)).collect()),
            Operator::AllIn => Text::ContainsAll(first.split_whitespace().map(quote).collect()),
            Operator::RangeIn => Text::Numeric(Number::range(name, &first)?),
            Operator::Equal
            | Operator::AtLeast
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                let number = first.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| {
                    Error::hint(format!("{name:?} compares numbers with {spelling}, and {first:?} is none; try s== or s!="))
                })?;
                Text::Numeric(Number::compare(operator, number))
            }
        })
    }

    /// A value that the disk does not have counts as the word `none`, as upstream's agent has it; an empty one satisfies
    /// nothing; a numeric condition wants a number.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let plain = value.unwrap_or("none").trim().to_lowercase();
        if plain.is_empty() {
            return false;
        }
        let value = quote(&plain);
        match self {
            Text::Equal(wanted) => value == *wanted,
            Text::NotEqual(wanted) => value != *wanted,
            Text::Less(limit) => value < *limit,
            Text::LessOrEqual(limit) => value <= *limit,
            Text::Greater(limit) => value > *limit,
            Text::GreaterOrEqual(limit) => value >= *limit,
            Text::Contains(part) => value.contains(part.as_str()),
            Text::ContainsAll(parts) => parts.iter().all(|part| value.contains(part.as_str())),
            Text::OneOf(values) => values.contains(&value),
            Text::Numeric(number) => plain.parse::<f64>().is_ok_and(|n| number.matches(n)),
        }
    }
}

/// A condition on a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Equal(f64),
    NotEqual(f64),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    OneOf(Vec<f64>),
    Range {
        low: f64,
        low_included: bool,
        high: f64,
        high_included: bool,
    },
}

impl Number {
    /// A size: positive whole numbers of GiB.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let (operator, values) = split(name, text)?;
        let numbers = || {
            values
                .iter()
                .map(|v| whole(name, v))
                .collect::<Result<Vec<f64>, Error>>()
        };
        let first = || numbers().map(|n| n.first().copied().unwrap_or(0.0));
        let Some((spelling, operator)) = operator else {
            return Ok(Number::Equal(first()?));
        };
        match operator {
            Operator::Or => Ok(Number::OneOf(numbers()?)),
            Operator::RangeIn => Self::range(name, values.first().map_or("", String::as_str)),
            Operator::In
            | Operator::AllIn
            | Operator::TextEqual
            | Operator::TextNotEqual
            | Operator::TextLess
            | Operator::TextLessOrEqual
            | Operator::TextGreater
            | Operator::TextGreaterOrEqual => Err(Error::hint(format!(
                "{name:?} is a number, and {spelling} compares texts; use ==, !=, <, <=, >, >=, <or> or <range-in>"
            ))),
            _ => Ok(Self::compare(operator, first()?)),
        }
    }

    fn compare(operator: Operator, number: f64) -> Self {
        match operator {
            Operator::NotEqual => Number::NotEqual(number),
            Operator::Less => Number::Less(number),
            Operator::LessOrEqual => Number::LessOrEqual(number),
            Operator::Greater => Number::Greater(number),
            Operator::AtLeast | Operator::GreaterOrEqual => Number::GreaterOrEqual(number),
            _ => Number::Equal(number),
        }
    }

    /// `[ 10 20 )`: square brackets include the bound, round ones do not.
    fn range(name: &str, text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::hint(format!(
                "{name:?} needs a range like [ 10 20 ] or ( 10 20 ], not {text:?}"
            ))
        };
        let inner = text
            .strip_prefix(['[', '('])
            .and_then(|t| t.strip_suffix([']', ')']))
            .ok_or_else(bad)?;
        let bounds: Vec<f64> = inner
            .split_whitespace()
            .map(|b| b.parse::<f64>().ok().filter(|n| n.is_finite()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        match bounds.as_slice() {
            [low, high] if low <= high => Ok(Number::Range {
                low: *low,
                low_included: text.starts_with('['),
                high: *high,
                high_included: text.ends_with(']'),
            }),
            [_, _] => Err(Error::hint(format!(
                "{name:?} has a range whose lower bound exceeds its upper: {text:?}"
            ))),
            _ => Err(bad()),
        }
    }

    pub fn matches(&self, value: f64) -> bool {
        match self {
            Number::Equal(n) => value == *n,
            Number::NotEqual(n) => value != *n,
            Number::Less(n) => value < *n,
            Number::LessOrEqual(n) => value <= *n,
            Number::Greater(n) => value > *n,
            Number::GreaterOrEqual(n) => value >= *n,
            Number::OneOf(numbers) => numbers.contains(&value),
            Number::Range {
                low,
                low_included,
                high,
                high_included,
            } => {
                (value > *low || (*low_included && value == *low))
                    && (value < *high || (*high_included && value == *high))
            }
        }
    }
}

fn whole(name: &str, text: &str) -> Result<f64, Error> {
    let number: i64 = text
        .parse()
        .map_err(|_| Error::hint(format!("{name:?} is not an integer value (GiB): {text:?}")))?;
    if number <= 0 {
        return Err(Error::hint(format!(
            "{name:?} should be a positive integer (GiB): {text:?}"
        )));
    }
    Ok(number as f64)
}

/// Percent-encoding of everything but letters, digits and `_.-~/`.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' | b'/' => {
                quoted.push(char::from(byte))
            }
            _ => quoted += &format!("%{byte:02X}"),
        }
    }
    quoted
}
