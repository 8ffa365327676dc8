//! Tidy: rules about the tree that no compiler checks. Also a test of this crate, so that the ordinary test run keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

/// Lines beyond which a file is no longer read in one sitting.
const LONGEST_FILE: usize = 1000;

/// Crates that know nothing of nodes and depend on nothing of ours.
const LEAVES: [&str; 8] = [
    "ipmi", "redfish", "dhcp", "tftp", "image", "iso", "disk", "policy",
];

/// Which of our crates a crate must not reach, directly or through others.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("api", &["drivers", "conductor", "netboot", "server"]),
    ("conductor", &["api", "server", "lab", "agent"]),
    ("drivers", &["conductor", "api", "server", "lab", "agent"]),
    (
        "store",
        &["conductor", "api", "netboot", "drivers", "server", "agent"],
    ),
    (
        "agent",
        &[
            "store",
            "conductor",
            "api",
            "drivers",
            "netboot",
            "server",
            "config",
        ],
    ),
    (
        "wire",
        &["store", "conductor", "api", "drivers", "agent", "server"],
    ),
    (
        "notify",
        &["conductor", "api", "drivers", "netboot", "server", "agent"],
    ),
    ("lab", &["store", "conductor", "api", "drivers", "server"]),
    ("netboot", &["conductor", "api", "drivers", "server"]),
];

const LICENCES: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "BSL-1.0",
    "Unicode-3.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
];

/// Checks everything and lists every offence.
pub fn tidy(workspace: &Path) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options(["--locked".to_owned()])
        .exec()
        .context("cargo metadata")?;
    let mut offences = Vec::new();
    edges(&metadata, &mut offences);
    licences(&metadata, &mut offences);
    for path in sources(workspace)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let shown = path
            .strip_prefix(workspace)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        file(&shown, &text, &mut offences);
    }
    one_unsafe_module(workspace, &mut offences)?;
    if offences.is_empty() {
        return Ok(());
    }
    offences.sort();
    bail!("{} offences:\n  {}", offences.len(), offences.join("\n  "))
}

/// Dependency edges between our crates and to the crates that only one of ours may name.
fn edges(metadata: &Metadata, offences: &mut Vec<String>) {
    let ours: BTreeMap<String, BTreeSet<String>> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let name = short(package.name.as_str());
            let direct = package
                .dependencies
                .iter()
                .filter(|dependency| {
                    dependency.kind != DependencyKind::Development && dependency.path.is_some()
                })
                .map(|dependency| short(&dependency.name))
                .collect();
            (name, direct)
        })
        .collect();
    for name in std::iter::once("model").chain(LEAVES) {
        for other in ours.get(name).into_iter().flatten() {
            offences.push(format!(
                "crates/{name} depends on {other}: it may depend on nothing of ours"
            ));
        }
    }
    for (name, forbidden) in FORBIDDEN {
        let reached = reach(&ours, name);
        for other in forbidden.iter().filter(|other| reached.contains(**other)) {
            offences.push(format!("crates/{name} reaches {other}"));
        }
    }
    for package in metadata.workspace_packages() {
        let name = short(package.name.as_str());
        for dependency in &package.dependencies {
            if ["sqlx", "rusqlite"].contains(&dependency.name.as_str()) && name != "store" {
                offences.push(format!("{name} names {}: only store may", dependency.name));
            }
        }
    }
    for package in &metadata.packages {
        let name = package.name.as_str();
        if [
            "openssl",
            "openssl-sys",
            "native-tls",
            "aws-lc-rs",
            "aws-lc-sys",
            "aws-lc-fips-sys",
        ]
        .contains(&name)
        {
            offences.push(format!(
                "{name} is in the dependency tree: TLS is rustls with ring"
            ));
        }
    }
}

fn short(name: &str) -> String {
    name.strip_prefix("bessemer-").unwrap_or(name).to_owned()
}

fn reach(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

fn licences(metadata: &Metadata, offences: &mut Vec<String>) {
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        if !permissive(licence) {
            offences.push(format!(
                "{} {} has the licence {licence}",
                package.name, package.version
            ));
        }
    }
}

/// Whether an SPDX expression can be met with permissive licences alone. `/` is an old way to write OR.
fn permissive(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let good = either(&words, &mut at);
    good && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut good = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        good |= all(words, at);
    }
    good
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut good = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        good &= one(words, at);
    }
    good
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let good = either(words, at);
        *at += 1;
        return good;
    }
    let mut good = LICENCES.contains(&word);
    if words.get(*at) == Some(&"WITH") {
        good &= words.get(*at + 1) == Some(&"LLVM-exception");
        *at += 2;
    }
    good
}

/// Text files of the tree that people read, without what tools generate.
fn sources(workspace: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![workspace.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_symlink() || matches!(name.as_str(), ".git" | "target" | "node_modules") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Some(ending) = path.extension().and_then(|ending| ending.to_str())
                && ["rs", "toml", "md", "sql", "sh", "j2", "yaml", "yml", "py"].contains(&ending)
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn file(shown: &str, text: &str, offences: &mut Vec<String>) {
    if shown.ends_with(".rs") {
        let tests =
            shown.ends_with("tests.rs") || shown.contains("/tests/") || shown.starts_with("tests/");
        let lines = text.lines().count();
        if lines > LONGEST_FILE && !tests {
            offences.push(format!(
                "{shown} has {lines} lines, more than {LONGEST_FILE}"
            ));
        }
    }
    // pieces, so that this file does not offend itself
    let words = [
        ["crates", ".io"].concat(),
        ["pypi", ".org"].concat(),
        ["python", "hosted.org"].concat(),
        ["npm", "js.org"].concat(),
        ["deb.", "debian.org"].concat(),
        ["proxy.", "golang.org"].concat(),
        ["docker", ".io/"].concat(),
        ["quay", ".io/"].concat(),
        ["ghcr", ".io"].concat(),
        ["/work/", "main"].concat(),
        ["/work/", "shared"].concat(),
    ];
    for (number, line) in (1..).zip(text.lines()) {
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            offences.push(format!("{shown}:{number} names {word}"));
        }
    }
}

/// `unsafe` lives in `disk` and in one module of `agent`; the compiler's lint denies it elsewhere unless a module allows it.
fn one_unsafe_module(workspace: &Path, offences: &mut Vec<String>) -> Result<()> {
    let allowance = ["allow(", "unsafe_code)"].concat();
    let mut in_agent = 0;
    for path in sources(workspace)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
    {
        let text = std::fs::read_to_string(&path)?;
        let shown = path
            .strip_prefix(workspace)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        let count = text.matches(&allowance).count();
        if shown.starts_with("crates/agent/src") {
            in_agent += count;
        } else if count > 0 && !shown.starts_with("crates/disk/src") {
            offences.push(format!(
                "{shown} allows unsafe code: only disk and one module of agent may"
            ));
        }
    }
    if in_agent > 1 {
        offences.push(format!(
            "crates/agent allows unsafe code in {in_agent} places: one module may"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        tidy(&crate::build::workspace()).unwrap();
    }

    #[test]
    fn licences_are_understood() {
        let check = |expression: &str, expected: bool| {
            assert_eq!(permissive(expression), expected, "{expression}")
        };
        check("MIT OR Apache-2.0", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR GPL-2.0) AND LGPL-2.1", false);
        check("Apache-2.0 WITH Something", false);
        check("none", false);
        check("", false);
    }

    #[test]
    fn files_are_judged() {
        let check = |name: &str, text: &str, expected: usize| {
            let mut offences = Vec::new();
            file(name, text, &mut offences);
            assert_eq!(offences.len(), expected, "{offences:?}");
        };
        check("crates/x/src/lib.rs", "short\n", 0);
        check("crates/x/src/lib.rs", &"line\n".repeat(1001), 1);
        check("crates/x/src/tests.rs", &"line\n".repeat(1001), 0);
        check("docs/x.md", &["see crates", ".io for more"].concat(), 1);
    }

    #[test]
    fn reach_is_transitive() {
        let graph = BTreeMap::from([
            ("a".to_owned(), BTreeSet::from(["b".to_owned()])),
            (
                "b".to_owned(),
                BTreeSet::from(["c".to_owned(), "a".to_owned()]),
            ),
        ]);
        assert_eq!(
            reach(&graph, "a"),
            BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()])
        );
    }
}
