//! `GET /v1/shards`: how many nodes each shard has.

use serde_json::{Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};

pub async fn list(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let shards: Vec<Value> = call
        .store()
        .list_shards()
        .await?
        .into_iter()
        .map(|row| {
            json!({
                // clients of upstream know the nodes without a shard by this name
                "name": row.shard.unwrap_or_else(|| "None".to_owned()),
                "count": row.nodes,
            })
        })
        .collect();
    Ok(Answer::json(&json!({"shards": shards})))
}
