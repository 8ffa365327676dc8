//! `POST /v1/continue_inspection`: the inspection ramdisk's report, without authentication.
//!
//! The node is found here, by what the report says of it: its UUID, the MAC addresses of its ports, the address
//! of its BMC. Whoever calls learns nothing of a node that does not wait for a report. State and storage are
//! the conductor's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bessemer_model::{MacAddress, Node, NodeId, ProvisionState};
use bessemer_store::{NodeFilter, Page};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::ramdisk;
use crate::schema::py_repr;

/// Since this version the answer is that of a lookup; 1.1 is upstream's former inspection service.
const SINCE: u16 = 84;

pub async fn post(call: Call) -> Outcome {
    ramdisk::enabled(&call, "/v1/continue_inspection")?;
    let args = args::Args::of_query(&call, &["node_uuid"])?;
    let mut data = checked(body::json(&call.body)?)?;
    let node_uuid = args.uuid("node_uuid")?;
    let newer = call.at_least(SINCE);
    if !newer && (call.version.0 != 1 || node_uuid.is_some()) {
        return Err(ApiFault::not_found(format!(
            "API version 1.{SINCE} or newer is required"
        )));
    }
    let inventory = match data.shift_remove("inventory") {
        Some(Value::Object(inventory)) => inventory,
        _ => Map::new(),
    };
    let found = Report::of(&inventory, node_uuid.as_deref());
    if found.macs.is_empty() && found.bmc.is_empty() && found.node.is_none() {
        return Err(ApiFault::invalid("No lookup information provided"));
    }
    let node = found.lookup(&call).await?;
    let answer = if newer {
        // before the report is taken, which ends the wait that lookups are answered in
        let found = call
            .conductor()
            .lookup(Vec::new(), Some(node))
            .await
            .map_err(|fault| match fault.kind {
                bessemer_model::FaultKind::NotFound => nothing(),
                _ => fault.into(),
            })?;
        ramdisk::lookup_answer(&call, &found)
    } else {
        json!({"uuid": node})
    };
    call.conductor()
        .continue_inspection(node, inventory, data)
        .await?;
    let mut answer = Answer::json(&answer);
    answer.status = StatusCode::ACCEPTED;
    Ok(answer)
}

/// The same words for every reason.
fn nothing() -> ApiFault {
    ApiFault::not_found("Resource could not be found.")
}

/// The least that a report must have.
fn checked(data: Value) -> Result<Map<String, Value>, ApiFault> {
    let wrong = |why: String| ApiFault::invalid(format!("Schema error for data: {why}"));
    let typed =
        |value: &Value, name: &str| wrong(format!("{} is not of type '{name}'", py_repr(value)));
    let Value::Object(data) = data else {
        return Err(typed(&data, "object"));
    };
    let inventory = match data.get("inventory") {
        None => return Err(wrong("'inventory' is a required property".into())),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(typed(other, "object")),
    };
    for name in ["bmc_address", "bmc_v6address"] {
        match inventory.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                return Err(wrong(format!(
                    "{} is not of type 'string', 'null'",
                    py_repr(other)
                )));
            }
        }
    }
    let interfaces = match inventory.get("interfaces") {
        None => return Err(wrong("'interfaces' is a required property".into())),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(typed(other, "array")),
    };
    for item in interfaces {
        let Value::Object(map) = item else {
            return Err(typed(item, "object"));
        };
        match map.get("mac_address") {
            None => return Err(wrong("'mac_address' is a required property".into())),
            Some(Value::String(_)) => {}
            Some(other) => return Err(typed(other, "string")),
        }
    }
    if interfaces.is_empty() {
        return Err(wrong("[] should be non-empty".into()));
    }
    Ok(data)
}

/// What a report says of its node.
struct Report {
    macs: Vec<MacAddress>,
    bmc: Vec<String>,
    node: Option<NodeId>,
}

impl Report {
    fn of(inventory: &Map<String, Value>, node_uuid: Option<&str>) -> Self {
        let macs = inventory
            .get("interfaces")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|i| i.get("mac_address").and_then(Value::as_str))
            .filter_map(|mac| mac.parse().ok())
            .collect();
        let bmc = ["bmc_address", "bmc_v6address"]
            .iter()
            .filter_map(|name| inventory.get(*name).and_then(Value::as_str))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            macs,
            bmc,
            node: node_uuid.and_then(|text| text.parse().ok()),
        }
    }

    /// # Errors
    /// 404 without detail when nothing matches, or what matches contradicts itself.
    async fn lookup(&self, call: &Call) -> Result<NodeId, ApiFault> {
        let mut node: Option<Node> = None;
        if let Some(id) = self.node {
            node = Some(call.store().get_node(id).await?.ok_or_else(nothing)?);
        }
        if !self.macs.is_empty() {
            let mut by_macs = call.store().find_nodes_by_macs(&self.macs).await?;
            if by_macs.len() > 1 {
                return Err(self.conflict("its MAC addresses belong to several nodes"));
            }
            if let Some(found) = by_macs.pop() {
                if node.as_ref().is_some_and(|known| known.id != found.id) {
                    return Err(self.conflict("its MAC addresses belong to another node"));
                }
                node = Some(found);
            }
        }
        if let Some(node) = &node
            && node.provision_state != ProvisionState::InspectWait
        {
            return Err(self.conflict("the node does not wait for a report"));
        }
        if !self.bmc.is_empty() {
            let by_bmc = self.by_bmc(call).await?;
            match (&node, by_bmc.as_slice()) {
                (_, []) => {}
                (Some(known), all) if all.contains(&known.id) => {}
                (Some(_), _) => {
                    return Err(self.conflict("its BMC is another node's"));
                }
                (None, [one]) => return Ok(*one),
                (None, _) => return Err(self.conflict("its BMC belongs to several nodes")),
            }
        }
        match node {
            Some(node) => Ok(node.id),
            None => Err(self.conflict("no node matches")),
        }
    }

    /// The waiting nodes whose BMC has one of the addresses.
    async fn by_bmc(&self, call: &Call) -> Result<Vec<NodeId>, ApiFault> {
        let filter = NodeFilter {
            provision_states: Some(vec![ProvisionState::InspectWait]),
            include_children: true,
            ..NodeFilter::default()
        };
        let mut page = Page {
            limit: 1000,
            ..Page::default()
        };
        let mut found = Vec::new();
        loop {
            let nodes = call.store().list_nodes(&filter, &page).await?;
            found.extend(
                nodes
                    .iter()
                    .filter(|node| {
                        let known = bmc_addresses(node);
                        self.bmc.iter().any(|given| known.contains(&normal(given)))
                    })
                    .map(|node| node.id),
            );
            match nodes.last() {
                Some(last) if nodes.len() == 1000 => page.marker = Some(last.id.to_string()),
                _ => return Ok(found),
            }
        }
    }

    fn conflict(&self, why: &str) -> ApiFault {
        let macs: Vec<String> = self.macs.iter().map(ToString::to_string).collect();
        tracing::warn!(
            macs = macs.join(", "),
            bmc = self.bmc.join(", "),
            node = self.node.map(|n| n.to_string()),
            "an inspection report was refused: {why}"
        );
        nothing()
    }
}

/// An address in its one normal form.
fn normal(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

/// The addresses of a node's BMC: as the inspection noted them when it began, and as they stand in `driver_info`.
fn bmc_addresses(node: &Node) -> BTreeSet<String> {
    let noted = node
        .driver_internal_info
        .get(bessemer_model::LOOKUP_ADDRESSES)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(normal);
    let given = node
        .driver_info
        .iter()
        .filter(|(key, _)| key.ends_with("_address"))
        .filter_map(|(_, value)| value.as_str())
        .map(|text| match url::Url::parse(text) {
            Ok(url) if url.has_host() => url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            _ => text.to_owned(),
        })
        .filter(|text| !text.is_empty())
        .map(|text| normal(&text));
    noted.chain(given).collect()
}

/// Reads arbitrary bytes as a report.
pub fn fuzz_report(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(data)
        && let Ok(map) = checked(value)
        && let Some(Value::Object(inventory)) = map.get("inventory")
    {
        let _ = Report::of(inventory, None);
    }
}
