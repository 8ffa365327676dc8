//! Storage: controllers, drives and volumes (schemas Storage, StorageController, Drive, Volume).

use serde_json::Value;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::resource::Resource;
use crate::system::System;

/// A storage subsystem with its drives.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    pub resource: Resource,
    /// Controllers: documents of their own, or the members of `StorageControllers`.
    pub controllers: Vec<Value>,
    pub drives: Vec<Resource>,
}

/// A volume's document.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume(pub Resource);

impl Volume {
    /// RAID level as the schema writes it; old boards have only a type.
    #[must_use]
    pub fn raid_type(&self) -> Option<&str> {
        self.0.text(&["RAIDType"]).or_else(|| {
            Some(match self.0.text(&["VolumeType"])? {
                "NonRedundant" => "RAID0",
                "Mirrored" => "RAID1",
                "StripedWithParity" => "RAID5",
                "SpannedMirrors" => "RAID10",
                "SpannedStripesWithParity" => "RAID50",
                _ => return None,
            })
        })
    }

    /// A drive that the controller shows as it is.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.0.text(&["VolumeType"]) == Some("RawDevice")
            || self.0.text(&["RAIDType"]) == Some("None")
    }
}

impl Storage {
    /// Levels that the first controller tells; `None` when it tells none.
    #[must_use]
    pub fn raid_types(&self) -> Option<Vec<String>> {
        let first = self.controllers.first()?;
        crate::resource::texts(crate::resource::at(first, &["SupportedRAIDTypes"]))
    }
}

impl Client {
    /// All storage of a system.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn storage(&self, system: &System) -> Result<Vec<Storage>, Error> {
        let mut found = Vec::new();
        for resource in self.members_of(&system.0, &["Storage"]).await? {
            let mut controllers: Vec<Value> = self
                .members_of(&resource, &["Controllers"])
                .await?
                .into_iter()
                .map(|c| c.body().clone())
                .collect();
            if controllers.is_empty() {
                controllers = resource.list(&["StorageControllers"]).to_vec();
            }
            let drives = self.linked(&resource, &["Drives"]).await?;
            found.push(Storage {
                resource,
                controllers,
                drives,
            });
        }
        Ok(found)
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn volumes(&self, storage: &Storage) -> Result<Vec<Volume>, Error> {
        Ok(self
            .members_of(&storage.resource, &["Volumes"])
            .await?
            .into_iter()
            .map(Volume)
            .collect())
    }

    /// # Errors
    /// The BMC's refusal; storage that has no volumes.
    pub async fn create_volume(&self, storage: &Storage, body: &Value) -> Result<Answer, Error> {
        let link = storage
            .resource
            .link(&["Volumes"])
            .ok_or_else(|| self.missing(format!("volumes at {}", storage.resource.path())))?;
        self.post(link, body).await
    }
}
