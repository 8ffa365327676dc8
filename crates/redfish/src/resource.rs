//! Documents of a BMC, read with every member optional: what is absent, null or of another type is simply not there.

use serde_json::Value;

/// A document with where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    path: String,
    etag: Option<String>,
    body: Value,
}

/// An action that a resource offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Where it is posted to, as the BMC wrote it.
    pub target: String,
    /// Where its parameters are described, when they are not listed in place.
    pub info: Option<String>,
}

impl Resource {
    #[must_use]
    pub fn new(path: impl Into<String>, etag: Option<String>, body: Value) -> Self {
        Self {
            path: path.into(),
            etag,
            body,
        }
    }

    /// Path on the BMC, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The header, or the member of the same meaning.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag
            .as_deref()
            .or_else(|| self.body.get("@odata.etag")?.as_str())
            .filter(|tag| !tag.is_empty())
    }

    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// A member by the names on the way to it; null when there is none.
    #[must_use]
    pub fn at(&self, way: &[&str]) -> &Value {
        at(&self.body, way)
    }

    #[must_use]
    pub fn text(&self, way: &[&str]) -> Option<&str> {
        text(&self.body, way)
    }

    #[must_use]
    pub fn number(&self, way: &[&str]) -> Option<f64> {
        number(&self.body, way)
    }

    #[must_use]
    pub fn integer(&self, way: &[&str]) -> Option<i64> {
        integer(&self.body, way)
    }

    #[must_use]
    pub fn flag(&self, way: &[&str]) -> Option<bool> {
        flag(&self.body, way)
    }

    #[must_use]
    pub fn list(&self, way: &[&str]) -> &[Value] {
        list(&self.body, way)
    }

    /// `@odata.id` of a member, as the BMC wrote it.
    #[must_use]
    pub fn link(&self, way: &[&str]) -> Option<&str> {
        link(self.at(way))
    }

    /// Links of a list; what is none is left out.
    #[must_use]
    pub fn links(&self, way: &[&str]) -> Vec<&str> {
        self.list(way).iter().filter_map(link).collect()
    }

    /// `Id`, else the last part of the path.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(&["Id"])
            .or_else(|| self.text(&["MemberId"]))
            .unwrap_or_else(|| {
                self.path
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
            })
    }

    /// Action by its name with the `#`.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<Action> {
        let action = self.at(&["Actions", name]);
        Some(Action {
            target: text(action, &["target"])
                .or_else(|| text(action, &["Target"]))?
                .to_owned(),
            info: text(action, &["@Redfish.ActionInfo"]).map(str::to_owned),
        })
    }

    /// Values that an action lists for a parameter; `None` when it lists none.
    #[must_use]
    pub fn allowed(&self, action: &str, parameter: &str) -> Option<Vec<String>> {
        let key = format!("{parameter}@Redfish.AllowableValues");
        texts(self.at(&["Actions", action, key.as_str()]))
    }
}

/// A member by the names on the way to it; null when there is none.
#[must_use]
pub fn at<'a>(value: &'a Value, way: &[&str]) -> &'a Value {
    let mut here = value;
    for name in way {
        here = here.get(name).unwrap_or(&Value::Null);
    }
    here
}

/// A text that says something, without the blanks around it.
#[must_use]
pub fn text<'a>(value: &'a Value, way: &[&str]) -> Option<&'a str> {
    Some(at(value, way).as_str()?.trim()).filter(|text| !text.is_empty())
}

/// A number; boards write some of them as texts.
#[must_use]
pub fn number(value: &Value, way: &[&str]) -> Option<f64> {
    match at(value, way) {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    }
    .filter(|n| n.is_finite())
}

#[must_use]
pub fn integer(value: &Value, way: &[&str]) -> Option<i64> {
    if let Some(n) = at(value, way).as_i64() {
        return Some(n);
    }
    let n = number(value, way)?;
    // beyond this a float no longer holds every integer
    (n.fract() == 0.0 && n.abs() < 9.0e15).then_some(n as i64)
}

#[must_use]
pub fn flag(value: &Value, way: &[&str]) -> Option<bool> {
    match at(value, way) {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[must_use]
pub fn list<'a>(value: &'a Value, way: &[&str]) -> &'a [Value] {
    at(value, way).as_array().map_or(&[], Vec::as_slice)
}

/// All texts of a list; `None` when it is no list.
#[must_use]
pub fn texts(value: &Value) -> Option<Vec<String>> {
    Some(
        value
            .as_array()?
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
    )
}

/// `{"@odata.id": link}`, or the link itself.
#[must_use]
pub fn link(value: &Value) -> Option<&str> {
    value
        .get("@odata.id")
        .or_else(|| value.get("href"))
        .unwrap_or(value)
        .as_str()
        .map(str::trim)
        .filter(|link| !link.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_odd_is_absent() {
        let r = Resource::new(
            "/redfish/v1/Systems/1/",
            None,
            json!({
                "@odata.etag": "W/\"1\"", "Name": "  x ", "Model": null, "Empty": "", "Count": "12", "Size": 3.0, "Bad": "1e999",
                "On": "True", "Boot": {"Target": 5}, "A": {"@odata.id": "/a"}, "B": "/b",
                "Many": [{"@odata.id": "/1"}, 7, null, {"x": 1}, "/2"],
                "Actions": {"#X.Y": {"target": "/act", "T@Redfish.AllowableValues": ["On", 3, "Off"]}},
            }),
        );
        assert_eq!((r.id(), r.etag()), ("1", Some("W/\"1\"")));
        assert_eq!(r.text(&["Name"]), Some("x"));
        assert_eq!(
            (
                r.text(&["Model"]),
                r.text(&["Empty"]),
                r.text(&["Boot", "Target"])
            ),
            (None, None, None)
        );
        assert_eq!(r.text(&["Name", "Deeper"]), None);
        assert_eq!(
            (r.integer(&["Count"]), r.integer(&["Size"])),
            (Some(12), Some(3))
        );
        assert_eq!((r.number(&["Bad"]), r.flag(&["On"])), (None, Some(true)));
        assert_eq!((r.link(&["A"]), r.link(&["B"])), (Some("/a"), Some("/b")));
        assert_eq!(r.links(&["Many"]), ["/1", "/2"]);
        assert_eq!(r.action("#X.Y").unwrap().target, "/act");
        assert_eq!(r.allowed("#X.Y", "T").unwrap(), ["On", "Off"]);
        assert_eq!(r.action("#X.Z"), None);
    }
}
