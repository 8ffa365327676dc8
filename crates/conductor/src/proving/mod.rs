//! What the engine promises, tried on simulated hosts in memory and on a clock that the tests move: every phase of every
//! flow failed, broken off and repeated ([`phases`]), and random verbs, faults and delays ([`random`]).
//!
//! All of a test runs on one thread: its hosts, its plans of what shall go wrong, and its clock are that thread's.

mod host;
mod phases;
mod random;
mod states;
mod world;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bessemer_drivers::Hardware;
use bessemer_model::{Class, Fault, InterfaceKind, Node, NodeId};
use serde_json::Value;

use crate::context::Context;
use crate::outcome::{Look, OnUnknown, Outcome, Phase};
use host::Host;

/// Where within a phase something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Look,
    /// The look was good, and what it found is not saved.
    Looked,
    Act,
    /// The act was good, and its outcome is not saved.
    Acted,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Fault(Class),
    Panic,
    /// The process is killed.
    Death,
}

/// What shall go wrong with a node, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// `None`: whatever it is.
    pub at: Option<(&'static str, &'static str)>,
    pub moment: Moment,
    pub trouble: Trouble,
    pub times: u32,
}

thread_local! {
    static PLANS: RefCell<HashMap<NodeId, Vec<Plan>>> = RefCell::default();
    static HITS: RefCell<HashMap<NodeId, u32>> = RefCell::default();
    static SEEN: RefCell<BTreeSet<(String, &'static str)>> = RefCell::default();
    static HOSTS: RefCell<HashMap<NodeId, Arc<Mutex<Host>>>> = RefCell::default();
}

fn plan(node: NodeId, plan: Plan) {
    PLANS.with_borrow_mut(|plans| plans.entry(node).or_default().push(plan));
}

fn forget_plans(node: NodeId) {
    PLANS.with_borrow_mut(|plans| plans.remove(&node));
}

/// How often something went wrong with this node as planned.
fn hits(node: NodeId) -> u32 {
    HITS.with_borrow(|hits| hits.get(&node).copied().unwrap_or(0))
}

/// Flow and phase of everything that has run on this thread.
fn seen() -> BTreeSet<(String, &'static str)> {
    SEEN.with_borrow(Clone::clone)
}

/// Phases that were killed.
pub(crate) mod deaths {
    use std::cell::Cell;
    use std::sync::Arc;

    use tokio::sync::Notify;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
        static NEXT: Arc<Notify> = Arc::default();
    }

    pub(crate) fn count() -> usize {
        COUNT.get()
    }

    pub(crate) async fn next() {
        let next = NEXT.with(Arc::clone);
        next.notified().await;
    }

    pub(super) async fn die() {
        COUNT.set(COUNT.get() + 1);
        NEXT.with(|next| next.notify_one());
        std::future::pending::<()>().await;
    }
}

async fn strike(cx: &Context, phase: &'static str, moment: Moment) -> Result<(), Fault> {
    let flow = cx.operation.flow.as_str();
    let trouble = PLANS.with_borrow_mut(|plans| {
        let plans = plans.get_mut(&cx.node.id)?;
        let at = plans
            .iter()
            .position(|p| p.moment == moment && p.at.is_none_or(|at| at == (flow, phase)))?;
        let plan = plans.get_mut(at)?;
        let trouble = plan.trouble;
        plan.times -= 1;
        if plan.times == 0 {
            plans.remove(at);
        }
        Some(trouble)
    });
    let Some(trouble) = trouble else {
        return Ok(());
    };
    HITS.with_borrow_mut(|hits| *hits.entry(cx.node.id).or_default() += 1);
    match trouble {
        Trouble::Fault(class) => Err(Fault::hardware(
            class,
            "the device said no in this test; check its log",
        )),
        Trouble::Panic => panic!("this is the test's"),
        Trouble::Death => {
            deaths::die().await;
            Ok(())
        }
    }
}

/// A phase to which something can happen.
struct Watched(&'static dyn Phase);

/// What the engine runs in tests in place of `phase`.
pub(crate) fn watched(phase: &'static dyn Phase) -> &'static dyn Phase {
    // few bytes for each phase that a test runs
    Box::leak(Box::new(Watched(phase)))
}

#[async_trait]
impl Phase for Watched {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn on_unknown(&self) -> OnUnknown {
        self.0.on_unknown()
    }

    fn abortable(&self, cx: &Context) -> bool {
        self.0.abortable(cx)
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let flow = cx.operation.flow.clone();
        SEEN.with_borrow_mut(|seen| seen.insert((flow, self.0.name())));
        strike(cx, self.0.name(), Moment::Look).await?;
        let look = self.0.look(cx).await?;
        strike(cx, self.0.name(), Moment::Looked).await?;
        Ok(look)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        strike(cx, self.0.name(), Moment::Act).await?;
        let outcome = self.0.act(cx).await?;
        strike(cx, self.0.name(), Moment::Acted).await?;
        Ok(outcome)
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        self.0.expired(cx).await
    }
}

fn host(node: NodeId) -> Option<Arc<Mutex<Host>>> {
    HOSTS.with_borrow(|hosts| hosts.get(&node).cloned())
}

/// The node's interfaces, those of the test's host where there is one.
pub(crate) fn on_host(node: &Node, mut hardware: Hardware) -> Hardware {
    if let Some(host) = host(node.id) {
        let board = |kind| Arc::new(host::Board(Arc::clone(&host), kind));
        hardware.power = board(InterfaceKind::Power);
        hardware.boot = board(InterfaceKind::Boot);
        hardware.management = board(InterfaceKind::Management);
    }
    hardware
}

/// What became of a request to an agent.
pub(crate) enum Asked {
    Answer(Value),
    /// No agent of a test; to be sent.
    Elsewhere(reqwest::RequestBuilder),
}

/// Agents of the test answer at `http://127.0.0.1:1/<node>`; one that is away is asked there, where nothing listens.
pub(crate) fn ask_agent(request: reqwest::RequestBuilder) -> Asked {
    let built = request.try_clone().and_then(|copy| copy.build().ok());
    let answer = built.and_then(|request| {
        let path = request.url().path().trim_start_matches('/');
        let (node, path) = path.split_once('/')?;
        let host = host(node.parse().ok()?)?;
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let body = body.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mut host = host.lock().ok()?;
        host.answer(path, body)
    });
    answer.map_or(Asked::Elsewhere(request), Asked::Answer)
}
