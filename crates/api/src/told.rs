//! Writes of which others are told: that a request creates, changes or deletes an object.
//!
//! The start and the end are stored with the write itself, by the store; a refusal is told alone.

use bessemer_model::notification::{Level, Payload, Told, maintenance};
use bessemer_model::{Allocation, Node};
use bessemer_store::Announcement;
use serde_json::{Map, Value};

use crate::call::Call;

/// Members that are known before an object is stored, also when the client has not given them.
const KNOWN: [&str; 9] = [
    "uuid",
    "node_uuid",
    "portgroup_uuid",
    "chassis_uuid",
    "provision_state",
    "resource_class",
    "conductor_group",
    "traits",
    "owner",
];

/// Runs a write that creates `object` from the members that the client gave.
///
/// # Errors
/// The write's own.
pub async fn created<T: Told, R, E>(
    call: &Call,
    object: &T,
    given: &Map<String, Value>,
    write: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    if !wanted(call) {
        return write.await;
    }
    // A node has none at first; an allocation wants none in particular, which upstream tells as null.
    let traits = T::OBJECT == Node::OBJECT || given.contains_key("traits");
    let start = object.payload().given(|name| {
        given.contains_key(name) || (KNOWN.contains(&name) && (traits || name != "traits"))
    });
    let mut end = object.payload();
    if T::OBJECT == Allocation::OBJECT && !traits {
        end = end.with("traits", Value::Null);
    }
    Announcement::new(T::OBJECT, "create", start)
        .ending(end)
        .around(call.store(), write)
        .await
}

/// Runs a write that makes `before` what `after` is.
///
/// # Errors
/// The write's own.
pub async fn updated<T: Told, R, E>(
    call: &Call,
    before: &T,
    after: &T,
    write: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    if !wanted(call) {
        return write.await;
    }
    let start = unsaved(before.payload(), after.payload());
    Announcement::new(T::OBJECT, "update", start)
        .ending(after.payload())
        .around(call.store(), write)
        .await
}

/// Runs a write that deletes `object`.
///
/// # Errors
/// The write's own.
pub async fn deleted<T: Told, R, E>(
    call: &Call,
    object: &T,
    write: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    deleted_as(call, T::OBJECT, || object.payload(), write).await
}

/// The same with a payload of its own.
///
/// # Errors
/// The write's own.
pub async fn deleted_as<R, E>(
    call: &Call,
    object: &'static str,
    payload: impl FnOnce() -> Payload,
    write: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    if !wanted(call) {
        return write.await;
    }
    Announcement::new(object, "delete", payload())
        .around(call.store(), write)
        .await
}

/// Runs a write that puts a node into maintenance, or takes it out; `after` is the node as it is to be.
///
/// # Errors
/// The write's own.
pub async fn maintained<R, E>(
    call: &Call,
    before: &Node,
    after: &Node,
    write: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    if !wanted(call) {
        return write.await;
    }
    let start = unsaved(maintenance(before), maintenance(after));
    Announcement::new(Node::OBJECT, "maintenance_set", start)
        .around(call.store(), write)
        .await
}

/// What is not to be saved before the end still has its old time.
fn unsaved(before: Payload, after: Payload) -> Payload {
    match before.member("updated_at") {
        Some(at) => after.with("updated_at", at.clone()),
        None => after,
    }
}

fn wanted(call: &Call) -> bool {
    call.store().tells(Level::Error)
}
