//! Upstream's configuration file as ours: what is translated, and what is not and why.
//!
//! An option is translated when ours of the same section and name means the same. Nothing is guessed: an option that is
//! left out is in the report with its reason. Values of options that may be secrets stand in [`Imported::toml`] only.

mod ini;
mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

pub use ini::ImportError;

use crate::sections::{Config, Given, SECTIONS};
use crate::value::{closest, quoted};

/// Of a file of upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A settings file; may hold secrets.
    pub toml: String,
    /// The same without them, for the terminal.
    pub shown: String,
    /// How many options were translated.
    pub translated: usize,
    /// What was not, in the order of the file.
    pub left_out: Vec<LeftOut>,
    /// What to think of, besides.
    pub notes: Vec<String>,
}

/// An option that was not translated, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub line: usize,
    pub section: String,
    pub option: String,
    pub kind: Reason,
    pub why: String,
}

/// Why an option was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It means something else here.
    Different,
    /// A value that is not possible here.
    Value,
    /// This program does not have it.
    Absent,
    /// Upstream does not have it any more.
    Removed,
    /// Neither has it: a typing error, or an option of a library.
    Unknown,
}

impl Reason {
    fn title(self) -> &'static str {
        match self {
            Self::Different => "means something else here",
            Self::Value => "value is not possible here",
            Self::Absent => "does not exist here",
            Self::Removed => "was removed upstream",
            Self::Unknown => {
                "not known to Ironic 39 either: a typing error, or an option of a library"
            }
        }
    }
}

impl Imported {
    /// For a person; without values.
    #[must_use]
    pub fn report(&self) -> String {
        let mut out = format!(
            "{} options translated, {} not\n",
            self.translated,
            self.left_out.len()
        );
        let mut kinds: Vec<Reason> = self.left_out.iter().map(|l| l.kind).collect();
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            let _ = writeln!(out, "\n{}:", kind.title());
            for left in self.left_out.iter().filter(|l| l.kind == kind) {
                let _ = write!(
                    out,
                    "  line {}: [{}] {}",
                    left.line, left.section, left.option
                );
                if !left.why.is_empty() {
                    let _ = write!(out, ": {}", left.why);
                }
                out.push('\n');
            }
        }
        if !self.notes.is_empty() {
            out.push_str("\nbesides:\n");
            for note in &self.notes {
                let _ = writeln!(out, "  {note}");
            }
        }
        out
    }
}

/// Words in the name of an option whose value is not shown.
const SECRET_WORDS: [&str; 6] = [
    "password",
    "secret",
    "token",
    "key",
    "connection",
    "transport_url",
];

fn may_be_secret(option: &str) -> bool {
    // files and times are not secrets
    let plain = ["_file", "_time", "_roles", "_path", "keyfile", "required"];
    SECRET_WORDS.iter().any(|word| option.contains(word))
        && !plain.iter().any(|end| option.ends_with(end))
}

/// What is to be written of an option.
struct Written {
    section: &'static str,
    option: &'static str,
    toml: String,
    is_secret: bool,
}

/// Translates a file. `exists` says whether there is a hardware type (`None`) or an implementation of an interface family
/// of that name.
///
/// # Errors
/// When it is no file of oslo.config.
pub fn import(
    text: &str,
    exists: &dyn Fn(Option<&str>, &str) -> bool,
) -> Result<Imported, ImportError> {
    let lines = ini::read(text)?;
    let values = ini::Values::new(&lines, upstream::DEFAULTS);
    let mut work = Work {
        exists,
        config: Config::default(),
        written: BTreeMap::new(),
        left_out: Vec::new(),
        notes: Vec::new(),
    };
    for (index, line) in lines.iter().enumerate() {
        let same = |other: &ini::Line| other.section == line.section && other.option == line.option;
        let name = (line.section.as_str(), line.option.as_str());
        let later = lines.iter().skip(index + 1).any(same);
        let value = if upstream::SEVERAL.contains(&name) {
            if later {
                continue;
            }
            let all: Vec<&str> = lines
                .iter()
                .filter(|l| same(l))
                .map(|l| l.value.as_str())
                .collect();
            all.join(",")
        } else if later {
            work.notes.push(format!(
                "line {}: [{}] {} stands in the file again below; the last one counts",
                line.number, line.section, line.option
            ));
            continue;
        } else {
            line.value.clone()
        };
        work.line(line, &value, &values);
    }
    Ok(work.finish(&lines))
}

struct Work<'e> {
    exists: &'e dyn Fn(Option<&str>, &str) -> bool,
    config: Config,
    written: BTreeMap<(usize, usize), Written>,
    left_out: Vec<LeftOut>,
    notes: Vec<String>,
}

/// Our option of that name, with its place in the reference.
fn ours(section: &str, option: &str) -> Option<((usize, usize), &'static str, &'static str)> {
    let (at, (name, options)) = SECTIONS
        .iter()
        .enumerate()
        .find(|(_, (name, _))| *name == section)?;
    let (index, option) = options.iter().enumerate().find(|(_, o)| **o == option)?;
    Some(((at, index), name, option))
}

impl Work<'_> {
    fn leave_out(&mut self, line: &ini::Line, kind: Reason, why: impl Into<String>) {
        self.left_out.push(LeftOut {
            line: line.number,
            section: line.section.clone(),
            option: line.option.clone(),
            kind,
            why: why.into(),
        });
    }

    fn line(&mut self, line: &ini::Line, value: &str, values: &ini::Values<'_>) {
        let (mut section, mut option) = (line.section.as_str(), line.option.as_str());
        if let Some((.., to_section, to)) = upstream::RENAMED
            .iter()
            .find(|(s, o, ..)| *s == section && *o == option)
        {
            (section, option) = (to_section, to);
        }
        let named = |(s, o, _): &&(&str, &str, &str)| *s == section && *o == option;
        if (section, option) == ("DEFAULT", "debug") {
            return self.debug(line, value);
        }
        if let Some((.., why)) = upstream::DIFFERENT.iter().find(named) {
            return self.leave_out(line, Reason::Different, *why);
        }
        if (section, option) == ("dhcp", "dhcp_provider") {
            return self.dhcp(line, value);
        }
        if let Some((.., why)) = upstream::ABSENT.iter().find(named) {
            return self.leave_out(line, Reason::Absent, *why);
        }
        if let Some((at, section, option)) = ours(section, option)
            && (upstream::has(section, option) || is_library(section))
        {
            return self.same(line, at, section, option, value, values);
        }
        if let Some((.., why)) = upstream::REMOVED
            .iter()
            .find(|(s, o, _)| *s == section && (o.is_empty() || *o == option))
        {
            return self.leave_out(line, Reason::Removed, *why);
        }
        if let Some((_, why)) = upstream::SECTIONS.iter().find(|(s, _)| *s == section) {
            return self.leave_out(line, Reason::Absent, *why);
        }
        if upstream::has(section, option) {
            return self.leave_out(line, Reason::Absent, "");
        }
        let options = SECTIONS.iter().find(|(name, _)| *name == section);
        let near = options
            .and_then(|(_, options)| closest(option, options.iter().copied()))
            .map(|near| format!("did you mean {near}?"));
        let why = match near {
            Some(near) => near,
            None if upstream::has_section(section) || options.is_some() => String::new(),
            None => "the whole section is unknown".to_owned(),
        };
        self.leave_out(line, Reason::Unknown, why);
    }

    fn debug(&mut self, line: &ini::Line, value: &str) {
        if !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        ) {
            return;
        }
        if let Some((at, section, option)) = ours("log", "level") {
            self.notes.push(format!(
                "line {}: [DEFAULT] debug became [log] level = \"debug\"",
                line.number
            ));
            self.set(line, at, section, option, "debug");
        }
    }

    fn dhcp(&mut self, line: &ini::Line, value: &str) {
        match (value, ours("dhcp", "dhcp_provider")) {
            ("none", Some((at, section, option))) => self.set(line, at, section, option, "none"),
            _ => self.leave_out(
                line,
                Reason::Value,
                "here it is \"builtin\" (this program answers DHCP for its nodes, see [netboot] and [[dhcp.network]]) or \"none\"",
            ),
        }
    }

    fn same(
        &mut self,
        line: &ini::Line,
        at: (usize, usize),
        section: &'static str,
        option: &'static str,
        value: &str,
        values: &ini::Values<'_>,
    ) {
        let value = match values.substitute(&line.section, value) {
            Ok(value) => value,
            Err(name) => {
                return self.leave_out(
                    line,
                    Reason::Value,
                    format!("it refers to {name}, which the file does not set"),
                );
            }
        };
        let value = value.replace('\n', " ");
        let value = value.trim();
        // an empty value is upstream's way to say nothing
        if value.is_empty() || value == "<None>" {
            return;
        }
        match self.existing(line, option, value) {
            Some(kept) if kept.is_empty() => {}
            Some(kept) => self.set(line, at, section, option, &kept),
            None => self.set(line, at, section, option, value),
        }
    }

    /// Of options that name hardware types and interfaces, the names that there are.
    fn existing(&mut self, line: &ini::Line, option: &str, value: &str) -> Option<String> {
        let family = if option == "enabled_hardware_types" {
            None
        } else {
            let family = option
                .strip_prefix("enabled_")
                .and_then(|o| o.strip_suffix("_interfaces"))
                .or_else(|| option.strip_prefix("default_")?.strip_suffix("_interface"));
            Some(family?)
        };
        let (kept, gone): (Vec<&str>, Vec<&str>) = value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .partition(|name| (self.exists)(family, name));
        if !gone.is_empty() {
            self.leave_out(
                line,
                Reason::Value,
                format!("{} not offered here, left out", names(&gone)),
            );
        }
        Some(kept.join(","))
    }

    fn set(
        &mut self,
        line: &ini::Line,
        at: (usize, usize),
        section: &'static str,
        option: &'static str,
        value: &str,
    ) {
        if let Err(bad) = self.config.set(section, option, Given::Text(value)) {
            let why = if may_be_secret(option) {
                "it cannot be read".to_owned()
            } else {
                bad.why
            };
            return self.leave_out(line, Reason::Value, why);
        }
        let is_secret = self.config.is_secret(section, option);
        let toml = if is_secret {
            quoted(value)
        } else {
            match self.config.shown(section, option) {
                Some(toml) => toml,
                None => return,
            }
        };
        let written = Written {
            section,
            option,
            toml,
            is_secret: is_secret || may_be_secret(option),
        };
        self.written.insert(at, written);
    }

    fn finish(mut self, lines: &[ini::Line]) -> Imported {
        let has = |section: &str, option: &str| {
            lines
                .iter()
                .any(|l| l.section == section && l.option == option)
        };
        if !has("DEFAULT", "auth_strategy")
            && let Some((at, section, option)) = ours("DEFAULT", "auth_strategy")
            && let Some(line) = lines.first()
        {
            self.set(line, at, section, option, "keystone");
            self.notes.push(
                "the file does not set [DEFAULT] auth_strategy: Ironic's default, keystone, is written, since there is none here"
                    .into(),
            );
        }
        if has("database", "connection") {
            self.notes.push(
                "nodes, ports and the rest are not in this file: `openstack baremetal` reads them from Ironic and creates them here"
                    .into(),
            );
        }
        self.notes.push(
            "options that are not in the file have our defaults, see docs/options.md; `bessemer config check` reads the result".into(),
        );
        let toml = render(&self.written, false);
        if let Err(error) = Config::from_toml(&toml, Path::new("the translated file")) {
            self.notes
                .push(format!("the options do not fit together yet: {error}"));
        }
        self.left_out.sort_by_key(|l| l.line);
        Imported {
            shown: render(&self.written, true),
            toml,
            translated: self.written.len(),
            left_out: self.left_out,
            notes: self.notes,
        }
    }
}

/// Sections of libraries whose options have the same names here.
fn is_library(section: &str) -> bool {
    matches!(
        section,
        "keystone_authtoken" | "oslo_policy" | "ssl" | "database" | "healthcheck"
    )
}

fn names(all: &[&str]) -> String {
    format!(
        "{} {}",
        all.join(", "),
        if all.len() == 1 { "is" } else { "are" }
    )
}

fn render(written: &BTreeMap<(usize, usize), Written>, hide: bool) -> String {
    let mut out = String::from(
        "# Translated from a configuration file of Ironic by `bessemer config import`.\n",
    );
    let mut section = "";
    for one in written.values() {
        if one.section != section {
            section = one.section;
            let _ = write!(out, "\n[{section}]\n");
        }
        if hide && one.is_secret {
            let _ = writeln!(out, "# {} = (a secret: written with --out)", one.option);
        } else if hide {
            let _ = writeln!(out, "{} = {}", one.option, without_login(&one.toml));
        } else {
            let _ = writeln!(out, "{} = {}", one.option, one.toml);
        }
    }
    out
}

/// URLs lose what stands before an `@`.
fn without_login(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = behind
            .find(|c: char| c == '/' || c == '"' || c == ',' || c.is_whitespace())
            .unwrap_or(behind.len());
        let (authority, after) = behind.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Translates any text: must end and never panic.
pub mod fuzz {
    /// See [`super::import`].
    pub fn fuzz_import(text: &str) {
        if let Ok(imported) = super::import(text, &|_, _| true) {
            let _ = imported.report();
        }
    }
}

#[cfg(test)]
mod tests;
