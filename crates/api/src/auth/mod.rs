//! Who calls, and what they may do.
//!
//! [`Auth`] finds out who sends a request: everyone (`noauth`), a user of a password file ([`basic`]), or the
//! holder of a Keystone token ([`keystone`]). What a caller may do is decided by the policy, but only with
//! Keystone, as upstream has it: with the other two everyone who gets in is an administrator. The router asks
//! the policy for every route by its name in the table ([`guard`]); handlers ask for what only they know
//! ([`authorize`]).

mod audit;
mod authorize;
mod basic;
mod caller;
mod guard;
mod keystone;
mod limit;

use std::net::IpAddr;
use std::sync::Arc;

use bessemer_config::{AuthStrategy, Config};
use bessemer_policy::{Enforcer, PolicyError, Settings};
use http::{HeaderMap, StatusCode};

use crate::fault::{ApiFault, Shape, VersionHeaders};

pub use audit::{Audit, Said};
pub use authorize::{Asked, FieldGuard, Ownership};
pub use caller::Caller;
pub use guard::{guard, left_to_handler};
use limit::RateLimit;

/// Address from which a request came; the listener puts it into the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Keystone(#[from] keystone::SettingsError),
}

/// What every request is checked by.
pub struct Access {
    strategy: Strategy,
    pub(super) policy: Enforcer,
    /// Shown to policies as `config.service_project_name`, when the service role counts for more.
    service_project: Option<String>,
    pub(crate) ramdisk_rate: RateLimit,
}

enum Strategy {
    Nobody,
    Basic(basic::Basic),
    Keystone(Box<keystone::Keystone>),
    /// None is configured: every call is refused.
    Refuse,
}

impl Access {
    /// # Errors
    /// File, line and rule of what is wrong in the policy; what is missing in `[keystone_authtoken]`.
    pub fn new(config: &Config) -> Result<Arc<Self>, StartError> {
        let strategy = match config.default.auth_strategy {
            Some(AuthStrategy::Noauth) => Strategy::Nobody,
            Some(AuthStrategy::HttpBasic) => {
                Strategy::Basic(basic::Basic::new(&config.default.http_basic_auth_user_file))
            }
            Some(AuthStrategy::Keystone) => Strategy::Keystone(Box::new(keystone::Keystone::new(
                &config.keystone_authtoken,
            )?)),
            None => Strategy::Refuse,
        };
        Ok(Arc::new(Self {
            strategy,
            policy: Enforcer::load(policy_settings(config))?,
            service_project: config
                .default
                .rbac_service_role_elevated_access
                .then(|| config.default.rbac_service_project_name.clone()),
            ramdisk_rate: RateLimit::new(config.api.ramdisk_requests_per_minute),
        }))
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// 401 with the challenge, 400 for a header that cannot be read, 503 when Keystone does not answer.
    pub async fn caller(
        &self,
        method: &http::Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, ApiFault> {
        let caller = match &self.strategy {
            Strategy::Nobody => Caller::nobody(false),
            Strategy::Basic(basic) => Caller::named(basic.user(headers).await?),
            Strategy::Keystone(keystone) => keystone.caller(method, path, headers).await?,
            Strategy::Refuse => {
                return Err(answer(
                    StatusCode::UNAUTHORIZED,
                    "No authentication strategy is configured",
                ));
            }
        };
        Ok(caller.in_service_project(self.service_project.as_deref()))
    }

    /// Who calls a public route.
    pub fn anybody(&self) -> Caller {
        Caller::nobody(true).in_service_project(self.service_project.as_deref())
    }

    /// Whether the policy decides what callers may do.
    pub(super) fn policed(&self) -> bool {
        matches!(self.strategy, Strategy::Keystone(_))
    }
}

fn policy_settings(config: &Config) -> Settings {
    let policy = &config.oslo_policy;
    let default_name = policy
        .policy_file
        .file_name()
        .is_some_and(|name| name == "policy.yaml");
    if !policy.policy_file.exists() {
        tracing::info!(
            file = %policy.policy_file.display(),
            "there is no policy file: the default policies are in force"
        );
    }
    Settings {
        policy_file: policy.policy_file.clone(),
        file_expected: !default_name,
        policy_dirs: policy.policy_dirs.iter().map(Into::into).collect(),
        policy_default_rule: policy.policy_default_rule.clone(),
        enforce_scope: policy.enforce_scope,
        enforce_new_defaults: policy.enforce_new_defaults,
    }
}

/// A refusal of authentication: neither wrapped nor with versions.
fn answer(status: StatusCode, text: &str) -> ApiFault {
    ApiFault {
        shape: Shape::Auth,
        versions: VersionHeaders::None,
        ..ApiFault::new(status, text)
    }
}
