//! The conductor: runs operations on nodes, and never loses one.
//!
//! Every verb is a row in the store (an *operation*). The [`engine`] claims due rows under a lease with a
//! fencing number, runs **one phase** of the row's flow, and saves what came of it together with the node's
//! new state. A phase always looks before it acts, so running it twice is safe, and a `kill -9` at any
//! instant loses nothing.
//!
//! What this crate must never do: contain SQL, write a node's state outside a guarded save, or hold a
//! task while it waits (a wait is a row with a time).

mod agent_client;
mod allocations;
mod config_drive;
mod context;
mod driver_calls;
mod engine;
mod error_text;
pub mod flow;
mod forget;
mod heartbeat;
mod image_check;
pub mod inspection;
mod metrics;
mod outcome;
mod power_sync;
#[cfg(test)]
mod proving;
mod report;
mod rescue_password;
mod sensors;
mod service;
mod settings;
mod steps;
mod verbs;
mod vif;

pub use agent_client::{AgentClient, pinned_client};
pub use context::{Context, Data, StepProgress};
pub use driver_calls::{VendorAnswer, VendorRequest};
pub use engine::{Engine, Shared};
pub use flow::{FLOWS, Flow};
pub use heartbeat::same;
pub use metrics::Metrics;
pub use outcome::{Look, OnUnknown, Outcome, Phase, Wait};
pub use sensors::SensorSettings;
pub use service::{BootDevice, Conductor, LookupAnswer, Validation};
pub use settings::{CleaningSource, InspectionSettings, LesseeSource, Settings};
pub use steps::{PlannedStep, StepKind};
pub use verbs::Provision;
