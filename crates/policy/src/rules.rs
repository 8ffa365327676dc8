//! Deciding: a set of rules, a caller, an object.

use std::collections::HashMap;

use crate::check::{Check, DEEPEST};
use crate::defaults::DEFAULTS;
use crate::facts::{Facts, Said, Target};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    System,
    Domain,
    Project,
}

impl Scope {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Domain => "domain",
            Self::Project => "project",
        }
    }

    /// Of a caller; whoever has neither system nor domain counts as of a project.
    #[must_use]
    pub fn of(caller: &Facts) -> Self {
        if caller.says("system_scope") {
            Self::System
        } else if caller.says("domain_id") {
            Self::Domain
        } else {
            Self::Project
        }
    }
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    Refused,
    /// The policy is not for tokens of this scope.
    WrongScope,
    /// It depends on the object, which is not loaded yet ([`Target::unknown`]).
    Undecided,
}

impl Decision {
    #[must_use]
    pub fn allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// Every rule in force.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub(crate) rules: HashMap<String, Check>,
    /// What stands for a rule that does not exist, when it exists itself.
    pub(crate) default_rule: String,
    pub(crate) enforce_scope: bool,
}

/// `None`: undecided.
type Verdict = Option<bool>;

impl Rules {
    /// Whether there is such a rule.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }

    /// A rule, or the default rule.
    pub(crate) fn get(&self, name: &str) -> Option<&Check> {
        self.rules
            .get(name)
            .or_else(|| self.rules.get(&self.default_rule))
    }

    /// Decides whether `caller` may do what `policy` guards to `target`. A rule that does not exist lets
    /// nobody pass.
    #[must_use]
    pub fn decide(&self, policy: &str, target: &Target<'_>, caller: &Facts) -> Decision {
        let Some(check) = self.get(policy) else {
            return Decision::Refused;
        };
        if self.enforce_scope
            && let Some(default) = DEFAULTS.iter().find(|d| d.name == policy)
            && !default.scopes.is_empty()
            && !default.scopes.contains(&Scope::of(caller))
        {
            return Decision::WrongScope;
        }
        match self.verdict(check, target, caller, 0) {
            Some(true) => Decision::Allowed,
            Some(false) => Decision::Refused,
            None => Decision::Undecided,
        }
    }

    fn verdict(&self, check: &Check, target: &Target<'_>, caller: &Facts, depth: usize) -> Verdict {
        match check {
            Check::Everyone => Some(true),
            Check::Nobody => Some(false),
            Check::Not(inner) => self
                .verdict(inner, target, caller, depth)
                .map(|passes| !passes),
            Check::And(checks) => {
                let mut all = Some(true);
                for check in checks {
                    match self.verdict(check, target, caller, depth) {
                        Some(false) => return Some(false),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
            Check::Or(checks) => {
                let mut any = Some(false);
                for check in checks {
                    match self.verdict(check, target, caller, depth) {
                        Some(true) => return Some(true),
                        None => any = None,
                        Some(false) => {}
                    }
                }
                any
            }
            // loading refuses longer chains; nobody passes through one all the same
            Check::Rule(_) if depth > DEEPEST => Some(false),
            Check::Rule(name) => match self.get(name) {
                Some(check) => self.verdict(check, target, caller, depth.saturating_add(1)),
                None => Some(false),
            },
            Check::Role(pattern) => {
                let Some(crate::facts::Fact::List(roles)) = caller.get("roles") else {
                    return Some(false);
                };
                compare(pattern.filled(target), |wanted| {
                    let wanted = wanted.to_lowercase();
                    roles
                        .iter()
                        .any(|role| role.shown().to_lowercase() == wanted)
                })
            }
            Check::Literal { shown, pattern, .. } => {
                compare(pattern.filled(target), |wanted| wanted == shown)
            }
            Check::Caller { path, pattern } => {
                let Some((first, rest)) = path.split_first() else {
                    return Some(false);
                };
                // upstream's engine knows the scope by both names
                let name = match first.as_str() {
                    "system" if caller.says("system_scope") => "system_scope",
                    other => other,
                };
                let Some(fact) = caller.get(name) else {
                    return Some(false);
                };
                compare(pattern.filled(target), |wanted| fact.matches(rest, wanted))
            }
        }
    }
}

fn compare(said: Said<'_>, matches: impl FnOnce(&str) -> bool) -> Verdict {
    match said {
        Said::Text(text) => Some(matches(&text)),
        Said::Nothing => Some(false),
        Said::NotYet => None,
    }
}
