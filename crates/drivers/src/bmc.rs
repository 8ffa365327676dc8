//! Sessions to BMCs over IPMI, one client per distinct set of credentials, shared by all interfaces.
//!
//! A wrong password never locks an account: after a refusal the credentials rest for a while and calls
//! are answered from the refusal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_ipmi::{CipherSuite, Client, Privilege, Target, Timing};
use bessemer_model::{Class, Fault, FaultKind, Node};
use secrecy::{ExposeSecret, SecretString};

use crate::interface::{Property, info_text, require};

/// How long refused credentials are not tried again.
const REFUSED_REST: Duration = Duration::from_secs(30);
/// Idle sessions are closed after this.
const IDLE: Duration = Duration::from_secs(60);

/// `driver_info` members of the IPMI interfaces (names and meaning are upstream's).
pub const IPMI_PROPERTIES: &[Property] = &[
    Property {
        name: "ipmi_address",
        required: true,
        description: "IP address or hostname of the node's BMC. Required.",
    },
    Property {
        name: "ipmi_username",
        required: false,
        description: "User name on the BMC; the NULL user when absent.",
    },
    Property {
        name: "ipmi_password",
        required: false,
        description: "Password of that user.",
    },
    Property {
        name: "ipmi_port",
        required: false,
        description: "UDP port of the BMC; 623 when absent.",
    },
    Property {
        name: "ipmi_priv_level",
        required: false,
        description: "Privilege level asked for: ADMINISTRATOR (default), OPERATOR, USER, CALLBACK.",
    },
    Property {
        name: "ipmi_hex_kg_key",
        required: false,
        description: "Kg key of the BMC, an even number of hexadecimal digits.",
    },
    Property {
        name: "ipmi_cipher_suite",
        required: false,
        description: "Cipher suite, 17 or 3; when absent 17 is tried, then 3.",
    },
    Property {
        name: "ipmi_protocol_version",
        required: false,
        description: "Only 2.0 (the default) is supported.",
    },
    Property {
        name: "ipmi_disable_boot_timeout",
        required: false,
        description: "Whether the BMC's 60 s limit on boot device changes is switched off first; default from the settings.",
    },
];

#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    address: String,
    port: u16,
    user: String,
    privilege: String,
    suite: Option<String>,
    secret: [u8; 32],
}

struct Entry {
    client: Client,
    refused: Option<(Instant, Fault)>,
    used: Instant,
}

/// Is told of every call to a BMC: protocol, how it ended (`ok`, `retry_now`, `retry_later`, `never`), how long it took.
pub type Observer = Arc<dyn Fn(&'static str, &'static str, Duration) + Send + Sync>;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Bmcs {
    observer: Option<Observer>,
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
    timing: Timing,
    suites: Vec<CipherSuite>,
}

impl Bmcs {
    /// `timing` bounds one command; `suites` limits what is offered when the node names none.
    #[must_use]
    pub fn new(timing: Timing, suites: Vec<CipherSuite>) -> Self {
        Self {
            observer: None,
            entries: Arc::default(),
            timing,
            suites,
        }
    }

    /// The same pool, whose calls are told to `observer`.
    #[must_use]
    pub fn observed_by(self, observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Checks the node's `ipmi_*` members without asking the BMC.
    ///
    /// # Errors
    /// A sentence that names the member.
    pub fn validate(&self, node: &Node) -> Result<(), Fault> {
        self.target(node).map(|_| ())
    }

    fn target(&self, node: &Node) -> Result<(Target, Key), Fault> {
        require(node, IPMI_PROPERTIES)?;
        let bad = |key: &str, why: &str| {
            Fault::invalid(format!(
                "driver_info/{key} of node {} cannot be used: {why}.",
                node.label()
            ))
        };
        let address = info_text(node, "ipmi_address").unwrap_or_default();
        let user = info_text(node, "ipmi_username").unwrap_or_default();
        let password = SecretString::from(info_text(node, "ipmi_password").unwrap_or_default());
        let mut target = Target::new(address.clone(), user.clone(), password);
        if user.len() > bessemer_ipmi::MAX_USERNAME {
            return Err(bad("ipmi_username", "IPMI allows at most 16 characters"));
        }
        if target.password.expose_secret().len() > bessemer_ipmi::MAX_PASSWORD {
            return Err(bad("ipmi_password", "IPMI allows at most 20 characters"));
        }
        if let Some(port) = info_text(node, "ipmi_port") {
            target.port = port
                .parse()
                .ok()
                .filter(|p| *p != 0)
                .ok_or_else(|| bad("ipmi_port", "a port is a number from 1 to 65535"))?;
        }
        let privilege = info_text(node, "ipmi_priv_level")
            .unwrap_or_else(|| "ADMINISTRATOR".into())
            .to_ascii_uppercase();
        target.privilege = match privilege.as_str() {
            "ADMINISTRATOR" => Privilege::Administrator,
            "OPERATOR" => Privilege::Operator,
            "USER" => Privilege::User,
            "CALLBACK" => Privilege::Callback,
            _ => {
                return Err(bad(
                    "ipmi_priv_level",
                    "expected ADMINISTRATOR, OPERATOR, USER or CALLBACK",
                ));
            }
        };
        let suite = info_text(node, "ipmi_cipher_suite");
        target.suite = match suite.as_deref() {
            Some("17") => Some(CipherSuite::Suite17),
            Some("3") => Some(CipherSuite::Suite3),
            Some(_) => return Err(bad("ipmi_cipher_suite", "expected 17 or 3")),
            None => match self.suites.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
        };
        match info_text(node, "ipmi_protocol_version").as_deref() {
            None | Some("2.0" | "2") => {}
            Some(_) => return Err(bad("ipmi_protocol_version", "only 2.0 is supported")),
        }
        if let Some(text) = info_text(node, "ipmi_hex_kg_key") {
            let bytes = unhex(&text).ok_or_else(|| {
                bad(
                    "ipmi_hex_kg_key",
                    "expected an even number of hexadecimal digits",
                )
            })?;
            if bytes.len() > bessemer_ipmi::MAX_KG {
                return Err(bad("ipmi_hex_kg_key", "a Kg key has at most 20 bytes"));
            }
            target.kg = Some(bytes.into());
        }
        let mut hash = sha2::Sha256::default();
        sha2::Digest::update(&mut hash, target.password.expose_secret().as_bytes());
        if let Some(kg) = &target.kg {
            sha2::Digest::update(&mut hash, kg.expose_secret());
        }
        let secret = sha2::Digest::finalize(hash).into();
        let key = Key {
            address,
            port: target.port,
            user,
            privilege,
            suite,
            secret,
        };
        Ok((target, key))
    }

    /// Runs `call` with the node's client.
    ///
    /// # Errors
    /// The IPMI error as a sentence, with its class.
    pub async fn with<T, F>(&self, node: &Node, call: impl FnOnce(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, bessemer_ipmi::Error>>,
    {
        let (target, key) = self.target(node)?;
        let client = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.entry(key.clone()).or_insert_with(|| Entry {
                client: Client::new(target, self.timing),
                refused: None,
                used: Instant::now(),
            });
            entry.used = Instant::now();
            match &entry.refused {
                Some((at, fault)) if at.elapsed() < REFUSED_REST => return Err(fault.clone()),
                _ => entry.refused = None,
            }
            entry.client.clone()
        };
        let began = Instant::now();
        let ended = call(client).await;
        if let Some(observer) = &self.observer {
            let class = match &ended {
                Ok(_) => "ok",
                Err(error) => match error.class() {
                    bessemer_ipmi::Class::RetryNow => "retry_now",
                    bessemer_ipmi::Class::RetryLater => "retry_later",
                    bessemer_ipmi::Class::Never => "never",
                },
            };
            observer("ipmi", class, began.elapsed());
        }
        ended.map_err(|error| {
            let fault = fault(&error);
            if matches!(error, bessemer_ipmi::Error::AuthenticationFailed { .. }) {
                let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(entry) = entries.get_mut(&key) {
                    entry.refused = Some((Instant::now(), fault.clone()));
                }
            }
            fault
        })
    }

    /// Closes sessions that were not used for a minute and forgets their credentials. Called now and
    /// then by the conductor, and once with `everything` at its end.
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

fn fault(error: &bessemer_ipmi::Error) -> Fault {
    let class = match error.class() {
        bessemer_ipmi::Class::RetryNow => Class::RetryNow,
        bessemer_ipmi::Class::RetryLater => Class::RetryLater,
        bessemer_ipmi::Class::Never => Class::Never,
    };
    Fault::new(FaultKind::Hardware, class, error.to_string())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|p| u8::from_str_radix(p, 16).ok())
        })
        .collect()
}
