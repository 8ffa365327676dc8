//! What came of a run, for the terminal and for `docs/compat/compat.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Result, bail};

use super::allowed::ALLOWED;
use super::compare::{Difference, Tally};

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Outcome {
    pub commands: BTreeMap<(String, String), Tally>,
    pub differences: Vec<Difference>,
    /// What the scripts themselves leave out.
    pub broken: Vec<String>,
    /// Packages with their versions.
    pub versions: Vec<String>,
    pub properties: Option<Properties>,
}

/// What the property-based client found.
#[derive(Debug, Default, Clone, serde::Deserialize)]
pub struct Properties {
    /// Operations of the document.
    pub operations: u64,
    /// Those that it has called.
    pub tested: u64,
    /// Requests that it has generated.
    pub cases: u64,
    pub failures: Vec<String>,
}

impl std::fmt::Display for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} operations, {} requests, {} failures",
            self.tested,
            self.operations,
            self.cases,
            self.failures.len()
        )
    }
}

impl Outcome {
    fn remaining(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|d| d.allowed.is_none())
    }

    /// Rows of the table that no difference needed.
    fn unused(&self) -> Vec<&'static str> {
        let used: BTreeSet<usize> = self.differences.iter().filter_map(|d| d.allowed).collect();
        ALLOWED
            .iter()
            .enumerate()
            .filter(|(row, _)| !used.contains(row))
            .map(|(_, row)| row.reason)
            .collect()
    }
}

fn line(d: &Difference) -> String {
    let cut = |text: &str| {
        let short: String = text.chars().take(200).collect();
        if short.len() < text.len() {
            format!("{short}…")
        } else {
            short
        }
    };
    format!(
        "{} {} `{}` {}: theirs {}; ours {}",
        d.suite,
        d.version,
        d.request,
        d.at,
        cut(&d.theirs),
        cut(&d.ours)
    )
}

/// Prints it.
///
/// # Errors
/// When anything was found that is not allowed.
pub fn print(outcome: &Outcome) -> Result<()> {
    for d in outcome.remaining() {
        println!("DIFFERENT {}", line(d));
    }
    for text in &outcome.broken {
        println!("INCOMPLETE {text}");
    }
    let partial_run = outcome.commands.is_empty() || outcome.properties.is_none();
    let unused = if partial_run {
        Vec::new()
    } else {
        outcome.unused()
    };
    for reason in &unused {
        println!("UNUSED allowance: {reason}");
    }
    if let Some(properties) = &outcome.properties {
        for failure in &properties.failures {
            println!("PROPERTY {failure}");
        }
        println!("schemathesis: {properties}");
    }
    let total = total(outcome);
    let failures = outcome.properties.as_ref().map_or(0, |p| p.failures.len());
    println!(
        "{} steps: {} the same, {} with allowed differences, {} different; {failures} failures of properties",
        total.steps, total.same, total.allowed, total.different
    );
    if total.different > 0 || !outcome.broken.is_empty() || !unused.is_empty() || failures > 0 {
        bail!("ours is not as upstream");
    }
    Ok(())
}

fn total(outcome: &Outcome) -> Tally {
    outcome
        .commands
        .values()
        .fold(Tally::default(), |sum, one| Tally {
            steps: sum.steps + one.steps,
            same: sum.same + one.same,
            allowed: sum.allowed + one.allowed,
            different: sum.different + one.different,
        })
}

/// `docs/compat/compat.md`
///
/// # Errors
/// When the clock cannot be read as a date.
pub fn markdown(outcome: &Outcome) -> Result<String> {
    let date = time::OffsetDateTime::now_utc().date();
    let total = total(outcome);
    let mut text = format!(
        "# What the judges say\n\n\
         Written by `make compat` on {date}. The same scripts ran against upstream's own service and against ours; what the two\n\
         answered was compared member by member, with UUIDs that nobody chose, times, request ids and addresses left out.\n\
         Differences that are allowed stand in [deviations.md](deviations.md). In both are enabled the hardware types and\n\
         implementations that ours has ([drivers.md](drivers.md)).\n\n\
         With {}.\n\n\
         {} steps: {} the same, {} with allowed differences only, {} different.\n",
        outcome.versions.join(", "),
        total.steps,
        total.same,
        total.allowed,
        total.different
    );
    for broken in &outcome.broken {
        let _ = writeln!(text, "\n**Incomplete**: {broken}");
    }
    for (suite, title) in [
        (
            "cli",
            "`openstack baremetal`, every command, at 1.115, 1.34 and 1.1",
        ),
        ("sdk", "openstacksdk, every verb of its bare-metal proxy"),
        (
            "raw",
            "Raw requests as Metal3 and gophercloud send them, at 1.109, 1.95, 1.93, 1.89 and 1.81",
        ),
    ] {
        let rows: Vec<_> = outcome
            .commands
            .iter()
            .filter(|((s, _), _)| s == suite)
            .collect();
        let _ = write!(
            text,
            "\n## {title}\n\n{} of them.\n\n| Step | times | same | allowed | different |\n|---|---|---|---|---|\n",
            rows.len()
        );
        for ((_, name), tally) in rows {
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} |",
                tally.steps, tally.same, tally.allowed, tally.different
            );
        }
    }
    let _ = write!(text, "\n## Properties\n\n");
    match &outcome.properties {
        None => text.push_str("Not run.\n"),
        Some(properties) => {
            let _ = writeln!(
                text,
                "schemathesis, by the document that the service serves: {properties}.\n"
            );
            for failure in &properties.failures {
                let _ = writeln!(text, "- **failure**: {}", failure.replace('\n', " "));
            }
        }
    }
    let _ = write!(text, "\n## Differences that remain\n\n");
    let mut groups: BTreeMap<(&str, &str, String), (usize, &Difference)> = BTreeMap::new();
    for d in outcome.remaining() {
        let at = d.at.replace(|c: char| c.is_ascii_digit(), "N");
        groups.entry((&d.suite, &d.name, at)).or_insert((0, d)).0 += 1;
    }
    for (times, first) in groups.values() {
        let _ = writeln!(text, "- {times} times: {}", line(first).replace('\n', " "));
    }
    if groups.is_empty() {
        text.push_str("None.\n");
    }
    Ok(text)
}
