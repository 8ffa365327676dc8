//! `GET /v1/nodes/{ident}/validate` and `/v1/nodes/validate?node=`.

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::auth::Ownership;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = call.param("ident").to_owned();
    answer(&call, &ident).await
}

pub async fn by_query(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["node", "node_uuid"])?;
    let ident = match args.uuid("node_uuid")? {
        Some(uuid) => uuid,
        None => args
            .uuid_or_name("node")?
            .ok_or_else(|| ApiFault::invalid("Missing mandatory parameter: node"))?,
    };
    answer(&call, &ident).await
}

async fn answer(call: &Call, ident: &str) -> Outcome {
    if uuid::Uuid::parse_str(ident).is_err() && !call.at_least(5) {
        return Err(ApiFault::not_acceptable());
    }
    let node = call.node_by_ident(ident).await?;
    call.authorize_node("baremetal:node:validate", ident, &Ownership::of(&node))?;
    let mut interfaces = Map::new();
    for line in call.conductor().validate(node.id).await? {
        let mut one = json!({"result": line.result});
        if let (Some(reason), Some(one)) = (line.reason, one.as_object_mut()) {
            one.insert("reason".into(), Value::from(reason));
        }
        interfaces.insert(line.interface.as_str().into(), one);
    }
    Ok(Answer::json(&Value::Object(interfaces)))
}
