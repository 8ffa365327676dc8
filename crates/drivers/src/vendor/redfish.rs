//! Vendor methods over Redfish: event subscriptions (schema EventDestination) and the ejection of virtual media.

use async_trait::async_trait;
use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node, Object, py_repr};
use bessemer_redfish::{Client, Error, MediaKind};
use serde_json::{Value, json};

use crate::interface::{
    Environment, Interface, VendorInterface, VendorMethod, VendorReply, unsupported,
};
use crate::redfish::Trouble;

pub struct RedfishVendor {
    name: &'static str,
}

impl RedfishVendor {
    /// `redfish`
    pub const PLAIN: Self = Self { name: "redfish" };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self {
        name: "idrac-redfish",
    };
}

const fn method(
    name: &'static str,
    http_methods: &'static [&'static str],
    is_async: bool,
    description: &'static str,
) -> VendorMethod {
    VendorMethod {
        name,
        http_methods,
        is_async,
        attach: false,
        exclusive: true,
        description,
    }
}

const METHODS: &[VendorMethod] = &[
    method(
        "create_subscription",
        &["POST"],
        false,
        "Subscribes to events of the BMC. Arguments: Destination (URL, required), EventTypes, Context, Protocol, HttpHeaders.",
    ),
    method(
        "delete_subscription",
        &["DELETE"],
        false,
        "Ends a subscription. Argument: id. Required.",
    ),
    method(
        "eject_vmedia",
        &["POST"],
        true,
        "Ejects virtual media. Argument: boot_device, one of cd, dvd, usb and floppy; all when absent.",
    ),
    method(
        "get_all_subscriptions",
        &["GET"],
        false,
        "Lists the subscriptions of the BMC.",
    ),
    method(
        "get_subscription",
        &["GET"],
        false,
        "Shows a subscription. Argument: id. Required.",
    ),
];

/// Members of a subscription that are shown.
const SHOWN: [&str; 5] = ["Id", "Context", "Protocol", "Destination", "EventTypes"];

/// What `create_subscription` sends.
///
/// # Errors
/// A sentence that names the argument.
fn subscription(args: &Object) -> Result<Value, Fault> {
    let text = |key: &str, default: &str, what: &str| match args.get(key) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Fault::invalid(format!(
            "{key} {} is not a {what}",
            py_repr(other)
        ))),
    };
    let context = text("Context", "", "valid string")?;
    let protocol = text("Protocol", "Redfish", "string")?;
    let headers = match args.get("HttpHeaders") {
        None | Some(Value::Null) => None,
        Some(list @ Value::Array(_)) => Some(list.clone()),
        Some(other) => {
            return Err(Fault::invalid(format!(
                "HttpHeaders {} is not a list of headers",
                py_repr(other)
            )));
        }
    };
    let events = match args.get("EventTypes") {
        None | Some(Value::Null) => json!(["Alert"]),
        Some(list @ Value::Array(items)) if items.iter().all(Value::is_string) => list.clone(),
        Some(other) => {
            return Err(Fault::invalid(format!(
                "EventTypes {} is not a valid value; expected a list of texts",
                py_repr(other)
            )));
        }
    };
    let destination = args.get("Destination").cloned().unwrap_or(Value::Null);
    let is_url = destination.as_str().is_some_and(|text| {
        text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty()
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && !rest.starts_with('/')
                && !rest.chars().any(|c| c.is_whitespace() || c.is_control())
        })
    });
    if !is_url {
        let shown = match &destination {
            Value::String(text) => text.clone(),
            other => py_repr(other),
        };
        return Err(Fault::invalid(format!(
            "Destination {shown} is not a valid URI"
        )));
    }
    let mut body = json!({
        "Destination": destination, "Protocol": protocol, "Context": context, "EventTypes": events,
    });
    if let Some(headers) = headers {
        body["HttpHeaders"] = headers;
    }
    Ok(body)
}

/// `id` of a subscription; part of a path, so it may not lead elsewhere.
fn id(args: &Object) -> Result<String, Fault> {
    let text = match args.get("id") {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => {
            return Err(Fault::new(
                FaultKind::Invalid,
                Class::Never,
                "id can't be None",
            ));
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:{}".contains(c);
    if !text.chars().all(plain) || text == ".." || text == "." {
        return Err(Fault::invalid(format!("{text} is no id of a subscription")));
    }
    Ok(text)
}

/// Media of `eject_vmedia`; `None` = all.
fn media(args: &Object) -> Result<Option<MediaKind>, Fault> {
    match args.get("boot_device") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "cd" | "dvd" => Ok(Some(MediaKind::Cd)),
            "usb" | "usbstick" => Ok(Some(MediaKind::UsbStick)),
            "floppy" => Ok(Some(MediaKind::Floppy)),
            _ => Err(Fault::invalid(format!(
                "Boot device {text} is not a valid value "
            ))),
        },
        Some(other) => Err(Fault::invalid(format!(
            "Boot device {} is not a valid value ",
            py_repr(other)
        ))),
    }
}

/// Path of the collection of subscriptions.
async fn subscriptions(client: &Client) -> Result<String, Error> {
    let missing = |what: &str| Error::Missing {
        address: client.address().to_owned(),
        what: what.to_owned(),
    };
    let root = client.root().await?;
    let service = client
        .follow(root, &["EventService"])
        .await?
        .ok_or_else(|| missing("an event service"))?;
    service
        .link(&["Subscriptions"])
        .map(str::to_owned)
        .ok_or_else(|| missing("subscriptions to events"))
}

fn shown(subscription: &Value) -> Value {
    let found: serde_json::Map<String, Value> = subscription
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| SHOWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Value::Object(found)
}

async fn call(client: &Client, method: &str, args: &Object, node: &Node) -> Result<Value, Trouble> {
    if method == "eject_vmedia" {
        let kind = media(args)?;
        let system = client.system().await?;
        client.eject(&system, kind).await?;
        return Ok(Value::Null);
    }
    let all = subscriptions(client).await?;
    let one = |id: String| format!("{}/{id}", all.trim_end_matches('/'));
    Ok(match method {
        "create_subscription" => {
            let answer = client.post(&all, &subscription(args)?).await?;
            // most boards answer with what was made, some only with where it is
            match (answer.body.get("Id"), &answer.location) {
                (None, Some(path)) => shown(client.get(path).await?.body()),
                _ => shown(&answer.body),
            }
        }
        "delete_subscription" => {
            client.delete(&one(id(args)?)).await?;
            Value::Null
        }
        "get_subscription" => shown(client.get(&one(id(args)?)).await?.body()),
        "get_all_subscriptions" => client.get(&all).await?.body().clone(),
        other => return Err(unsupported(node, other).into()),
    })
}

impl Interface for RedfishVendor {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Vendor
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }
}

#[async_trait]
impl VendorInterface for RedfishVendor {
    fn methods(&self) -> &'static [VendorMethod] {
        METHODS
    }

    fn validate_call(
        &self,
        env: &Environment,
        node: &Node,
        method: &str,
        args: &Object,
    ) -> Result<(), Fault> {
        match method {
            "create_subscription" => subscription(args).map(drop)?,
            "delete_subscription" | "get_subscription" => id(args).map(drop)?,
            "eject_vmedia" => media(args).map(drop)?,
            _ => {}
        }
        env.redfish.validate(node)
    }

    async fn call(
        &self,
        env: &Environment,
        node: &Node,
        method: &str,
        _http_method: &str,
        args: &Object,
    ) -> Result<VendorReply, Fault> {
        env.redfish
            .with(node, |client| async move {
                call(&client, method, args, node).await
            })
            .await
            .map(VendorReply::Json)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments() {
        let args = |value: Value| value.as_object().unwrap().clone();
        let body = subscription(&args(json!({"Destination": "https://x/events"}))).unwrap();
        assert_eq!(
            body,
            json!({"Destination": "https://x/events", "Protocol": "Redfish", "Context": "", "EventTypes": ["Alert"]})
        );
        for (bad, part) in [
            (json!({}), "Destination None is not a valid URI"),
            (
                json!({"Destination": "x"}),
                "Destination x is not a valid URI",
            ),
            (
                json!({"Destination": "https://x", "Context": 1}),
                "Context 1 is not a valid string",
            ),
            (
                json!({"Destination": "https://x", "Protocol": []}),
                "Protocol [] is not a string",
            ),
            (
                json!({"Destination": "https://x", "HttpHeaders": {}}),
                "HttpHeaders {} is not a list",
            ),
            (
                json!({"Destination": "https://x", "EventTypes": "Alert"}),
                "EventTypes 'Alert' is not",
            ),
        ] {
            let text = subscription(&args(bad)).unwrap_err().text;
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(id(&args(json!({"id": "a-1"}))).unwrap(), "a-1");
        for bad in [
            json!({}),
            json!({"id": ""}),
            json!({"id": "../../x"}),
            json!({"id": ".."}),
            json!({"id": "a?b"}),
        ] {
            assert!(id(&args(bad)).is_err());
        }
        assert_eq!(
            media(&args(json!({"boot_device": "cd"}))).unwrap(),
            Some(MediaKind::Cd)
        );
        assert!(media(&args(json!({"boot_device": "tape"}))).is_err());
    }
}
