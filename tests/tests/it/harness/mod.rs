//! What the scenarios need: a network, a controller, hosts, images, a client.

mod agent;
mod api;
mod controller;
mod images;
mod life;
mod programs;
mod site;

pub use agent::RealAgent;
pub use api::Api;
pub use controller::{Controller, Program};
pub use images::Image;
pub use life::{Life, Step, assert_clean_life};
pub use programs::{Binary, program};
pub use site::Site;

use std::time::{Duration, Instant};

use bessemer_lab::LabProcess;

/// Pause between two looks.
pub const POLL: Duration = Duration::from_millis(50);
/// No wait of a scenario is longer than this, also on a busy computer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition; panics with `what` after the time.
pub async fn until<T>(what: &str, time: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// What must not have happened to any host.
pub fn assert_no_violations(lab: &mut LabProcess) {
    let violations = lab.log().unwrap().violations();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// A number that the environment may set.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
