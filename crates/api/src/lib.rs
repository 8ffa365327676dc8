//! The Bare Metal API over HTTP.
//!
//! What a request goes through, in this order: [`router`] gives it an id, guards its body, negotiates the
//! microversion and authenticates it; the router built by walking [`versions::ROUTES`] finds the resource and
//! says 404, 405 and 406 by the same table; the resource's file answers. One file per resource, faults in
//! [`fault`], how a body is read in [`body`].
//!
//! The API reads and writes the store and asks the [`conductor::Conductor`] for what must answer at once. It
//! never talks to hardware, never decides a state transition, and knows neither drivers nor flows.
//! Specification: upstream's API reference at microversions 1.1 to 1.115; differences are listed in
//! `docs/compat/deviations.md`.

mod allocations;
mod args;
mod auth;
mod bios;
mod body;
mod boot_mode;
mod call;
mod chassis;
mod children;
pub mod compat;
pub mod conductor;
mod conductors;
mod console;
mod deploy_templates;
mod drivers;
mod events;
mod explain;
mod fault;
mod firmware;
mod healthcheck;
mod history;
mod indicators;
mod inspection;
mod inspection_rules;
mod inventory;
mod json_patch;
mod json_schema;
mod links;
mod listing;
mod maintenance;
mod management;
pub mod matrix;
mod microversion;
mod node_create;
mod node_delete;
mod node_fields;
mod node_patch;
mod node_secrets;
mod node_view;
mod nodes;
pub mod openapi;
mod paging;
mod portgroups;
mod portgroups_write;
mod ports;
mod ports_write;
mod power;
mod provision;
mod query;
mod raid;
mod ramdisk;
mod root;
mod router;
mod runbooks;
mod schema;
mod serve;
mod shards;
mod states;
mod stream;
mod timeline;
mod told;
mod traits;
mod validate;
mod vendor_passthru;
pub mod versions;
mod vifs;
mod vmedia;
mod volume;
mod volume_connectors;
mod volume_targets;

use std::sync::Arc;

use bessemer_config::Config;
use bessemer_store::Store;

pub use auth::{Peer, StartError};
pub use conductor::Conductor;
pub use router::router;
pub use serve::{Listening, TlsError, serve};

/// What every request needs.
#[derive(Clone)]
pub struct ApiState {
    pub store: Store,
    pub conductor: Arc<dyn Conductor>,
    pub config: Arc<Config>,
}

/// Parsers of outside bytes as fuzz functions: each must end and never panic.
pub mod fuzz {
    pub use crate::events::fuzz_events;
    pub use crate::inspection::fuzz_report;
    pub use crate::json_patch::fuzz_json_patch;
    pub use crate::microversion::fuzz_microversion;
    pub use crate::schema::fuzz_node_body;
}
