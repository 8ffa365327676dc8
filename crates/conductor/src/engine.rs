//! The engine: claim, run one phase, save what came of it.
//!
//! - A lease is held only while a phase runs; a wait releases it. Every claim raises the fence. The phase that follows at
//!   once is claimed by the write that saves the one before it.
//! - The session is renewed for the process as a whole. When it is lost, everything that runs is dropped
//!   (its saves would be refused) and a new session begins.
//! - Events only wake; what is due, the store tells.
//! - Attempts are counted in the claim, before anything is looked at. Deaths that left a panic record
//!   naming the operation fail it at the third, unexplained ones at the 25th, with back-off between.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_drivers::{Drivers, Environment};
use bessemer_model::{NodeId, OperationId, SessionId, Timestamp};
use bessemer_store::{Able, Claimed, OperationStatus, OperationUpdate, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::phase::{back_off, run_phase};
use crate::context::Lease;
use crate::flow::{self, Flow};
use crate::metrics::Metrics;
use crate::settings::Settings;

mod phase;

#[cfg(test)]
#[path = "proving/turns.rs"]
pub(crate) mod turns;

/// A session begins with so many phases at once; each second and each outcome allows more. What kills a process at its
/// start then takes few operations with it, and those that it took are not all begun anew at the same moment, so that
/// they get on although the next death is near.
const AT_FIRST: usize = 16;
/// More phases for each second of the session.
const MORE_PER_SECOND: usize = 16;

/// So long after something became due the next is claimed, so that what becomes due together costs one write.
const GATHER: Duration = Duration::from_millis(3);
/// Until work is asked for again that was due and not given: it may be of a flow or a driver that is not known here.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);

/// What the parts of one conductor share.
pub struct Shared {
    pub store: Store,
    /// When this process began to work.
    pub started: Timestamp,
    pub drivers: Drivers,
    pub environment: Environment,
    pub settings: Settings,
    /// Raised when something may be due: a submit, a signal, a save.
    pub wake: Notify,
    /// Raised when an allocation was stored.
    pub allocations: Notify,
    /// The session that is open now.
    pub session: Mutex<Option<SessionId>>,
    /// Drivers that other conductors of the group have and this one has not.
    pub left_to_others: Mutex<Vec<String>>,
    /// Fetches heads of images before a deploy.
    pub http: reqwest::Client,
    /// How long phases that run may take when the stop comes.
    pub patience: Mutex<Duration>,
    pub metrics: Metrics,
}

impl Shared {
    pub(crate) fn patience(&self) -> Duration {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
pub struct Engine {
    shared: Arc<Shared>,
    flows: &'static [&'static Flow],
}

/// One open session.
struct Session {
    id: SessionId,
    began: Instant,
    /// Phases that came to an end.
    ended: Arc<AtomicUsize>,
    /// Operations go from one phase to the next without being claimed anew: until the stop, after which what follows is left
    /// to another conductor.
    go_on: CancellationToken,
    /// When the lease of everything under this session is over, unless it is renewed before.
    until: watch::Sender<Instant>,
}

impl Session {
    /// Phases that may run at once by now.
    fn allowed(&self, most: usize) -> usize {
        let seconds = usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX);
        MORE_PER_SECOND
            .saturating_mul(seconds)
            .saturating_add(AT_FIRST)
            .saturating_add(self.ended.load(Ordering::Relaxed))
            .min(most)
    }
}

impl Engine {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            flows: flow::FLOWS,
        }
    }

    /// Works until cancelled; then lets running phases end and closes the session, so that another
    /// conductor takes over at once.
    ///
    /// # Errors
    /// Only when no session can be opened at the start.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut first = true;
        while !stop.is_cancelled() {
            let session = match self.open_session(stop.child_token()).await {
                Ok(session) => session,
                Err(error) if first => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "no session with the database; trying again");
                    pause(Duration::from_secs(1), &stop).await;
                    continue;
                }
            };
            first = false;
            self.run_session(&session, &stop).await;
            if stop.is_cancelled()
                && let Err(error) = self.shared.store.close_session(session.id).await
            {
                tracing::warn!(%error, "the session could not be closed; its work is taken over when it expires");
            }
        }
        Ok(())
    }

    async fn open_session(&self, go_on: CancellationToken) -> Result<Session, StoreError> {
        let settings = &self.shared.settings;
        let catalogue = serde_json::to_value(self.shared.drivers.catalogue()).map_err(|e| {
            StoreError::Internal(format!("the catalogue of drivers does not serialise: {e}"))
        })?;
        let asked = Instant::now();
        let id = self
            .shared
            .store
            .register_conductor_at(
                &settings.host,
                &settings.conductor_group,
                &catalogue,
                settings.heartbeat_timeout,
                settings.rpc.as_ref(),
            )
            .await?;
        *self
            .shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(id);
        let (until, _) = watch::channel(asked + self.trust());
        self.look_at_others().await?;
        Ok(Session {
            id,
            began: Instant::now(),
            ended: Arc::default(),
            until,
            go_on,
        })
    }

    /// What others of the group can do and this one cannot is left to them as long as they live.
    async fn look_at_others(&self) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let own = self.shared.drivers.catalogue();
        let group = &self.shared.settings.conductor_group;
        let others: std::collections::BTreeSet<String> = self
            .shared
            .store
            .list_conductors()
            .await?
            .into_iter()
            .filter(|c| c.expires_at > now && c.conductor_group.eq_ignore_ascii_case(group))
            .filter_map(|c| c.catalogue.as_object().cloned())
            .flat_map(|c| c.into_iter().map(|(name, _)| name))
            .filter(|name| !own.contains_key(name))
            .collect();
        *self
            .shared
            .left_to_others
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = others.into_iter().collect();
        Ok(())
    }

    /// How long after a renewal was *asked for* devices may be touched: the lease less a margin.
    fn trust(&self) -> Duration {
        self.shared.settings.heartbeat_timeout.mul_f64(0.8)
    }

    /// Claims and runs until the session is lost or the stop comes.
    async fn run_session(&self, session: &Session, stop: &CancellationToken) {
        let lost = CancellationToken::new();
        let mut running = JoinSet::new();
        let renew = self.renew(session, &lost);
        tokio::pin!(renew);
        let mut changes = self.shared.store.subscribe_changes();
        let claim = async {
            loop {
                let asked = Timestamp::now();
                let found = self.claim(session, &mut running, asked).await;
                let sleep = if found {
                    Duration::ZERO
                } else if running.len() >= session.allowed(usize::MAX) {
                    // there may be more to do as soon as more is allowed
                    Duration::from_secs(1)
                } else {
                    self.until_due(asked).await
                };
                tokio::select! {
                    () = self.shared.wake.notified() => {}
                    Ok(()) = changes.changed() => {}
                    () = tokio::time::sleep(sleep) => {}
                    Some(ended) = running.join_next(), if !running.is_empty() => reap(ended),
                    () = stop.cancelled() => break,
                    () = lost.cancelled() => break,
                }
                if !found {
                    // What else becomes due in this moment is claimed with it.
                    tokio::time::sleep(GATHER).await;
                }
            }
        };
        tokio::select! {
            () = claim => {}
            () = &mut renew => {}
        }
        // At a stop no further phase begins; those that run end under their lease, which is renewed until then. What has
        // not ended in time is dropped, and another conductor looks at it and goes on.
        let patience = self.shared.patience();
        if !running.is_empty() && !lost.is_cancelled() {
            tracing::info!(
                phases = running.len(),
                "waiting up to {} s for the phases that run",
                patience.as_secs()
            );
        }
        let deadline = tokio::time::Instant::now() + patience;
        while !running.is_empty() {
            if lost.is_cancelled() {
                // Their saves would be refused: another conductor has the work.
                running.abort_all();
            }
            tokio::select! {
                ended = running.join_next() => if let Some(ended) = ended { reap(ended) },
                () = &mut renew, if !lost.is_cancelled() => {}
                () = tokio::time::sleep_until(deadline), if tokio::time::Instant::now() < deadline => {
                    tracing::warn!(
                        phases = running.len(),
                        "phases did not end in time; their operations are handed over as they are"
                    );
                    running.abort_all();
                }
            }
        }
    }

    /// Until the session is lost.
    async fn renew(&self, session: &Session, lost: &CancellationToken) {
        loop {
            tokio::time::sleep(self.shared.settings.heartbeat_interval).await;
            let asked = Instant::now();
            match self
                .shared
                .store
                .renew_session(session.id, self.shared.settings.heartbeat_timeout)
                .await
            {
                Ok(true) => {
                    session.until.send_replace(asked + self.trust());
                    if let Err(error) = self.look_at_others().await {
                        tracing::debug!(%error, "the other conductors could not be read");
                    }
                }
                Ok(false) => {
                    self.shared.metrics.session_losses.inc();
                    tracing::warn!(session = %session.id, "this conductor's session is over; what it ran may be with another one now");
                    lost.cancel();
                    return;
                }
                Err(error) => tracing::warn!(%error, "the session could not be renewed"),
            }
        }
    }

    /// Starts what is due; true when there may be more.
    async fn claim(&self, session: &Session, running: &mut JoinSet<()>, now: Timestamp) -> bool {
        let free = session
            .allowed(self.shared.settings.concurrency)
            .saturating_sub(running.len());
        if free == 0 {
            return false;
        }
        let able = Able {
            flows: self.flows.iter().map(|f| (f.name, f.version)).collect(),
            nodes: Some((
                self.shared.settings.conductor_group.to_lowercase(),
                self.shared
                    .left_to_others
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            )),
        };
        let limit = u32::try_from(free.min(64)).unwrap_or(64);
        match self.shared.store.claim(session.id, able, now, limit).await {
            Ok(claimed) => {
                let more = claimed.len() as u32 == limit;
                for one in claimed {
                    let shared = Arc::clone(&self.shared);
                    let lease = Lease {
                        session: session.id,
                        fence: one.operation.fence,
                        until: session.until.subscribe(),
                    };
                    let flows = self.flows;
                    let (ended, stop) = (Arc::clone(&session.ended), session.go_on.clone());
                    running.spawn(async move {
                        run_one(&shared, flows, lease, one, &ended, &stop).await;
                        shared.wake.notify_one();
                    });
                }
                more
            }
            Err(error) => {
                tracing::error!(%error, "work could not be claimed");
                false
            }
        }
    }

    /// How long nothing is due, as far as the store knows. What was due when work was `asked` for and was not given is
    /// somebody else's.
    async fn until_due(&self, asked: Timestamp) -> Duration {
        let longest = self.shared.settings.poll_interval;
        match self.shared.store.next_due().await {
            Ok(Some(at)) if at <= asked => longest.min(LEFT_TO_OTHERS),
            Ok(Some(at)) => at
                .since(Timestamp::now())
                .clamp(Duration::from_millis(1), longest),
            Ok(None) | Err(_) => longest,
        }
    }
}

async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // Phases are run in a task of their own (`run_one`): what panics here is the engine's bookkeeping.
        std::panic::resume_unwind(error.into_panic());
    }
}

/// One claim: one phase and one save, and so on as long as the next phase follows at once.
async fn run_one(
    shared: &Arc<Shared>,
    flows: &'static [&'static Flow],
    mut lease: Lease,
    claimed: Claimed,
    ended: &AtomicUsize,
    stop: &CancellationToken,
) {
    let mut next = Some(claimed);
    while let Some(claimed) = next {
        lease.fence = claimed.operation.fence;
        next = run_guarded(shared, flows, lease.clone(), claimed, stop).await;
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs one phase in a task of its own: a panic while bytes of a BMC or an agent are read must harm nobody else.
async fn run_guarded(
    shared: &Arc<Shared>,
    flows: &'static [&'static Flow],
    lease: Lease,
    claimed: Claimed,
    stop: &CancellationToken,
) -> Option<Claimed> {
    let (operation, node): (OperationId, NodeId) = (claimed.operation.id, claimed.node.id);
    let Some(flow) = flows
        .iter()
        .find(|f| f.name == claimed.operation.flow)
        .copied()
    else {
        tracing::error!(%operation, flow = %claimed.operation.flow, "claimed a flow that is not known");
        return None;
    };
    shared.metrics.running.inc();
    let stop = stop.clone();
    let work = tokio::spawn(run_phase(
        Arc::clone(shared),
        flow,
        lease.clone(),
        claimed,
        stop,
    ));
    let guard = AbortOnDrop(work.abort_handle());
    let ended = work.await;
    shared.metrics.running.dec();
    drop(guard);
    match ended {
        Ok(next) => return next,
        Err(error) if error.is_panic() => {
            let text = panic_text(error.into_panic().as_ref());
            shared.metrics.panics.inc();
            tracing::error!(%operation, %node, "a phase of flow {} panicked: {text}", flow.name);
            if let Err(error) = shared.store.record_panic(operation, &text).await {
                tracing::error!(%error, "the panic could not be recorded");
            }
            // Left as it is, the row would be held until the session ends.
            if let Err(error) = release_after_panic(shared, &lease, operation).await {
                tracing::error!(%error, "the operation could not be released after the panic");
            }
        }
        Err(_) => {}
    }
    None
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

async fn release_after_panic(
    shared: &Shared,
    lease: &Lease,
    id: OperationId,
) -> Result<(), StoreError> {
    let Some(operation) = shared.store.get_operation(id).await? else {
        return Ok(());
    };
    let update = OperationUpdate {
        status: OperationStatus::Waiting,
        flow: operation.flow.clone(),
        flow_version: operation.flow_version,
        phase: operation.phase.clone(),
        data: operation.data.clone(),
        wake_at: Some(Timestamp::now().after(back_off(operation.attempt))),
        deadline_at: None,
        reason: Some("a panic ended the last attempt (a bug; see the service's log)".to_owned()),
        keep_attempts: true,
        consumed: Vec::new(),
        still_restored: true,
    };
    let unchanged = Arc::new(|_: &mut bessemer_model::Node| Ok(()));
    shared
        .store
        .save_outcome(
            lease.session,
            id,
            lease.fence,
            update,
            unchanged,
            Vec::new(),
            Vec::new(),
        )
        .await
        .map(|_| ())
}
