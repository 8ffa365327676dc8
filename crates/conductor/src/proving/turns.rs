//! The engine without its loop: one round of claims at a time, on the clock of the test. What is claimed runs as it does
//! in the service, to its save or to the death that the test has planned for it.

use bessemer_model::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Engine, Ordering, Session, Shared};
use crate::proving::deaths;

/// See the module.
pub(crate) struct Turns {
    engine: Engine,
    session: Session,
    turns: usize,
}

impl Turns {
    pub(crate) async fn new(shared: std::sync::Arc<Shared>) -> Self {
        let engine = Engine::new(shared);
        let session = session(&engine).await;
        Self {
            engine,
            session,
            turns: 0,
        }
    }

    /// Runs everything that is due; how much there was. In every other turn only one phase of each, so that other things
    /// happen between phases as well.
    pub(crate) async fn turn(&mut self) -> usize {
        let mut running = JoinSet::new();
        let before = deaths::count();
        self.turns += 1;
        self.session.go_on = CancellationToken::new();
        if self.turns.is_multiple_of(2) {
            self.session.go_on.cancel();
        }
        while self
            .engine
            .claim(&self.session, &mut running, Timestamp::now())
            .await
        {}
        let all = running.len();
        while running.len() > deaths::count() - before {
            tokio::select! {
                ended = running.join_next() => if let Some(ended) = ended { super::reap(ended) },
                () = deaths::next() => {}
            }
        }
        if !running.is_empty() {
            // What did not save is dropped like a process that is killed, and a conductor of the same name begins anew.
            running.abort_all();
            while running.join_next().await.is_some() {}
            self.session = session(&self.engine).await;
        }
        all
    }
}

async fn session(engine: &Engine) -> Session {
    let session = engine.open_session(CancellationToken::new()).await;
    let session = session.unwrap_or_else(|error| panic!("no session: {error}"));
    // as if it had worked for a long time
    session.ended.store(1_000_000, Ordering::Relaxed);
    session
}
