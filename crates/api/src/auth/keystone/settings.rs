//! `[keystone_authtoken]` as the client needs it.

use bessemer_config::KeystoneAuthtoken;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

/// What is missing or cannot be used, in words.
#[derive(Debug, thiserror::Error)]
#[error("[keystone_authtoken] {0}")]
pub struct SettingsError(pub String);

/// Where Keystone is: its v3 API without a slash at the end.
///
/// # Errors
/// When `auth_url` is missing or no URL.
pub fn base(config: &KeystoneAuthtoken) -> Result<String, SettingsError> {
    let text = config.auth_url.as_deref().ok_or_else(|| {
        SettingsError(
            "auth_url is not set: tokens can be validated by Keystone only; give the URL of its API, such as https://keystone.example.com:5000/v3"
                .into(),
        )
    })?;
    versioned(text).ok_or_else(|| {
        SettingsError(format!(
            "auth_url \"{text}\" is no http or https URL without user and password"
        ))
    })
}

/// The URL with `/v3`; `None` for what is none.
pub fn versioned(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none();
    let text = text.trim_end_matches('/');
    plain.then(|| {
        if text.ends_with("/v3") {
            text.to_owned()
        } else {
            format!("{text}/v3")
        }
    })
}

/// The body that gets the service's own token. Secret: it carries the password.
///
/// # Errors
/// Names what is missing.
pub fn credentials(config: &KeystoneAuthtoken) -> Result<Value, SettingsError> {
    let missing = |what: &str| SettingsError(format!("{what} is not set"));
    match config.auth_type.as_str() {
        "password" | "v3password" => {
            let password = config
                .password
                .as_ref()
                .ok_or_else(|| missing("password"))?;
            let mut user = Map::new();
            match (&config.user_id, &config.username) {
                (Some(id), _) => {
                    user.insert("id".into(), id.clone().into());
                }
                (None, Some(name)) => {
                    user.insert("name".into(), name.clone().into());
                    let domain = domain(&config.user_domain_id, &config.user_domain_name)
                        .ok_or_else(|| missing("user_domain_name (or user_domain_id)"))?;
                    user.insert("domain".into(), domain);
                }
                (None, None) => return Err(missing("username")),
            }
            user.insert("password".into(), password.expose_secret().into());
            let mut auth = json!({
                "identity": {"methods": ["password"], "password": {"user": user}}
            });
            if let Some(scope) = scope(config)? {
                auth["scope"] = scope;
            }
            Ok(json!({"auth": auth}))
        }
        "v3applicationcredential" => {
            let id = config
                .application_credential_id
                .as_ref()
                .ok_or_else(|| missing("application_credential_id"))?;
            let secret = config
                .application_credential_secret
                .as_ref()
                .ok_or_else(|| missing("application_credential_secret"))?;
            Ok(json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": id, "secret": secret.expose_secret()},
            }}}))
        }
        other => Err(SettingsError(format!(
            "auth_type \"{other}\" is not supported; use \"password\" or \"v3applicationcredential\""
        ))),
    }
}

fn domain(id: &Option<String>, name: &Option<String>) -> Option<Value> {
    match (id, name) {
        (Some(id), _) => Some(json!({"id": id})),
        (None, Some(name)) => Some(json!({"name": name})),
        (None, None) => None,
    }
}

/// Of the service's own token: the system, or the project of the service.
fn scope(config: &KeystoneAuthtoken) -> Result<Option<Value>, SettingsError> {
    match config.system_scope.as_deref() {
        Some("all") => return Ok(Some(json!({"system": {"all": true}}))),
        Some(other) => {
            return Err(SettingsError(format!(
                "system_scope \"{other}\": only \"all\" exists"
            )));
        }
        None => {}
    }
    match (&config.project_id, &config.project_name) {
        (Some(id), _) => Ok(Some(json!({"project": {"id": id}}))),
        (None, Some(name)) => {
            let domain = domain(&config.project_domain_id, &config.project_domain_name)
                .ok_or_else(|| {
                    SettingsError("project_domain_name (or project_domain_id) is not set".into())
                })?;
            Ok(Some(json!({"project": {"name": name, "domain": domain}})))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(versioned(text).as_deref(), want, "{text}");
        };
        check("http://k:5000", Some("http://k:5000/v3"));
        check("http://k:5000/v3/", Some("http://k:5000/v3"));
        check("https://k/identity", Some("https://k/identity/v3"));
        check("k:5000", None);
        check("ftp://k", None);
        check("http://u:p@k", None);
        check("http://k/?a=b", None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut config = KeystoneAuthtoken {
            auth_url: Some("http://k".into()),
            ..KeystoneAuthtoken::default()
        };
        let mut check = |want: &str, change: fn(&mut KeystoneAuthtoken)| {
            let why = credentials(&config).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
            change(&mut config);
        };
        check("password is not set", |c| c.password = Some("p".into()));
        check("username is not set", |c| c.username = Some("u".into()));
        check("user_domain_name", |c| {
            c.user_domain_name = Some("Default".into())
        });
        assert!(credentials(&config).is_ok());
        config.project_name = Some("service".into());
        assert!(
            credentials(&config)
                .unwrap_err()
                .to_string()
                .contains("project_domain_name")
        );
        config.project_domain_id = Some("default".into());
        let body = credentials(&config).unwrap();
        assert_eq!(body["auth"]["scope"]["project"]["domain"]["id"], "default");
        config.auth_type = "v3oidc".into();
        assert!(
            credentials(&config)
                .unwrap_err()
                .to_string()
                .contains("v3oidc")
        );
    }
}
