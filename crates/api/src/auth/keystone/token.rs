//! What Keystone says of a token.

use bessemer_policy::{Fact, Facts};
use http::Method;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::caller::Caller;

/// A validated token. Members that nothing here needs are passed over.
#[derive(Debug, Clone, Deserialize)]
pub struct Token {
    user: Named,
    #[serde(default)]
    project: Option<Named>,
    #[serde(default)]
    domain: Option<Named>,
    #[serde(default)]
    system: Option<System>,
    #[serde(default)]
    roles: Vec<Named>,
    expires_at: String,
    #[serde(default)]
    is_admin_project: Option<bool>,
    #[serde(default)]
    application_credential: Option<ApplicationCredential>,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    id: String,
    name: String,
    #[serde(default)]
    domain: Option<Domain>,
}

#[derive(Debug, Clone, Deserialize)]
struct Domain {
    id: String,
}

#[derive(Debug, Clone, Deserialize)]
struct System {
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct ApplicationCredential {
    #[serde(default)]
    access_rules: Option<Vec<AccessRule>>,
}

#[derive(Debug, Clone, Deserialize)]
struct AccessRule {
    service: String,
    method: String,
    path: String,
}

/// The body of Keystone's answer.
#[derive(Deserialize)]
pub struct Answer {
    pub token: Token,
}

impl Token {
    pub fn user_id(&self) -> &str {
        &self.user.id
    }

    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| role.name.as_str())
    }

    /// Expired, or with an expiry that cannot be read.
    pub fn expired(&self) -> bool {
        expires(&self.expires_at).is_none_or(|at| at <= OffsetDateTime::now_utc())
    }

    /// Whether the access rules of an application credential allow the request; tokens without rules may all.
    pub fn may_call(&self, service_type: Option<&str>, method: &Method, path: &str) -> bool {
        let Some(rules) = self
            .application_credential
            .as_ref()
            .and_then(|credential| credential.access_rules.as_ref())
        else {
            return true;
        };
        let Some(service_type) = service_type else {
            tracing::warn!(
                "a token with access rules was refused: [keystone_authtoken] service_type is not set (\"baremetal\")"
            );
            return false;
        };
        rules.iter().any(|rule| {
            rule.service == service_type
                && rule.method == method.as_str()
                && path_matches(&rule.path, path)
        })
    }

    /// The caller, with the service that calls on its behalf. The scope is the user's alone.
    pub fn caller(&self, service: Option<&Self>) -> Caller {
        let system = self.system.as_ref().is_some_and(|system| system.all);
        let id = |named: Option<&Named>| Fact::from(named.map(|n| n.id.as_str()));
        let domain_of = |named: Option<&Named>| {
            Fact::from(
                named
                    .and_then(|n| n.domain.as_ref())
                    .map(|domain| domain.id.as_str()),
            )
        };
        let roles = |token: Option<&Self>| {
            Fact::List(
                token
                    .into_iter()
                    .flat_map(Self::roles)
                    .map(|role| Fact::Text(role.to_owned()))
                    .collect(),
            )
        };
        let service_user = service.map(|token| &token.user);
        let service_project = service.and_then(|token| token.project.as_ref());
        let facts = Facts::new()
            .with("user_id", Fact::Text(self.user.id.clone()))
            .with("user_domain_id", domain_of(Some(&self.user)))
            .with("system_scope", Fact::from(system.then_some("all")))
            .with("domain_id", id(self.domain.as_ref()))
            .with("project_id", id(self.project.as_ref()))
            .with("project_domain_id", domain_of(self.project.as_ref()))
            .with(
                "project_name",
                Fact::from(self.project.as_ref().map(|p| p.name.as_str())),
            )
            .with("roles", roles(Some(self)))
            .with(
                "is_admin_project",
                Fact::Bool(self.is_admin_project.unwrap_or(true)),
            )
            .with("service_user_id", id(service_user))
            .with("service_user_domain_id", domain_of(service_user))
            .with("service_project_id", id(service_project))
            .with("service_project_domain_id", domain_of(service_project))
            .with("service_roles", roles(service))
            .with("is_public_api", Fact::Bool(false));
        Caller {
            from: None,
            user_id: Some(self.user.id.clone()),
            user_name: Some(self.user.name.clone()),
            project_id: self.project.as_ref().map(|p| p.id.clone()),
            system,
            roles: self.roles().map(str::to_owned).collect(),
            facts,
        }
    }
}

/// Of an answer of Keystone; `None` for what is no time.
pub fn expires(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Whether a path fits a rule's: `*` and `{name}` are one segment or a part of it, `**` is anything.
fn path_matches(rule: &str, path: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Char(char),
        Segment,
        Anything,
    }
    let mut parts = Vec::new();
    let mut chars = rule.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                parts.push(Part::Anything);
            }
            '*' => parts.push(Part::Segment),
            '{' => {
                for inner in chars.by_ref() {
                    if inner == '}' {
                        break;
                    }
                }
                parts.push(Part::Segment);
            }
            other => parts.push(Part::Char(other)),
        }
    }
    // which prefixes of the rule fit what was read of the path so far
    let mut fits = vec![false; parts.len().saturating_add(1)];
    let open = |fits: &mut Vec<bool>| {
        for (at, part) in parts.iter().enumerate() {
            if *part == Part::Anything
                && fits.get(at) == Some(&true)
                && let Some(next) = fits.get_mut(at.saturating_add(1))
            {
                *next = true;
            }
        }
    };
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    open(&mut fits);
    for c in path.chars() {
        let mut next = vec![false; fits.len()];
        for (at, part) in parts.iter().enumerate() {
            let here = fits.get(at) == Some(&true);
            let inside = fits.get(at.saturating_add(1)) == Some(&true);
            let fitting = match part {
                Part::Char(wanted) => here && *wanted == c,
                Part::Segment => (here || inside) && c != '/',
                Part::Anything => here || inside,
            };
            if fitting && let Some(slot) = next.get_mut(at.saturating_add(1)) {
                *slot = true;
            }
        }
        open(&mut next);
        fits = next;
    }
    fits.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn paths_of_access_rules() {
        let check = |rule: &str, path: &str, want: bool| {
            assert_eq!(path_matches(rule, path), want, "{rule} {path}");
        };
        check("/v1/nodes", "/v1/nodes", true);
        check("/v1/nodes", "/v1/nodes/x", false);
        check("/v1/nodes/*", "/v1/nodes/x", true);
        check("/v1/nodes/*", "/v1/nodes/", false);
        check("/v1/nodes/*", "/v1/nodes/x/states", false);
        check("/v1/nodes/{ident}/states", "/v1/nodes/x/states", true);
        check("/v1/**", "/v1/nodes/x/states", true);
        check("/v1/**", "/v1/", true);
        check("/v1/**/states", "/v1/nodes/x/states", true);
        check("/v1/**/states", "/v1/nodes/x/state", false);
        check("**", "", true);
        check("", "", true);
        check("", "/", false);
    }

    #[test]
    fn a_segment_stops_at_two_neighbours() {
        // state 'inside' of one part must not leak into the next
        assert!(!path_matches("/*/b", "/a"));
        assert!(path_matches("/*/b", "/a/b"));
        assert!(!path_matches("/a*", "/b"));
        assert!(path_matches("/a*", "/abc"));
    }

    #[test]
    fn times() {
        assert!(expires("2026-11-25T04:35:12.000000Z").is_some());
        assert!(expires("2026-11-25T04:35:12Z").is_some());
        assert!(expires("soon").is_none());
    }
}
