//! `/v1/nodes/{ident}/history`.

use bessemer_model::HistoryId;
use bessemer_store::HistoryRow;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::paging::{self, Paging};

/// Longer texts are cut in lists without detail.
const LONGEST: usize = 255;
const CUT_TO: usize = 251;

pub async fn list(call: Call) -> Outcome {
    let mut known = paging::ARGUMENTS.to_vec();
    known.push("detail");
    let args = Args::of_query(&call, &known)?;
    let detail = args.boolean("detail")?.unwrap_or(false);
    let node = call.node().await?;
    let paging = Paging::read(&call, &args, "created_at", &[])?;
    let rows = call
        .store()
        .list_history(node.id, &paging.page())
        .await
        .map_err(|error| paging::list_fault("Node history record", error))?;
    let events: Vec<Value> = rows.iter().map(|row| shown(&call, row, detail)).collect();
    let mut body = json!({"history": events});
    let path = format!("nodes/{}/history", call.param("ident"));
    let last = rows.last().map(|row| row.id.to_string());
    let fields = if detail { DETAIL } else { LIST };
    let kept = [("fields", fields.to_owned())];
    if let Some(next) = paging.next(&call, &path, rows.len(), last.as_deref(), &kept) {
        body["next"] = next.into();
    }
    Ok(Answer::json(&body))
}

const LIST: &str = "uuid,created_at,severity,event";
const DETAIL: &str = "uuid,created_at,severity,event_type,event,conductor,user,project,state,target_provision_state,duration_seconds";

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let wanted = call.param("event");
    let found = match wanted.parse::<HistoryId>() {
        Ok(id) => call.store().get_history(id).await?,
        Err(_) => None,
    };
    match found {
        Some(row) if row.node == node.id => Ok(Answer::json(&shown(&call, &row, true))),
        _ => Err(ApiFault::not_found(format!(
            "Node history record {wanted} could not be found."
        ))),
    }
}

fn shown(call: &Call, row: &HistoryRow, detail: bool) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| {
        map.insert(name.to_owned(), value);
    };
    set("uuid", row.id.to_string().into());
    set("created_at", row.created_at.to_string().into());
    set("severity", row.severity.clone().into());
    if detail {
        set("event_type", row.event_type.clone().into());
        set("event", row.event.clone().into());
        set("conductor", row.conductor.clone().into());
        set("user", row.user.clone().into());
        if call.at_least(113) {
            set("project", row.project.clone().into());
        }
        if call.at_least(115) {
            set("state", row.state.clone().into());
            set(
                "target_provision_state",
                row.target_provision_state.clone().into(),
            );
            set("duration_seconds", row.duration_seconds.into());
        }
    } else if row.event.chars().count() > LONGEST {
        let cut: String = row.event.chars().take(CUT_TO).collect();
        set("event", format!("{cut}...").into());
    } else {
        set("event", row.event.clone().into());
    }
    set(
        "links",
        json!([{
            "href": call.url(&format!("nodes/{}/history/{}", row.node, row.id)), "rel": "self"
        }]),
    );
    Value::Object(map)
}
