//! `GET /metrics`: what this process has counted and what the database says, as Prometheus reads it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use bessemer_conductor::Conductor;
use bessemer_model::Timestamp;
use bessemer_store::Store;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, String); N];

/// The listener's only route.
pub fn router(store: Store, conductor: Option<Conductor>) -> Router {
    let state = Arc::new((store, conductor));
    Router::new().route(
        "/metrics",
        get(move || {
            let state = Arc::clone(&state);
            async move { respond(&state.0, state.1.as_ref()).await }
        }),
    )
}

async fn respond(store: &Store, conductor: Option<&Conductor>) -> Response<Body> {
    match text(store, conductor).await {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            response
        }
        Err(error) => {
            tracing::warn!("no metrics: {error:#}");
            let mut response = Response::new(Body::from("the database does not answer"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

async fn text(store: &Store, conductor: Option<&Conductor>) -> anyhow::Result<String> {
    let figures = store.figures().await.context("the database")?;
    let receivers = store.receivers().await.context("the database")?;
    let mut registry = Registry::with_prefix("bessemer");
    if let Some(conductor) = conductor {
        conductor.metrics().register(&mut registry);
    }
    let nodes = Family::<Labels<2>, Gauge>::default();
    for (state, maintenance, count) in figures.nodes {
        let labels = [
            ("provision_state", state),
            ("maintenance", maintenance.to_string()),
        ];
        nodes.get_or_create(&labels).set(count);
    }
    registry.register("nodes", "Nodes by provision state", nodes);
    let open = Family::<Labels<2>, Gauge>::default();
    for (flow, status, count) in figures.operations {
        open.get_or_create(&[("flow", flow), ("status", status)])
            .set(count);
    }
    registry.register(
        "operations_open",
        "Operations that have not ended, by flow and status",
        open,
    );
    let messages = Family::<Labels<2>, Gauge>::default();
    for row in receivers {
        for (state, count) in [
            ("waiting", row.waiting),
            ("dead", row.dead),
            ("dropped", row.dropped),
        ] {
            let labels = [
                ("receiver", row.receiver.clone()),
                ("state", state.to_owned()),
            ];
            messages.get_or_create(&labels).set(count);
        }
    }
    registry.register(
        "notifications",
        "Notifications that wait for their receiver, were given up, and were dropped so far",
        messages,
    );
    let due = Gauge::<i64>::default();
    due.set(figures.due);
    registry.register(
        "operations_due",
        "Operations that could be worked on and wait for a conductor",
        due,
    );
    let oldest = Gauge::<f64, AtomicU64>::default();
    oldest.set(figures.oldest_due as f64 / 1e6);
    registry.register(
        "operations_due_oldest_seconds",
        "How long the first of them has waited",
        oldest,
    );
    let alive = Family::<Labels<2>, Gauge>::default();
    let now = Timestamp::now();
    for row in store.conductors().await.context("the database")?.iter() {
        let labels = [
            ("conductor", row.hostname.clone()),
            ("conductor_group", row.conductor_group.clone()),
        ];
        alive
            .get_or_create(&labels)
            .set(i64::from(row.expires_at > now));
    }
    registry.register("conductor_alive", "1 for a conductor that is alive", alive);
    let mut text = String::new();
    encode(&mut text, &registry).context("the text")?;
    Ok(text)
}
