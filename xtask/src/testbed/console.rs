//! Reading a machine's serial console from the log that QEMU writes.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::wait_for;

/// A position in a console log.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
    position: u64,
}

impl Console {
    /// The console from its beginning.
    pub fn open(path: &Path) -> Console {
        Console {
            path: path.to_owned(),
            position: 0,
        }
    }

    /// Passes over everything that has been printed.
    pub fn skip_to_end(&mut self) -> Result<()> {
        self.position = self
            .path
            .metadata()
            .with_context(|| format!("no console log {}", self.path.display()))?
            .len();
        Ok(())
    }

    /// What was printed after the position, without control sequences.
    pub fn text(&self) -> Result<String> {
        let mut file = std::fs::File::open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok(plain(&data))
    }

    /// The first line after the position for which `find` gives something.
    pub fn look<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        Ok(self.text()?.lines().find_map(find))
    }

    /// Waits for a line that contains `pattern` and gives it.
    pub fn wait_for(&self, pattern: &str, limit: Duration) -> Result<String> {
        wait_for(
            &format!("{pattern:?} on the console {}", self.path.display()),
            limit,
            || self.look(|line| line.contains(pattern).then(|| line.to_owned())),
        )
        .with_context(|| format!("last on the console:\n  {}", self.last(8).join("\n  ")))
    }

    /// The last lines that are not empty.
    pub fn last(&self, count: usize) -> Vec<String> {
        let text = self.text().unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .map(|line| (*line).to_owned())
            .collect()
    }
}

/// Text without escape sequences, carriage returns and other control characters.
pub fn plain(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                if characters.next_if_eq(&'[').is_some() {
                    while characters
                        .next()
                        .is_some_and(|next| !('@'..='~').contains(&next))
                    {}
                } else {
                    // ESC and one character, or a character set selection with two
                    if characters.next().is_some_and(|next| "()*+#".contains(next)) {
                        characters.next();
                    }
                }
            }
            '\n' | '\t' => out.push(character),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn control_sequences_go() {
        let check = |raw: &[u8], expected: &str| assert_eq!(plain(raw), expected);
        check(b"a\r\nb", "a\nb");
        check(b"\x1b[2J\x1b[01;01Hnode\x1b[0m login:", "node login:");
        check(b"\x1bc\x1b(Bx\x1b", "x");
        check(b"\xff\x00y\x1b[", "\u{fffd}y");
    }

    #[test]
    fn waits_from_a_position() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one LOCAL-BOOT host=a\n").unwrap();
        let mut console = Console::open(file.path());
        assert_eq!(
            console.wait_for("LOCAL-BOOT", Duration::ZERO).unwrap(),
            "one LOCAL-BOOT host=a"
        );
        console.skip_to_end().unwrap();
        assert!(console.wait_for("LOCAL-BOOT", Duration::ZERO).is_err());
        assert_eq!(
            Console::open(file.path()).last(3),
            ["one LOCAL-BOOT host=a"]
        );
    }
}
