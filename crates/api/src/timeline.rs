//! `GET /v1/nodes/{ident}/timeline?after=&limit=`: what happened to a node, from all parts, oldest first.
//! Ours; upstream has nothing like it. Served at every version.

use serde_json::{Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["after", "limit"])?;
    let after = args.integer("after")?;
    let limit = match args.integer("limit")? {
        None => 100,
        Some(n) if n <= 0 => return Err(ApiFault::invalid("Limit must be positive")),
        Some(n) => u32::try_from(n)
            .unwrap_or(u32::MAX)
            .min(call.config().api.max_limit),
    };
    let node = call.node().await?;
    let events: Vec<Value> = call
        .store()
        .list_timeline(node.id, after, limit)
        .await?
        .into_iter()
        .map(|(id, event)| {
            json!({
                "id": id,
                "at": event.at,
                "source": event.source.as_str(),
                "text": event.text,
                "data": event.data,
            })
        })
        .collect();
    Ok(Answer::json(&json!({"timeline": events})))
}
