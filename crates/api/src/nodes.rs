//! `GET /v1/nodes`, `/v1/nodes/detail`, `/v1/nodes/{ident}`, and the nodes of a chassis.

use std::ops::ControlFlow;

use bessemer_model::{ChassisId, NodeField, NodeHealthFault, NodeId, ProvisionState};
use bessemer_store::{NodeFilter, NodeRowRef};
use bytes::Bytes;
use http::StatusCode;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::node_fields::{self, FieldSet};
use crate::node_secrets::Secrecy;
use crate::node_view::{NodeView, Placement};
use crate::paging::{self, Paging, shown};
use crate::stream;
use crate::versions::{NODE_FILTERS, node_field_since};

/// Columns that hold JSON cannot be sorted by.
const UNSORTABLE: [&str; 12] = [
    "properties",
    "driver_info",
    "extra",
    "instance_info",
    "driver_internal_info",
    "clean_step",
    "deploy_step",
    "raid_config",
    "target_raid_config",
    "traits",
    "network_data",
    "service_step",
];

const FILTERS: [&str; 18] = [
    "chassis_uuid",
    "instance_uuid",
    "associated",
    "maintenance",
    "retired",
    "provision_state",
    "driver",
    "resource_class",
    "fault",
    "conductor_group",
    "conductor",
    "owner",
    "lessee",
    "project",
    "description_contains",
    "shard",
    "sharded",
    "instance_name",
];

pub async fn list(call: Call) -> Outcome {
    collection(call, None, Form::List).await
}

pub async fn detail(call: Call) -> Outcome {
    collection(call, None, Form::Detail).await
}

pub async fn list_of_chassis(call: Call) -> Outcome {
    let chassis = call.param("chassis").to_owned();
    collection(call, Some(chassis), Form::List).await
}

pub async fn detail_of_chassis(call: Call) -> Outcome {
    let chassis = call.param("chassis").to_owned();
    collection(call, Some(chassis), Form::Detail).await
}

/// `GET /v1/nodes/{ident}`
pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    let row = call.node_row(call.param("ident")).await?;
    if fields.is_some() && !call.at_least(8) {
        return Err(ApiFault::not_acceptable());
    }
    let fields = match &fields {
        Some(names) => node_fields::asked(&call, names)?,
        None => node_fields::visible(&call),
    };
    one(&call, &row, fields).await
}

/// The answer that shows one node whole.
pub async fn shown_whole(call: &Call, id: NodeId) -> Outcome {
    let row = call
        .store()
        .get_node_row(&id.to_string())
        .await?
        .ok_or_else(|| ApiFault::node_not_found(id))?;
    one(call, &row, node_fields::visible(call)).await
}

async fn one(call: &Call, row: &bessemer_store::NodeRow, fields: FieldSet) -> Outcome {
    let placement = Placement::load(call, fields).await?;
    let secrecy = Secrecy::of_one(call, fields, row.id).await?;
    let id = row.id.to_string();
    let row = NodeRowRef {
        id: &id,
        document: &row.document,
        volatile: &row.volatile,
        provision_state: row.provision_state,
    };
    let mut out = Vec::with_capacity(4096);
    NodeView::new(call, fields, placement, secrecy).append(row, &mut out);
    Ok(Answer::bytes(Bytes::from(out)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    List,
    Detail,
}

fn known_arguments(form: Form) -> Vec<&'static str> {
    let mut known: Vec<&str> = FILTERS.iter().chain(&paging::ARGUMENTS).copied().collect();
    if form == Form::List {
        known.extend(["fields", "detail"]);
    }
    known.extend(["include_children", "parent_node"]);
    known
}

async fn collection(call: Call, chassis: Option<String>, form: Form) -> Outcome {
    let args = Args::of_query(&call, &known_arguments(form))?;
    let project = call.list_project("node", args.string("project")?.as_deref())?;
    let paging = Paging::read(&call, &args, "id", &[])?;
    gates(&call, &args, &paging.sort_key)?;
    let (mut filter, conductor) = filter(&call, &args, chassis).await?;
    filter.project = project;
    let (names, detail) = match form {
        Form::List => paging::wanted_fields(&call, &args, &node_fields::LIST)?,
        Form::Detail => (None, None),
    };
    if UNSORTABLE.contains(&paging.sort_key.as_str()) {
        return Err(paging::unsortable_fault(&paging.sort_key));
    }
    let fields = match &names {
        None => node_fields::visible(&call),
        Some(_) if !args.has("fields") => node_fields::in_lists(&call),
        Some(names) => node_fields::asked(&call, names)?,
    };
    let for_placement = if conductor.is_some() {
        fields.with(NodeField::Conductor)
    } else {
        fields
    };
    let placement = Placement::load(&call, for_placement).await?;
    let secrecy = Secrecy::of_list(&call, fields, &filter, &paging.page()).await?;
    let view = NodeView::new(&call, fields, placement, secrecy);
    let needs = view.needs(conductor.is_some());
    let mut kept: Vec<(&str, String)> = Vec::new();
    for name in ["associated", "maintenance", "retired"] {
        if args.boolean(name)? == Some(true) {
            kept.push((name, shown(true)));
        }
    }
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(names) = &names {
        kept.push(("fields", names.join(",")));
    }
    let path = match form {
        Form::List => "nodes",
        Form::Detail => "nodes/detail",
    };
    // a filter by instance finds one node at most: no next page
    let next = (!args.has("instance_uuid")).then(|| paging.next_page(&call, path, &kept));
    let store = call.store().clone();
    stream::answer(move |writer| async move {
        let mut list = NodeList {
            writer,
            view,
            conductor,
            count: 0,
            last: String::new(),
        };
        list.writer.out().extend_from_slice(b"{\"nodes\":[");
        let mut list = store
            .stream_node_rows(&filter, &paging.page(), &needs, list, NodeList::row)
            .await
            .map_err(|error| paging::list_fault("Node", error))?;
        let out = list.writer.out();
        out.push(b']');
        if let Some(next) = next
            && let Some(url) = next.after(list.count, &list.last)
        {
            out.extend_from_slice(b",\"next\":");
            out.extend_from_slice(serde_json::Value::from(url).to_string().as_bytes());
        }
        out.push(b'}');
        Ok(list.writer)
    })
    .await
}

/// A list of nodes while it is written.
struct NodeList {
    writer: stream::Writer,
    view: NodeView,
    /// Only nodes that this conductor serves: computed after the page is read, so that pages may be short, as
    /// upstream's are.
    conductor: Option<String>,
    count: usize,
    last: String,
}

impl NodeList {
    fn row(&mut self, row: NodeRowRef<'_>) -> ControlFlow<()> {
        if let Some(conductor) = &self.conductor
            && !self.view.is_served_by(row, conductor)
        {
            return ControlFlow::Continue(());
        }
        if self.count > 0 {
            self.writer.out().push(b',');
        }
        self.count = self.count.saturating_add(1);
        self.last.clear();
        self.last.push_str(row.id);
        self.view.append(row, self.writer.out());
        self.writer.pass_on()
    }
}

/// What older versions do not have.
fn gates(call: &Call, args: &Args, sort_key: &str) -> Result<(), ApiFault> {
    if args.has("fields") && !call.at_least(8) {
        return Err(ApiFault::not_acceptable());
    }
    if let Some(names) = args.list("fields")? {
        let newer = |name: &String| {
            NodeField::parse(name).is_some_and(|f| !call.at_least(node_field_since(f)))
        };
        if names.iter().any(newer) {
            return Err(ApiFault::not_acceptable());
        }
    }
    if NodeField::parse(sort_key).is_some_and(|f| !call.at_least(node_field_since(f))) {
        return Err(ApiFault::not_acceptable());
    }
    if args.get("provision_state").is_some() && !call.at_least(9) {
        return Err(ApiFault::not_acceptable());
    }
    for (name, since) in NODE_FILTERS {
        if args.get(name).is_some() && !call.at_least(*since) {
            return Err(ApiFault::needs_version(*since));
        }
    }
    if args.get("instance_name").is_some() && !call.at_least(104) {
        return Err(ApiFault::new(
            StatusCode::NOT_ACCEPTABLE,
            "instance_name is not acceptable in this API version",
        ));
    }
    Ok(())
}

/// The store's filter, and the conductor to filter by afterwards.
async fn filter(
    call: &Call,
    args: &Args,
    chassis: Option<String>,
) -> Result<(NodeFilter, Option<String>), ApiFault> {
    let chassis = match chassis {
        Some(chassis) => Some(crate::args::uuid(
            "chassis_uuid",
            &serde_json::Value::from(chassis),
        )?),
        None => args.uuid("chassis_uuid")?,
    };
    if let Some(text) = &chassis {
        let missing = || ApiFault::not_found(format!("Chassis {text} could not be found."));
        let id: ChassisId = text.parse().map_err(|_| missing())?;
        call.store().get_chassis(id).await?.ok_or_else(missing)?;
    }
    let provision_states = match args.string("provision_state")? {
        None => None,
        Some(text) => Some(vec![ProvisionState::parse(&text).ok_or_else(|| {
            ApiFault::invalid(format!("Provision state \"{text}\" is not valid"))
        })?]),
    };
    let fault = args.string("fault")?;
    if let Some(text) = &fault
        && NodeHealthFault::parse(text).is_none()
    {
        let all: Vec<String> = NodeHealthFault::ALL
            .iter()
            .map(|f| format!("'{}'", f.as_str()))
            .collect();
        return Err(ApiFault::invalid(format!(
            "Unrecognized fault \"{text}\" is specified, allowed faults are ({})",
            all.join(", ")
        )));
    }
    let parent_node = match args.string("parent_node")? {
        None => None,
        // what is no node has no children
        Some(ident) => Some(match ident.parse::<NodeId>() {
            Ok(id) => id,
            Err(_) => match call.store().find_node(&ident).await? {
                Some(node) => node.id,
                None => NodeId(uuid::Uuid::nil()),
            },
        }),
    };
    let filter = NodeFilter {
        chassis,
        instance_uuid: args.uuid("instance_uuid")?,
        instance_name: args.string("instance_name")?,
        associated: args.boolean("associated")?,
        maintenance: args.boolean("maintenance")?,
        retired: args.boolean("retired")?,
        provision_states,
        driver: args.string("driver")?,
        resource_class: args.string("resource_class")?,
        fault,
        conductor_group: args.string("conductor_group")?.map(|g| g.to_lowercase()),
        owner: args.string("owner")?,
        lessee: args.string("lessee")?,
        // what the caller may see is decided by the policy
        project: None,
        description_contains: args.string("description_contains")?,
        shards: args.list("shard")?,
        sharded: args.boolean("sharded")?,
        parent_node,
        include_children: args.boolean("include_children")?.unwrap_or(false),
    };
    Ok((filter, args.string("conductor")?))
}
