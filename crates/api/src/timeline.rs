//! `GET /v1/nodes/{ident}/timeline?after=&limit=`: what happened to a node, from all parts, oldest first, with how far its
//! operation has come and why the last one failed. `GET .../timeline/stream`: the same while it happens, as Server-Sent
//! Events. Ours; upstream has nothing like it. Served at every version.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Body;
use bessemer_model::{Node, NodeId, Timestamp};
use bessemer_store::{Operation, Page, PortFilter, Store, TimelineEvent};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::call::{Answer, AnswerBody, Call, Outcome};
use crate::explain::{explain, last_failure};
use crate::fault::ApiFault;

/// Streams at once in this process.
static STREAMS: Semaphore = Semaphore::const_new(256);
/// Then a stream ends and the client comes again with the last event's id: who may read is asked anew.
const LONGEST: Duration = Duration::from_secs(900);
/// A comment goes out when nothing else does, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Between two looks: not sooner, however much happens, and not later.
const SOONEST: Duration = Duration::from_millis(200);
const LATEST: Duration = Duration::from_secs(1);
/// Events of one look.
const MOST: u32 = 500;
/// Events that an explanation is made from.
const EXPLAINED_BY: u32 = 500;

/// Where to begin and how many of the newest to give.
fn asked(call: &Call) -> Result<(Option<i64>, u32), ApiFault> {
    let args = Args::of_query(call, &["after", "limit"])?;
    let after = args.integer("after")?;
    let limit = match args.integer("limit")? {
        None => 100,
        Some(n) if n <= 0 => return Err(ApiFault::invalid("Limit must be positive")),
        Some(n) => u32::try_from(n)
            .unwrap_or(u32::MAX)
            .min(call.config().api.max_limit),
    };
    Ok((after, limit))
}

fn shown(id: i64, event: &TimelineEvent) -> Value {
    json!({
        "id": id,
        "at": event.at,
        "source": event.source.as_str(),
        "text": event.text,
        "data": event.data,
    })
}

pub async fn list(call: Call) -> Outcome {
    let (after, limit) = asked(&call)?;
    let node = call.node().await?;
    let store = call.store();
    let events: Vec<Value> = store
        .list_timeline(node.id, after, limit)
        .await?
        .iter()
        .map(|(id, event)| shown(*id, event))
        .collect();
    Ok(Answer::json(&json!({
        "timeline": events,
        "operation": operation(store, &node).await?,
        "explanation": explanation(store, node.id).await?,
    })))
}

/// The open operation: what it does, who has it, what it waits for and how long, and how far its step has come.
async fn operation(store: &Store, node: &Node) -> Result<Value, ApiFault> {
    let open = store.get_open_operation(node.id).await?;
    Ok(open.map_or(Value::Null, |open| progress(&open, node)))
}

fn progress(operation: &Operation, node: &Node) -> Value {
    let data = &operation.data;
    let steps = data.get("steps").and_then(Value::as_array);
    let index = data
        .get("step")
        .and_then(Value::as_u64)
        .and_then(|step| usize::try_from(step).ok())
        .unwrap_or(0);
    let step = steps.map(|all| {
        let present = all.get(index);
        let member = |key: &str| present.and_then(|s| s.get(key)).cloned();
        json!({
            "done": index.min(all.len()),
            "total": all.len(),
            "interface": member("interface"),
            "step": member("step"),
            "priority": member("priority"),
        })
    });
    json!({
        "flow": operation.flow,
        "phase": operation.phase,
        "status": operation.status.as_str(),
        "reason": operation.reason,
        "deadline_at": operation.deadline_at,
        "created_at": operation.created_at,
        "conductor": node.reservation,
        "steps": step,
        "progress": data.get("progress"),
    })
}

/// Why the last operation failed, when one did.
async fn explanation(store: &Store, node: NodeId) -> Result<Option<String>, ApiFault> {
    let events: Vec<TimelineEvent> = store
        .list_timeline(node, None, EXPLAINED_BY)
        .await?
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    let Some(failure) = last_failure(&events) else {
        return Ok(None);
    };
    let (from, to) = failure.window();
    let filter = PortFilter {
        node: Some(node),
        ..PortFilter::default()
    };
    let page = Page {
        limit: 100,
        ..Page::default()
    };
    let ports: Vec<_> = store
        .list_ports(&filter, &page)
        .await?
        .iter()
        .map(|port| port.address)
        .collect();
    let strangers = store.list_strangers(from, to).await?;
    Ok(Some(explain(&failure, &events, &ports, &strangers)))
}

/// A stream that is being written.
struct Stream {
    store: Store,
    node: NodeId,
    changes: watch::Receiver<u64>,
    stopping: CancellationToken,
    began: Instant,
    /// When something was sent last.
    sent: Instant,
    after: Option<i64>,
    first: u32,
    operation: Value,
    _turn: SemaphorePermit<'static>,
}

/// One event of the stream. JSON has no line breaks in it.
fn push(out: &mut String, id: Option<i64>, event: &str, data: &Value) {
    if let Some(id) = id {
        out.push_str(&format!("id: {id}\n"));
    }
    out.push_str(&format!("event: {event}\ndata: {data}\n\n"));
}

impl Stream {
    /// What is new; empty when nothing is. `None` when the node is gone.
    async fn look(&mut self) -> Result<Option<String>, ApiFault> {
        let Some(node) = self.store.get_node(self.node).await? else {
            return Ok(None);
        };
        let mut out = String::new();
        let limit = if self.after.is_some() {
            MOST
        } else {
            self.first
        };
        let events = self
            .store
            .list_timeline(self.node, self.after, limit)
            .await?;
        for (id, event) in &events {
            self.after = Some(*id);
            push(&mut out, Some(*id), "timeline", &shown(*id, event));
        }
        // an empty timeline: from here on everything is new
        self.after.get_or_insert(0);
        let operation = operation(&self.store, &node).await?;
        if operation != self.operation {
            let ended = operation.is_null();
            push(&mut out, None, "operation", &operation);
            self.operation = operation;
            if ended && node.last_error.is_some() {
                let text = explanation(&self.store, self.node).await?;
                push(&mut out, None, "explanation", &json!(text));
            }
        }
        Ok(Some(out))
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if self.stopping.is_cancelled() || self.began.elapsed() > LONGEST {
                return None;
            }
            let news = match self.look().await {
                Ok(Some(news)) => news,
                Ok(None) => return None,
                // the client comes again
                Err(fault) => {
                    tracing::warn!(error = fault.text, "a stream broke off");
                    return None;
                }
            };
            if !news.is_empty() {
                self.sent = Instant::now();
                return Some((Ok(Bytes::from(news)), self));
            }
            if self.sent.elapsed() >= KEEP_ALIVE {
                self.sent = Instant::now();
                return Some((Ok(Bytes::from_static(b": nothing new\n\n")), self));
            }
            let soonest = tokio::time::sleep(SOONEST);
            tokio::select! {
                () = soonest => {}
                () = self.stopping.cancelled() => return None,
            }
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(LATEST - SOONEST) => {}
                () = self.stopping.cancelled() => return None,
            }
        }
    }
}

pub async fn follow(call: Call) -> Outcome {
    // Whoever reads answers to their end must not come upon one that has none by chance.
    let accepts = call.headers.get_all(http::header::ACCEPT).iter();
    if !accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"))
    {
        return Err(ApiFault::new(
            StatusCode::NOT_ACCEPTABLE,
            "This is a stream of Server-Sent Events without an end; ask for it with Accept: text/event-stream.",
        ));
    }
    let (after, first) = asked(&call)?;
    let resumed = match call.headers.get("last-event-id") {
        None => None,
        Some(id) => {
            let id = id
                .to_str()
                .ok()
                .and_then(|id| id.trim().parse::<i64>().ok());
            Some(id.ok_or_else(|| {
                ApiFault::invalid("Last-Event-ID is not the id of an event of this stream")
            })?)
        }
    };
    let node = call.node().await?;
    let Ok(turn) = STREAMS.try_acquire() else {
        return Err(ApiFault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many timelines are being followed; ask for the timeline itself, or try again later.",
        )
        .with_header(http::header::RETRY_AFTER, "30".to_owned()));
    };
    let store = call.store().clone();
    let stream = Stream {
        changes: store.subscribe_changes(),
        store,
        node: node.id,
        stopping: call.stopping.clone(),
        began: Instant::now(),
        sent: Instant::now(),
        after: resumed.or(after),
        first,
        // differs from whatever is there, so that the first look shows it
        operation: json!(Timestamp::now()),
        _turn: turn,
    };
    Ok(Answer {
        status: StatusCode::OK,
        body: AnswerBody::EventStream(Body::from_stream(stream::unfold(stream, Stream::next))),
        location: None,
    })
}
