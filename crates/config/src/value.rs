//! How the value of an option is read from TOML and from text, and how it is shown.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Documentation of one option, as the reference and `--help` show it.
#[derive(Debug, Clone)]
pub struct OptionInfo {
    pub section: &'static str,
    pub section_doc: String,
    pub name: &'static str,
    /// What a value looks like.
    pub kind: String,
    /// As TOML; `None` when the default is "not set".
    pub default: Option<String>,
    pub doc: String,
    /// The part that reads it.
    pub reader: &'static str,
}

/// Why a value is refused; the place is added by whoever knows it.
#[derive(Debug)]
pub struct Bad {
    pub why: String,
    /// Bytes of the file, when a part of the value is to blame.
    pub span: Option<Range<usize>>,
}

impl Bad {
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            span: None,
        }
    }

    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span.get_or_insert(span);
        self
    }

    pub fn within(mut self, name: &str) -> Self {
        self.why = format!("{name}: {}", self.why);
        self
    }

    pub fn wrong_type(wanted: &str, value: &Spanned<DeValue<'_>>) -> Self {
        Self::new(format!(
            "wants {wanted}, not {} {}",
            match value.get_ref().type_str() {
                "integer" | "array" => "an",
                _ => "a",
            },
            value.get_ref().type_str()
        ))
    }
}

/// A type that an option can have.
pub trait OptionValue: Sized {
    /// Shown in the reference.
    fn kind() -> String;
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad>;
    /// From an environment variable or `--set`.
    fn from_text(text: &str) -> Result<Self, Bad>;
    /// As TOML; `None` = not set.
    fn show(&self) -> Option<String>;
}

/// The nearest of `names` when it is near enough to be what was meant.
pub fn closest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.55)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Reads `text` as a TOML value. Places in it would mislead: they are dropped.
pub fn parse_inline<T: OptionValue>(text: &str) -> Result<T, Bad> {
    let document = format!("v = {text}");
    let table = DeTable::parse(&document)
        .map_err(|e| Bad::new(format!("not a TOML value: {}", e.message())))?;
    let value = table
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref() == "v")
        .map(|(_, value)| value)
        .ok_or_else(|| Bad::new("no value"))?;
    if table.get_ref().len() != 1 {
        return Err(Bad::new("one value is wanted"));
    }
    T::from_toml(value).map_err(|bad| Bad::new(bad.why))
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl OptionValue for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        value
            .get_ref()
            .as_bool()
            .ok_or_else(|| Bad::wrong_type("true or false", value))
    }
    fn from_text(text: &str) -> Result<Self, Bad> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(Bad::new(format!("\"{text}\" is neither true nor false"))),
        }
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl OptionValue for $ty {
            fn kind() -> String {
                "whole number".into()
            }
            fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
                let Some(number) = value.get_ref().as_integer() else {
                    return Err(Bad::wrong_type("a whole number", value));
                };
                <$ty>::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| Bad::new(format!("{} is not between {} and {}", number.as_str(), <$ty>::MIN, <$ty>::MAX)))
            }
            fn from_text(text: &str) -> Result<Self, Bad> {
                text.trim().parse().map_err(|_| {
                    Bad::new(format!("\"{text}\" is not a whole number between {} and {}", <$ty>::MIN, <$ty>::MAX))
                })
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
integers!(u16, u32, u64, i32);

/// Seconds, whole or with a fraction.
impl OptionValue for Duration {
    fn kind() -> String {
        "seconds".into()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        match value.get_ref() {
            DeValue::Integer(_) => u32::from_toml(value).map(|s| Self::from_secs(s.into())),
            DeValue::Float(number) => Self::from_text(number.as_str()),
            _ => Err(Bad::wrong_type("seconds", value)),
        }
    }
    fn from_text(text: &str) -> Result<Self, Bad> {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|s| *s <= f64::from(u32::MAX))
            .and_then(|s| Self::try_from_secs_f64(s).ok())
            .ok_or_else(|| Bad::new(format!("\"{text}\" is not a number of seconds")))
    }
    fn show(&self) -> Option<String> {
        Some(if self.subsec_nanos() == 0 {
            self.as_secs().to_string()
        } else {
            self.as_secs_f64().to_string()
        })
    }
}

/// Types that are a text with a rule.
macro_rules! texts {
    ($($ty:ty: $kind:literal, $parse:expr, $show:expr;)*) => {$(
        impl OptionValue for $ty {
            fn kind() -> String {
                $kind.into()
            }
            fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
                match value.get_ref().as_str() {
                    Some(text) => Self::from_text(text),
                    None => Err(Bad::wrong_type("a text", value)),
                }
            }
            fn from_text(text: &str) -> Result<Self, Bad> {
                let parse: fn(&str) -> Result<$ty, Bad> = $parse;
                parse(text)
            }
            fn show(&self) -> Option<String> {
                let show: fn(&$ty) -> String = $show;
                Some(show(self))
            }
        }
    )*};
}

texts! {
    String: "text", |t| Ok(t.to_owned()), |v| quoted(v);
    PathBuf: "path", |t| if t.is_empty() { Err(Bad::new("an empty path")) } else { Ok(t.into()) },
        |v| quoted(&v.to_string_lossy());
    IpAddr: "IP address", |t| t.parse().map_err(|_| Bad::new(format!("\"{t}\" is not an IP address"))),
        |v| quoted(&v.to_string());
    SecretString: "text (secret)", |t| Ok(Self::from(t.to_owned())), |_| quoted("***");
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn kind() -> String {
        T::kind()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        T::from_toml(value).map(Some)
    }
    /// An empty text unsets, so that the environment can undo what the file says.
    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::from_text(text).map(Some)
        }
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl OptionValue for Vec<String> {
    fn kind() -> String {
        "list of texts".into()
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(Bad::wrong_type("a list of texts", value));
        };
        items
            .iter()
            .map(|item| String::from_toml(item).map_err(|bad| bad.at(item.span())))
            .collect()
    }
    /// `a,b` or a TOML list.
    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.trim_start().starts_with('[') {
            return parse_inline(text);
        }
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect())
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().map(|t| quoted(t)).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl<V: OptionValue> OptionValue for BTreeMap<String, V> {
    fn kind() -> String {
        format!("table: name to {}", V::kind())
    }
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Bad> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(Bad::wrong_type("a table", value));
        };
        table
            .iter()
            .map(|(key, item)| match V::from_toml(item) {
                Ok(item) => Ok((key.get_ref().to_string(), item)),
                Err(bad) => Err(bad.within(key.get_ref()).at(item.span())),
            })
            .collect()
    }
    /// `a:1,b:2` (upstream's form; the first colon parts) or a TOML inline table.
    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.trim_start().starts_with('{') {
            return parse_inline(text);
        }
        text.split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, item) = pair
                    .split_once(':')
                    .ok_or_else(|| Bad::new(format!("\"{pair}\" is not name:value")))?;
                let item = V::from_text(item.trim()).map_err(|bad| bad.within(key))?;
                Ok((key.trim().to_owned(), item))
            })
            .collect()
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self
            .iter()
            .filter_map(|(k, v)| Some(format!("{} = {}", quoted(k), v.show()?)))
            .collect();
        Some(if items.is_empty() {
            "{}".into()
        } else {
            format!("{{ {} }}", items.join(", "))
        })
    }
}
