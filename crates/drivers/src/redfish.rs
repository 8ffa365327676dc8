//! Sessions to BMCs over Redfish, one client per distinct set of credentials, shared by all interfaces.
//!
//! A wrong password never locks an account: after a refusal the credentials rest for a while and calls are answered from the
//! refusal. `driver_info` is read as upstream reads it, and refused in its words.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_model::{Class, Fault, FaultKind, Node, py_repr};
use bessemer_redfish::{
    Address, AuthType, Client, Error, System, Target, Timing, TlsPolicy, TlsVersion, Transports,
    Trust,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::interface::{Property, info_text};

/// How long refused credentials are not tried again.
const REFUSED_REST: Duration = Duration::from_secs(30);
/// Unused sessions are closed after this.
const IDLE: Duration = Duration::from_secs(180);

/// `driver_info` members of the Redfish interfaces (names and meaning are upstream's).
pub const REDFISH_PROPERTIES: &[Property] = &[
    Property {
        name: "redfish_address",
        required: true,
        description: "Address of the BMC's Redfish service, for example https://mgmt.example.com; https is assumed. A path in it is where the service begins. Required.",
    },
    Property {
        name: "redfish_system_id",
        required: false,
        description: "Path of the node's ComputerSystem, for example /redfish/v1/Systems/1. Needed only where the BMC manages several.",
    },
    Property {
        name: "redfish_username",
        required: false,
        description: "User name on the BMC, with the rights of an administrator.",
    },
    Property {
        name: "redfish_password",
        required: false,
        description: "Password of that user.",
    },
    Property {
        name: "redfish_verify_ca",
        required: false,
        description: "Whom to trust: true (the system's authorities, or [redfish] verify_ca), false (anyone), a file or directory with certificates of authorities or of the BMC itself, or sha256: and the fingerprint of the BMC's certificate. True when absent.",
    },
    Property {
        name: "redfish_auth_type",
        required: false,
        description: "How to log in: basic, session, or auto (a session where there are any). [redfish] auth_type when absent.",
    },
    Property {
        name: "redfish_tls_minimum_version",
        required: false,
        description: "Oldest version of TLS that may be spoken: 1.1 (which means 1.2 here), 1.2 or 1.3. [redfish] tls_minimum_version when absent.",
    },
    Property {
        name: "redfish_tls_ciphers",
        required: false,
        description: "Cipher suites that may be used, in OpenSSL's names, separated by colons. [redfish] tls_ciphers when absent.",
    },
    Property {
        name: "firmware_update_unresponsive_bmc_wait",
        required: false,
        description: "Seconds that a BMC is left alone after a firmware update was started.",
    },
];

/// `[redfish]` of the settings.
#[derive(Debug, Clone)]
pub struct RedfishSettings {
    /// `basic`, `session`, `auto`.
    pub auth_type: String,
    pub verify_ca: Option<String>,
    pub tls_minimum_version: Option<String>,
    pub tls_ciphers: Option<String>,
    pub connection_attempts: u32,
    pub connection_retry_interval: Duration,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    /// How long a boot mode or secure boot may take until it is in force; zero: not waited for.
    pub boot_mode_config_timeout: Duration,
    /// Between looks at settings that come into force with a restart, and at volumes.
    pub raid_config_status_interval: Duration,
    pub firmware_update_status_interval: Duration,
    /// How long all updates of a step may take together.
    pub firmware_update_overall_timeout: Duration,
    pub enable_verify_bmc_clock: bool,
}

impl Default for RedfishSettings {
    fn default() -> Self {
        Self {
            auth_type: "auto".into(),
            verify_ca: None,
            tls_minimum_version: None,
            tls_ciphers: None,
            connection_attempts: 5,
            connection_retry_interval: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            boot_mode_config_timeout: Duration::from_secs(900),
            raid_config_status_interval: Duration::from_secs(60),
            firmware_update_status_interval: Duration::from_secs(60),
            firmware_update_overall_timeout: Duration::from_secs(7200),
            enable_verify_bmc_clock: false,
        }
    }
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    address: Address,
    system: Option<String>,
    user: String,
    auth: AuthType,
    tls: TlsPolicy,
    secret: [u8; 32],
}

struct Entry {
    client: Client,
    refused: Option<(Instant, Fault)>,
    used: Instant,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct RedfishBmcs {
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
    settings: Arc<RedfishSettings>,
    transports: Transports,
}

impl RedfishBmcs {
    #[must_use]
    pub fn new(settings: RedfishSettings) -> Self {
        Self {
            entries: Arc::default(),
            transports: Transports::new(settings.connect_timeout, IDLE),
            settings: Arc::new(settings),
        }
    }

    #[must_use]
    pub fn settings(&self) -> &RedfishSettings {
        &self.settings
    }

    /// Checks the node's `redfish_*` members without asking the BMC.
    ///
    /// # Errors
    /// A sentence that names the member, in upstream's words.
    pub fn validate(&self, node: &Node) -> Result<(), Fault> {
        self.target(node).map(drop)
    }

    fn target(&self, node: &Node) -> Result<Target, Fault> {
        let info = &node.driver_info;
        let given = |key: &str| info.get(key).filter(|v| !v.is_null());
        let address = match given("redfish_address") {
            None => return Err(missing_address(node)),
            Some(value) if py_false(value) => return Err(missing_address(node)),
            Some(value) => value,
        };
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => py_repr(other),
        };
        let address = address
            .as_str()
            .and_then(|text| Address::parse(text).ok())
            .ok_or_else(|| {
                Fault::invalid(format!(
                    "Invalid Redfish address {} set in driver_info/redfish_address on node {}",
                    shown(address),
                    node.id
                ))
            })?;
        let system = match given("redfish_system_id") {
            None => None,
            Some(Value::String(path)) => {
                let local = if path.starts_with('/') || path.is_empty() {
                    path.replace(' ', "%20")
                } else {
                    format!("/{}", path.replace(' ', "%20"))
                };
                if !path.is_empty() && address.local(&local).is_err() {
                    return Err(bad_system(node, &Value::String(path.clone())));
                }
                Some(path.clone()).filter(|p| !p.is_empty())
            }
            Some(other) => return Err(bad_system(node, other)),
        };
        let auth =
            info_text(node, "redfish_auth_type").unwrap_or_else(|| self.settings.auth_type.clone());
        let auth = match auth.as_str() {
            "basic" => AuthType::Basic,
            "session" => AuthType::Session,
            "auto" => AuthType::Auto,
            other => {
                return Err(Fault::invalid(format!(
                    "Invalid value \"{other}\" set in driver_info/redfish_auth_type on node {}. The value should be one of \"basic\", \"session\" or \"auto\".",
                    node.id
                )));
            }
        };
        Ok(Target {
            address,
            system,
            username: info_text(node, "redfish_username").unwrap_or_default(),
            password: SecretString::from(info_text(node, "redfish_password").unwrap_or_default()),
            auth,
            tls: self.tls(node)?,
        })
    }

    fn tls(&self, node: &Node) -> Result<TlsPolicy, Fault> {
        let oldest = info_text(node, "redfish_tls_minimum_version")
            .or_else(|| self.settings.tls_minimum_version.clone());
        let oldest = match oldest.as_deref() {
            None | Some("1.1" | "1.2") => TlsVersion::V12,
            Some("1.3") => TlsVersion::V13,
            Some(other) => {
                return Err(Fault::invalid(format!(
                    "Invalid value \"{other}\" set in driver_info/redfish_tls_minimum_version on node {}. The value should be one of \"1.1\", \"1.2\", or \"1.3\".",
                    node.id
                )));
            }
        };
        let ciphers = info_text(node, "redfish_tls_ciphers")
            .or_else(|| self.settings.tls_ciphers.clone())
            .unwrap_or_default();
        let ciphers = TlsPolicy::ciphers(&ciphers).map_err(|why| {
            Fault::invalid(format!(
                "driver_info/redfish_tls_ciphers of node {} cannot be used: {why}.",
                node.label()
            ))
        })?;
        Ok(TlsPolicy {
            trust: self.trust(node)?,
            oldest,
            ciphers,
        })
    }

    fn trust(&self, node: &Node) -> Result<Trust, Fault> {
        let bad = |value: &str| {
            Fault::invalid(format!(
                "Invalid value type set in driver_info/redfish_verify_ca on node {}. The value should be a Boolean or the path to a file/directory, not \"{value}\"",
                node.id
            ))
        };
        let text = match node.driver_info.get("redfish_verify_ca") {
            None | Some(Value::Null | Value::Bool(true)) => match &self.settings.verify_ca {
                None => return Ok(Trust::System),
                Some(path) => path.as_str(),
            },
            Some(Value::Bool(false)) => return Ok(Trust::Anyone),
            Some(Value::String(text)) => text.as_str(),
            Some(other) => return Err(bad(&py_repr(other))),
        };
        if let Some(hex) = text.strip_prefix("sha256:") {
            return fingerprint(hex).map(Trust::Fingerprint).ok_or_else(|| {
                Fault::invalid(format!(
                    "driver_info/redfish_verify_ca of node {} is no SHA-256: expected sha256: and 64 hexadecimal digits, with or without colons.",
                    node.label()
                ))
            });
        }
        let path = PathBuf::from(text);
        if path.is_file() || path.is_dir() {
            return Ok(Trust::Authorities(path));
        }
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Ok(Trust::System),
            "0" | "f" | "false" | "off" | "n" | "no" => Ok(Trust::Anyone),
            _ => Err(bad(text)),
        }
    }

    /// The node's client.
    ///
    /// # Errors
    /// As [`RedfishBmcs::validate`]; the refusal of its credentials, while they rest.
    fn client(&self, node: &Node) -> Result<(Client, Key), Fault> {
        let target = self.target(node)?;
        let key = Key {
            address: target.address.clone(),
            system: target.system.clone(),
            user: target.username.clone(),
            auth: target.auth,
            tls: target.tls.clone(),
            secret: sha2::Digest::finalize(sha2::Digest::chain_update(
                sha2::Sha256::default(),
                target.password.expose_secret().as_bytes(),
            ))
            .into(),
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&key) {
            entry.used = Instant::now();
            match &entry.refused {
                Some((at, fault)) if at.elapsed() < REFUSED_REST => return Err(fault.clone()),
                _ => entry.refused = None,
            }
            return Ok((entry.client.clone(), key));
        }
        let timing = Timing {
            request: self.settings.read_timeout,
            attempts: self.settings.connection_attempts.max(1),
            pause: self.settings.connection_retry_interval,
        };
        let client = Client::new(target, timing, &self.transports).map_err(|e| fault(&e))?;
        entries.insert(
            key.clone(),
            Entry {
                client: client.clone(),
                refused: None,
                used: Instant::now(),
            },
        );
        Ok((client, key))
    }

    /// Runs `call` with the node's client.
    ///
    /// # Errors
    /// The Redfish error as a sentence, with its class; a fault of the call itself.
    pub async fn with<T, E, F>(
        &self,
        node: &Node,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<Trouble>,
    {
        let (client, key) = self.client(node)?;
        call(client).await.map_err(|error| match error.into() {
            Trouble::Fault(fault) => fault,
            Trouble::Redfish(error) => {
                let fault = fault(&error);
                if matches!(error, Error::AuthenticationFailed { .. }) {
                    let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(entry) = entries.get_mut(&key) {
                        entry.refused = Some((Instant::now(), fault.clone()));
                    }
                }
                fault
            }
        })
    }

    /// As [`RedfishBmcs::with`], with the system's document read.
    ///
    /// # Errors
    /// As there.
    pub async fn on_system<T, E, F>(
        &self,
        node: &Node,
        call: impl FnOnce(Client, System) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<Trouble>,
    {
        self.with(node, |client| async move {
            let system = client.system().await?;
            call(client, system).await.map_err(Into::into)
        })
        .await
    }

    /// Logs out of what was not used for three minutes and forgets its credentials. Called now and then by the conductor, and
    /// once with `everything` at its end.
    pub async fn close_idle(&self, everything: bool) {
        let old: Vec<Client> = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let keys: Vec<Key> = entries
                .iter()
                .filter(|(_, e)| everything || e.used.elapsed() > IDLE)
                .map(|(k, _)| k.clone())
                .collect();
            keys.iter()
                .filter_map(|k| entries.remove(k))
                .map(|e| e.client)
                .collect()
        };
        for client in old {
            client.close().await;
        }
    }
}

/// What a call to a BMC can end with besides its answer.
#[derive(Debug)]
pub enum Trouble {
    Redfish(Error),
    Fault(Fault),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Redfish(error)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

pub(crate) fn fault(error: &Error) -> Fault {
    let class = match error.class() {
        bessemer_redfish::Class::RetryNow => Class::RetryNow,
        bessemer_redfish::Class::RetryLater => Class::RetryLater,
        bessemer_redfish::Class::Never => Class::Never,
    };
    Fault::new(FaultKind::Hardware, class, error.to_string())
}

fn missing_address(node: &Node) -> Fault {
    Fault::new(
        FaultKind::MissingParameter,
        Class::Never,
        format!(
            "Missing the following Redfish properties in node {} driver_info: ['redfish_address']",
            node.id
        ),
    )
}

fn bad_system(node: &Node, value: &Value) -> Fault {
    let shown = match value {
        Value::String(text) => text.clone(),
        other => py_repr(other),
    };
    Fault::invalid(format!(
        "Invalid value \"{shown}\" set in driver_info/redfish_system_id on node {}. The value should be a path (string) to the resource that the driver will interact with. For example: /redfish/v1/Systems/1",
        node.id
    ))
}

/// What upstream takes for absent.
fn py_false(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

fn fingerprint(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect();
    if digits.len() != 64 {
        return None;
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Timestamp};
    use serde_json::json;

    fn node(info: Value) -> Node {
        let mut node = Node::new(NodeId::random(), "redfish", Timestamp(0));
        node.driver_info = info.as_object().unwrap().clone();
        node
    }

    #[test]
    fn members_are_checked_in_upstreams_words() {
        let bmcs = RedfishBmcs::new(RedfishSettings::default());
        let check = |info: Value, expected: Option<&str>| {
            let node = node(info.clone());
            let text = bmcs.validate(&node).err().map(|f| f.text);
            let expected = expected.map(|e| e.replace("UUID", &node.id.to_string()));
            match expected {
                None => assert_eq!(text, None, "{info}"),
                Some(part) => assert!(
                    text.as_deref().is_some_and(|t| t.contains(&part)),
                    "{info}: {text:?}"
                ),
            }
        };
        check(
            json!({}),
            Some(
                "Missing the following Redfish properties in node UUID driver_info: ['redfish_address']",
            ),
        );
        check(json!({"redfish_address": ""}), Some("['redfish_address']"));
        check(json!({"redfish_address": "https://bmc"}), None);
        check(json!({"redfish_address": "fe80::1"}), None);
        check(
            json!({"redfish_address": 5}),
            Some("Invalid Redfish address 5 set in driver_info/redfish_address on node UUID"),
        );
        check(
            json!({"redfish_address": "https://"}),
            Some("Invalid Redfish address https:// set"),
        );
        let with = |key: &str, value: Value| {
            let mut info = json!({"redfish_address": "bmc"});
            info[key] = value;
            info
        };
        check(
            with("redfish_system_id", json!("/redfish/v1/Systems/1")),
            None,
        );
        check(
            with("redfish_system_id", json!(["x"])),
            Some("Invalid value \"['x']\" set in driver_info/redfish_system_id"),
        );
        check(
            with("redfish_system_id", json!("/a/../b")),
            Some("redfish_system_id"),
        );
        check(
            with("redfish_auth_type", json!("magic")),
            Some(
                "Invalid value \"magic\" set in driver_info/redfish_auth_type on node UUID. The value should be one of \"basic\", \"session\" or \"auto\".",
            ),
        );
        for fine in [
            json!(true),
            json!(false),
            json!("True"),
            json!("no"),
            json!("/etc"),
            json!(format!("sha256:{}", "aB".repeat(32))),
        ] {
            check(with("redfish_verify_ca", fine), None);
        }
        for bad in [json!("/nonexistent/ca.pem"), json!(7), json!("sha256:12")] {
            check(with("redfish_verify_ca", bad), Some("redfish_verify_ca"));
        }
        check(with("redfish_tls_minimum_version", json!("1.3")), None);
        check(
            with("redfish_tls_minimum_version", json!("1.0")),
            Some("The value should be one of \"1.1\", \"1.2\", or \"1.3\"."),
        );
        check(
            with("redfish_tls_ciphers", json!("ECDHE-RSA-AES256-GCM-SHA384")),
            None,
        );
        check(
            with("redfish_tls_ciphers", json!("RC4")),
            Some("RC4 is none of the cipher suites"),
        );
    }
}
