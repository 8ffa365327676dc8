//! The policy of every route, asked before its handler.
//!
//! What depends on no object is decided at once. When it depends on one, the object is loaded: the node of
//! `/v1/nodes/{ident}/...`, or the node of a [`Part`]. Three kinds are left to handlers: lists
//! ([`Call::list_project`]), what is created in an object that the body names, and what depends on the body
//! ([`LEFT_TO_HANDLERS`]); a handler that does not ask is answered 403. Everything else is asked for without
//! an object, so that what depends on one is refused.

use bessemer_policy::{Decision, Target};

use super::authorize::Ownership;
use crate::call::Call;
use crate::fault::ApiFault;
use crate::versions::{Endpoint, Method, Route};

/// Policies whose object only the handler knows.
pub const LEFT_TO_HANDLERS: [&str; 13] = [
    "baremetal:node:create",
    "baremetal:node:update",
    "baremetal:port:create",
    "baremetal:portgroup:create",
    "baremetal:volume:create",
    "baremetal:allocation:create",
    "baremetal:allocation:get",
    "baremetal:allocation:update",
    "baremetal:allocation:delete",
    "baremetal:runbook:get",
    "baremetal:runbook:update",
    "baremetal:runbook:delete",
    "baremetal:runbook:create",
];

/// What belongs to a node and is guarded as a part of it.
#[derive(Clone, Copy)]
enum Part {
    Port,
    Portgroup,
    Connector,
    Target,
}

const PARTS: [(&str, Part); 4] = [
    ("/v1/ports/{port}", Part::Port),
    ("/v1/portgroups/{portgroup}", Part::Portgroup),
    ("/v1/volume/connectors/{connector}", Part::Connector),
    ("/v1/volume/targets/{target}", Part::Target),
];

/// Whether the handler itself must ask.
pub fn left_to_handler(route: &Route, endpoint: &Endpoint) -> bool {
    (endpoint.method == Method::Get && endpoint.policy.ends_with(":list_all"))
        || LEFT_TO_HANDLERS.contains(&endpoint.policy)
        // the node is in the query
        || route.path == "/v1/nodes/validate"
}

/// Asks for the policy of an endpoint.
///
/// # Errors
/// 404 for a node that the caller may not see, 403 that names the policy; those of loading the object.
pub async fn guard(call: &Call, route: &Route, endpoint: &Endpoint) -> Result<(), ApiFault> {
    if endpoint.policy.is_empty() || !call.policed() {
        return Ok(());
    }
    let of_node = route.path.starts_with("/v1/nodes/{ident}");
    if left_to_handler(route, endpoint) {
        // what hangs on a node is not seen by who does not see the node
        if of_node && !decided(call, "baremetal:node:get") {
            let (ident, whose) = node(call).await?;
            call.see_node(&ident, &whose)?;
        }
        call.asked.reset();
        return Ok(());
    }
    let caller = &call.caller.facts;
    let part = PARTS
        .iter()
        .find(|(path, _)| route.path == *path)
        .map(|(_, part)| *part);
    let decision = call.decide(endpoint.policy, &Target::unknown(caller));
    match decision {
        Decision::Allowed if !of_node && part.is_none() || decided(call, "baremetal:node:get") => {
            Ok(())
        }
        _ if of_node => {
            let (ident, whose) = node(call).await?;
            call.authorize_node(endpoint.policy, &ident, &whose)
                .or_else(|refused| own_node(call, endpoint, &whose, refused))
        }
        _ => match part {
            Some(Part::Port) => port(call, endpoint.policy).await,
            Some(Part::Portgroup) => {
                let group = crate::portgroups::find(call).await?;
                crate::portgroups::authorize(call, endpoint.policy, &group).await
            }
            Some(Part::Connector) => crate::volume_connectors::guard(call, endpoint.policy).await,
            Some(Part::Target) => crate::volume_targets::guard(call, endpoint.policy).await,
            // it is asked for without an object: what depends on one does not pass
            None => call.authorize(endpoint.policy),
        },
    }
}

/// Whether a policy passes without its object.
fn decided(call: &Call, policy: &str) -> bool {
    call.decide(policy, &Target::unknown(&call.caller.facts))
        .allowed()
}

async fn node(call: &Call) -> Result<(String, Ownership), ApiFault> {
    let ident = call.param("ident").to_owned();
    let node = call.node_by_ident(&ident).await?;
    Ok((ident, Ownership::of(&node)))
}

/// Administrators of a project may delete its own nodes.
fn own_node(
    call: &Call,
    endpoint: &Endpoint,
    whose: &Ownership,
    refused: ApiFault,
) -> Result<(), ApiFault> {
    let may = endpoint.policy == "baremetal:node:delete"
        && refused.status == http::StatusCode::FORBIDDEN
        && call.config().api.project_admin_can_manage_own_nodes;
    if !may {
        return Err(refused);
    }
    call.authorize_on_node("baremetal:node:delete:self_owned_node", whose)
}

/// A port is guarded as a part of its node.
async fn port(call: &Call, policy: &str) -> Result<(), ApiFault> {
    let ident = call.param("port").to_owned();
    let port = crate::ports::find(call).await?;
    let node = call.store().get_node(port.node).await?;
    let whose = node.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_part(policy, &whose, || {
        ApiFault::not_found(format!("Port {ident} could not be found."))
    })
}
