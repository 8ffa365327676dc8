//! RabbitMQ, as oslo.messaging's driver `rabbit` uses it.
//!
//! Each topic is a queue of that name, bound to the control exchange, so that messages wait for a consumer that has not come
//! yet. A message counts as delivered when the broker has confirmed it.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::Topics;

/// Port of a broker whose URL names none.
const PORT: u16 = 5672;
/// The same over TLS.
const TLS_PORT: u16 = 5671;

/// A URL of oslo.messaging cannot be used; names no secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

/// One broker of several.
#[derive(Clone)]
pub struct Host {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
}

/// Without the password.
impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

/// `rabbit://user:password@host:port,user:password@host:port/vhost`
#[derive(Debug, Clone)]
pub struct TransportUrl {
    /// Never empty.
    pub hosts: Vec<Host>,
    pub vhost: String,
    pub tls: bool,
}

fn wrong(text: impl Into<String>) -> UrlError {
    UrlError(text.into())
}

fn decoded(text: &str) -> Result<String, UrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| wrong("the transport URL holds percent signs that do not stand for UTF-8"))
}

impl TransportUrl {
    /// Reads what oslo.messaging reads. `tls`: as `[oslo_messaging_rabbit] ssl` says; the URL may say so too (`?ssl=1`).
    ///
    /// # Errors
    /// For another transport than RabbitMQ, and what is malformed.
    pub fn parse(url: &str, tls: bool) -> Result<Self, UrlError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("a transport URL looks like rabbit://user:password@host:5672/"))?;
        if !matches!(scheme, "rabbit" | "kombu") {
            return Err(wrong(format!(
                "the transport \"{}\" is not spoken, only rabbit",
                scheme.chars().take(20).collect::<String>()
            )));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let mut url = Self {
            hosts: Vec::new(),
            vhost: decoded(vhost)?,
            tls,
        };
        if url.vhost.is_empty() {
            url.vhost = "/".into();
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name != "ssl" {
                return Err(wrong(format!(
                    "the transport URL sets \"{}\": say it in [oslo_messaging_rabbit] (only ssl is understood here)",
                    name.chars().take(40).collect::<String>()
                )));
            }
            url.tls = matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            );
        }
        for part in hosts.split(',') {
            let host = url.host(part)?;
            url.hosts.push(host);
        }
        Ok(url)
    }

    fn host(&self, part: &str) -> Result<Host, UrlError> {
        let (account, address) = match part.rsplit_once('@') {
            Some((account, address)) => (Some(account), address),
            None => (None, part),
        };
        let (user, password) = match (account, self.hosts.last()) {
            (Some(account), _) => {
                let (user, password) = account.split_once(':').unwrap_or((account, ""));
                (decoded(user)?, SecretString::from(decoded(password)?))
            }
            (None, Some(before)) => (before.user.clone(), before.password.clone()),
            (None, None) => ("guest".to_owned(), SecretString::from("guest")),
        };
        // an IPv6 address stands in brackets
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("a bracket in the transport URL is not closed"))?;
                (host, after.strip_prefix(':'))
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("the transport URL names no host"));
        }
        let port = match port {
            None | Some("") => {
                if self.tls {
                    TLS_PORT
                } else {
                    PORT
                }
            }
            Some(port) => port
                .parse()
                .map_err(|_| wrong("a port in the transport URL is no port"))?,
        };
        Ok(Host {
            host: host.to_owned(),
            port,
            user,
            password,
        })
    }
}

/// How messages are published.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    pub url: TransportUrl,
    /// Certificates, PEM, that the broker's is checked by; `None` = the operating system's.
    pub ca: Option<String>,
    pub exchange: String,
    pub topics: Topics,
    pub durable: bool,
    pub auto_delete: bool,
    pub quorum: bool,
}

#[cfg(feature = "rabbitmq")]
pub use client::Rabbit;

#[cfg(feature = "rabbitmq")]
mod client {
    use std::collections::HashSet;
    use std::time::Duration;

    use async_trait::async_trait;
    use bessemer_store::Message;
    use lapin::options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    };
    use lapin::tcp::OwnedTLSConfig;
    use lapin::types::{AMQPValue, FieldTable};
    use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
    use lapin::{
        BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    };
    use secrecy::ExposeSecret as _;
    use tokio::sync::Mutex;

    use super::RabbitSettings;
    use crate::envelope::rabbit_body;
    use crate::{Receiver, Undelivered};

    /// How long the broker may take to answer.
    const PATIENCE: Duration = Duration::from_secs(20);
    const PERSISTENT: u8 = 2;

    /// See the module above.
    pub struct Rabbit {
        settings: RabbitSettings,
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        open: Option<Open>,
        /// The host that is tried next.
        next: usize,
    }

    struct Open {
        // closes when dropped
        _connection: Connection,
        channel: Channel,
        /// Queues that are there, as far as this connection knows.
        declared: HashSet<String>,
    }

    fn away(error: &lapin::Error) -> Undelivered {
        Undelivered::Away(format!("RabbitMQ: {error}"))
    }

    impl Rabbit {
        #[must_use]
        pub fn new(settings: RabbitSettings) -> Self {
            Self {
                settings,
                state: Mutex::default(),
            }
        }

        async fn connect(&self, number: usize) -> Result<Open, Undelivered> {
            let url = &self.settings.url;
            let host = url
                .hosts
                .get(number % url.hosts.len().max(1))
                .ok_or_else(|| Undelivered::Away("no host is named".into()))?;
            let uri = AMQPUri {
                scheme: if url.tls {
                    AMQPScheme::AMQPS
                } else {
                    AMQPScheme::AMQP
                },
                authority: AMQPAuthority {
                    userinfo: AMQPUserInfo {
                        username: host.user.clone(),
                        password: host.password.expose_secret().to_owned(),
                    },
                    host: host.host.clone(),
                    port: host.port,
                },
                vhost: url.vhost.clone(),
                query: AMQPQueryString {
                    heartbeat: Some(30),
                    ..AMQPQueryString::default()
                },
            };
            let tls = OwnedTLSConfig {
                identity: None,
                cert_chain: self.settings.ca.clone(),
            };
            let properties =
                ConnectionProperties::default().with_connection_name("bessemer".into());
            let runtime = lapin::runtime::default_runtime()
                .map_err(|error| Undelivered::Away(format!("the runtime: {error}")))?;
            let connection = Connection::connect_uri_with_config(uri, properties, tls, runtime)
                .await
                .map_err(|error| {
                    Undelivered::Away(format!("RabbitMQ at {}:{}: {error}", host.host, host.port))
                })?;
            let channel = connection.create_channel().await.map_err(|e| away(&e))?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .map_err(|e| away(&e))?;
            let settings = &self.settings;
            channel
                .exchange_declare(
                    settings.exchange.as_str().into(),
                    ExchangeKind::Topic,
                    ExchangeDeclareOptions {
                        durable: settings.durable || settings.quorum,
                        auto_delete: settings.auto_delete,
                        ..ExchangeDeclareOptions::default()
                    },
                    FieldTable::default(),
                )
                .await
                .map_err(|e| away(&e))?;
            Ok(Open {
                _connection: connection,
                channel,
                declared: HashSet::new(),
            })
        }

        /// A queue for a topic, where messages wait also when nobody consumes yet.
        async fn declare(&self, open: &mut Open, topic: &str) -> Result<(), Undelivered> {
            if open.declared.contains(topic) {
                return Ok(());
            }
            let settings = &self.settings;
            let mut arguments = FieldTable::default();
            if settings.quorum {
                arguments.insert(
                    "x-queue-type".into(),
                    AMQPValue::LongString("quorum".into()),
                );
            }
            open.channel
                .queue_declare(
                    topic.into(),
                    QueueDeclareOptions {
                        durable: settings.durable || settings.quorum,
                        auto_delete: settings.auto_delete,
                        ..QueueDeclareOptions::default()
                    },
                    arguments,
                )
                .await
                .map_err(|e| away(&e))?;
            open.channel
                .queue_bind(
                    topic.into(),
                    settings.exchange.as_str().into(),
                    topic.into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(|e| away(&e))?;
            open.declared.insert(topic.to_owned());
            Ok(())
        }

        /// Publishes all, then waits for the confirmations in order.
        async fn publish(
            &self,
            open: &mut Open,
            messages: &[Message],
            done: &mut usize,
        ) -> Result<(), Undelivered> {
            let mut waiting = Vec::with_capacity(messages.len());
            for message in messages {
                let body = rabbit_body(message).to_string();
                let mut confirms = Vec::new();
                for topic in self.settings.topics.of(message) {
                    self.declare(open, &topic).await?;
                    let confirm = open
                        .channel
                        .basic_publish(
                            self.settings.exchange.as_str().into(),
                            topic.into(),
                            BasicPublishOptions {
                                // what no queue takes comes back
                                mandatory: true,
                                ..BasicPublishOptions::default()
                            },
                            body.as_bytes(),
                            BasicProperties::default()
                                .with_content_type("application/json".into())
                                .with_content_encoding("utf-8".into())
                                .with_delivery_mode(PERSISTENT)
                                .with_priority(0),
                        )
                        .await
                        .map_err(|e| away(&e))?;
                    confirms.push(confirm);
                }
                waiting.push(confirms);
            }
            for confirms in waiting {
                for confirm in confirms {
                    match confirm.await.map_err(|e| away(&e))? {
                        Confirmation::Ack(None) => {}
                        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                            return Err(Undelivered::Away(
                                "RabbitMQ gave a message back: its queue is gone".into(),
                            ));
                        }
                        Confirmation::Nack(None) | Confirmation::NotRequested => {
                            return Err(Undelivered::Away(
                                "RabbitMQ did not confirm a message".into(),
                            ));
                        }
                    }
                }
                *done += 1;
            }
            Ok(())
        }

        async fn attempt(
            &self,
            state: &mut State,
            messages: &[Message],
            done: &mut usize,
        ) -> Result<(), Undelivered> {
            if state.open.is_none() {
                let number = state.next;
                // another host next time, unless this one works
                state.next = state.next.wrapping_add(1);
                state.open = Some(self.connect(number).await?);
                state.next = number;
            }
            let Some(open) = &mut state.open else {
                return Ok(());
            };
            self.publish(open, messages, done).await
        }
    }

    #[async_trait]
    impl Receiver for Rabbit {
        fn name(&self) -> &str {
            "rabbitmq"
        }

        fn attempts(&self) -> u32 {
            u32::MAX
        }

        async fn deliver(&self, messages: &[Message]) -> (usize, Option<Undelivered>) {
            let mut state = self.state.lock().await;
            let mut done = 0;
            let attempt = self.attempt(&mut state, messages, &mut done);
            let result = tokio::time::timeout(PATIENCE, attempt)
                .await
                .unwrap_or_else(|_| {
                    Err(Undelivered::Away(format!(
                        "RabbitMQ did not answer within {} s",
                        PATIENCE.as_secs()
                    )))
                });
            match result {
                Ok(()) => (done, None),
                Err(why) => {
                    // whatever it was, a new connection knows nothing of it
                    state.open = None;
                    (done, Some(why))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn urls() {
        let check = |url: &str, hosts: &[&str], vhost: &str, tls: bool| {
            let parsed = TransportUrl::parse(url, false).unwrap();
            let shown: Vec<String> = parsed.hosts.iter().map(|h| format!("{h:?}")).collect();
            assert_eq!(shown, hosts, "{url}");
            assert_eq!((parsed.vhost.as_str(), parsed.tls), (vhost, tls), "{url}");
        };
        check("rabbit://u:p@h:5673/v", &["u@h:5673"], "v", false);
        check("rabbit://u:p@h", &["u@h:5672"], "/", false);
        check("kombu://h/", &["guest@h:5672"], "/", false);
        check(
            "rabbit://u:p@a:1,b,v:q@c/x%2Fy?ssl=1",
            &["u@a:1", "u@b:5671", "v@c:5671"],
            "x/y",
            true,
        );
        check("rabbit://u:p@[::1]:5672//", &["u@::1:5672"], "/", false);
        let parsed = TransportUrl::parse("rabbit://u:p%40s:s@h,b/", false).unwrap();
        for host in &parsed.hosts {
            assert_eq!(host.password.expose_secret(), "p@s:s");
        }
        assert!(!format!("{parsed:?}").contains("p@s"));
    }

    #[test]
    fn what_is_refused_names_no_secret() {
        for url in [
            "amqp://u:hunter2@h/",
            "u:hunter2@h",
            "rabbit://u:hunter2@h:port/",
            "rabbit://u:hunter2@/",
            "rabbit://u:hunter2@h/?amqp_durable_queues=1",
            "rabbit://u:hunter2@[::1/",
            "rabbit://u:%ffhunter2@h/",
        ] {
            let error = TransportUrl::parse(url, false).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    /// Any text is read to an end.
    #[test]
    fn any_text() {
        let seed = "rabbit://u:p@h:5672,[::1]:1/v?ssl=1&";
        for at in 0..seed.len() {
            for byte in [b'@', b'/', b':', b'[', b'%', b',', b'?', 0x7f] {
                let mut bytes = seed.as_bytes().to_vec();
                bytes[at] = byte;
                let text = String::from_utf8(bytes).unwrap();
                let _ = TransportUrl::parse(&text, false);
                let _ = TransportUrl::parse(&text[..at], true);
            }
        }
    }
}
