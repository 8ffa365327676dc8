//! Files as oslo.config reads them: sections, `key = value`, continued lines, repeated options, `$` substitution.
//!
//! Rules of oslo.config (its documentation, "The ConfigOpts API" and "Option Value Interpolation"): a line that begins
//! with white space goes on the value above; `#` and `;` begin a comment line; a repeated option is a list for options
//! that take several values, else the last one counts; `$name`, `${name}`, `$group.name` and `${group.name}` stand for
//! other options, `$$` for a dollar. A percent sign means nothing.

use std::collections::BTreeMap;

/// Deepest chain of options that name each other.
const DEEPEST: usize = 16;

/// An option as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of its first line, from 1.
    pub number: usize,
    pub section: String,
    pub option: String,
    pub value: String,
}

/// Why a file is not one of oslo.config's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    #[error(
        "line {line} is neither a [section], nor option = value, nor a comment; is this the file that ironic reads?"
    )]
    NotAnOption { line: usize },
    #[error(
        "line {line} goes on a value (it begins with white space), but there is no option above it"
    )]
    NothingToGoOn { line: usize },
}

/// All options in their order. Text before the first section belongs to `DEFAULT`.
///
/// # Errors
/// [`ImportError`] with the number of the line; never its text, which may be a secret.
pub fn read(text: &str) -> Result<Vec<Line>, ImportError> {
    let mut section = "DEFAULT".to_owned();
    let mut lines: Vec<Line> = Vec::new();
    let mut continued = false;
    for (index, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        let line = raw.trim_end();
        if line.is_empty() {
            continued = false;
            continue;
        }
        if line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            let last = lines.last_mut().filter(|_| continued);
            let Some(last) = last else {
                return Err(ImportError::NothingToGoOn { line: number });
            };
            last.value.push('\n');
            last.value.push_str(line.trim_start());
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.trim().to_owned();
            continued = false;
            continue;
        }
        let Some((option, value)) = line.split_once(['=', ':']) else {
            return Err(ImportError::NotAnOption { line: number });
        };
        let option = option.trim();
        if option.is_empty() {
            return Err(ImportError::NotAnOption { line: number });
        }
        lines.push(Line {
            number,
            section: section.clone(),
            option: option.replace('-', "_"),
            value: unquoted(value.trim()).to_owned(),
        });
        continued = true;
    }
    Ok(lines)
}

/// A value that stands in quotes as a whole loses them.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| {
            let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then_some(inner)
        })
        .unwrap_or(value)
}

/// What `$name` stands for: the file's last value, else a default that is known.
pub struct Values<'l> {
    given: BTreeMap<(&'l str, &'l str), &'l str>,
    defaults: &'static [(&'static str, &'static str, &'static str)],
}

impl<'l> Values<'l> {
    pub fn new(
        lines: &'l [Line],
        defaults: &'static [(&'static str, &'static str, &'static str)],
    ) -> Self {
        let given = lines
            .iter()
            .map(|line| {
                let name = (line.section.as_str(), line.option.as_str());
                (name, line.value.as_str())
            })
            .collect();
        Self { given, defaults }
    }

    fn get(&self, section: &str, option: &str) -> Option<&str> {
        self.given.get(&(section, option)).copied().or_else(|| {
            self.defaults
                .iter()
                .find(|(s, o, _)| *s == section && *o == option)
                .map(|(.., value)| *value)
        })
    }

    /// The value with other options in the place of their names.
    ///
    /// # Errors
    /// The name that stands for nothing known, or that leads back to itself.
    pub fn substitute(&self, section: &str, value: &str) -> Result<String, String> {
        self.within(section, value, 0)
    }

    fn within(&self, section: &str, value: &str, depth: usize) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = value;
        while let Some((before, behind)) = rest.split_once('$') {
            // `\$` is a dollar as well
            if let Some(kept) = before.strip_suffix('\\') {
                out.push_str(kept);
                out.push('$');
                rest = behind;
                continue;
            }
            out.push_str(before);
            if let Some(behind) = behind.strip_prefix('$') {
                out.push('$');
                rest = behind;
                continue;
            }
            let (name, after) = match behind.strip_prefix('{') {
                Some(inner) => match inner.split_once('}') {
                    Some((name, after)) => (name, after),
                    None => return Err("${".into()),
                },
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
                    let end = behind.find(|c| !is_name(c)).unwrap_or(behind.len());
                    let (name, after) = behind.split_at(end);
                    // a full stop at the end is a sentence's, or a domain's
                    let kept = name.trim_end_matches('.');
                    (kept, behind.get(kept.len()..).unwrap_or(after))
                }
            };
            if name.is_empty() {
                out.push('$');
                rest = behind;
                continue;
            }
            let (group, option) = name.split_once('.').unwrap_or((section, name));
            let found = self.get(group, option).map(|value| (group, value));
            let found = found.or_else(|| {
                // without a group the names of DEFAULT are meant as well
                let value = self.get("DEFAULT", option)?;
                (!name.contains('.')).then_some(("DEFAULT", value))
            });
            let Some((group, found)) = found.filter(|_| depth < DEEPEST) else {
                return Err(format!("${name}"));
            };
            out.push_str(&self.within(group, found, depth + 1)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "\u{feff}a = 1\n# c\n; c\n\n[x y]\nb: 2\n  and 3\n\tand 4\n\nc-d = \"q\"\n[e]\nf=\nf = http://h:1\n";
        let lines: Vec<_> = read(text)
            .unwrap()
            .into_iter()
            .map(|l| (l.number, l.section, l.option, l.value))
            .collect();
        let want = [
            (1, "DEFAULT", "a", "1"),
            (6, "x y", "b", "2\nand 3\nand 4"),
            (10, "x y", "c_d", "q"),
            (12, "e", "f", ""),
            (13, "e", "f", "http://h:1"),
        ];
        assert_eq!(lines.len(), want.len());
        for (have, want) in lines.iter().zip(want) {
            let have = (have.0, have.1.as_str(), have.2.as_str(), have.3.as_str());
            assert_eq!(have, want);
        }
        assert_eq!(
            read("a = 1\nhunter2").unwrap_err(),
            ImportError::NotAnOption { line: 2 }
        );
        assert_eq!(
            read("  x").unwrap_err(),
            ImportError::NothingToGoOn { line: 1 }
        );
    }

    #[test]
    fn names_are_substituted() {
        let lines = read(
            "[DEFAULT]\nip = 192.0.2.1\nloop = $loop\n[a]\nip = 192.0.2.2\nurl = http://$ip:80\nother = ${DEFAULT.ip}\n",
        )
        .unwrap();
        let values = Values::new(&lines, &[("DEFAULT", "state_path", "/s")]);
        let check = |section: &str, value: &str, want: Result<&str, &str>| {
            let have = values.substitute(section, value);
            assert_eq!(have.as_deref().map_err(String::as_str), want, "{value}");
        };
        check("a", "$url/x", Ok("http://192.0.2.2:80/x"));
        check("a", "$other, $DEFAULT.ip.", Ok("192.0.2.1, 192.0.2.1."));
        check(
            "b",
            "$a.url and $ip",
            Ok("http://192.0.2.2:80 and 192.0.2.1"),
        );
        check("b", "$state_path/y", Ok("/s/y"));
        check("b", "100%(x)s $$5 \\$6 $", Ok("100%(x)s $5 $6 $"));
        check("b", "$nothing", Err("$nothing"));
        check("b", "$loop", Err("$loop"));
        check("b", "${x", Err("${"));
    }
}
