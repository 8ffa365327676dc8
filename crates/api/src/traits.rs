//! `/v1/nodes/{ident}/traits`.

use std::sync::Arc;

use bessemer_model::{Fault, FaultKind, Node};
use serde_json::{Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::schema::{Convert, Member, Schema, Type, py_repr};

/// Traits that a node may have, at most.
const MOST: usize = 50;

const SCHEMA: Schema = Schema {
    members: &[Member {
        name: "traits",
        types: &[Type::Array],
        max: None,
        min: 0,
        convert: Convert::Nothing,
    }],
    required: &[],
};

/// Name spaces of the standard traits (the library os-traits keeps their list).
const STANDARD: [&str; 6] = ["COMPUTE_", "HW_", "MISC_", "OWNER_", "STORAGE_", "GPU_"];

pub async fn list(call: Call) -> Outcome {
    let node = call.node().await?;
    Ok(Answer::json(&json!({"traits": node.traits})))
}

pub async fn replace(call: Call) -> Outcome {
    let body = SCHEMA.check("body", body::json(&call.body)?)?;
    let Some(Value::Array(items)) = body.get("traits") else {
        return Err(ApiFault::invalid(
            "A single node trait may be added via PUT /v1/nodes/<node identifier>/traits/<trait> with no body, or all node traits may be replaced via PUT /v1/nodes/<node identifier>/traits with the list of traits specified in the request body.",
        ));
    };
    let traits: Vec<String> = items
        .iter()
        .map(|item| checked("body", item))
        .collect::<Result<_, _>>()?;
    change(&call, "traits replaced", move |_| Ok(traits.clone())).await?;
    Ok(Answer::no_content())
}

pub async fn add(call: Call) -> Outcome {
    let body = SCHEMA.check("body", body::json(&call.body)?)?;
    if !body.is_empty() {
        return Err(ApiFault::invalid(
            "No body should be provided when adding a trait",
        ));
    }
    let name = checked("trait", &Value::from(call.param("trait")))?;
    let added = name.clone();
    change(&call, "trait added", move |node| {
        let mut traits = node.traits.clone();
        traits.push(added.clone());
        Ok(traits)
    })
    .await?;
    let ident = call.param("ident");
    Ok(Answer::no_content().at(call.url(&format!("nodes/{ident}/traits/{name}"))))
}

pub async fn remove(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let name = call.param("trait").to_owned();
    change(&call, "trait removed", move |node| {
        if !node.traits.contains(&name) {
            return Err(Fault::not_found(format!(
                "Node {} doesn't have a trait '{name}'",
                node.id
            )));
        }
        Ok(node
            .traits
            .iter()
            .filter(|t| **t != name)
            .cloned()
            .collect())
    })
    .await?;
    Ok(Answer::no_content())
}

pub async fn remove_all(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    change(&call, "traits removed", |_| Ok(Vec::new())).await?;
    Ok(Answer::no_content())
}

fn checked(name: &str, value: &Value) -> Result<String, ApiFault> {
    let wrong = |why: String| ApiFault::invalid(format!("Schema error for {name}: {why}"));
    let shown = py_repr(value);
    let Value::String(text) = value else {
        return Err(wrong(format!("{shown} is not of type 'string'")));
    };
    if text.is_empty() {
        return Err(wrong(format!("{shown} should be non-empty")));
    }
    if text.len() > 255 {
        return Err(wrong(format!("{shown} is too long")));
    }
    let shaped = |rest: &str| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let known = text.strip_prefix("CUSTOM_").is_some_and(shaped)
        || STANDARD
            .iter()
            .any(|space| text.strip_prefix(space).is_some_and(shaped));
    if known {
        return Ok(text.clone());
    }
    Err(wrong(format!(
        "{shown} is not valid under any of the given schemas. Possible root cause: {shown} does not match '^CUSTOM_[A-Z0-9_]+$'"
    )))
}

/// Sets a node's traits; they are kept sorted and once each.
async fn change(
    call: &Call,
    what: &str,
    traits: impl Fn(&Node) -> Result<Vec<String>, Fault> + Send + Sync + 'static,
) -> Result<(), ApiFault> {
    let node = call.node().await?;
    call.store()
        .update_node(
            node.id,
            None,
            false,
            Arc::new(move |node: &mut Node| {
                let mut new = traits(node)?;
                new.sort_unstable();
                new.dedup();
                if new.len() > MOST {
                    return Err(Fault::new(
                        FaultKind::Invalid,
                        bessemer_model::Class::Never,
                        format!(
                            "Could not modify traits for node {} as it would exceed the maximum number of traits per node ({} vs. {MOST})",
                            node.id,
                            new.len()
                        ),
                    ));
                }
                node.traits = new;
                Ok(())
            }),
            call.event(what),
        )
        .await?;
    Ok(())
}
