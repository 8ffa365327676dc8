//! Who sent a request, as policies, audit and history see it.

use std::net::IpAddr;

use bessemer_policy::{Fact, Facts};

/// A caller: nobody in particular, a user of the password file, or the holder of a token.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub user_id: Option<String>,
    pub user_name: Option<String>,
    pub project_id: Option<String>,
    /// The token is for the whole system.
    pub system: bool,
    pub roles: Vec<String>,
    /// Where the request came from; unknown without a connection.
    pub from: Option<IpAddr>,
    /// The same for policies, by upstream's names.
    pub(super) facts: Facts,
}

/// Attributes of a caller of whom nothing is known.
const UNKNOWN: [&str; 11] = [
    "user_id",
    "user_domain_id",
    "system_scope",
    "domain_id",
    "project_id",
    "project_domain_id",
    "project_name",
    "service_user_id",
    "service_user_domain_id",
    "service_project_id",
    "service_project_domain_id",
];

impl Caller {
    /// Without authentication; `public`: of a route that needs none.
    pub fn nobody(public: bool) -> Self {
        let mut facts = Facts::new()
            .with("roles", Fact::List(Vec::new()))
            .with("service_roles", Fact::List(Vec::new()))
            .with("is_admin_project", Fact::Bool(true))
            .with("is_public_api", Fact::Bool(public));
        for name in UNKNOWN {
            facts = facts.with(name, Fact::None);
        }
        Self {
            facts,
            ..Self::default()
        }
    }

    /// A user of the password file.
    pub fn named(user: String) -> Self {
        let nobody = Self::nobody(false);
        Self {
            facts: nobody.facts.with("user_id", Fact::Text(user.clone())),
            user_id: Some(user.clone()),
            user_name: Some(user),
            ..Self::default()
        }
    }

    /// Lets policies compare with the name of the service project, when the service role counts for more.
    pub(super) fn in_service_project(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            self.facts = self
                .facts
                .with("config.service_project_name", Fact::Text(name.to_owned()));
        }
        self
    }

    /// As operations and the history keep it; `None` when nothing is known.
    pub fn requester(&self) -> Option<bessemer_store::Requester> {
        let phrase = self.phrase();
        (!phrase.is_empty()).then(|| bessemer_store::Requester {
            user_id: self.user_id.clone(),
            project_id: self.project_id.clone(),
            phrase,
        })
    }

    /// How lines of a node's timeline end: ` by jo from 192.0.2.7`, as far as it is known.
    pub fn phrase(&self) -> String {
        let mut phrase = String::new();
        if let Some(user) = self.user_name.as_deref().or(self.user_id.as_deref()) {
            phrase.push_str(" by ");
            phrase.push_str(user);
        }
        if let Some(from) = self.from {
            phrase.push_str(" from ");
            phrase.push_str(&from.to_canonical().to_string());
        }
        phrase
    }
}
