//! The rules in force: upstream's defaults, over them the operator's files, read anew when they change.
//!
//! A file that cannot be used keeps the service from starting. Once it runs, such a file is logged as an
//! error and the rules before it stay in force: a slip must neither open nor close the API by surprise.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crate::check::{Check, DEEPEST};
use crate::defaults::{DEFAULTS, PolicyDefault};
use crate::error::PolicyError;
use crate::file::{self, FileRule};
use crate::rules::Rules;

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where the operator's rules are and how the defaults are taken: upstream's `[oslo_policy]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file of rules.
    pub policy_file: PathBuf,
    /// The file was named by the operator: its absence is an error.
    pub file_expected: bool,
    /// Directories whose files, in the order of their names, go over it. They may be absent.
    pub policy_dirs: Vec<PathBuf>,
    /// Rule that stands for one that does not exist.
    pub policy_default_rule: String,
    /// Refuse tokens whose scope a policy is not for.
    pub enforce_scope: bool,
    /// Leave out the checks from before scopes.
    pub enforce_new_defaults: bool,
}

impl Default for Settings {
    /// Upstream's defaults, without any file.
    fn default() -> Self {
        Self {
            policy_file: PathBuf::new(),
            file_expected: false,
            policy_dirs: Vec::new(),
            policy_default_rule: "default".into(),
            enforce_scope: true,
            enforce_new_defaults: true,
        }
    }
}

/// A file as it was when it was read.
type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// The rules in force, which follow the files.
pub struct Enforcer {
    settings: Settings,
    rules: RwLock<Arc<Rules>>,
    looked: Mutex<Looked>,
}

struct Looked {
    at: Instant,
    seen: Seen,
}

impl Enforcer {
    /// Reads the files.
    ///
    /// # Errors
    /// File, line and rule of what is wrong.
    pub fn load(settings: Settings) -> Result<Self, PolicyError> {
        let seen = seen(&settings);
        let rules = build(&settings)?;
        Ok(Self {
            settings,
            rules: RwLock::new(Arc::new(rules)),
            looked: Mutex::new(Looked {
                at: Instant::now(),
                seen,
            }),
        })
    }

    /// The rules in force; looks at the files at most twice a second.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        if let Ok(mut looked) = self.looked.try_lock()
            && looked.at.elapsed() >= LOOK_EVERY
        {
            looked.at = Instant::now();
            let now = seen(&self.settings);
            if now != looked.seen {
                looked.seen = now;
                self.reload();
            }
        }
        match self.rules.read() {
            Ok(rules) => Arc::clone(&rules),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    fn reload(&self) {
        match build(&self.settings) {
            Ok(rules) => {
                tracing::info!("the policy files have changed and were read anew");
                match self.rules.write() {
                    Ok(mut old) => *old = Arc::new(rules),
                    Err(poisoned) => *poisoned.into_inner() = Arc::new(rules),
                }
            }
            Err(error) => tracing::error!(
                %error,
                "the policy files have changed, but cannot be used: the rules before the change stay in force"
            ),
        }
    }
}

/// The files of the settings, in the order in which they apply, with what tells a change.
fn seen(settings: &Settings) -> Seen {
    let mut files = vec![settings.policy_file.clone()];
    for dir in &settings.policy_dirs {
        files.extend(files_of(dir));
    }
    files
        .into_iter()
        .map(|path| {
            let stamp = std::fs::metadata(&path)
                .ok()
                .and_then(|m| Some((m.modified().ok()?, m.len())));
            (path, stamp)
        })
        .collect()
}

/// Plain files of a directory by name, without hidden ones.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.is_file()
                && path
                    .file_name()
                    .is_some_and(|name| !name.to_string_lossy().starts_with('.'))
        })
        .collect();
    files.sort();
    files
}

fn read_file(path: &Path) -> Result<Vec<FileRule>, PolicyError> {
    let unreadable = |why: String| PolicyError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let length = std::fs::metadata(path)
        .map_err(|e| unreadable(e.to_string()))?
        .len();
    if length > file::LARGEST as u64 {
        return Err(unreadable(format!(
            "it is larger than {} bytes",
            file::LARGEST
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    file::read(&text, path)
}

/// A rule of the operator with its place.
struct Placed {
    check: Check,
    path: PathBuf,
    line: usize,
}

fn build(settings: &Settings) -> Result<Rules, PolicyError> {
    let mut own: HashMap<String, Placed> = HashMap::new();
    let mut add = |path: &Path| -> Result<(), PolicyError> {
        for rule in read_file(path)? {
            own.insert(
                rule.name,
                Placed {
                    check: rule.check,
                    path: path.to_owned(),
                    line: rule.line,
                },
            );
        }
        Ok(())
    };
    if settings.file_expected || settings.policy_file.is_file() {
        add(&settings.policy_file)?;
    }
    for dir in &settings.policy_dirs {
        for path in files_of(dir) {
            add(&path)?;
        }
    }
    let mut rules = Rules {
        rules: HashMap::new(),
        default_rule: settings.policy_default_rule.clone(),
        enforce_scope: settings.enforce_scope,
    };
    for default in DEFAULTS {
        if !own.contains_key(default.name) {
            rules.rules.insert(
                default.name.to_owned(),
                default_check(default, &own, settings.enforce_new_defaults)?,
            );
        }
    }
    for (name, placed) in &own {
        rules.rules.insert(name.clone(), placed.check.clone());
    }
    check_references(&rules, &own)?;
    Ok(rules)
}

/// The check of a policy that the operator does not name.
fn default_check(
    default: &PolicyDefault,
    own: &HashMap<String, Placed>,
    new_defaults: bool,
) -> Result<Check, PolicyError> {
    let parse = |text: &str| {
        Check::parse(text).map_err(|why| PolicyError::BuiltIn {
            rule: default.name.to_owned(),
            why,
        })
    };
    let check = parse(default.check)?;
    let Some(old) = default.deprecated else {
        return Ok(check);
    };
    let old_check = parse(old.check)?;
    // who overrides the old name means the new policies that came out of it, too
    if old.name != default.name
        && let Some(placed) = own.get(old.name)
        && placed.check != old_check
        && placed.check != Check::Rule(default.name.to_owned())
    {
        return Ok(placed.check.clone());
    }
    if !new_defaults && old.check != default.check {
        return Ok(Check::Or(vec![check, old_check]));
    }
    Ok(check)
}

/// Warns of rules that refer to nothing and of names that nobody asks for; refuses rules that go in circles.
fn check_references(rules: &Rules, own: &HashMap<String, Placed>) -> Result<(), PolicyError> {
    let mut names: Vec<&String> = own.keys().collect();
    names.sort();
    for name in names {
        let Some(placed) = own.get(name) else {
            continue;
        };
        let place = || format!("{}:{}", placed.path.display(), placed.line);
        for wanted in placed.check.references() {
            if rules.get(wanted).is_none() {
                tracing::warn!(
                    "{}: the policy rule \"{name}\" refers to \"{wanted}\", which does not exist: that part of it lets nobody pass{}",
                    place(),
                    hint(wanted, rules.rules.keys().map(String::as_str)),
                );
            }
        }
        let asked = DEFAULTS.iter().any(|d| d.name == name)
            || name.starts_with("baremetal:step:execute:")
            || !name.starts_with("baremetal:")
            || rules
                .rules
                .values()
                .any(|check| check.references().contains(&name.as_str()));
        if !asked {
            tracing::warn!(
                "{}: there is no policy \"{name}\": the rule has no effect{}",
                place(),
                hint(name, DEFAULTS.iter().map(|d| d.name)),
            );
        }
        if let Some(circle) = circle(rules, name) {
            return Err(PolicyError::Rule {
                path: placed.path.clone(),
                line: placed.line,
                rule: name.clone(),
                why: circle,
            });
        }
    }
    Ok(())
}

fn hint<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> String {
    names
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default()
}

/// Whether following the references of a rule leads back to it, or too far.
fn circle(rules: &Rules, start: &str) -> Option<String> {
    let mut reached: Vec<&str> = vec![start];
    let mut level: Vec<&str> = vec![start];
    for _ in 0..=DEEPEST {
        let mut next: Vec<&str> = Vec::new();
        for name in level {
            for wanted in rules.get(name).into_iter().flat_map(Check::references) {
                if wanted == start {
                    return Some(format!("it refers to itself through \"{name}\""));
                }
                if !reached.contains(&wanted) {
                    reached.push(wanted);
                    next.push(wanted);
                }
            }
        }
        if next.is_empty() {
            return None;
        }
        level = next;
    }
    Some(format!(
        "it refers to others in a chain of more than {DEEPEST} rules"
    ))
}
