//! `/v1/nodes/{ident}/traits`.

use std::sync::Arc;

use bessemer_model::{Fault, FaultKind, Node};
use serde_json::{Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_schema::{self, TRAIT};
use crate::schema::{Convert, Member, Schema, Type};
use crate::told;

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
    json_schema::check(name, &TRAIT, value)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// As traits are kept: sorted and once each.
pub fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Sets a node's traits; they are kept sorted and once each.
async fn change(
    call: &Call,
    what: &str,
    traits: impl Fn(&Node) -> Result<Vec<String>, Fault> + Send + Sync + 'static,
) -> Result<(), ApiFault> {
    let node = call.node().await?;
    let mut wanted = node.clone();
    // what is refused is told with the traits as they are
    if let Ok(traits) = traits(&node) {
        wanted.traits = sorted(traits);
    }
    let write = call.store().update_node(
            node.id,
            None,
            false,
            Arc::new(move |node: &mut Node| {
                let new = sorted(traits(node)?);
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
        );
    told::updated(call, &node, &wanted, write).await?;
    Ok(())
}
