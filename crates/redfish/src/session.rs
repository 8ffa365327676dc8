//! Sessions: one login for many requests (DSP0266, "Redfish session login authentication").
//!
//! A wrong password is offered once: a BMC that refuses it for a session is not asked again with basic authentication.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::target::AuthType;

/// How a request is authenticated.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    None,
    Basic,
    Session {
        token: SecretString,
        /// What is deleted to log out.
        location: Option<String>,
    },
}

/// What is known about logging in; `None` before the first request and after a session was lost.
#[derive(Debug, Default)]
pub(crate) struct Login {
    now: Option<Credentials>,
    /// This BMC offers no sessions.
    basic: bool,
}

impl Client {
    pub(crate) fn basic(&self) -> Credentials {
        if self.0.target.username.is_empty() {
            Credentials::None
        } else {
            Credentials::Basic
        }
    }

    /// Logs in where that is needed; others who come meanwhile wait for it.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Error> {
        let target = &self.0.target;
        if target.username.is_empty() || target.auth == AuthType::Basic {
            return Ok(self.basic());
        }
        let mut login = self.0.login.lock().await;
        if let Some(now) = &login.now {
            return Ok(now.clone());
        }
        if login.basic {
            return Ok(Credentials::Basic);
        }
        let made = match self.log_in().await {
            Ok(Some(session)) => session,
            Ok(None) if target.auth == AuthType::Auto => {
                login.basic = true;
                Credentials::Basic
            }
            Ok(None) => return Err(self.missing("sessions, which redfish_auth_type asks for")),
            // full, or a session service that does not work: this time without
            Err(Error::Refused { .. } | Error::Malformed { .. })
                if target.auth == AuthType::Auto =>
            {
                return Ok(Credentials::Basic);
            }
            Err(error) => return Err(error),
        };
        login.now = Some(made.clone());
        Ok(made)
    }

    /// `None`: this BMC has no sessions.
    async fn log_in(&self) -> Result<Option<Credentials>, Error> {
        let root = self.root().await?;
        let path = match root.link(&["Links", "Sessions"]) {
            Some(link) => self.local(link)?,
            None => match root.link(&["SessionService"]) {
                Some(link) => format!("{}/Sessions", self.local(link)?.trim_end_matches('/')),
                None => return Ok(None),
            },
        };
        let body = json!({
            "UserName": self.0.target.username,
            "Password": self.0.target.password.expose_secret(),
        });
        let raw = self
            .once(&Method::POST, &path, Some(&body), None, &Credentials::None)
            .await?;
        match raw.status {
            401 => return Err(self.not_let_in()),
            404 | 405 | 501 => return Ok(None),
            _ => {}
        }
        let token = raw.token.clone();
        let answer = self.answer(&Method::POST, raw)?;
        let Some(token) = token else {
            return Ok(None);
        };
        let location = answer.location.or_else(|| {
            let link = crate::resource::text(&answer.body, &["@odata.id"])?;
            self.0.target.address.local(link).ok()
        });
        Ok(Some(Credentials::Session {
            token: token.into(),
            location,
        }))
    }

    /// After a 401: whether another try with other credentials makes sense.
    pub(crate) async fn forget(&self, refused: &Credentials) -> bool {
        let Credentials::Session { token, .. } = refused else {
            return false;
        };
        let mut login = self.0.login.lock().await;
        // another request may have logged in anew meanwhile
        if let Some(Credentials::Session { token: now, .. }) = &login.now
            && now.expose_secret() == token.expose_secret()
        {
            login.now = None;
        }
        true
    }

    /// Logs out. The client can be used again and logs in anew then.
    pub async fn close(&self) {
        let session = self.0.login.lock().await.now.take();
        let Some(
            credentials @ Credentials::Session {
                location: Some(_), ..
            },
        ) = session
        else {
            return;
        };
        if let Credentials::Session {
            location: Some(path),
            ..
        } = &credentials
        {
            let ended = self
                .once(&Method::DELETE, path, None, None, &credentials)
                .await;
            if let Err(error) = ended {
                tracing::debug!("a session was left open: {error}");
            }
        }
    }
}
