//! `PUT /v1/nodes/{ident}/states/raid` and `GET /v1/drivers/{driver}/raid/logical_disk_properties`.

use bessemer_model::{Fault, FaultKind};
use http::StatusCode;
use serde_json::Value;

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

/// RAID is a family of its own that a driver need not have: then the resource is not there.
fn refused(fault: Fault) -> ApiFault {
    let absent = fault.kind == FaultKind::Unsupported;
    let fault = ApiFault::from(fault);
    if absent {
        fault.with_status(StatusCode::NOT_FOUND)
    } else {
        fault
    }
}

pub async fn set(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    // no body, or null, clears it like an empty object
    let config = match body::json(&call.body)? {
        Value::Object(config) => config,
        Value::Null => serde_json::Map::new(),
        other => {
            return Err(ApiFault::invalid(format!(
                "Expected types <class 'dict'> for target_raid_config: {}",
                bessemer_model::py_str(&other)
            )));
        }
    };
    let node = call.node().await?;
    call.conductor()
        .set_target_raid_config(node.id, config)
        .await
        .map_err(refused)?;
    call.note(node.id, "target RAID configuration set").await?;
    Ok(Answer::no_content())
}

pub async fn logical_disk_properties(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let properties = call
        .conductor()
        .raid_logical_disk_properties(call.param("driver"))
        .await
        .map_err(refused)?;
    Ok(Answer::json(&Value::Object(properties)))
}
