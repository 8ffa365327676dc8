//! Keys over time: which ones the database knows of, and secrets under the newest.
//!
//! Every process writes the name of its encrypting key down before it encrypts anything. So a service that lacks a key of
//! the database says so at its start, and not at the first node that it cannot reach.

use std::sync::Arc;

use bessemer_model::{Object, Timestamp};

use crate::failure::Failure;
use crate::operation::AGENT_SEED;
use crate::secrets::{self, Keys};
use crate::sql::{Connection, ToValue, args};
use crate::store::{Store, Wakes};
use crate::{StoreError, TimelineEvent, TimelineSource, document, node, timeline};

/// What a rotation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Nodes and operations that were looked at.
    pub rows: u64,
    /// Those of them that were written anew.
    pub changed: u64,
    /// Members that were removed because they do not open: node and member.
    pub forgotten: Vec<(String, String)>,
}

/// Rows of one transaction.
const AT_ONCE: i64 = 50;

fn object_of(text: &str, id: &str, column: &str) -> Result<Object, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        StoreError::Internal(format!(
            "{column} of node {id} is not JSON ({error}); `bessemer db check` finds such rows"
        ))
    })
}

impl Store {
    /// Refuses to go on without a key that secrets may be under, and writes the encrypting one down.
    pub(crate) async fn register_keys(&self) -> Result<(), StoreError> {
        let known: Vec<String> = self
            .reader()
            .await?
            .rows("SELECT key_id FROM secret_key", Vec::new(), |row| {
                row.get(0)
            })
            .await?;
        let keys = self.keys();
        if let Some(lost) = known.iter().find(|id| keys.ids().all(|have| have != *id)) {
            return Err(StoreError::Sealed {
                what: "of nodes".into(),
                why: secrets::missing(lost, keys),
            });
        }
        if let Some(first) = keys.first_id()
            && !known.iter().any(|id| id == first)
        {
            let first: Arc<str> = first.into();
            self.write("register_keys", Wakes::Nobody, move |tx| {
                let first = Arc::clone(&first);
                Box::pin(async move {
                    tx.execute(
                        "INSERT INTO secret_key (key_id, created_at) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING",
                        args![&*first, Timestamp::now()],
                    )
                    .await
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Encrypts every secret under the first key, whatever it was under; without keys, decrypts all. With
    /// `forget_unreadable`, members that do not open are removed, so that they can be set anew. Then the database knows of
    /// no other key. May run beside the service.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] for the first that does not open, when they are not to be forgotten; what was done until
    /// then stays.
    pub async fn rotate_secrets(&self, forget_unreadable: bool) -> Result<Rotated, StoreError> {
        let mut all = Rotated::default();
        let mut last = 0i64;
        loop {
            let (next, part) = self
                .write("rotate_secrets", Wakes::Nobody, move |tx| {
                    Box::pin(async move { rotate_nodes(tx, last, forget_unreadable).await })
                })
                .await?;
            all.rows += part.rows;
            all.changed += part.changed;
            all.forgotten.extend(part.forgotten);
            match next {
                Some(next) => last = next,
                None => break,
            }
        }
        let part = self
            .write("rotate_secrets", Wakes::Nobody, move |tx| {
                Box::pin(async move {
                    let part = rotate_operations(tx, forget_unreadable).await?;
                    let first = tx.keys.first_id().unwrap_or_default().to_owned();
                    tx.execute("DELETE FROM secret_key WHERE key_id <> $1", args![first])
                        .await?;
                    if !first.is_empty() {
                        tx.execute(
                            "INSERT INTO secret_key (key_id, created_at) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING",
                            args![first, Timestamp::now()],
                        )
                        .await?;
                    }
                    Ok(part)
                })
            })
            .await?;
        all.rows += part.rows;
        all.changed += part.changed;
        all.forgotten.extend(part.forgotten);
        Ok(all)
    }
}

/// The text of a column under the first key, when that is not what it is already.
fn rotated(
    keys: &Keys,
    id: &str,
    column: &str,
    text: &str,
    forget: bool,
    forgotten: &mut Vec<(String, String)>,
) -> Result<Option<String>, StoreError> {
    let mut object = object_of(text, id, column)?;
    let survey = keys.survey(id, column, &object);
    let lost = !survey.unreadable.is_empty();
    if lost && forget {
        let gone = keys.forget_unreadable(id, column, &mut object);
        forgotten.extend(gone.into_iter().map(|member| (id.to_owned(), member)));
    }
    let plain = survey.plain > 0 && !keys.is_empty();
    if !(lost || plain || survey.other_key > 0) {
        return Ok(None);
    }
    keys.open(id, column, &mut object)?;
    keys.seal(id, column, &object).map(Some)
}

async fn rotate_nodes(
    connection: &mut Connection,
    behind: i64,
    forget: bool,
) -> Result<(Option<i64>, Rotated), Failure> {
    let keys = Arc::clone(&connection.keys);
    let rows = connection
        .rows(
            "SELECT id, uuid, driver_info, instance_info, driver_internal_info FROM node WHERE id > $1 \
             ORDER BY id LIMIT $2",
            args![behind, AT_ONCE],
            |row| {
                let columns: [String; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
                Ok((row.get::<i64>(0)?, row.get::<String>(1)?, columns))
            },
        )
        .await?;
    let next = rows.last().map(|(id, ..)| *id);
    let mut done = Rotated::default();
    for (row, id, columns) in rows {
        done.rows += 1;
        let mut set = Vec::new();
        let mut values = Vec::new();
        let before = done.forgotten.len();
        for (column, text) in secrets::COLUMNS.iter().zip(&columns) {
            if let Some(text) = rotated(&keys, &id, column, text, forget, &mut done.forgotten)? {
                values.push(text.to_value());
                set.push(format!("{column} = ${}", values.len()));
            }
        }
        if set.is_empty() {
            continue;
        }
        done.changed += 1;
        values.push(row.to_value());
        connection
            .execute(
                format!(
                    "UPDATE node SET {} WHERE id = ${}",
                    set.join(", "),
                    values.len()
                ),
                values,
            )
            .await?;
        if done.forgotten.len() > before {
            let Ok(uuid) = id.parse() else { continue };
            let members: Vec<_> = done
                .forgotten
                .iter()
                .skip(before)
                .map(|(_, member)| member.as_str())
                .collect();
            let event = TimelineEvent {
                at: Timestamp::now(),
                source: TimelineSource::Engine,
                text: format!(
                    "secrets that could not be decrypted were removed: {}; set them anew",
                    members.join(", ")
                ),
                data: None,
            };
            timeline::insert(connection, uuid, &[event]).await?;
            // a member is gone from what is shown
            let node = node::require(connection, uuid).await?;
            connection
                .execute(
                    "UPDATE node_document SET document = $1 WHERE id = $2",
                    args![document::encode(&node), row],
                )
                .await?;
        }
    }
    Ok((next, done))
}

async fn rotate_operations(connection: &mut Connection, forget: bool) -> Result<Rotated, Failure> {
    let keys = Arc::clone(&connection.keys);
    let rows: Vec<(String, String)> = connection
        .rows(
            "SELECT uuid, agent_seed FROM operation WHERE agent_seed IS NOT NULL ORDER BY id",
            Vec::new(),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await?;
    let mut done = Rotated::default();
    for (id, text) in rows {
        done.rows += 1;
        let opened = match keys.open_whole(&id, AGENT_SEED, text) {
            Ok(opened) => Some(opened),
            Err(StoreError::Sealed { .. }) if forget => {
                done.forgotten.push((id.clone(), AGENT_SEED.to_owned()));
                None
            }
            Err(other) => return Err(other.into()),
        };
        let sealed = opened
            .map(|text| keys.seal_text(&id, AGENT_SEED, &text))
            .transpose()?;
        done.changed += 1;
        connection
            .execute(
                "UPDATE operation SET agent_seed = $1 WHERE uuid = $2",
                args![sealed, id],
            )
            .await?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_right_is_not_written() {
        let keys = Keys::parse(&"0a".repeat(32)).unwrap();
        let mut forgotten = Vec::new();
        let info = json!({"ipmi_password": "x", "a": 1}).to_string();
        let first = rotated(&keys, "id", "driver_info", &info, false, &mut forgotten).unwrap();
        let first = first.unwrap();
        assert!(first.contains("$sealed$1$"));
        let again = rotated(&keys, "id", "driver_info", &first, false, &mut forgotten).unwrap();
        assert_eq!(again, None);
        let none = Keys::default();
        assert!(rotated(&none, "id", "driver_info", &first, false, &mut forgotten).is_err());
        let kept = rotated(&none, "id", "driver_info", &first, true, &mut forgotten).unwrap();
        assert_eq!(kept.unwrap(), r#"{"a":1}"#);
        assert_eq!(
            forgotten,
            [("id".to_owned(), "driver_info.ipmi_password".to_owned())]
        );
    }
}
