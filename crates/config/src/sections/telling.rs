//! What other programs are told.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{list, seconds};
use crate::types::NotificationDriver;

section! {
    /// Notifications on the message bus.
    OsloMessagingNotifications = "oslo_messaging_notifications" {
        #[reader("server")]
        /// How notifications and samples of sensors go to the message bus: `messagingv2`, in the envelope of oslo.messaging's version 2, or `noop`. Empty: not at all.
        driver: Vec<NotificationDriver> = Vec::new(),
        #[reader("server")]
        /// The message bus for notifications. Not set: `[DEFAULT] transport_url`.
        transport_url: Option<SecretString> = None,
        #[reader("server")]
        /// Topics of the samples of sensors; the level is added to each.
        topics: Vec<String> = list(&["notifications"]),
    }
}

section! {
    /// RabbitMQ.
    OsloMessagingRabbit = "oslo_messaging_rabbit" {
        #[reader("server")]
        /// Declare exchange and queues as durable. Must be as their consumers declare them.
        amqp_durable_queues: bool = false,
        #[reader("server")]
        /// Declare exchange and queues as deleted when nobody uses them. Must be as their consumers declare them.
        amqp_auto_delete: bool = false,
        #[reader("server")]
        /// Declare queues as quorum queues, which are durable. Must be as their consumers declare them.
        rabbit_quorum_queue: bool = false,
        #[reader("server")]
        /// Connect over TLS.
        ssl: bool = false,
        #[reader("server")]
        /// Certificates, PEM, that RabbitMQ's is checked by. Not set: those that the operating system trusts.
        ssl_ca_file: Option<PathBuf> = None,
    }
}

section! {
    /// Notifications as webhooks, and how long undelivered ones are kept. Not in upstream.
    Notifications = "notifications" {
        #[reader("server")]
        /// Where notifications are posted, http or https, each by itself. Say nothing secret in a URL: it is shown.
        webhook_urls: Vec<String> = Vec::new(),
        #[reader("server")]
        /// What webhooks are signed with, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes as base64. Several, separated by commas, sign each, so that a receiver can change its secret. Needed with webhook_urls.
        webhook_secret: Option<SecretString> = None,
        #[reader("server")]
        /// How long a receiver of webhooks may take to answer.
        webhook_timeout: Duration = seconds(10),
        #[reader("server")]
        /// How often a webhook is tried before it becomes a dead letter; the time between two attempts doubles from one second to a minute.
        webhook_attempts: u32 = 10,
        #[reader("server")]
        /// Certificates, PEM, that receivers' are checked by. Not set: those that the operating system trusts.
        webhook_ca_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Undelivered messages that are kept for each receiver, dead letters among them; the oldest are dropped.
        keep_messages: u32 = 100_000,
        #[reader("server")]
        /// How long undelivered messages are kept.
        keep_for: Duration = seconds(604_800),
    }
}

section! {
    /// Samples of nodes' sensors, sent as notifications.
    SensorData = "sensor_data" {
        #[reader("conductor")]
        /// Ask nodes' sensors and send what they say.
        send_sensor_data: bool = false,
        #[reader("conductor")]
        /// Time between two rounds.
        interval: Duration = seconds(600),
        #[reader("conductor")]
        /// Nodes that are asked at once.
        workers: u32 = 4,
        #[reader("conductor")]
        /// How long a round may take; what has not answered by then is left out.
        wait_timeout: Duration = seconds(300),
        #[reader("conductor")]
        /// Kinds of sensors that are sent (`Temperature`, `Fan`, `Voltage`, `Current`, ...); `ALL` for all.
        data_types: Vec<String> = list(&["ALL"]),
        #[reader("conductor")]
        /// Ask nodes that are not active too.
        enable_for_undeployed_nodes: bool = false,
        #[reader("conductor")]
        /// Send the conductor's own figures.
        enable_for_conductor: bool = true,
        #[reader("conductor")]
        /// Send nodes' sensors.
        enable_for_nodes: bool = true,
    }
}
