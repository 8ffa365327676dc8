//! `keystone`: callers by their Keystone tokens.
//!
//! A token is opaque: Keystone's `GET /v3/auth/tokens` says whose it is, what for and with which roles, asked
//! with a token of the service's own ([`client`]). What it says is remembered for `token_cache_time`, under a
//! keyed digest and never longer than the token lives: a revoked token is known as such after that time at
//! the latest. Headers of the request never say who calls; only tokens do.
//! Specification: Keystone's Identity API v3 and keystonemiddleware's `auth_token`.

mod cache;
mod client;
mod settings;
mod token;

use bessemer_config::KeystoneAuthtoken;
use http::{HeaderMap, Method, StatusCode, header};

use super::caller::Caller;
use crate::fault::{ApiFault, Shape, VersionHeaders};
use cache::Cache;
use client::{Client, Failed};
pub use settings::SettingsError;
use token::Token;

/// Longest token that is looked at, bytes: Fernet and JWS tokens have a few hundred.
const LONGEST: usize = 8 * 1024;

pub struct Keystone {
    client: Client,
    cache: Cache,
    /// Told to clients without a token: where they get one.
    www_authenticate: String,
    service_token_roles: Vec<String>,
    service_token_roles_required: bool,
    /// Our own service in access rules of application credentials.
    service_type: Option<String>,
}

impl Keystone {
    /// # Errors
    /// Names the option that is missing or cannot be used.
    pub fn new(config: &KeystoneAuthtoken) -> Result<Self, SettingsError> {
        let client = Client::new(config)?;
        let uri = config
            .www_authenticate_uri
            .clone()
            .unwrap_or_else(|| client.auth_url().to_owned());
        if config.insecure {
            tracing::warn!(
                "[keystone_authtoken] insecure is set: whoever answers for Keystone is believed"
            );
        }
        if !config.service_token_roles_required {
            tracing::warn!(
                "[keystone_authtoken] service_token_roles_required is off: any valid token counts as a service token"
            );
        }
        Ok(Self {
            client,
            cache: Cache::new(config.token_cache_time),
            www_authenticate: format!("Keystone uri=\"{uri}\""),
            service_token_roles: config.service_token_roles.clone(),
            service_token_roles_required: config.service_token_roles_required,
            service_type: config.service_type.clone(),
        })
    }

    /// Who holds the tokens of a request.
    ///
    /// # Errors
    /// 401 with the challenge, 503 when Keystone does not answer as it should.
    pub async fn caller(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, ApiFault> {
        let given = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default().trim())
        };
        let service = match given("x-service-token") {
            None => None,
            Some(text) => Some(self.service(text).await?),
        };
        // only a service's own token lets an expired one pass: a long task of a user goes on
        let allow_expired = service.as_ref().is_some_and(|token| self.is_service(token));
        let Some(text) = given("x-auth-token").or_else(|| given("x-storage-token")) else {
            return Err(self.unauthorized());
        };
        let token = self.validated(text, allow_expired).await?;
        if service.is_none() && !token.may_call(self.service_type.as_deref(), method, path) {
            tracing::info!(
                user = token.user_id(),
                "the access rules of an application credential do not allow the request"
            );
            return Err(self.unauthorized());
        }
        Ok(token.caller(service.as_deref()))
    }

    async fn service(&self, text: &str) -> Result<std::sync::Arc<Token>, ApiFault> {
        let token = self.validated(text, false).await?;
        if self.service_token_roles_required && !self.is_service(&token) {
            tracing::info!(
                user = token.user_id(),
                "a service token has none of [keystone_authtoken] service_token_roles"
            );
            return Err(self.unauthorized());
        }
        Ok(token)
    }

    fn is_service(&self, token: &Token) -> bool {
        token
            .roles()
            .any(|role| self.service_token_roles.iter().any(|wanted| wanted == role))
    }

    async fn validated(
        &self,
        text: &str,
        allow_expired: bool,
    ) -> Result<std::sync::Arc<Token>, ApiFault> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(self.unauthorized());
        }
        if let Some(token) = self.cache.get(text)
            && (allow_expired || !token.expired())
        {
            return Ok(token);
        }
        match self.client.validate(text, allow_expired).await {
            Ok(token) if allow_expired || !token.expired() => {
                let token = std::sync::Arc::new(token);
                self.cache.put(text, &token);
                Ok(token)
            }
            Ok(_) | Err(Failed::Invalid) => Err(self.unauthorized()),
            Err(Failed::Unavailable(why)) => {
                tracing::error!("a token could not be validated: {why}");
                Err(refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The Keystone service is temporarily unavailable.",
                )
                .with_header(header::RETRY_AFTER, "5"))
            }
        }
    }

    fn unauthorized(&self) -> ApiFault {
        refusal(
            StatusCode::UNAUTHORIZED,
            "The request you have made requires authentication.",
        )
        .with_header(header::WWW_AUTHENTICATE, self.www_authenticate.clone())
    }
}

fn refusal(status: StatusCode, text: &str) -> ApiFault {
    ApiFault {
        shape: Shape::Keystone,
        versions: VersionHeaders::None,
        ..ApiFault::new(status, text)
    }
}
