//! What is known of a caller, and of the object of a call.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    None,
    Bool(bool),
    Text(String),
    List(Vec<Fact>),
    Map(BTreeMap<String, Fact>),
}

impl Fact {
    /// As the language compares it: Python's `str()`.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::None => Cow::Borrowed("None"),
            Self::Bool(true) => Cow::Borrowed("True"),
            Self::Bool(false) => Cow::Borrowed("False"),
            Self::Text(text) => Cow::Borrowed(text),
            Self::List(_) | Self::Map(_) => Cow::Owned(self.quoted()),
        }
    }

    /// As a member of a list is shown: Python's `repr()`.
    fn quoted(&self) -> String {
        match self {
            Self::Text(text) => {
                let quote = if text.contains('\'') && !text.contains('"') {
                    '"'
                } else {
                    '\''
                };
                let mut out = String::from(quote);
                for c in text.chars() {
                    if c == quote || c == '\\' {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push(quote);
                out
            }
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::quoted).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(map) => {
                let members: Vec<String> = map
                    .iter()
                    .map(|(key, value)| {
                        format!("{}: {}", Self::Text(key.clone()).quoted(), value.quoted())
                    })
                    .collect();
                format!("{{{}}}", members.join(", "))
            }
            other => other.shown().into_owned(),
        }
    }

    /// Whether this, or what lies under `path` in it, is shown as `wanted`. Every member of a list is tried.
    pub(crate) fn matches(&self, path: &[String], wanted: &str) -> bool {
        match (self, path.split_first()) {
            (Self::List(items), _) => items.iter().any(|item| item.matches(path, wanted)),
            (Self::Map(map), Some((key, rest))) => map
                .get(key)
                .is_some_and(|inner| inner.matches(rest, wanted)),
            (_, Some(_)) => false,
            (_, None) => self.shown() == wanted,
        }
    }
}

impl From<Option<&str>> for Fact {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_owned()))
    }
}

/// Attributes by name: of a caller, or of what a call is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(BTreeMap<String, Fact>);

impl Facts {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &str, fact: impl Into<Fact>) -> Self {
        self.0.insert(name.to_owned(), fact.into());
        self
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(name)
    }

    /// Whether the attribute is there and says something.
    #[must_use]
    pub fn says(&self, name: &str) -> bool {
        match self.get(name) {
            None | Some(Fact::None | Fact::Bool(false)) => false,
            Some(Fact::Text(text)) => !text.is_empty(),
            Some(Fact::List(items)) => !items.is_empty(),
            Some(Fact::Map(map)) => !map.is_empty(),
            Some(Fact::Bool(true)) => true,
        }
    }
}

/// What the object of a call says for `%(name)s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Text(Cow<'a, str>),
    /// There is no such attribute: no check that names it passes.
    Nothing,
    /// The object is not loaded yet.
    NotYet,
}

/// Attributes of objects; those of callers have no such prefix.
const OBJECTS: [&str; 3] = ["node.", "allocation.", "runbook."];

/// The object of a call: what is known of the caller, and over it what is known of the object.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    caller: &'a Facts,
    object: &'a [(&'a str, Option<&'a str>)],
    loaded: bool,
}

impl<'a> Target<'a> {
    /// A call without an object: `%(user_id)s` and the like are the caller's own.
    #[must_use]
    pub fn none(caller: &'a Facts) -> Self {
        Self {
            caller,
            object: &[],
            loaded: true,
        }
    }

    /// An object that is not loaded yet: what depends on it is undecided.
    #[must_use]
    pub fn unknown(caller: &'a Facts) -> Self {
        Self {
            caller,
            object: &[],
            loaded: false,
        }
    }

    /// An object with attributes such as `node.owner`; one that says nothing (`None`) is there all the same.
    #[must_use]
    pub fn of(caller: &'a Facts, object: &'a [(&'a str, Option<&'a str>)]) -> Self {
        Self {
            caller,
            object,
            loaded: true,
        }
    }

    pub(crate) fn says(&self, name: &str) -> Said<'a> {
        if let Some((_, value)) = self.object.iter().find(|(n, _)| *n == name) {
            return Said::Text(Cow::Borrowed(value.unwrap_or("None")));
        }
        if let Some(fact) = self.caller.get(name) {
            return Said::Text(fact.shown());
        }
        if !self.loaded && OBJECTS.iter().any(|prefix| name.starts_with(prefix)) {
            return Said::NotYet;
        }
        Said::Nothing
    }
}
