//! `/v1/nodes/{ident}/vifs`: which of the tenants' virtual interfaces a node's ports carry. What happens to them
//! is up to the node's network interface, so the conductor does it.

use bessemer_model::network::VifRequest;
use serde_json::{Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::schema::{is_logical_name, py_repr, py_str};

pub async fn list(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let vifs: Vec<Value> = call
        .conductor()
        .vif_list(node.id)
        .await?
        .into_iter()
        .map(|id| json!({"id": id}))
        .collect();
    Ok(Answer::json(&json!({"vifs": vifs})))
}

pub async fn attach(call: Call) -> Outcome {
    let wrong = |why: String| ApiFault::invalid(format!("Schema error for vif: {why}"));
    let map = match body::json(&call.body)? {
        Value::Object(map) => map,
        other => {
            return Err(wrong(format!(
                "{} is not of type 'object'",
                py_repr(&other)
            )));
        }
    };
    // other members are accepted, and mean nothing
    let Some(id) = map.get("id") else {
        return Err(wrong("'id' is a required property".into()));
    };
    let Value::String(id) = id else {
        return Err(wrong(format!("{} is not of type 'string'", py_repr(id))));
    };
    if uuid::Uuid::parse_str(id).is_err() && !is_logical_name(id) {
        return Err(ApiFault::invalid(format!(
            "Expected UUID or name for id: {id}"
        )));
    }
    let node = call.node().await?;
    let (port, portgroup) = (map.get("port_uuid"), map.get("portgroup_uuid"));
    if call.at_least(67) && port.is_some() && portgroup.is_some() {
        return Err(ApiFault::invalid(
            "Cannot specify both port_uuid and portgroup_uuid",
        ));
    }
    let request = VifRequest {
        id: id.clone(),
        port: port.map(py_str),
        portgroup: portgroup.filter(|_| port.is_none()).map(py_str),
        physical_networks: std::collections::BTreeSet::new(),
    };
    call.conductor().vif_attach(node.id, request).await?;
    call.note(node.id, format!("VIF {id} attached")).await?;
    Ok(Answer::no_content())
}

pub async fn detach(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let vif = call.param("vif").to_owned();
    if uuid::Uuid::parse_str(&vif).is_err() && !is_logical_name(&vif) {
        return Err(ApiFault::invalid(format!(
            "Expected UUID or name for vif_id: {vif}"
        )));
    }
    let node = call.node().await?;
    call.conductor().vif_detach(node.id, &vif).await?;
    call.note(node.id, format!("VIF {vif} detached")).await?;
    Ok(Answer::no_content())
}
