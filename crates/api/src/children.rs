//! `GET /v1/nodes/{ident}/children`: the UUIDs of the nodes that have this one as their parent.

use bessemer_store::{NodeFilter, Page};
use serde_json::{Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};

/// As many as upstream shows at once.
const MOST: u32 = 1000;

pub async fn list(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let filter = NodeFilter {
        parent_node: Some(node.id),
        project: call.list_project("node", None)?,
        ..NodeFilter::default()
    };
    let page = Page {
        limit: MOST,
        ..Page::default()
    };
    let children: Vec<Value> = call
        .store()
        .list_node_rows(&filter, &page)
        .await?
        .iter()
        .map(|row| row.id.to_string().into())
        .collect();
    Ok(Answer::json(&json!({
        "children": children,
        // one link, not a list of links: clients know it so
        "links": {
            "href": call.url(&format!("nodes?parent_node={}", node.id)),
            "rel": "children",
        },
    })))
}
