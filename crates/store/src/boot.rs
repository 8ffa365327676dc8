//! Boot rows: what a node boots next, written by drivers, served by netboot.

use std::sync::Arc;

use bessemer_model::NodeId;
use ring::hmac;
use uuid::Uuid;

use crate::failure::Failure;
use crate::node::not_found;
use crate::sql::args;
use crate::store::{Store, Wakes};
use crate::{BootRow, StoreError};

/// Member of `driver_internal_info`: the EFI system partition in a node's image for virtual media, as it was checked when the
/// boot was prepared.
pub const MEDIA_BOOTLOADER: &str = "virtual_media_bootloader";

/// What opens a node's image for virtual media, and the token in it. Both are of the node's open operation and end with it, so
/// that no image outlives its boot, whatever happens to the service.
pub struct MediaSecret {
    node: NodeId,
    token: String,
}

impl std::fmt::Debug for MediaSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaSecret")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl MediaSecret {
    fn sign(&self, what: &str) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_bytes());
        hmac::sign(&key, format!("{what} of {}", self.node).as_bytes())
    }

    /// Path of the image below the HTTP boot service: nobody guesses it, and it tells nothing of the token.
    #[must_use]
    pub fn path(&self) -> String {
        let secret = hex::encode(self.sign("virtual media"));
        format!("vmedia/{}/{secret}/boot.iso", self.node)
    }

    /// Whether this is the secret part of [`MediaSecret::path`]. How long it takes tells nothing.
    #[must_use]
    pub fn opens(&self, secret: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_bytes());
        let text = format!("virtual media of {}", self.node);
        hex::decode(secret).is_ok_and(|tag| hmac::verify(&key, text.as_bytes(), &tag).is_ok())
    }

    /// The token of the operation's agents.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// What the image names as its publisher, by which an agent knows that it was booted from it.
    #[must_use]
    pub fn publisher(&self) -> String {
        let tag = self.sign("publisher");
        let bytes = tag.as_ref().first_chunk::<16>().copied();
        Uuid::from_bytes(bytes.unwrap_or_default()).to_string()
    }
}

impl Store {
    /// The secret of the node's image for virtual media; `None` without an open operation.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when it cannot be decrypted.
    pub async fn get_media_secret(&self, node: NodeId) -> Result<Option<MediaSecret>, StoreError> {
        let seed = self.get_agent_seed(node).await?;
        Ok(seed.map(|token| MediaSecret { node, token }))
    }

    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn set_boot(&self, row: &BootRow) -> Result<(), StoreError> {
        let node = row.node;
        let row = Arc::new(row.clone());
        let result = self
            .write("set_boot", Wakes::Nobody, move |tx| {
                let row = Arc::clone(&row);
                Box::pin(async move {
                    tx.execute(
                        "INSERT INTO boot (node, kind, kernel, ramdisk, kernel_params, updated_at) \
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node) DO UPDATE SET \
                         kind = excluded.kind, kernel = excluded.kernel, ramdisk = excluded.ramdisk, \
                         kernel_params = excluded.kernel_params, updated_at = excluded.updated_at",
                        args![
                            row.node,
                            row.kind,
                            row.kernel,
                            row.ramdisk,
                            row.kernel_params,
                            row.updated_at
                        ],
                    )
                    .await
                })
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(Failure::Foreign(_)) => Err(not_found(node)),
            Err(other) => Err(other.into()),
        }
    }

    pub async fn get_boot(&self, node: NodeId) -> Result<Option<BootRow>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(
                "SELECT node, kind, kernel, ramdisk, kernel_params, updated_at FROM boot WHERE node = $1",
                args![node],
                |row| {
                    let mut cursor = row.cursor();
                    Ok(BootRow {
                        node: cursor.take()?,
                        kind: cursor.take()?,
                        kernel: cursor.take()?,
                        ramdisk: cursor.take()?,
                        kernel_params: cursor.take()?,
                        updated_at: cursor.take()?,
                    })
                },
            )
            .await?)
    }

    /// No row is as good.
    pub async fn clear_boot(&self, node: NodeId) -> Result<(), StoreError> {
        self.write("clear_boot", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM boot WHERE node = $1", args![node])
                    .await
            })
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_secret_opens_an_image() {
        let node = NodeId::random();
        let of = |token: &str| MediaSecret {
            node,
            token: token.to_owned(),
        };
        let path = of("one").path();
        let secret = path.split('/').nth(2).unwrap_or_default().to_owned();
        assert_eq!(secret.len(), 64);
        assert!(of("one").opens(&secret));
        assert!(!of("two").opens(&secret));
        for wrong in ["", "00", "x", &secret[1..], &format!("{secret}00")] {
            assert!(!of("one").opens(wrong), "{wrong}");
        }
        assert_ne!(of("one").publisher(), of("two").publisher());
        assert!(!format!("{:?}", of("one")).contains("one"));
    }
}
