//! What this process counts, for `/metrics`. Labels come from tables of the program alone (flows, states, classes): never
//! from nodes, clients or devices, so that there are few of them and no secret is among them.

use std::sync::Arc;
use std::time::Duration;

use bessemer_drivers::bmc::Observer;
use bessemer_model::{Node, ProvisionState, Timestamp};
use bessemer_store::OperationStatus;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::context::Context;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    outcomes: Family<Labels<2>, Counter>,
    operation_seconds: Family<Labels<1>, Histogram>,
    state_seconds: Family<Labels<1>, Histogram>,
    bmc_seconds: Family<Labels<2>, Histogram>,
    /// Outcomes that were not saved because another conductor had the operation.
    pub(crate) lease_losses: Counter,
    /// Times that the process's own session was over.
    pub(crate) session_losses: Counter,
    pub(crate) panics: Counter,
    pub(crate) running: Gauge,
}

/// From a second to about nine hours.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

/// From five milliseconds to 80 seconds.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            outcomes: Family::default(),
            operation_seconds: Family::new_with_constructor(long),
            state_seconds: Family::new_with_constructor(long),
            bmc_seconds: Family::new_with_constructor(short),
            lease_losses: Counter::default(),
            session_losses: Counter::default(),
            panics: Counter::default(),
            running: Gauge::default(),
        }
    }
}

/// Where a node stood when a phase began.
pub(crate) struct Stood {
    state: ProvisionState,
    since: Timestamp,
}

impl Stood {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            state: node.provision_state,
            since: node.provision_updated_at.unwrap_or(node.created_at),
        }
    }
}

impl Metrics {
    /// Puts everything into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "operations",
            "Operations that ended, by flow and how",
            self.outcomes.clone(),
        );
        registry.register(
            "operation_seconds",
            "From the request to the end of an operation",
            self.operation_seconds.clone(),
        );
        registry.register(
            "node_state_seconds",
            "How long nodes were in a provision state that they left",
            self.state_seconds.clone(),
        );
        registry.register(
            "bmc_request_seconds",
            "Calls to BMCs, by protocol and how they ended: ok, or an error that is worth another try now, later or never",
            self.bmc_seconds.clone(),
        );
        registry.register(
            "lease_losses",
            "Outcomes that were refused because another conductor had the operation",
            self.lease_losses.clone(),
        );
        registry.register(
            "session_losses",
            "Times that this conductor's session ended because it was not renewed",
            self.session_losses.clone(),
        );
        registry.register(
            "phase_panics",
            "Phases that broke down (bugs)",
            self.panics.clone(),
        );
        registry.register(
            "phases_running",
            "Phases that run at this moment",
            self.running.clone(),
        );
    }

    /// A node has left a provision state.
    pub(crate) fn left(&self, before: &Stood, now: ProvisionState) {
        if before.state == now {
            return;
        }
        let time = Timestamp::now().since(before.since);
        self.state_seconds
            .get_or_create(&[("state", before.state.as_str())])
            .observe(time.as_secs_f64());
    }

    /// An outcome was saved.
    pub(crate) fn saved(&self, cx: &Context, before: &Stood, status: OperationStatus) {
        self.left(before, cx.node.provision_state);
        if status.is_open() {
            return;
        }
        let Some(flow) = crate::flow::by_name(&cx.operation.flow).map(|flow| flow.name) else {
            return;
        };
        let aborted = cx.data.abandoned.as_ref().is_some_and(|a| a.aborted);
        let outcome = match status {
            OperationStatus::Failed if aborted => "aborted",
            OperationStatus::Failed => "failed",
            _ => "finished",
        };
        self.outcomes
            .get_or_create(&[("flow", flow), ("outcome", outcome)])
            .inc();
        let time = Timestamp::now().since(cx.operation.created_at);
        self.operation_seconds
            .get_or_create(&[("flow", flow)])
            .observe(time.as_secs_f64());
    }

    /// For the pool of BMCs.
    pub(crate) fn bmc_observer(&self) -> Observer {
        let seconds = self.bmc_seconds.clone();
        Arc::new(
            move |protocol: &'static str, class: &'static str, time: Duration| {
                seconds
                    .get_or_create(&[("protocol", protocol), ("class", class)])
                    .observe(time.as_secs_f64());
            },
        )
    }
}
