//! A policy file: a mapping of rule names to rules, in YAML (or JSON, which is YAML too).
//!
//! Read event by event, so that every rule knows its line; anchors, tags and nested documents have no place
//! here and are refused.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::check::Check;
use crate::error::PolicyError;

/// Largest policy file, bytes.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;

/// One rule of a file.
#[derive(Debug, Clone)]
pub(crate) struct FileRule {
    pub name: String,
    pub check: Check,
    pub line: usize,
}

/// The value of a rule.
enum Given {
    Text(String),
    Lists(Vec<Vec<String>>),
}

/// Reads the text of a file; the last of rules with the same name would win, so that they are refused.
pub(crate) fn read(text: &str, path: &Path) -> Result<Vec<FileRule>, PolicyError> {
    let malformed = |line: usize, why: String| PolicyError::Malformed {
        path: path.to_owned(),
        line,
        why,
    };
    if text.len() > LARGEST {
        return Err(malformed(1, format!("it is larger than {LARGEST} bytes")));
    }
    let mut events = Events::new(text).map_err(|(line, why)| malformed(line, why))?;
    let mut rules: Vec<FileRule> = Vec::new();
    for (name, line, given) in events.rules().map_err(|(line, why)| malformed(line, why))? {
        let refused = |why: String| PolicyError::Rule {
            path: path.to_owned(),
            line,
            rule: name.clone(),
            why,
        };
        if let Some(first) = rules.iter().find(|rule| rule.name == name) {
            return Err(refused(format!(
                "line {} has a rule of the same name",
                first.line
            )));
        }
        let check = match given {
            Given::Text(text) => Check::parse(&text),
            Given::Lists(lists) => Check::of_lists(&lists),
        }
        .map_err(refused)?;
        rules.push(FileRule { name, check, line });
    }
    Ok(rules)
}

/// A line and what is wrong there.
type Wrong = (usize, String);

/// The events of one document, each with its line.
struct Events {
    events: std::vec::IntoIter<(OwnedEvent, usize)>,
    last_line: usize,
}

enum OwnedEvent {
    Text(String),
    Null,
    MappingStart,
    MappingEnd,
    SequenceStart,
    SequenceEnd,
}

impl Events {
    fn new(text: &str) -> Result<Self, Wrong> {
        let mut events = Vec::new();
        let mut documents = 0usize;
        let mut line = 1;
        for event in Parser::new_from_str(text) {
            let (event, span) =
                event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
            line = span.start.line().max(1);
            let owned = match event {
                Event::DocumentStart(_) => {
                    documents = documents.saturating_add(1);
                    if documents > 1 {
                        return Err((line, "a policy file is one document".into()));
                    }
                    continue;
                }
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {
                    continue;
                }
                Event::Alias(_) => {
                    return Err((line, "aliases have no place in a policy file".into()));
                }
                Event::Scalar(text, style, anchor, tag) => {
                    if anchor != 0 || tag.is_some() {
                        return Err((
                            line,
                            "anchors and tags have no place in a policy file".into(),
                        ));
                    }
                    if style == ScalarStyle::Plain
                        && matches!(&*text, "" | "~" | "null" | "Null" | "NULL")
                    {
                        OwnedEvent::Null
                    } else {
                        OwnedEvent::Text(text.into_owned())
                    }
                }
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                    if anchor != 0 || tag.is_some() =>
                {
                    return Err((
                        line,
                        "anchors and tags have no place in a policy file".into(),
                    ));
                }
                Event::SequenceStart(..) => OwnedEvent::SequenceStart,
                Event::SequenceEnd => OwnedEvent::SequenceEnd,
                Event::MappingStart(..) => OwnedEvent::MappingStart,
                Event::MappingEnd => OwnedEvent::MappingEnd,
            };
            events.push((owned, line));
        }
        Ok(Self {
            events: events.into_iter(),
            last_line: line,
        })
    }

    fn next(&mut self) -> (Option<OwnedEvent>, usize) {
        match self.events.next() {
            Some((event, line)) => {
                self.last_line = line;
                (Some(event), line)
            }
            None => (None, self.last_line),
        }
    }

    fn rules(&mut self) -> Result<Vec<(String, usize, Given)>, Wrong> {
        let mut rules = Vec::new();
        match self.next() {
            // an empty file, or one of comments alone
            (None | Some(OwnedEvent::Null), _) => return Ok(rules),
            (Some(OwnedEvent::MappingStart), _) => {}
            (Some(_), line) => {
                return Err((
                    line,
                    "a policy file is a mapping: one \"name\": \"rule\" a line".into(),
                ));
            }
        }
        loop {
            let (name, line) = match self.next() {
                (Some(OwnedEvent::MappingEnd), _) => return Ok(rules),
                (Some(OwnedEvent::Text(name)), line) => (name, line),
                (_, line) => return Err((line, "the name of a rule is a text".into())),
            };
            let given = match self.next() {
                (Some(OwnedEvent::Text(text)), _) => Given::Text(text),
                (Some(OwnedEvent::Null), line) => {
                    return Err((
                        line,
                        format!(
                            "\"{name}\" has no value; write \"@\" to let everyone pass, \"!\" to let nobody"
                        ),
                    ));
                }
                (Some(OwnedEvent::SequenceStart), _) => Given::Lists(self.lists(&name)?),
                (_, line) => {
                    return Err((
                        line,
                        format!("\"{name}\": a rule is a text, or a list of lists of checks"),
                    ));
                }
            };
            rules.push((name, line, given));
        }
    }

    fn lists(&mut self, name: &str) -> Result<Vec<Vec<String>>, Wrong> {
        let wrong = |line: usize| {
            (
                line,
                format!("\"{name}\": a rule is a text, or a list of lists of checks"),
            )
        };
        let mut lists = Vec::new();
        loop {
            match self.next() {
                (Some(OwnedEvent::SequenceEnd), _) => return Ok(lists),
                (Some(OwnedEvent::Text(check)), _) => lists.push(vec![check]),
                (Some(OwnedEvent::SequenceStart), _) => {
                    let mut inner = Vec::new();
                    loop {
                        match self.next() {
                            (Some(OwnedEvent::SequenceEnd), _) => break,
                            (Some(OwnedEvent::Text(check)), _) => inner.push(check),
                            (_, line) => return Err(wrong(line)),
                        }
                    }
                    lists.push(inner);
                }
                (_, line) => return Err(wrong(line)),
            }
        }
    }
}
