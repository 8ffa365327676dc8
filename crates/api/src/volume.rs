//! `GET /v1/volume` and `/v1/nodes/{ident}/volume`, and what volume connectors and volume targets share.

use bessemer_model::{Node, NodeId, PowerState};
use bessemer_store::VolumeFilter;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::{self, Args};
use crate::auth::Ownership;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch::{self, Operation};
use crate::paging::{self, Paging, shown};
use crate::query;
use crate::schema::py_str;

pub async fn root(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    Ok(links(&call, "volume", ""))
}

pub async fn root_of_node(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = call.param("ident").to_owned();
    Ok(links(&call, "nodes", &format!("{ident}/volume/")))
}

fn links(call: &Call, resource: &str, below: &str) -> Answer {
    Answer::json(&json!({
        "links": call.links(&format!("{resource}/{below}")),
        "connectors": call.links(&format!("{resource}/{below}connectors")),
        "targets": call.links(&format!("{resource}/{below}targets")),
    }))
}

/// One of the two collections.
pub struct Kind {
    /// In paths and as the collection's name.
    pub name: &'static str,
    /// In messages about a marker that does not exist.
    pub resource: &'static str,
    /// As the refusal of an unknown one lists them.
    pub fields: &'static [&'static str],
    pub listed: &'static [&'static str],
    pub unsortable: &'static [&'static str],
}

/// What a list is asked for.
pub struct Wanted {
    pub filter: VolumeFilter,
    pub paging: Paging,
    pub fields: Option<Vec<String>>,
    detail: bool,
}

impl Kind {
    /// Reads the query of a list.
    ///
    /// # Errors
    /// 400 with upstream's sentences, 404 for a node that does not exist.
    pub async fn wanted(&self, call: &Call, of_node: Option<NodeId>) -> Result<Wanted, ApiFault> {
        let project = call.list_project("volume", None)?;
        let mut known = paging::ARGUMENTS.to_vec();
        known.extend(["node", "fields", "detail"]);
        let args = Args::of_query(call, &known)?;
        let node = args.uuid_or_name("node")?;
        args.uuid("marker")?;
        args.integer("limit")?;
        let fields = args.list("fields")?;
        let detail = args.boolean("detail")?.unwrap_or(false);
        query::fields(&args, self.fields)?;
        let paging = query::paging(call, &args, &[])?;
        if detail && fields.as_ref().is_some_and(|f| !f.is_empty()) {
            return Err(ApiFault::invalid(
                "Can't fetch a subset of fields with 'detail' set",
            ));
        }
        if self.unsortable.contains(&paging.sort_key.as_str()) {
            return Err(paging::unsortable_fault(&paging.sort_key));
        }
        let node = match (of_node, node) {
            (Some(id), _) => Some(id),
            (None, Some(ident)) => Some(call.node_by_ident(&ident).await?.id),
            (None, None) => None,
        };
        Ok(Wanted {
            filter: VolumeFilter { node, project },
            paging,
            fields: match fields {
                None if !detail => Some(self.listed.iter().map(|f| (*f).to_owned()).collect()),
                fields => fields,
            },
            detail,
        })
    }

    /// The answer of a list; `last` is the id of the last item.
    pub fn answer(
        &self,
        call: &Call,
        wanted: &Wanted,
        items: Vec<Value>,
        last: Option<String>,
    ) -> Answer {
        let mut kept: Vec<(&str, String)> = Vec::new();
        if wanted.detail {
            kept.push(("detail", shown(true)));
        }
        if let Some(names) = &wanted.fields {
            kept.push(("fields", names.join(",")));
        }
        let path = format!("volume/{}", self.name);
        let next = wanted
            .paging
            .next(call, &path, items.len(), last.as_deref(), &kept);
        let mut body = Map::new();
        body.insert(self.name.into(), items.into());
        if let Some(next) = next {
            body.insert("next".into(), next.into());
        }
        Answer::json(&Value::Object(body))
    }

    /// The fields of a single answer that are asked for.
    ///
    /// # Errors
    /// 400
    pub fn fields_of_one(&self, call: &Call) -> Result<Option<Vec<String>>, ApiFault> {
        let args = Args::of_query(call, &["fields"])?;
        query::fields(&args, self.fields)
    }
}

/// Cuts a representation down to `fields` and links.
pub fn cut(map: &mut Map<String, Value>, fields: Option<&[String]>) {
    if let Some(fields) = fields {
        map.retain(|key, _| key == "links" || fields.contains(key));
    }
}

/// The id in the path.
///
/// # Errors
/// 400 for what is no UUID.
pub fn id<T: std::str::FromStr>(call: &Call, segment: &str, name: &str) -> Result<T, ApiFault> {
    let text = args::uuid(name, &Value::from(call.param(segment)))?;
    text.parse()
        .map_err(|_| ApiFault::invalid(format!("Expected UUID for {name}: {text}")))
}

/// The node of a new connector or target.
///
/// # Errors
/// 400
pub async fn node_of_body(call: &Call, map: &Map<String, Value>) -> Result<Node, ApiFault> {
    let ident = map
        .get("node_uuid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = call.node_by_ident(ident).await;
    // asked before it is said whether there is such a node
    let whose = found.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_on_node("baremetal:volume:create", &whose)?;
    found.map_err(|fault| match fault.status {
        StatusCode::NOT_FOUND => ApiFault::invalid(format!(
            "Invalid input for field/attribute node_uuid. Value: '{ident}'. "
        )),
        _ => fault,
    })
}

/// Asks for a policy of a connector or target, which is a part of its node.
///
/// # Errors
/// `not_found` for who may not see the node, 403 that names the policy.
pub async fn authorize(
    call: &Call,
    policy: &str,
    node: NodeId,
    not_found: ApiFault,
) -> Result<(), ApiFault> {
    let node = call.store().get_node(node).await?;
    let whose = node.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_part(policy, &whose, || not_found)
}

/// The node that a patched connector or target belongs to afterwards.
///
/// # Errors
/// 400 for what is no UUID, or for a node that it may not move to.
pub async fn patched_node(
    call: &Call,
    before: NodeId,
    patch: &[Operation],
) -> Result<Node, ApiFault> {
    let values = json_patch::values(patch, "/node_uuid");
    for value in &values {
        if value
            .as_str()
            .is_none_or(|v| uuid::Uuid::parse_str(v).is_err())
        {
            return Err(ApiFault::invalid(format!(
                "Expected a UUID for node_uuid, but received {}.",
                py_str(value)
            )));
        }
    }
    let old = call.node_by_ident(&before.to_string()).await?;
    match values.first() {
        Some(value) => call.moved_to(&old, &py_str(value)).await,
        None => Ok(old),
    }
}

/// What is connected to a running node does not change.
///
/// # Errors
/// 409 while an operation holds the node, 400 unless it is off.
pub fn powered_off(node: &Node, action: &str) -> Result<(), ApiFault> {
    crate::ports_write::unlocked(node)?;
    if node.power_state == Some(PowerState::Off) {
        return Ok(());
    }
    Err(ApiFault::invalid(format!(
        "The requested action \"{action}\" can not be performed on node \"{}\" while it is in state \"{}\".",
        node.id,
        node.power_state.map_or("None", |s| s.as_str())
    )))
}

/// As [`powered_off`], for a removal: also possible while the node itself could be deleted.
///
/// # Errors
/// As [`powered_off`].
pub fn removable(node: &Node, action: &str) -> Result<(), ApiFault> {
    use bessemer_model::ProvisionState as S;
    let deletable = matches!(
        node.provision_state,
        S::Manageable | S::Enroll | S::AdoptFailed
    );
    if deletable {
        crate::ports_write::unlocked(node)
    } else {
        powered_off(node, action)
    }
}
