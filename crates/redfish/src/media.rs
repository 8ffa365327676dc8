//! Virtual media (schema VirtualMedia): slots of the system, else of its managers.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::resource::Resource;
use crate::system::System;
use crate::tasks::TaskState;

/// Tries of an insertion that a server error ended: an ejection just before may still be going on.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);
/// How long the task of an insertion is followed.
const INSERTED_WITHIN: Duration = Duration::from_secs(60);

/// What is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Cd,
    Floppy,
    UsbStick,
}

impl MediaKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cd => "CD",
            Self::Floppy => "Floppy",
            Self::UsbStick => "USBStick",
        }
    }

    /// Whether a slot can take it; one for DVDs takes CDs.
    fn fits(self, slot: &Slot) -> bool {
        let types = slot.media_types();
        types.iter().any(|t| t == self.name())
            || (self == Self::Cd && types.iter().any(|t| t == "DVD"))
    }
}

/// A slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot(pub Resource);

impl Slot {
    /// `CD`, `DVD`, `Floppy`, `USBStick`.
    #[must_use]
    pub fn media_types(&self) -> Vec<String> {
        crate::resource::texts(self.0.at(&["MediaTypes"])).unwrap_or_default()
    }

    /// Whether something is in; boards that do not say it name the image.
    #[must_use]
    pub fn inserted(&self) -> bool {
        self.0
            .flag(&["Inserted"])
            .unwrap_or_else(|| self.image().is_some())
    }

    /// Address of the image.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        self.0.text(&["Image"])
    }
}

impl Client {
    /// All slots: the system's, else those of its managers.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn slots(&self, system: &System) -> Result<Vec<Slot>, Error> {
        let mut found = self.members_of(&system.0, &["VirtualMedia"]).await?;
        if found.is_empty() {
            for manager in self.managers(system).await? {
                found.extend(self.members_of(&manager, &["VirtualMedia"]).await?);
            }
        }
        Ok(found.into_iter().map(Slot).collect())
    }

    /// Inserts an image into the first slot that takes it. What slots of this kind hold is ejected first, also when it has the
    /// same address: some boards go on telling an image that is gone.
    ///
    /// # Errors
    /// No slot that fits; the refusals of those that do.
    pub async fn insert(&self, system: &System, kind: MediaKind, image: &str) -> Result<(), Error> {
        let only = self.quirks(system).await?.only_slot;
        let mut refused = None;
        for slot in self.slots(system).await? {
            let known = only.is_none_or(|id| slot.0.id() == id);
            if !known || !kind.fits(&slot) {
                continue;
            }
            if slot.inserted()
                && let Err(error) = self.eject_slot(&slot).await
            {
                tracing::debug!("virtual media may still be in: {error}");
            }
            match self.insert_slot(&slot, image).await {
                Ok(()) => return Ok(()),
                // a slot for other uses (the remote console's, say): the next one
                Err(
                    error @ (Error::Missing { .. }
                    | Error::Refused {
                        status: 400 | 404 | 405 | 500..=599,
                        ..
                    }),
                ) => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused
            .unwrap_or_else(|| self.missing(format!("virtual media that take a {}", kind.name()))))
    }

    async fn insert_slot(&self, slot: &Slot, image: &str) -> Result<(), Error> {
        let mut attempt = 1;
        let answer = loop {
            match self.insert_once(slot, image).await {
                Err(Error::Refused {
                    status: 500..=599, ..
                }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => break other?,
            }
        };
        let Some(monitor) = answer.monitor() else {
            return Ok(());
        };
        let deadline = Instant::now() + INSERTED_WITHIN;
        loop {
            match self.task(monitor).await? {
                TaskState::Done | TaskState::Gone => return Ok(()),
                TaskState::Failed(why) => {
                    return Err(Error::TaskFailed {
                        address: self.address().to_owned(),
                        operation: "insert virtual media".into(),
                        why,
                    });
                }
                TaskState::Running { .. } if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                TaskState::Running { .. } => {
                    return Err(Error::TimedOut {
                        address: self.address().to_owned(),
                        operation: "insert virtual media".into(),
                        after: INSERTED_WITHIN,
                    });
                }
            }
        }
    }

    /// With what this board wants besides the image's address, as it says in its refusals.
    async fn insert_once(&self, slot: &Slot, image: &str) -> Result<Answer, Error> {
        let Some(action) = slot.0.action("#VirtualMedia.InsertMedia") else {
            // before the action there was, members were written
            if slot.0.at(&["Image"]).is_null() && slot.0.body().get("Image").is_none() {
                return Err(self.missing(format!("insertion at {}", slot.0.path())));
            }
            let body = json!({"Image": image, "Inserted": true, "WriteProtected": true});
            return self.patch(slot.0.path(), &body, slot.0.etag()).await;
        };
        let mut body = Map::new();
        body.insert("Image".into(), json!(image));
        loop {
            let error = match self
                .post(&action.target, &Value::Object(body.clone()))
                .await
            {
                Err(
                    error @ Error::Refused {
                        status: 400..=499, ..
                    },
                ) => error,
                other => return other,
            };
            let wants = |word: &str| error.says(word);
            if wants("TransferProtocolType") && !body.contains_key("TransferProtocolType") {
                let scheme = image.split(':').next().unwrap_or_default();
                body.insert(
                    "TransferProtocolType".into(),
                    json!(scheme.to_ascii_uppercase()),
                );
            } else if wants("TransferMethod") && !body.contains_key("TransferMethod") {
                body.insert("TransferMethod".into(), json!("Stream"));
            } else if (wants("UserName") || wants("Password")) && !body.contains_key("UserName") {
                body.insert("UserName".into(), json!("none"));
                body.insert("Password".into(), json!("none"));
            } else {
                return Err(error);
            }
        }
    }

    /// Ejects from all slots of a kind, or from all; how many held something.
    ///
    /// # Errors
    /// The BMC's refusal.
    pub async fn eject(&self, system: &System, kind: Option<MediaKind>) -> Result<usize, Error> {
        let mut ejected = 0;
        for slot in self.slots(system).await? {
            if slot.inserted() && kind.is_none_or(|k| k.fits(&slot)) {
                self.eject_slot(&slot).await?;
                ejected += 1;
            }
        }
        Ok(ejected)
    }

    async fn eject_slot(&self, slot: &Slot) -> Result<(), Error> {
        let Some(action) = slot.0.action("#VirtualMedia.EjectMedia") else {
            let body = json!({"Image": null, "Inserted": false});
            return self
                .patch(slot.0.path(), &body, slot.0.etag())
                .await
                .map(drop);
        };
        // an empty object is what all take; some refuse a body, some its absence
        match self.post(&action.target, &json!({})).await {
            Ok(_) => Ok(()),
            Err(error @ Error::Refused { .. }) => {
                // refused because nothing is in
                let now = self.get(slot.0.path()).await.map(Slot)?;
                if now.inserted() { Err(error) } else { Ok(()) }
            }
            Err(error) => Err(error),
        }
    }
}
