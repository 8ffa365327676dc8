//! The extended information of a Redfish error (DSP0266, "Error responses") as one sentence.

use serde_json::Value;

/// Longest sentence that is kept of a BMC's answer, in characters.
const LONGEST: usize = 500;
/// Messages beyond these are not told.
const MOST: usize = 4;

/// What a BMC says in an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// Message ids without registry and version (`PropertyNotWritable`).
    pub ids: Vec<String>,
    /// In words; empty when the answer holds none.
    pub text: String,
}

/// Sentences of the Base registry (DSP8011) for answers that carry only an id. `%1` and `%2` are the message's arguments.
const BASE: &[(&str, &str)] = &[
    ("AccessDenied", "access to %1 is denied"),
    ("ActionNotSupported", "the action %1 is not supported"),
    (
        "ActionParameterMissing",
        "the action %1 needs the parameter %2",
    ),
    (
        "ActionParameterNotSupported",
        "the parameter %1 of the action %2 is not supported",
    ),
    (
        "ActionParameterValueConflict",
        "the parameter %1 with the value %2 conflicts with the state of the resource",
    ),
    (
        "ActionParameterValueFormatError",
        "the value %1 of the parameter %2 has the wrong form",
    ),
    (
        "ActionParameterValueNotInList",
        "the value %1 of the parameter %2 is not one of those that are allowed",
    ),
    (
        "ActionParameterValueTypeError",
        "the value %1 of the parameter %2 has the wrong type",
    ),
    (
        "CreateLimitReachedForResource",
        "no more of these resources can be made",
    ),
    (
        "GeneralError",
        "a general error, of which the BMC's log may tell more",
    ),
    (
        "InsufficientPrivilege",
        "the account does not have the privilege that this needs",
    ),
    (
        "InternalError",
        "an internal error of the BMC; restart it when that persists",
    ),
    ("NoValidSession", "there is no valid session"),
    (
        "PreconditionFailed",
        "the resource was changed by somebody else meanwhile",
    ),
    ("PreconditionRequired", "a change needs an ETag"),
    ("PropertyMissing", "the property %1 is required"),
    ("PropertyNotWritable", "the property %1 cannot be written"),
    ("PropertyUnknown", "the property %1 is not known"),
    (
        "PropertyValueConflict",
        "the property %1 conflicts with the property %2",
    ),
    (
        "PropertyValueFormatError",
        "the value %1 of the property %2 has the wrong form",
    ),
    (
        "PropertyValueNotInList",
        "the value %1 of the property %2 is not one of those that are allowed",
    ),
    (
        "PropertyValueOutOfRange",
        "the value %1 of the property %2 is out of range",
    ),
    (
        "PropertyValueTypeError",
        "the value %1 of the property %2 has the wrong type",
    ),
    ("ResourceAlreadyExists", "the resource exists already"),
    ("ResourceInStandby", "the resource is in standby"),
    ("ResourceInUse", "the resource is in use"),
    ("ResourceMissingAtURI", "there is no resource at %1"),
    ("ResourceNotFound", "there is no %1 named %2"),
    (
        "ServiceInUnknownState",
        "the service is in an unknown state; restart the BMC",
    ),
    ("ServiceShuttingDown", "the service is shutting down"),
    (
        "ServiceTemporarilyUnavailable",
        "the service is not available for %1 s",
    ),
    ("SessionLimitExceeded", "there are too many sessions"),
    (
        "UnableToModifyDuringSystemPOST",
        "nothing can be changed during the power-on self-test",
    ),
];

/// Reads an error's body: any JSON, or any text.
#[must_use]
pub fn messages(body: &[u8]) -> Messages {
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return Messages {
            ids: Vec::new(),
            text: plain(body),
        };
    };
    of_document(&document)
}

/// As [`messages`], of a document that was read already (the messages of a task stand in `Messages`).
#[must_use]
pub fn of_document(document: &Value) -> Messages {
    let error = document.get("error").unwrap_or(document);
    let mut items: Vec<&Value> = Vec::new();
    for holder in [error, document] {
        for key in ["@Message.ExtendedInfo", "Messages"] {
            match holder.get(key) {
                Some(Value::Array(list)) => items.extend(list),
                Some(one @ Value::Object(_)) => items.push(one),
                _ => {}
            }
        }
        if !items.is_empty() {
            break;
        }
    }
    // annotations of single properties: `Name@Message.ExtendedInfo`
    if items.is_empty()
        && let Some(map) = document.as_object()
    {
        for (key, value) in map {
            if key.ends_with("@Message.ExtendedInfo")
                && let Value::Array(list) = value
            {
                items.extend(list);
            }
        }
    }
    let mut told = Messages::default();
    let mut sentences: Vec<String> = Vec::new();
    for item in items {
        let id = item
            .get("MessageId")
            .and_then(Value::as_str)
            .map(|id| id.rsplit('.').next().unwrap_or(id).to_owned())
            .filter(|id| !id.is_empty());
        let sentence = item
            .get("Message")
            .and_then(Value::as_str)
            .map(clean)
            .filter(|text| !text.is_empty())
            .or_else(|| Some(by_registry(id.as_deref()?, item)));
        if let Some(id) = id
            && told.ids.len() < 4 * MOST
            && !told.ids.contains(&id)
        {
            told.ids.push(id);
        }
        if let Some(sentence) = sentence
            && sentences.len() < MOST
            && !sentences.contains(&sentence)
        {
            sentences.push(sentence);
        }
    }
    // a general sentence says nothing beside a particular one
    let general = error
        .get("message")
        .and_then(Value::as_str)
        .map(clean)
        .filter(|text| !text.is_empty());
    if sentences.is_empty() || only_general(&told.ids) {
        if let Some(text) = general
            && !sentences.contains(&text)
        {
            sentences.insert(0, text);
        }
        if let Some(code) = error.get("code").and_then(Value::as_str) {
            let code = code.rsplit('.').next().unwrap_or(code);
            if !code.is_empty() && !told.ids.iter().any(|id| id == code) {
                told.ids.push(code.to_owned());
            }
        }
    }
    told.text = bounded(&sentences.join("; "));
    told
}

fn only_general(ids: &[String]) -> bool {
    ids.iter().all(|id| id == "GeneralError")
}

fn by_registry(id: &str, item: &Value) -> String {
    let Some((_, template)) = BASE.iter().find(|(name, _)| *name == id) else {
        return clean(id);
    };
    let args = item.get("MessageArgs").and_then(Value::as_array);
    let arg = |n: usize| {
        args.and_then(|a| a.get(n))
            .map(|v| match v {
                Value::String(text) => clean(text),
                other => clean(&other.to_string()),
            })
            .unwrap_or_else(|| "(not named)".to_owned())
    };
    template.replace("%1", &arg(0)).replace("%2", &arg(1))
}

/// A body that is not JSON: an HTML page of a web server, or a line of text.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).into_owned();
    let mut out = String::new();
    let mut tag = false;
    for c in text.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => {
                tag = false;
                out.push(' ');
            }
            c if !tag => out.push(c),
            _ => {}
        }
    }
    bounded(&clean(&out))
}

/// One line without control characters.
fn clean(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end_matches('.')
        .to_owned()
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_become_sentences() {
        let check = |body: Value, text: &str, ids: &[&str]| {
            let told = messages(body.to_string().as_bytes());
            assert_eq!(
                (told.text.as_str(), told.ids),
                (text, ids.iter().map(|i| (*i).to_owned()).collect())
            );
        };
        check(
            json!({"error": {"code": "Base.1.8.GeneralError", "message": "See ExtendedInfo", "@Message.ExtendedInfo": [
                {"MessageId": "Base.1.8.PropertyNotWritable", "Message": "The property Boot\nis read only.", "MessageArgs": ["Boot"]},
                {"MessageId": "Base.1.8.PropertyNotWritable", "Message": "The property Boot is read only."}]}}),
            "The property Boot is read only",
            &["PropertyNotWritable"],
        );
        // only ids: words of the registry
        check(
            json!({"error": {"code": "iLO.0.10.ExtendedInfo", "@Message.ExtendedInfo": [
                {"MessageId": "iLO.2.14.UnableToModifyDuringSystemPOST"},
                {"MessageId": "Base.1.4.PropertyValueNotInList", "MessageArgs": ["Usb", "Target"]},
                {"MessageId": "Acme.1.0.Odd"}]}}),
            "nothing can be changed during the power-on self-test; the value Usb of the property Target is not one of those that are allowed; Odd",
            &[
                "UnableToModifyDuringSystemPOST",
                "PropertyValueNotInList",
                "Odd",
            ],
        );
        // one object instead of a list, outside `error`, an annotation, nothing at all
        check(
            json!({"@Message.ExtendedInfo": {"MessageId": "X.1.0.Y", "Message": "why"}}),
            "why",
            &["Y"],
        );
        check(
            json!({"IndicatorLED@Message.ExtendedInfo": [{"Message": "no lamp"}]}),
            "no lamp",
            &[],
        );
        check(
            json!({"error": {"code": "Base.1.0.GeneralError", "message": "POST failed"}}),
            "POST failed",
            &["GeneralError"],
        );
        check(json!([1, 2]), "", &[]);
        check(
            json!({"Messages": [{"Message": "disk full"}]}),
            "disk full",
            &[],
        );
    }

    #[test]
    fn pages_and_noise_are_bounded_lines() {
        assert_eq!(
            messages(b"<html><b>503</b>\r\n\x07Service Unavailable</html>").text,
            "503 Service Unavailable"
        );
        let long = messages("ä".repeat(100_000).as_bytes()).text;
        assert!(long.chars().count() <= 501, "{}", long.len());
    }
}
