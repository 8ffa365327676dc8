//! What callers see of a node's secrets and of what is the operators' business.
//!
//! The stored document is masked. Who passes `show_password` or `show_instance_secrets` (by default nobody)
//! gets the members as they are; who does not pass `baremetal:node:get:filter_threshold` gets a sentence in
//! place of each member whose own policy refuses it.

use std::collections::HashMap;

use bessemer_model::{Node, NodeField, NodeId};
use bessemer_store::{NodeFilter, Page};
use serde_json::json;

use crate::auth::{FieldGuard, Ownership};
use crate::call::Call;
use crate::fault::ApiFault;
use crate::node_fields::FieldSet;

/// Members with a policy of their own, below the threshold; and what stands in their place.
const FILTERED: [(NodeField, &str, &str); 4] = [
    (
        NodeField::LastError,
        "baremetal:node:get:last_error",
        "\"** Value Redacted - Requires baremetal:node:get:last_error permission. **\"",
    ),
    (
        NodeField::Reservation,
        "baremetal:node:get:reservation",
        "\"** Redacted - requires baremetal:node:get:reservation permission. **\"",
    ),
    (
        NodeField::DriverInternalInfo,
        "baremetal:node:get:driver_internal_info",
        "{\"content\":\"** Redacted - Requires baremetal:node:get:driver_internal_info permission. **\"}",
    ),
    (
        NodeField::DriverInfo,
        "baremetal:node:get:driver_info",
        "{\"content\":\"** Redacted - requires baremetal:node:get:driver_info permission. **\"}",
    ),
];

/// What one answer shows.
pub struct Secrecy {
    fields: FieldSet,
    /// Asked for the members of every node, when the caller is below the threshold.
    filter: Option<FieldGuard>,
    /// The members as they are by node, when secrets are shown.
    clear: HashMap<String, Vec<(NodeField, String)>>,
}

impl Secrecy {
    /// For an answer with one node.
    ///
    /// # Errors
    /// The store's.
    pub async fn of_one(call: &Call, fields: FieldSet, id: NodeId) -> Result<Self, ApiFault> {
        let mut secrecy = Self::of(call, fields);
        let shown = Shown::of(call);
        if shown.anything() {
            let node = call.store().get_node(id).await?;
            secrecy.keep(shown, node);
        }
        Ok(secrecy)
    }

    /// For a page of a list.
    ///
    /// # Errors
    /// The store's.
    pub async fn of_list(
        call: &Call,
        fields: FieldSet,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Self, ApiFault> {
        let mut secrecy = Self::of(call, fields);
        let shown = Shown::of(call);
        if shown.anything() {
            let nodes = call.store().list_nodes(filter, page).await?;
            secrecy.keep(shown, nodes);
        }
        Ok(secrecy)
    }

    fn of(call: &Call, fields: FieldSet) -> Self {
        let concerned = FILTERED.iter().any(|(field, ..)| fields.has(*field));
        Self {
            fields,
            filter: (concerned && !call.may("baremetal:node:get:filter_threshold"))
                .then(|| call.field_guard()),
            clear: HashMap::new(),
        }
    }

    fn keep(&mut self, shown: Shown, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            let members = [
                (shown.driver, NodeField::DriverInfo, &node.driver_info),
                (
                    shown.driver,
                    NodeField::DriverInternalInfo,
                    &node.driver_internal_info,
                ),
                (shown.instance, NodeField::InstanceInfo, &node.instance_info),
            ];
            let clear = members
                .into_iter()
                .filter(|(shown, field, _)| *shown && self.fields.has(*field))
                .map(|(_, field, value)| (field, json!(value).to_string()))
                .collect();
            self.clear.insert(node.id.to_string(), clear);
        }
    }

    /// Members that are needed of every node to decide.
    pub fn needs(&self) -> &'static [NodeField] {
        if self.filter.is_some() {
            &[NodeField::Owner, NodeField::Lessee]
        } else {
            &[]
        }
    }

    /// Members that are shown other than they are stored, as JSON; `owner` and `lessee` are JSON, too.
    pub fn replaced(&self, id: &str, owner: &[u8], lessee: &[u8]) -> Vec<(NodeField, &str)> {
        let mut replaced = Vec::new();
        if let Some(filter) = &self.filter {
            let text = |json: &[u8]| {
                serde_json::from_slice::<Option<String>>(json)
                    .ok()
                    .flatten()
            };
            let whose = Ownership {
                owner: text(owner),
                lessee: text(lessee),
            };
            for (field, policy, instead) in FILTERED {
                if self.fields.has(field) && !filter.shows(policy, &whose) {
                    replaced.push((field, instead));
                }
            }
        }
        // what is withheld stays so: the first of a field counts
        if let Some(clear) = self.clear.get(id) {
            replaced.extend(clear.iter().map(|(field, json)| (*field, json.as_str())));
        }
        replaced
    }
}

/// Which secrets the policy shows to the caller.
#[derive(Clone, Copy)]
struct Shown {
    driver: bool,
    instance: bool,
}

impl Shown {
    fn of(call: &Call) -> Self {
        Self {
            driver: call.shows("show_password"),
            instance: call.shows("show_instance_secrets"),
        }
    }

    fn anything(self) -> bool {
        self.driver || self.instance
    }
}
