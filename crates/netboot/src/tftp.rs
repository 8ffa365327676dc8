//! TFTP: our files behind the server of the `tftp` crate, and its events as sentences.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use bessemer_tftp::tree::DiskFile;
use bessemer_tftp::{
    BytesFile, FileSource, OpenError, Outcome, TftpFile, TransferEvent, TransferStage,
};

use crate::directory::Source;
use crate::files::{Content, Files, MissingKind, Via};
use crate::journal::{Journal, human_size};
use crate::service::Urls;

/// The tree that TFTP serves.
pub(crate) struct TftpFiles {
    pub(crate) files: Arc<Files>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) urls: Arc<Urls>,
}

#[async_trait]
impl FileSource for TftpFiles {
    async fn open(&self, path: &str, peer: SocketAddr) -> Result<Box<dyn TftpFile>, OpenError> {
        let base = self.urls.tftp_base(peer.ip());
        match self.files.find(path, Via::Tftp, &base).await {
            Ok(found) => {
                if let Some(node) = found.node {
                    self.journal.introduce(peer.ip(), node);
                }
                match found.content {
                    Content::Text(text) => Ok(Box::new(BytesFile::new(text))),
                    Content::Media(_) => Err(OpenError::NotFound),
                    Content::File(file) => match DiskFile::new(file) {
                        Ok(file) => Ok(Box::new(file)),
                        Err(error) => Err(OpenError::Failed(format!(
                            "the file cannot be read: {}",
                            error.kind()
                        ))),
                    },
                }
            }
            Err(missing) => {
                if let Some(node) = missing.node {
                    self.journal.introduce(peer.ip(), node);
                }
                Err(match missing.kind {
                    MissingKind::NotFound => OpenError::NotFound,
                    MissingKind::Denied => OpenError::Denied(missing.why),
                    MissingKind::Unavailable => OpenError::Failed(missing.why),
                })
            }
        }
    }
}

/// Tells the journal what happened to a transfer.
pub(crate) fn record(journal: &Journal, event: TransferEvent) {
    let TransferStage::Finished(outcome) = &event.stage else {
        return;
    };
    let peer: IpAddr = event.peer.ip();
    let of = |size: Option<u64>| match size {
        Some(size) => format!(" of {}", human_size(size)),
        None => String::new(),
    };
    let what = match outcome {
        Outcome::Sent => format!("{} sent to {peer}", human_size(event.bytes)),
        Outcome::SizeAsked => format!("{peer} asked for its size"),
        Outcome::Aborted(why) => format!(
            "{peer} ended it after {}{}: {why}",
            human_size(event.bytes),
            of(event.size)
        ),
        Outcome::TimedOut => format!(
            "{peer} stopped answering after {}{}",
            human_size(event.bytes),
            of(event.size)
        ),
        Outcome::NotFound => format!("{peer} asked for it, no such file"),
        Outcome::Refused(why) => format!("refused to {peer}: {why}"),
        Outcome::Failed(why) => format!("not sent to {peer}: {why}"),
    };
    let text = format!("TFTP {}: {what}", event.path);
    journal.about_peer(peer, Source::Tftp, text, Some(event.bytes));
}
