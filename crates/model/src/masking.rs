//! Which members of `driver_info`, `instance_info` and `driver_internal_info` are secrets.

use serde_json::Value;

/// What a client sees instead of a secret.
pub const MASK: &str = "******";

/// Upstream masks every key that contains one of these words (oslo.utils' list, lower case), plus keys
/// that hold SNMP secrets.
const WORDS: [&str; 17] = [
    "adminpass",
    "admin_pass",
    "password",
    "admin_password",
    "auth_token",
    "new_pass",
    "auth_password",
    "secret_uuid",
    "secret",
    "sys_pswd",
    "token",
    "configdrive",
    "encrypted_key",
    "private_key",
    "snmp_auth_key",
    "snmp_priv_key",
    "kg_key",
];

/// Whether the value below `key` must not be shown.
#[must_use]
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|w| key.contains(w))
}

/// A copy with every secret replaced by [`MASK`], at any depth. Null stays null, so that a client can
/// tell "unset" from "hidden".
#[must_use]
pub fn masked(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(k, v)| {
                    let shown = if is_secret_key(k) && !v.is_null() {
                        Value::from(MASK)
                    } else {
                        masked(v)
                    };
                    (k.clone(), shown)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_at_any_depth() {
        let shown = masked(&serde_json::json!({
            "ipmi_address": "10.0.0.1", "ipmi_password": "secret12", "ipmi_hex_kg_key": "00", "agent_secret_token": "t",
            "inner": [{"redfish_password": "x", "n": 1}], "snmp_auth_key": null
        }));
        assert_eq!(
            shown,
            serde_json::json!({
                "ipmi_address": "10.0.0.1", "ipmi_password": MASK, "ipmi_hex_kg_key": MASK, "agent_secret_token": MASK,
                "inner": [{"redfish_password": MASK, "n": 1}], "snmp_auth_key": null
            })
        );
    }
}
