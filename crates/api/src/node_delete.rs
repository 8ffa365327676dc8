//! `DELETE /v1/nodes/{ident}`.

use bessemer_model::{Node, ProvisionState};
use http::StatusCode;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::told;

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    told::deleted(&call, &node, removed(&call, &node)).await?;
    Ok(Answer::no_content())
}

async fn removed(call: &Call, node: &Node) -> Result<(), ApiFault> {
    if let (false, Some(instance)) = (node.maintenance, &node.instance_uuid) {
        return Err(ApiFault::conflict(format!(
            "Node {} is associated with instance {instance}.",
            node.id
        )));
    }
    if node.protected {
        return Err(ApiFault::new(
            StatusCode::FORBIDDEN,
            format!(
                "Node {} is protected and cannot be undeployed, rebuilt or deleted",
                node.id
            ),
        ));
    }
    let available_too = call.config().conductor.allow_deleting_available_nodes;
    let allowed = node.provision_state.allows_delete()
        || (available_too && node.provision_state == ProvisionState::Available);
    if !allowed && !node.maintenance {
        let mut states = vec!["'manageable'", "'enroll'", "'adopt failed'"];
        if available_too {
            states.push("'available'");
        }
        return Err(ApiFault::conflict(format!(
            "Can not delete node \"{}\" while it is in provision state \"{}\". Valid provision states to perform deletion are: \"({})\", or set the node into maintenance mode",
            node.id,
            node.provision_state,
            states.join(", ")
        )));
    }
    Ok(call.store().delete_node(node.id).await?)
}
