//! The system: power, boot override, the chassis and managers around it (schemas ComputerSystem, Manager, Chassis).

use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::quirks::{self, Quirks};
use crate::resource::Resource;

const RESET: &str = "#ComputerSystem.Reset";

/// The system's document.
#[derive(Debug, Clone, PartialEq)]
pub struct System(pub Resource);

/// `Boot` of a system, in the BMC's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootOverride {
    /// `Pxe`, `Hdd`, `Cd`, `UefiHttp`, ...
    pub target: Option<String>,
    /// `Once`, `Continuous`, `Disabled`.
    pub enabled: Option<String>,
    /// `UEFI`, `Legacy`.
    pub mode: Option<String>,
    /// What is booted with target `UefiHttp`.
    pub http_uri: Option<String>,
}

impl System {
    /// `On`, `Off`, `PoweringOn`, `PoweringOff`, ...
    #[must_use]
    pub fn power_state(&self) -> Option<&str> {
        self.0.text(&["PowerState"])
    }

    #[must_use]
    pub fn boot(&self) -> BootOverride {
        let text = |name: &str| self.0.text(&["Boot", name]).map(str::to_owned);
        BootOverride {
            target: text("BootSourceOverrideTarget"),
            enabled: text("BootSourceOverrideEnabled"),
            mode: text("BootSourceOverrideMode"),
            http_uri: text("HttpBootUri"),
        }
    }

    /// Boot devices that it offers; empty when it does not tell.
    #[must_use]
    pub fn boot_targets(&self) -> Vec<String> {
        crate::resource::texts(
            self.0
                .at(&["Boot", "BootSourceOverrideTarget@Redfish.AllowableValues"]),
        )
        .unwrap_or_default()
    }

    #[must_use]
    pub fn manufacturer(&self) -> Option<&str> {
        self.0.text(&["Manufacturer"])
    }
}

impl Client {
    /// Path of the system: the target's, else the only one that there is. Found out once.
    ///
    /// # Errors
    /// As [`Client::get`]; none or several where the target names none.
    pub async fn system_path(&self) -> Result<&str, Error> {
        self.0
            .system
            .get_or_try_init(|| async {
                if let Some(given) = &self.0.target.system {
                    let given = given.trim().replace(' ', "%20");
                    let path = if given.starts_with('/') {
                        given
                    } else {
                        format!("/{given}")
                    };
                    return self.0.target.address.local(&path).map_err(|why| {
                        Error::InvalidTarget {
                            address: self.address().to_owned(),
                            why,
                        }
                    });
                }
                let root = self.root().await?;
                let systems = root
                    .link(&["Systems"])
                    .ok_or_else(|| self.missing("a collection of systems"))?
                    .to_owned();
                let mut found = self.member_paths(&systems).await?;
                match found.len() {
                    1 => Ok(found.remove(0)),
                    0 => Err(self.missing("any system")),
                    n => Err(Error::InvalidTarget {
                        address: self.address().to_owned(),
                        why: format!(
                            "it manages {n} systems and none is named; redfish_system_id is one of {}",
                            found.join(", ")
                        ),
                    }),
                }
            })
            .await
            .map(String::as_str)
    }

    /// # Errors
    /// As [`Client::system_path`].
    pub async fn system(&self) -> Result<System, Error> {
        let path = self.system_path().await?.to_owned();
        self.get(&path).await.map(System)
    }

    /// What this board does differently.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn quirks(&self, system: &System) -> Result<Quirks, Error> {
        let vendor = self.vendor(system).await?;
        let names = [vendor.as_deref(), system.manufacturer()];
        // only one kind of board is told apart by its manager's model
        let asks_model = |name: &str| {
            let name = name.to_ascii_lowercase();
            quirks::ROWS
                .iter()
                .any(|row| !row.model.is_empty() && name.contains(row.vendor))
        };
        let model = if names.iter().flatten().any(|n| asks_model(n)) {
            self.managers(system)
                .await?
                .iter()
                .find_map(|m| m.text(&["Model"]).map(str::to_owned))
        } else {
            None
        };
        Ok(names
            .into_iter()
            .map(|name| quirks::of(name, model.as_deref()))
            .find(|q| *q != Quirks::default())
            .unwrap_or_default())
    }

    /// The vendor as the service root names it, else the system's manufacturer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn vendor(&self, system: &System) -> Result<Option<String>, Error> {
        Ok(self
            .root()
            .await?
            .text(&["Vendor"])
            .or_else(|| system.manufacturer())
            .map(str::to_owned))
    }

    /// Managers of the system; those that the BMC names and does not have are left out.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn managers(&self, system: &System) -> Result<Vec<Resource>, Error> {
        self.linked(&system.0, &["Links", "ManagedBy"]).await
    }

    /// Chassis of the system.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn chassis(&self, system: &System) -> Result<Vec<Resource>, Error> {
        self.linked(&system.0, &["Links", "Chassis"]).await
    }

    /// What the links of a list lead to.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn linked(&self, of: &Resource, way: &[&str]) -> Result<Vec<Resource>, Error> {
        let mut found = Vec::new();
        for link in of.links(way) {
            match self.get(link).await {
                Ok(resource) => found.push(resource),
                Err(error) if error.is_missing() => {
                    tracing::debug!("{error}, although it is named");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// What a single link leads to; `None` when there is no link, or nothing there.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn follow(&self, of: &Resource, way: &[&str]) -> Result<Option<Resource>, Error> {
        match of.link(way) {
            None => Ok(None),
            Some(link) => match self.get(link).await {
                Ok(resource) => Ok(Some(resource)),
                Err(error) if error.is_missing() || error.status() == Some(501) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Members of the collection that a link leads to; none when there is no link, or nothing there.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn members_of(&self, of: &Resource, way: &[&str]) -> Result<Vec<Resource>, Error> {
        match of.link(way) {
            None => Ok(Vec::new()),
            Some(link) => match self.members(link).await {
                Ok(found) => Ok(found),
                Err(error) if error.is_missing() || error.status() == Some(501) => Ok(Vec::new()),
                Err(error) => Err(error),
            },
        }
    }

    /// `On`, `ForceOff`, `GracefulShutdown`, `ForceRestart`, `Nmi`, ... `ForceOn` stands in for an `On` that the BMC does not
    /// have, and the other way round.
    ///
    /// # Errors
    /// A reset that this system does not have; the BMC's refusal.
    pub async fn reset(&self, system: &System, kind: &str) -> Result<Answer, Error> {
        let action = system
            .0
            .action(RESET)
            .ok_or_else(|| self.missing("an action that resets the system"))?;
        let allowed = self.allowed(&system.0, RESET, "ResetType").await?;
        let other = match kind {
            "On" => Some("ForceOn"),
            "ForceOn" => Some("On"),
            _ => None,
        };
        let kind = if allowed.is_empty() || allowed.iter().any(|a| a == kind) {
            kind
        } else {
            other
                .filter(|o| allowed.iter().any(|a| a == o))
                .ok_or_else(|| {
                    self.missing(format!(
                        "reset type {kind} for this system (it has {})",
                        allowed.join(", ")
                    ))
                })?
        };
        self.post(&action.target, &json!({"ResetType": kind})).await
    }

    /// Changes the boot override. Where the BMC has a document for pending settings that names a member, it is changed there.
    /// An address for UEFI HTTP boot that no longer counts is removed.
    ///
    /// # Errors
    /// A boot device that this system does not offer; the BMC's refusal.
    pub async fn set_boot(&self, system: &System, change: &BootOverride) -> Result<(), Error> {
        let mut change = change.clone();
        let targets = system.boot_targets();
        if let Some(target) = &change.target {
            if target == "Cd"
                && targets.iter().any(|t| t == "UsbCd")
                && self.quirks(system).await?.usb_cd
            {
                change.target = Some("UsbCd".into());
            } else if !targets.is_empty() && !targets.contains(target) {
                return Err(self.missing(format!(
                    "boot device {target} (it has {})",
                    targets.join(", ")
                )));
            }
        }
        let settings = self
            .follow(&system.0, &["@Redfish.Settings", "SettingsObject"])
            .await?;
        let of = |r: Option<&Resource>, name: &str| {
            r.and_then(|r| r.at(&["Boot"]).as_object())
                .and_then(|boot| boot.get(name).cloned())
        };
        let (mut here, mut there) = (Map::new(), Map::new());
        let mut put = |name: &str, value: Value| {
            if of(settings.as_ref(), name).is_some() {
                there.insert(name.to_owned(), value);
            } else {
                here.insert(name.to_owned(), value);
            }
        };
        if let Some(target) = &change.target {
            put("BootSourceOverrideTarget", json!(target));
            let known =
                of(settings.as_ref(), "HttpBootUri").or_else(|| of(Some(&system.0), "HttpBootUri"));
            match (&change.http_uri, known) {
                (Some(uri), Some(_)) if target == "UefiHttp" => put("HttpBootUri", json!(uri)),
                (Some(_), None) if target == "UefiHttp" => {
                    return Err(self.missing("HttpBootUri, the address for UEFI HTTP boot"));
                }
                (_, Some(old)) if !old.is_null() => put("HttpBootUri", Value::Null),
                _ => {}
            }
        }
        if let Some(enabled) = &change.enabled {
            put("BootSourceOverrideEnabled", json!(enabled));
        }
        if let Some(mode) = &change.mode {
            put("BootSourceOverrideMode", json!(mode));
        }
        if let Some(settings) = settings.filter(|_| !there.is_empty()) {
            self.patch(settings.path(), &json!({"Boot": there}), settings.etag())
                .await?;
        }
        if !here.is_empty() {
            self.patch(system.0.path(), &json!({"Boot": here}), system.0.etag())
                .await?;
        }
        Ok(())
    }

    /// A lamp of a system, chassis or drive: `Lit`, `Off`, `Blinking`. Newer boards have a mere location lamp instead.
    ///
    /// # Errors
    /// The BMC's refusal; a resource without lamp.
    pub async fn set_lamp(&self, of: &Resource, state: &str) -> Result<(), Error> {
        let body = if of.text(&["IndicatorLED"]).is_some() {
            json!({"IndicatorLED": state})
        } else if of.flag(&["LocationIndicatorActive"]).is_some() {
            json!({"LocationIndicatorActive": state != "Off"})
        } else {
            return Err(self.missing(format!("a lamp at {}", of.path())));
        };
        self.patch(of.path(), &body, of.etag()).await.map(drop)
    }
}

/// The state of a lamp in the words of [`Client::set_lamp`]; `None`: there is none.
impl Resource {
    #[must_use]
    pub fn lamp(&self) -> Option<&str> {
        self.text(&["IndicatorLED"])
            .or_else(|| match self.flag(&["LocationIndicatorActive"])? {
                true => Some("Lit"),
                false => Some("Off"),
            })
    }
}
