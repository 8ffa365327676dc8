//! The language: `role:admin and (project_id:%(node.owner)s or not rule:locked)`.
//!
//! A check is `kind:match`. `rule` refers to another rule, `role` to a role of the caller; any other kind is a
//! literal (`True`, `None`, a number, a quoted text) or an attribute of the caller, with dots into nested
//! ones. `%(name)s` in the match stands for an attribute of the object. `@` and the empty text let everyone
//! pass, `!` nobody. `not` binds closer than `and`, `and` closer than `or`. The older form, a list of lists,
//! is an `or` of `and`s.

use std::fmt;

use crate::facts::{Said, Target};

/// Deepest nesting of parentheses and `not`, and longest chain of rules that refer to rules.
pub(crate) const DEEPEST: usize = 64;
/// Longest text of one rule, bytes.
const LONGEST: usize = 64 * 1024;

/// A check as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `@`
    Everyone,
    /// `!`
    Nobody,
    Not(Box<Check>),
    And(Vec<Check>),
    Or(Vec<Check>),
    /// `rule:name`
    Rule(String),
    /// `role:name`, without regard to case.
    Role(Pattern),
    /// A literal, as it is shown, and what the object must say.
    Literal {
        written: String,
        shown: String,
        pattern: Pattern,
    },
    /// An attribute of the caller: path and what it must say.
    Caller {
        path: Vec<String>,
        pattern: Pattern,
    },
}

/// Text with places for attributes of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `%(name)s`
    Attribute(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            let after = after.strip_prefix('%').unwrap_or(after);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (name, after) = after
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(")s"))
                .ok_or_else(|| {
                    format!("\"{text}\": a % begins an attribute such as %(node.owner)s; write %% for the sign itself")
                })?;
            if name.is_empty() || name.contains(['(', ')', '%']) {
                return Err(format!("\"{text}\": \"{name}\" is no name of an attribute"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Attribute(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The text with the object's attributes in it.
    pub(crate) fn filled<'a>(&'a self, target: &Target<'a>) -> Said<'a> {
        let said = |part: &'a Part| match part {
            Part::Text(text) => Said::Text(text.as_str().into()),
            Part::Attribute(name) => target.says(name),
        };
        if let [only] = self.0.as_slice() {
            return said(only);
        }
        let mut out = String::new();
        let mut not_yet = false;
        for part in &self.0 {
            match said(part) {
                Said::Text(text) => out.push_str(&text),
                Said::Nothing => return Said::Nothing,
                Said::NotYet => not_yet = true,
            }
        }
        if not_yet {
            Said::NotYet
        } else {
            Said::Text(out.into())
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(&text.replace('%', "%%"))?,
                Part::Attribute(name) => write!(f, "%({name})s")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, checks: &[Check], word: &str| {
            f.write_str("(")?;
            for (n, check) in checks.iter().enumerate() {
                if n > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{check}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Everyone => f.write_str("@"),
            Self::Nobody => f.write_str("!"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::And(checks) => joined(f, checks, "and"),
            Self::Or(checks) => joined(f, checks, "or"),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::Role(pattern) => write!(f, "role:{pattern}"),
            Self::Literal {
                written, pattern, ..
            } => write!(f, "{written}:{pattern}"),
            Self::Caller { path, pattern } => write!(f, "{}:{pattern}", path.join(".")),
        }
    }
}

impl Check {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Everyone);
        }
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens, at: 0 };
        let check = parser.alternatives(0)?;
        match parser.next() {
            None => Ok(check),
            Some(Token::Close) => Err("a closing parenthesis has no opening one".into()),
            Some(token) => Err(format!("{token} stands where \"and\" or \"or\" is wanted")),
        }
    }

    /// The older form: one of the outer list must pass, of an inner list all must. The empty list lets
    /// everyone pass.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn of_lists(lists: &[Vec<String>]) -> Result<Self, String> {
        if lists.is_empty() {
            return Ok(Self::Everyone);
        }
        let mut any = Vec::new();
        for list in lists.iter().filter(|list| !list.is_empty()) {
            let mut all = list
                .iter()
                .map(|check| single(check))
                .collect::<Result<Vec<_>, _>>()?;
            any.push(match all.pop() {
                Some(only) if all.is_empty() => only,
                Some(last) => {
                    all.push(last);
                    Self::And(all)
                }
                None => Self::Nobody,
            });
        }
        Ok(match any.pop() {
            None => Self::Nobody,
            Some(only) if any.is_empty() => only,
            Some(last) => {
                any.push(last);
                Self::Or(any)
            }
        })
    }

    /// Names of the rules that it refers to.
    pub(crate) fn references(&self) -> Vec<&str> {
        match self {
            Self::Rule(name) => vec![name],
            Self::Not(inner) => inner.references(),
            Self::And(checks) | Self::Or(checks) => {
                checks.iter().flat_map(Self::references).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(Check),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("\"(\""),
            Self::Close => f.write_str("\")\""),
            Self::And => f.write_str("\"and\""),
            Self::Or => f.write_str("\"or\""),
            Self::Not => f.write_str("\"not\""),
            Self::Check(check) => write!(f, "\"{check}\""),
        }
    }
}

/// Words between white space; parentheses at their ends are tokens of their own, those inside belong to them.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n(
            Token::Open,
            word.len().saturating_sub(inner.len()),
        ));
        if inner.is_empty() {
            continue;
        }
        let clean = inner.trim_end_matches(')');
        match clean.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => tokens.push(Token::And),
            "or" => tokens.push(Token::Or),
            "not" => tokens.push(Token::Not),
            _ => tokens.push(Token::Check(single(clean)?)),
        }
        tokens.extend(std::iter::repeat_n(
            Token::Close,
            inner.len().saturating_sub(clean.len()),
        ));
    }
    Ok(tokens)
}

/// One `kind:match`.
fn single(text: &str) -> Result<Check, String> {
    match text {
        "@" => return Ok(Check::Everyone),
        "!" => return Ok(Check::Nobody),
        _ => {}
    }
    let (kind, wanted) = text
        .split_once(':')
        .ok_or_else(|| format!("\"{text}\" is no check: a check is kind:match, \"@\" or \"!\""))?;
    match kind {
        "rule" if wanted.is_empty() => Err("\"rule:\" names no rule".into()),
        "rule" => Ok(Check::Rule(wanted.to_owned())),
        "role" => Ok(Check::Role(Pattern::parse(wanted)?)),
        "http" | "https" => Err(format!(
            "\"{text}\": asking another server is not supported"
        )),
        _ => {
            let pattern = Pattern::parse(wanted)?;
            Ok(match literal(kind)? {
                Some(shown) => Check::Literal {
                    written: kind.to_owned(),
                    shown,
                    pattern,
                },
                None => Check::Caller {
                    path: kind.split('.').map(str::to_owned).collect(),
                    pattern,
                },
            })
        }
    }
}

/// What a literal is shown as; `None` when the text is the name of an attribute.
fn literal(kind: &str) -> Result<Option<String>, String> {
    let refused = || {
        Err(format!(
            "\"{kind}\" is neither the name of an attribute nor True, False, None, a number or a quoted text"
        ))
    };
    if matches!(kind, "True" | "False" | "None") {
        return Ok(Some(kind.to_owned()));
    }
    for quote in ['"', '\''] {
        if let Some(inner) = kind.strip_prefix(quote) {
            return match inner.strip_suffix(quote) {
                Some(text) if !text.contains([quote, '\\']) => Ok(Some(text.to_owned())),
                _ => refused(),
            };
        }
    }
    let digits = kind.strip_prefix('-').unwrap_or(kind);
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        let canonical = digits == "0" || !digits.starts_with('0');
        return if digits.bytes().all(|b| b.is_ascii_digit()) && canonical && kind != "-0" {
            Ok(Some(kind.to_owned()))
        } else {
            refused()
        };
    }
    let name = |segment: &str| {
        !segment.is_empty()
            && segment
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    if kind.split('.').all(name) {
        Ok(None)
    } else {
        refused()
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at = self.at.saturating_add(1);
        token
    }

    fn alternatives(&mut self, depth: usize) -> Result<Check, String> {
        let mut checks = vec![self.conjunction(depth)?];
        while self.peek() == Some(&Token::Or) {
            self.next();
            checks.push(self.conjunction(depth)?);
        }
        Ok(joined(checks, Check::Or))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Check, String> {
        let mut checks = vec![self.operand(depth)?];
        while self.peek() == Some(&Token::And) {
            self.next();
            checks.push(self.operand(depth)?);
        }
        Ok(joined(checks, Check::And))
    }

    fn operand(&mut self, depth: usize) -> Result<Check, String> {
        if depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} levels"));
        }
        let deeper = depth.saturating_add(1);
        match self.next() {
            Some(Token::Check(check)) => Ok(check),
            Some(Token::Not) => Ok(Check::Not(Box::new(self.operand(deeper)?))),
            Some(Token::Open) => {
                let inner = self.alternatives(deeper)?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    Some(token) => Err(format!("{token} stands where \"and\" or \"or\" is wanted")),
                    None => Err("a parenthesis is not closed".into()),
                }
            }
            Some(token) => Err(format!("{token} stands where a check is wanted")),
            None => Err("it ends where a check is wanted".into()),
        }
    }
}

fn joined(mut checks: Vec<Check>, join: fn(Vec<Check>) -> Check) -> Check {
    match checks.pop() {
        Some(only) if checks.is_empty() => only,
        Some(last) => {
            checks.push(last);
            join(checks)
        }
        None => Check::Nobody,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_binds_closer() {
        let check = |text: &str, want: &str| {
            let parsed = Check::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(parsed.to_string(), want, "{text}");
        };
        check("", "@");
        check("@", "@");
        check("!", "!");
        check(
            "role:a or role:b and role:c",
            "(role:a or (role:b and role:c))",
        );
        check(
            "role:a and role:b or role:c",
            "((role:a and role:b) or role:c)",
        );
        check("not role:a and role:b", "(not role:a and role:b)");
        check("not (role:a and role:b)", "not (role:a and role:b)");
        check("NOT Role:a AND rule:b", "(not Role:a and rule:b)");
        check("((role:a))", "role:a");
        check("True:%(public)s", "True:%(public)s");
        check("'x':%(a.b)s%%", "'x':%(a.b)s%%");
        check("a.b.c:d", "a.b.c:d");
    }

    #[test]
    fn what_is_refused() {
        let check = |text: &str, want: &str| {
            let why = Check::parse(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check(" ", "ends where a check is wanted");
        check("role:a and", "ends where a check is wanted");
        check("role:a role:b", "stands where \"and\" or \"or\" is wanted");
        check("or role:a", "stands where a check is wanted");
        check("(role:a", "not closed");
        check("role:a)", "no opening one");
        check("( role:a )or role:b", "is no check");
        check("admin", "is no check");
        check("'quoted'", "is no check");
        check("rule:", "names no rule");
        check("http://x/y", "not supported");
        check("role:%(x", "write %%");
        check("role:%s", "write %%");
        check("role:%()s", "no name of an attribute");
        check(":x", "neither the name");
        check("1a:x", "neither the name");
        check("[1]:x", "neither the name");
        check("'x:y", "neither the name");
        check(&"(".repeat(100_000), "longer than");
        check(&"not ".repeat(1000), "nested deeper");
        check(&format!("{}role:a", "(".repeat(70)), "nested deeper");
    }

    #[test]
    fn lists_of_lists() {
        let check = |lists: &[&[&str]], want: &str| {
            let lists: Vec<Vec<String>> = lists
                .iter()
                .map(|l| l.iter().map(|s| (*s).to_owned()).collect())
                .collect();
            assert_eq!(Check::of_lists(&lists).unwrap().to_string(), want);
        };
        check(&[], "@");
        check(&[&[]], "!");
        check(&[&["role:a"]], "role:a");
        check(
            &[&["role:a", "role:b"], &[], &["role:c"]],
            "((role:a and role:b) or role:c)",
        );
    }
}
