//! Messages as oslo.messaging's notifier makes them.

use bessemer_store::{Message, MessageKind};
use serde_json::{Value, json};

/// What topics are called, without the level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// `[DEFAULT] versioned_notifications_topics`
    pub versioned: Vec<String>,
    /// `[oslo_messaging_notifications] topics`
    pub samples: Vec<String>,
}

impl Topics {
    /// Those of a message.
    pub fn of(&self, message: &Message) -> impl Iterator<Item = String> {
        let topics = match message.kind {
            MessageKind::Versioned => &self.versioned,
            MessageKind::Sample => &self.samples,
        };
        topics.iter().map(|name| topic(name, message))
    }
}

/// `ironic_versioned_notifications.info`
#[must_use]
pub fn topic(name: &str, message: &Message) -> String {
    format!("{name}.{}", message.level.as_str())
}

/// The notification itself; a webhook's body.
#[must_use]
pub fn body(message: &Message) -> Value {
    json!({
        "message_id": message.message_id,
        "publisher_id": message.publisher_id,
        "event_type": message.event_type,
        "priority": message.level.as_str().to_uppercase(),
        // stored as JSON
        "payload": serde_json::from_str::<Value>(&message.payload).unwrap_or_default(),
        "timestamp": message.at.without_zone(' '),
    })
}

/// In the envelope of version 2.0. The unique id stays the same in every attempt, by which oslo.messaging drops duplicates.
#[must_use]
pub fn rabbit_body(message: &Message) -> Value {
    let mut inner = body(message);
    if let Value::Object(map) = &mut inner {
        map.insert(
            "_unique_id".into(),
            message.message_id.replace('-', "").into(),
        );
        map.insert("_context_request_id".into(), Value::Null);
    }
    json!({"oslo.version": "2.0", "oslo.message": inner.to_string()})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::Timestamp;
    use bessemer_model::notification::Level;

    fn message(at: i64) -> Message {
        Message {
            id: 1,
            receiver: "rabbitmq".into(),
            message_id: "00000000-0000-4000-8000-000000000001".into(),
            at: Timestamp(at),
            level: Level::Info,
            event_type: "baremetal.node.create.start".into(),
            publisher_id: "ironic-api.one".into(),
            kind: MessageKind::Versioned,
            payload: "{\"a\":1}".into(),
            attempts: 0,
            error: None,
            dead_at: None,
        }
    }

    #[test]
    fn envelope_of_version_2() {
        let whole = rabbit_body(&message(0));
        assert_eq!(whole["oslo.version"], "2.0");
        let inner: Value = serde_json::from_str(whole["oslo.message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["payload"]["a"], 1);
        assert_eq!(inner["priority"], "INFO");
        assert_eq!(inner["_unique_id"], "00000000000040008000000000000001");
        let topics = Topics {
            versioned: vec!["v".into(), "w".into()],
            samples: vec!["s".into()],
        };
        let of: Vec<String> = topics.of(&message(0)).collect();
        assert_eq!(of, ["v.info", "w.info"]);
    }
}
