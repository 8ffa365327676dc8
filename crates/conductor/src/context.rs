//! What a phase works with: the claimed operation, the node as it was then, and everything that shall be
//! saved together with the outcome.

use std::sync::Arc;
use std::time::Instant;

use bessemer_drivers::Hardware;
use bessemer_model::notification::{Notice, Status};
use bessemer_model::provision::{StateKind, transition};
use bessemer_model::{
    Class, Event, Fault, FaultKind, HistoryId, Node, PowerState, PowerTarget, ProvisionState,
    SessionId, Timestamp,
};
use bessemer_store::{
    HistoryRow, NodeChange, Operation, Signal, SignalKind, TimelineEvent, TimelineSource,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Shared;
use crate::steps::PlannedStep;

/// Data of an operation, saved with every outcome. A stored format: members are only added, with
/// defaults; an incompatible change raises the flow's version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Microseconds since the epoch: when the present phase failed first; back-off and its limit count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<i64>,
    /// When the present phase was entered.
    pub phase_since: i64,
    /// The operator asked for an abort while a step ran that cannot be interrupted; done at the next chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_wanted: Option<AbortWanted>,
    /// The operation has failed or was aborted and is cleaning up after itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<Abandoned>,
    /// The step list, once it was collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<PlannedStep>>,
    /// Index of the present step.
    pub step: usize,
    /// How often the present step was started.
    pub step_attempt: u32,
    /// `started_at` of the agent that the present step was started on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_agent: Option<String>,
    /// What the present step of the driver said last; it goes on from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_state: Option<Value>,
    /// The present step of the driver goes on after the restart that it asked for.
    pub step_goes_on: bool,
    /// The present step of the driver is ended by the agent's next call.
    pub step_waits: bool,
    /// Step commands that said nothing of their parameters when the present step was about to be started.
    pub step_seen: usize,
    /// A command to the power interface was sent in this phase and not yet seen done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_sent_at: Option<i64>,
    /// The node may not be switched off and was left on; it is restarted where it would be switched on.
    pub reset_instead: bool,
    /// Others were told that the power is being switched to this, and not yet how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_told: Option<PowerState>,
    /// The agent was asked to switch its node off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_off_at: Option<i64>,
    /// Percent that the timeline last heard of.
    pub progress_told: u8,
    /// How far the present step has come, when that is known. The API reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<StepProgress>,
    /// The node is being restarted within the present step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<crate::flow::Reboot>,
    /// The restart that the present step asked for is done.
    pub rebooted: bool,
    /// The runbook that this automated cleaning goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaning_runbook: Option<CleaningRunbook>,
    /// This operation runs with the ramdisk.
    pub ramdisk: bool,
    /// The power was on before the operation switched it.
    pub was_on: bool,
    /// The boot was tried once more because nothing was seen of the first.
    pub boot_again: bool,
    /// The row came from a backup, and how far the device has come since is being looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<crate::flow::restored::LookSince>,
}

/// What a runbook said when the cleaning began; a stored format.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CleaningRunbook {
    /// As a client gives the list.
    pub steps: Value,
    pub disable_ramdisk: bool,
}

/// How far a step has come; a stored format, shown by the API as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepProgress {
    /// What it is at: `download`, `write`, `verify`, `finish`.
    pub stage: String,
    pub done_bytes: u64,
    /// 0 when it is not known.
    pub total_bytes: u64,
    /// Bytes per second over the last seconds.
    pub rate: u64,
    /// When this was so.
    pub at: Option<Timestamp>,
    /// When it will end if it goes on so.
    pub estimated_end: Option<Timestamp>,
}

/// An abort that was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AbortWanted {
    /// The flow that the operation then goes on as.
    #[serde(default)]
    pub then: Option<String>,
}

/// Why an operation is being given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Abandoned {
    pub error: String,
    /// By the operator rather than by a failure.
    pub aborted: bool,
    /// The operation goes on as this flow instead of ending (undeploy of a node that waits).
    #[serde(default)]
    pub then: Option<String>,
    /// A step was running: cleaning failures of this kind put the node into maintenance.
    pub during_step: bool,
}

/// The lease as seen from this process.
#[derive(Debug, Clone)]
pub struct Lease {
    pub session: SessionId,
    pub fence: i64,
    /// Monotonic: after it no device is touched any more, because another conductor may have the operation.
    pub until: tokio::sync::watch::Receiver<Instant>,
}

/// See the module.
pub struct Context {
    pub shared: Arc<Shared>,
    pub node: Node,
    pub operation: Operation,
    pub signals: Vec<Signal>,
    pub data: Data,
    pub now: Timestamp,
    pub lease: Lease,
    pub(crate) changes: Vec<NodeChange>,
    pub(crate) timeline: Vec<TimelineEvent>,
    pub(crate) history: Vec<HistoryRow>,
    pub(crate) consumed: Vec<i64>,
}

impl Context {
    /// The node's interfaces.
    ///
    /// # Errors
    /// When one of them is not enabled any more.
    pub fn hardware(&self) -> Result<Hardware, Fault> {
        let hardware = self.shared.drivers.hardware(&self.node)?;
        #[cfg(test)]
        let hardware = crate::proving::on_host(&self.node, hardware);
        Ok(hardware)
    }

    /// Remembers a change of the node for the save, and makes it on the local copy.
    ///
    /// # Errors
    /// What the change itself refuses.
    pub fn change(
        &mut self,
        change: impl Fn(&mut Node) -> Result<(), Fault> + Send + Sync + 'static,
    ) -> Result<(), Fault> {
        change(&mut self.node)?;
        self.changes.push(Arc::new(change));
        Ok(())
    }

    /// A change that cannot be refused.
    pub fn set(&mut self, change: impl Fn(&mut Node) + Send + Sync + 'static) {
        change(&mut self.node);
        self.changes.push(Arc::new(move |node| {
            change(node);
            Ok(())
        }));
    }

    /// Moves the provision state by the table.
    ///
    /// # Errors
    /// When the table has no such row: a bug of the flow.
    pub fn event(&mut self, event: Event) -> Result<(), Fault> {
        self.change(move |node| apply_event(node, event))
    }

    /// Others are told of this when the outcome is saved.
    pub fn tell(&mut self, notice: Notice) {
        self.set(move |node| node.notice(notice.clone()));
    }

    /// Others are told that the operation switches the power, or how that ended; once each. A power change that a client asked
    /// for is told by its own flow.
    pub(crate) fn tell_power(&mut self, status: Status, to: PowerState) {
        if self.operation.flow == crate::flow::POWER_FLOW {
            return;
        }
        let begins = status == Status::Start;
        if begins == (self.data.power_told == Some(to)) {
            return;
        }
        self.data.power_told = begins.then_some(to);
        let to = if to == PowerState::On {
            PowerTarget::On
        } else {
            PowerTarget::Off
        };
        self.tell(Notice::PowerSet { status, to });
    }

    /// Into the wait state of the running verb, unless it is there already.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn enter_wait(&mut self) -> Result<(), Fault> {
        if self.node.provision_state.kind() == StateKind::Transient {
            self.event(Event::Wait)
        } else {
            Ok(())
        }
    }

    /// Out of the wait state, unless it is not in one.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn leave_wait(&mut self) -> Result<(), Fault> {
        if self.node.provision_state.kind() == StateKind::Wait {
            self.event(Event::Resume)
        } else {
            Ok(())
        }
    }

    /// A line of the node's timeline, saved with the outcome.
    pub fn note(&mut self, source: TimelineSource, text: impl Into<String>) {
        self.note_data(source, text, None);
    }

    pub fn note_data(
        &mut self,
        source: TimelineSource,
        text: impl Into<String>,
        data: Option<Value>,
    ) {
        let text = text.into();
        tracing::info!(node = %self.node.id, operation = %self.operation.id, flow = %self.operation.flow, "{text}");
        self.timeline.push(TimelineEvent {
            at: Timestamp::now(),
            source,
            text,
            data,
        });
    }

    /// An entry of the node's history, as clients of upstream read it.
    pub fn record(&mut self, severity: &str, event_type: &str, event: impl Into<String>) {
        if !self.shared.settings.node_history {
            return;
        }
        self.history.push(HistoryRow {
            id: HistoryId::random(),
            node: self.node.id,
            conductor: Some(self.shared.settings.host.clone()),
            created_at: Timestamp::now(),
            severity: severity.to_owned(),
            event_type: event_type.to_owned(),
            event: event.into(),
            user: None,
            project: None,
            state: Some(self.node.provision_state.as_str().to_owned()),
            target_provision_state: self
                .node
                .target_provision_state
                .map(|state| state.as_str().to_owned()),
            duration_seconds: self
                .node
                .provision_updated_at
                .map(|since| Timestamp::now().0.saturating_sub(since.0) / 1_000_000),
        });
    }

    /// Whether a signal of this kind waits; it is consumed with the outcome.
    pub fn take_signal(&mut self, kind: SignalKind) -> Option<Value> {
        let mut found = None;
        self.signals.retain(|s| {
            if s.kind == kind {
                self.consumed.push(s.id);
                found = Some(s.payload.clone());
                false
            } else {
                true
            }
        });
        found
    }

    /// The newest signal of this kind, left where it is.
    #[must_use]
    pub fn peek_signal(&self, kind: SignalKind) -> Option<Value> {
        self.signals
            .iter()
            .rev()
            .find(|s| s.kind == kind)
            .map(|s| s.payload.clone())
    }

    #[must_use]
    pub fn has_signal(&self, kind: SignalKind) -> bool {
        self.signals.iter().any(|s| s.kind == kind)
    }

    /// The deadline of the present wait: the one it already has, or one that begins now.
    #[must_use]
    pub fn deadline(&self, timeout: std::time::Duration) -> Timestamp {
        self.operation
            .deadline_at
            .unwrap_or_else(|| Timestamp::now().after(timeout))
    }

    /// Refuses when the lease may be over. Called before every call that changes a device.
    ///
    /// # Errors
    /// Of class `RetryNow`; the save that follows is refused by the fence if another has the operation.
    pub fn guard(&self) -> Result<(), Fault> {
        if Instant::now() < *self.lease.until.borrow() {
            return Ok(());
        }
        Err(Fault::new(
            FaultKind::Internal,
            Class::RetryNow,
            format!(
                "the lease of operation {} on node {} is over; nothing was sent to the hardware",
                self.operation.id,
                self.node.label()
            ),
        ))
    }

    /// Power state as the hardware says; noted on the node when it differs.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read_power(&mut self) -> Result<PowerState, Fault> {
        let hardware = self.hardware()?;
        let state = hardware
            .power
            .get_power_state(&self.shared.environment, &self.node)
            .await?;
        if self.node.power_state != Some(state) {
            self.set(move |node| node.power_state = Some(state));
        }
        Ok(state)
    }

    /// A member of `driver_internal_info`; `None` removes it.
    pub fn internal(&mut self, key: &'static str, value: Option<Value>) {
        self.set(move |node| {
            match &value {
                Some(v) => node.driver_internal_info.insert(key.to_owned(), v.clone()),
                None => node.driver_internal_info.remove(key),
            };
        });
    }

    /// Text member of `driver_internal_info`.
    #[must_use]
    pub fn internal_text(&self, key: &str) -> Option<&str> {
        self.node
            .driver_internal_info
            .get(key)
            .and_then(Value::as_str)
    }

    /// Fast track: the node is on in the ramdisk, and its agent called a short while ago.
    #[must_use]
    pub fn agent_is_there(&self) -> bool {
        let Some(patience) = self.shared.settings.fast_track else {
            return false;
        };
        let called = self
            .internal_text("agent_last_heartbeat")
            .and_then(Timestamp::parse);
        self.node.power_state == Some(PowerState::On)
            && self.internal_text("agent_url").is_some()
            && called.is_some_and(|at| self.now.since(at) < patience)
    }

    /// Forgets the agent: it is gone with the power. A token that was given before the boot stays.
    pub fn forget_agent(&mut self) {
        self.set(forget_agent);
    }

    /// One change that makes all remembered ones in order.
    pub(crate) fn combined_change(&mut self) -> NodeChange {
        let changes = std::mem::take(&mut self.changes);
        Arc::new(move |node| changes.iter().try_for_each(|change| change(node)))
    }
}

/// Members of `driver_internal_info` that describe a running agent.
const AGENT_MEMBERS: [&str; 6] = [
    "agent_url",
    "agent_secret_token",
    "agent_version",
    "agent_last_heartbeat",
    "agent_verify_ca",
    "agent_token_accepted",
];

pub(crate) fn forget_agent(node: &mut Node) {
    for key in AGENT_MEMBERS {
        node.driver_internal_info.remove(key);
    }
}

/// Moves the provision state by the table.
///
/// # Errors
/// The table's refusal.
pub(crate) fn apply_event(node: &mut Node, event: Event) -> Result<(), Fault> {
    use bessemer_model::provision::Target;
    let row = transition(node.provision_state, event).map_err(|refused| {
        Fault::new(FaultKind::InvalidState, Class::Never, refused.to_string())
    })?;
    if node.provision_state != row.to {
        // the store sets it too; here for what is recorded before the save
        node.provision_updated_at = Some(Timestamp::now());
    }
    inspection_times(node, row.to);
    let notice = Notice::ProvisionSet {
        event,
        from: node.provision_state,
        from_target: node.target_provision_state,
    };
    node.provision_state = row.to;
    match row.target {
        Target::Set(state) => node.target_provision_state = Some(state),
        Target::Clear => node.target_provision_state = None,
        Target::Keep => {}
    }
    node.notice(notice);
    Ok(())
}

/// `inspection_started_at` stands while an inspection goes on, `inspection_finished_at` from one that went well until the
/// next begins.
fn inspection_times(node: &mut Node, to: ProvisionState) {
    use ProvisionState as S;
    let inspected = matches!(node.provision_state, S::Inspecting | S::InspectWait);
    match to {
        S::Inspecting => {
            node.inspection_started_at = Some(Timestamp::now());
            node.inspection_finished_at = None;
        }
        S::Manageable if inspected => {
            node.inspection_started_at = None;
            node.inspection_finished_at = Some(Timestamp::now());
        }
        S::InspectFailed if inspected => node.inspection_started_at = None,
        _ => {}
    }
}
