//! Notifications: from the settings to what the store is told and who messages are sent to; and `bessemer notifications`.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use bessemer_config::{Config, NotificationDriver};
use bessemer_model::notification::Level;
use bessemer_notify::{Limits, Receiver, Sender, rabbit, webhook};
use bessemer_store::{Message, OutboxSettings, Store};
use clap::{Args, Subcommand};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;

use crate::database::Which;
use crate::wiring;

/// Name of RabbitMQ in the outbox.
const RABBIT: &str = "rabbitmq";

fn to_bus(config: &Config) -> bool {
    config
        .oslo_messaging_notifications
        .driver
        .contains(&NotificationDriver::Messagingv2)
}

/// Somebody is told something.
#[must_use]
pub fn has_receivers(config: &Config) -> bool {
    to_bus(config) || !config.notifications.webhook_urls.is_empty()
}

/// What the store is told; `None` when nobody is to be told anything.
///
/// # Errors
/// For a webhook's URL that cannot be used.
pub fn outbox(config: &Config) -> anyhow::Result<Option<Arc<OutboxSettings>>> {
    let level = config
        .default
        .notification_level
        .and_then(|level| Level::parse(level.as_str()));
    if level.is_none() && !config.sensor_data.send_sensor_data {
        return Ok(None);
    }
    let mut receivers = Vec::new();
    if to_bus(config) {
        receivers.push(RABBIT.to_owned());
    }
    for url in &config.notifications.webhook_urls {
        let (_, name) = webhook::name(url).context("[notifications] webhook_urls")?;
        anyhow::ensure!(
            !receivers.contains(&name),
            "[notifications] webhook_urls names \"{name}\" twice; receivers are told apart by what stands before a query, so let \
             their paths differ"
        );
        receivers.push(name);
    }
    if receivers.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(OutboxSettings {
        level,
        host: config.default.host.clone(),
        receivers,
    })))
}

/// What sends messages; `None` when there are none.
///
/// # Errors
/// For settings that cannot be used; names the option, and no secret.
pub fn sender(config: &Config, store: &Store) -> anyhow::Result<Option<Sender>> {
    if outbox(config)?.is_none() {
        return Ok(None);
    }
    let options = &config.notifications;
    let mut receivers: Vec<Arc<dyn Receiver>> = Vec::new();
    if to_bus(config) {
        receivers.push(bus(config)?);
    }
    if !options.webhook_urls.is_empty() {
        let secret = options.webhook_secret.as_ref().context(
            "[notifications] webhook_secret is not set: webhooks are signed, so that receivers know who sends them",
        )?;
        let secrets =
            Arc::new(webhook::Secrets::parse(secret).context("[notifications] webhook_secret")?);
        let tls =
            tls(options.webhook_ca_file.as_deref()).context("[notifications] webhook_ca_file")?;
        for url in &options.webhook_urls {
            let receiver = webhook::Webhook::new(
                url,
                Arc::clone(&secrets),
                options.webhook_timeout,
                options.webhook_attempts.max(1),
                tls.clone(),
            )
            .context("[notifications] webhook_urls")?;
            receivers.push(Arc::new(receiver));
        }
    }
    let limits = Limits {
        messages: options.keep_messages,
        time: options.keep_for,
    };
    let holder = config.default.host.clone();
    Ok(Some(Sender::new(store.clone(), receivers, limits, holder)))
}

fn bus(config: &Config) -> anyhow::Result<Arc<dyn Receiver>> {
    let rabbit = &config.oslo_messaging_rabbit;
    let url = config
        .oslo_messaging_notifications
        .transport_url
        .as_ref()
        .or(config.default.transport_url.as_ref())
        .context(
            "neither [oslo_messaging_notifications] transport_url nor [DEFAULT] transport_url is set, and \
             [oslo_messaging_notifications] driver sends notifications to the message bus",
        )?;
    let url = rabbit::TransportUrl::parse(url.expose_secret(), rabbit.ssl)
        .context("transport_url cannot be used")?;
    let ca = rabbit
        .ssl_ca_file
        .as_ref()
        .map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("[oslo_messaging_rabbit] ssl_ca_file {}", path.display()))
        })
        .transpose()?;
    connected(rabbit::RabbitSettings {
        url,
        ca,
        exchange: config.default.control_exchange.clone(),
        topics: bessemer_notify::Topics {
            versioned: config.default.versioned_notifications_topics.clone(),
            samples: config.oslo_messaging_notifications.topics.clone(),
        },
        durable: rabbit.amqp_durable_queues,
        auto_delete: rabbit.amqp_auto_delete,
        quorum: rabbit.rabbit_quorum_queue,
    })
}

#[cfg(feature = "rabbitmq")]
#[allow(clippy::unnecessary_wraps)] // the other one fails
fn connected(settings: rabbit::RabbitSettings) -> anyhow::Result<Arc<dyn Receiver>> {
    Ok(Arc::new(rabbit::Rabbit::new(settings)))
}

#[cfg(not(feature = "rabbitmq"))]
fn connected(_settings: rabbit::RabbitSettings) -> anyhow::Result<Arc<dyn Receiver>> {
    anyhow::bail!(
        "[oslo_messaging_notifications] driver is messagingv2, and this program was built without RabbitMQ (feature \
         `rabbitmq`)"
    )
}

/// What receivers' certificates are checked by.
fn tls(ca: Option<&std::path::Path>) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS")?;
    let Some(path) = ca else {
        let verifier = rustls_platform_verifier::Verifier::new(provider)
            .context("the certificates that the operating system trusts")?;
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).with_context(|| path.display().to_string())?
    {
        roots
            .add(certificate.with_context(|| path.display().to_string())?)
            .with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", path.display());
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Numbers of dead letters, as `dead-letters` shows them.
    #[arg(value_name = "NUMBER", required_unless_present = "all")]
    numbers: Vec<i64>,
    /// All of them.
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    /// Of one receiver only, as `status` names it.
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum NotificationsCommand {
    /// Shows what waits for each receiver, what was given up and what was dropped.
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Lists the notifications that a receiver has refused too often.
    DeadLetters {
        /// Of one receiver only, as `status` names it.
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Prints one message, waiting or dead, as it is sent (JSON).
    Show {
        #[arg(value_name = "NUMBER")]
        number: i64,
        #[command(flatten)]
        which: Which,
    },
    /// Sends dead letters again: they wait in their old place, before everything that came later.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        which: Which,
    },
    /// Forgets dead letters.
    Discard {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        which: Which,
    },
}

impl NotificationsCommand {
    /// Whose settings are read.
    #[must_use]
    pub fn which(&self) -> &Which {
        match self {
            Self::Status { which }
            | Self::DeadLetters { which, .. }
            | Self::Show { which, .. }
            | Self::Replay { which, .. }
            | Self::Discard { which, .. } => which,
        }
    }
}

/// Dead letters of one page.
const PAGE: u32 = 500;

/// Runs one command on the database; the service may run or not.
///
/// # Errors
/// When the database cannot be opened, and for a number that no message has.
pub async fn run(command: &NotificationsCommand, config: &Config) -> anyhow::Result<()> {
    let store = Store::open_as_is(&wiring::store(config)?)
        .await
        .context("the database cannot be opened")?;
    let done = act(command, &store).await;
    store.close().await;
    done
}

async fn act(command: &NotificationsCommand, store: &Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match command {
        NotificationsCommand::Status { .. } => {
            let rows = store.receivers().await?;
            if rows.is_empty() {
                writeln!(out, "nothing was ever sent")?;
            }
            for row in rows {
                let oldest = row
                    .oldest
                    .map(|at| format!(", the oldest from {at}"))
                    .unwrap_or_default();
                writeln!(
                    out,
                    "{}: {} waiting{oldest}; {} dead letters; {} dropped",
                    row.receiver, row.waiting, row.dead, row.dropped
                )?;
            }
        }
        NotificationsCommand::DeadLetters { receiver, .. } => {
            let mut after = 0;
            loop {
                let page = store.dead_letters(receiver.as_deref(), after, PAGE).await?;
                let Some(last) = page.last() else {
                    break;
                };
                after = last.id;
                for message in &page {
                    writeln!(out, "{}", line(message))?;
                }
            }
        }
        NotificationsCommand::Show { number, .. } => {
            let message = store
                .get_message(*number)
                .await?
                .with_context(|| format!("no message has the number {number}"))?;
            writeln!(out, "{:#}", bessemer_notify::body(&message))?;
        }
        NotificationsCommand::Replay { chosen, .. } => {
            let count = store
                .replay_dead_letters(&chosen.numbers, chosen.receiver.as_deref())
                .await?;
            writeln!(out, "{count} wait again")?;
        }
        NotificationsCommand::Discard { chosen, .. } => {
            let count = store
                .discard_dead_letters(&chosen.numbers, chosen.receiver.as_deref())
                .await?;
            writeln!(out, "{count} forgotten")?;
        }
    }
    Ok(())
}

fn line(message: &Message) -> String {
    format!(
        "{} {} {} to {}: {} attempts, {}",
        message.id,
        message.at,
        message.event_type,
        message.receiver,
        message.attempts,
        message.error.as_deref().unwrap_or("no reason known")
    )
}
