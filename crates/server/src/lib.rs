//! The binary `bessemer`: puts the parts together and gives them to the command line.
//!
//! Nothing here decides anything about nodes; this crate only reads settings, opens sockets, starts the roles
//! and stops them again in order.

pub mod calls;
pub mod database;
mod metrics;
pub mod notifications;
pub mod rpc;
pub mod serve;
pub mod wiring;
