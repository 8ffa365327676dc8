//! Bodies that are sent while they are made.
//!
//! A list writes itself into pieces of a bounded size. The first piece is on its way before the last is made,
//! and what is sent is given back. The maker never waits for the client: a page is bounded, and a slow client
//! must not hold a reader of the database. What is smaller than a piece is answered whole, with its length.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tokio::sync::mpsc;

use crate::call::{Answer, AnswerBody, Outcome};
use crate::fault::ApiFault;

/// A piece is sent when it has this many bytes.
const PIECE: usize = 64 * 1024;

/// Where a body is written to.
pub struct Writer {
    out: Vec<u8>,
    pieces: mpsc::UnboundedSender<Bytes>,
}

impl Writer {
    /// What is being written.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends a piece when there is one. Breaks off when the client has gone away.
    pub fn pass_on(&mut self) -> ControlFlow<()> {
        if self.out.len() < PIECE {
            return ControlFlow::Continue(());
        }
        let next = Vec::with_capacity(PIECE.saturating_add(PIECE / 8));
        let piece = std::mem::replace(&mut self.out, next);
        match self.pieces.send(Bytes::from(piece)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Writer, ApiFault>> + Send>>;

struct Sending {
    first: Option<Bytes>,
    pieces: mpsc::UnboundedReceiver<Bytes>,
    work: Option<Work>,
    last: Option<Bytes>,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        if let Some(work) = &mut self.work {
            let done = tokio::select! {
                biased;
                Some(piece) = self.pieces.recv() => return Some((Ok(piece), self)),
                done = work => done,
            };
            self.work = None;
            match done {
                Ok(writer) => self.last = Some(Bytes::from(writer.out)),
                Err(fault) => {
                    // the status is long sent: all that is left is to break off
                    tracing::error!(error = fault.text, "a list broke off while it was sent");
                    self.pieces.close();
                    return Some((Err(io::Error::other(fault.text)), self));
                }
            }
        }
        if let Ok(piece) = self.pieces.try_recv() {
            return Some((Ok(piece), self));
        }
        let last = self.last.take().filter(|last| !last.is_empty())?;
        Some((Ok(last), self))
    }
}

/// Answers 200 with what `make` writes.
///
/// # Errors
/// Those of `make`, when it fails before there is a piece to send.
pub async fn answer<F>(make: impl FnOnce(Writer) -> F) -> Outcome
where
    F: Future<Output = Result<Writer, ApiFault>> + Send + 'static,
{
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let mut work: Work = Box::pin(make(Writer {
        out: Vec::with_capacity(4096),
        pieces: sender,
    }));
    let sending = tokio::select! {
        biased;
        Some(first) = pieces.recv() => Sending {
            first: Some(first),
            pieces,
            work: Some(work),
            last: None,
        },
        done = &mut work => {
            let writer = done?;
            match pieces.try_recv() {
                Err(_) => return Ok(Answer::bytes(Bytes::from(writer.out))),
                Ok(first) => Sending {
                    first: Some(first),
                    pieces,
                    work: None,
                    last: Some(Bytes::from(writer.out)),
                },
            }
        }
    };
    Ok(Answer {
        status: StatusCode::OK,
        body: AnswerBody::JsonStream(Body::from_stream(stream::unfold(sending, Sending::next))),
        location: None,
    })
}
