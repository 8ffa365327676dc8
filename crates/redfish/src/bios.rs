//! BIOS settings with their registry (schemas Bios, AttributeRegistry), and secure boot (schema SecureBoot).

use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::resource::{Resource, flag, integer, link, list, text, texts};
use crate::system::System;

/// The settings' document.
#[derive(Debug, Clone, PartialEq)]
pub struct Bios(pub Resource);

/// What the registry says about a setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    /// `Enumeration`, `String`, `Integer`, `Boolean`, `Password`.
    pub kind: Option<String>,
    pub allowed: Option<Vec<String>>,
    pub lower_bound: Option<i64>,
    pub upper_bound: Option<i64>,
    /// Characters.
    pub min_length: Option<i64>,
    /// Characters.
    pub max_length: Option<i64>,
    pub read_only: Option<bool>,
    pub reset_required: Option<bool>,
    pub unique: Option<bool>,
}

impl Attribute {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            name: text(value, &["AttributeName"])?.to_owned(),
            kind: text(value, &["Type"]).map(str::to_owned),
            allowed: value.get("Value").and_then(Value::as_array).map(|values| {
                values
                    .iter()
                    .filter_map(|v| {
                        text(v, &["ValueName"]).or_else(|| text(v, &["ValueDisplayName"]))
                    })
                    .map(str::to_owned)
                    .collect()
            }),
            lower_bound: integer(value, &["LowerBound"]),
            upper_bound: integer(value, &["UpperBound"]),
            min_length: integer(value, &["MinLength"]),
            max_length: integer(value, &["MaxLength"]),
            read_only: flag(value, &["ReadOnly"]),
            reset_required: flag(value, &["ResetRequired"]),
            unique: flag(value, &["IsSystemUniqueProperty"]),
        })
    }
}

impl Bios {
    /// Name to value, as they are in force.
    #[must_use]
    pub fn attributes(&self) -> Option<&Map<String, Value>> {
        self.0.at(&["Attributes"]).as_object()
    }
}

impl Client {
    /// `None` for a system without BIOS settings.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn bios(&self, system: &System) -> Result<Option<Bios>, Error> {
        Ok(self.follow(&system.0, &["Bios"]).await?.map(Bios))
    }

    /// Settings that come into force with the next start; `None` where the BMC does not tell them.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn pending(&self, bios: &Bios) -> Result<Option<Map<String, Value>>, Error> {
        Ok(self
            .follow(&bios.0, &["@Redfish.Settings", "SettingsObject"])
            .await?
            .and_then(|r| r.at(&["Attributes"]).as_object().cloned()))
    }

    /// The registry of the settings; empty where there is none. Boards name it by its exact id or by its beginning.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn attribute_registry(&self, bios: &Bios) -> Result<Vec<Attribute>, Error> {
        let Some(name) = bios.0.text(&["AttributeRegistry"]) else {
            return Ok(Vec::new());
        };
        let root = self.root().await?;
        let Some(registries) = root.link(&["Registries"]) else {
            return Ok(Vec::new());
        };
        let plausible = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let direct = format!("{}/{name}", self.local(registries)?.trim_end_matches('/'));
        let mut file = None;
        if plausible && let Ok(found) = self.get(&direct).await {
            file = Some(found);
        }
        if file.is_none() {
            let mut alike = Vec::new();
            for path in self.member_paths(registries).await? {
                let last = path
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                // ids of other registries are of well-known names; these need not be read
                if [
                    "Base",
                    "Task",
                    "ResourceEvent",
                    "Privilege",
                    "UpdateMessages",
                ]
                .iter()
                .any(|known| last.starts_with(known))
                {
                    continue;
                }
                let Ok(found) = self.get(&path).await else {
                    continue;
                };
                if found.text(&["Registry"]) == Some(name) || found.id() == name {
                    file = Some(found);
                    break;
                }
                if found.id().starts_with("BiosAttributeRegistry") {
                    alike.push(found);
                }
            }
            // Some boards name a version that they do not have; the only one that there is will be meant.
            if file.is_none() && name.starts_with("BiosAttributeRegistry") && alike.len() == 1 {
                file = alike.pop();
            }
        }
        let Some(file) = file else {
            return Ok(Vec::new());
        };
        let locations = file.list(&["Location"]);
        let place = locations
            .iter()
            .find(|l| text(l, &["Language"]).is_some_and(|t| t.starts_with("en")))
            .or_else(|| locations.first());
        let Some(uri) = place.and_then(|l| l.get("Uri")).and_then(link) else {
            return Ok(Vec::new());
        };
        let registry = match self.get(uri).await {
            Ok(registry) => registry,
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(list(registry.body(), &["RegistryEntries", "Attributes"])
            .iter()
            .filter_map(Attribute::read)
            .collect())
    }

    /// Changes settings, with the next start where the BMC lets one choose.
    ///
    /// # Errors
    /// The BMC's refusal.
    pub async fn set_attributes(
        &self,
        bios: &Bios,
        attributes: &Map<String, Value>,
    ) -> Result<(), Error> {
        let settings = self
            .follow(&bios.0, &["@Redfish.Settings", "SettingsObject"])
            .await?;
        let mut body = json!({"Attributes": attributes});
        let times = texts(bios.0.at(&["@Redfish.Settings", "SupportedApplyTimes"]));
        if times.is_some_and(|t| t.iter().any(|t| t == "OnReset"))
            && let Some(map) = body.as_object_mut()
        {
            map.insert(
                "@Redfish.SettingsApplyTime".into(),
                json!({"@odata.type": "#Settings.v1_0_0.PreferredApplyTime", "ApplyTime": "OnReset"}),
            );
        }
        let of = settings.as_ref().unwrap_or(&bios.0);
        self.patch(of.path(), &body, of.etag()).await.map(drop)
    }

    /// To what the maker delivered, with the next start.
    ///
    /// # Errors
    /// The BMC's refusal; a BMC without that action.
    pub async fn reset_bios(&self, bios: &Bios) -> Result<(), Error> {
        let action = bios
            .0
            .action("#Bios.ResetBios")
            .ok_or_else(|| self.missing("an action that resets the BIOS settings"))?;
        self.post(&action.target, &json!({})).await.map(drop)
    }

    /// `None` for a system without secure boot.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn secure_boot(&self, system: &System) -> Result<Option<SecureBoot>, Error> {
        Ok(self
            .follow(&system.0, &["SecureBoot"])
            .await?
            .map(SecureBoot))
    }

    /// # Errors
    /// The BMC's refusal.
    pub async fn set_secure_boot(&self, secure: &SecureBoot, on: bool) -> Result<(), Error> {
        let body = json!({"SecureBootEnable": on});
        self.patch(secure.0.path(), &body, secure.0.etag())
            .await
            .map(drop)
    }

    /// `ResetAllKeysToDefault`, `DeleteAllKeys`.
    ///
    /// # Errors
    /// The BMC's refusal; a BMC without that action.
    pub async fn reset_keys(&self, secure: &SecureBoot, kind: &str) -> Result<(), Error> {
        let action = secure
            .0
            .action("#SecureBoot.ResetKeys")
            .ok_or_else(|| self.missing("an action that resets the keys of secure boot"))?;
        self.post(&action.target, &json!({"ResetKeysType": kind}))
            .await
            .map(drop)
    }
}

/// Secure boot's document.
#[derive(Debug, Clone, PartialEq)]
pub struct SecureBoot(pub Resource);

impl SecureBoot {
    /// What counts with the next start.
    #[must_use]
    pub fn enabled(&self) -> Option<bool> {
        self.0.flag(&["SecureBootEnable"])
    }
}
