//! The server over UDP: one socket per address that is listened on, one socket and task per transfer.
//!
//! A transfer's socket is bound to the address that was asked, so that the answer comes from there, and connected to the
//! client, so that the kernel drops strangers and reports a client that has gone.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::netascii::Netascii;
use crate::options::{Limits, Negotiated, negotiate};
use crate::packet::{Mode, OptionList, Packet};
use crate::sender::Sender;
use crate::source::{FileSource, OpenError, TftpFile};
use crate::tree::clean_path;
use crate::{Error, ErrorCode};

/// Where and how the server listens.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Addresses, one socket each. Name real addresses: for a wildcard the kernel chooses the address that answers.
    pub listen: Vec<SocketAddr>,
    /// What clients are granted.
    pub limits: Limits,
    /// Transfers at once; more requests are left unanswered and the clients ask again.
    pub max_transfers: usize,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte was acknowledged.
    Sent,
    /// The client only wanted to know the size: EDK2 asks, aborts, and asks again for the file.
    SizeAsked,
    /// The client ended it, with this text.
    Aborted(String),
    /// The client stopped answering.
    TimedOut,
    /// There is no such file.
    NotFound,
    /// The file is not for this client; also every attempt to write.
    Refused(String),
    /// The file could not be read, or a socket failed.
    Failed(String),
}

/// Where a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferStage {
    /// It begins.
    Started,
    /// So many bytes are acknowledged; at most once a second.
    Progress,
    /// It is over.
    Finished(Outcome),
}

/// Something that happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferEvent {
    /// The path, cleaned; as it was asked for when it cannot be cleaned.
    pub path: String,
    /// The client.
    pub peer: SocketAddr,
    /// Bytes acknowledged so far.
    pub bytes: u64,
    /// Length of the file, when it is known.
    pub size: Option<u64>,
    /// What happened.
    pub stage: TransferStage,
}

/// Takes events; it must return at once.
pub type Observer = Arc<dyn Fn(TransferEvent) + Send + Sync>;

/// A server whose sockets are bound.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<Arc<UdpSocket>>,
    addresses: Vec<SocketAddr>,
    settings: ServerSettings,
}

struct Shared {
    settings: ServerSettings,
    source: Arc<dyn FileSource>,
    observer: Observer,
    /// Requests that are being served: a repeated one must not start a second transfer. The whole datagram counts, since
    /// EDK2 asks for the size and then, from the same port, for the file, before we may have seen it abort the first.
    active: Mutex<HashSet<(SocketAddr, Vec<u8>)>>,
}

impl Server {
    /// Binds the sockets.
    ///
    /// # Errors
    /// [`Error::Io`] naming the address.
    pub async fn bind(settings: ServerSettings) -> Result<Self, Error> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for address in &settings.listen {
            let failed = |source| Error::Io {
                what: format!("TFTP cannot listen on {address}"),
                source,
            };
            let socket = UdpSocket::bind(address).await.map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push(Arc::new(socket));
        }
        Ok(Self {
            sockets,
            addresses,
            settings,
        })
    }

    /// The addresses that are listened on, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until cancelled; returns when every transfer has ended.
    pub async fn run(
        self,
        source: Arc<dyn FileSource>,
        observer: Observer,
        cancel: CancellationToken,
    ) {
        let shared = Arc::new(Shared {
            settings: self.settings,
            source,
            observer,
            active: Mutex::default(),
        });
        let mut listeners = JoinSet::new();
        for (socket, address) in self.sockets.into_iter().zip(self.addresses) {
            listeners.spawn(listen(
                socket,
                address,
                Arc::clone(&shared),
                cancel.child_token(),
            ));
        }
        while let Some(ended) = listeners.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "bug: a TFTP listener panicked");
            }
        }
    }
}

async fn listen(
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let mut transfers = JoinSet::new();
    let mut buffer = vec![0u8; 4096];
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = transfers.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "bug: a TFTP transfer panicked");
                }
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // an ICMP error of an earlier answer; a socket that fails for good must not spin
                tracing::debug!(%error, %address, "TFTP receive failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Some(datagram) = buffer.get(..length) else {
            continue;
        };
        match Packet::decode(datagram) {
            Ok(Packet::ReadRequest {
                path,
                mode,
                options,
            }) => {
                if transfers.len() >= shared.settings.max_transfers {
                    tracing::warn!(%peer, path, "TFTP request left unanswered: too many transfers");
                    continue;
                }
                let Some(turn) = Turn::take(&shared, peer, datagram) else {
                    continue;
                };
                let shared = Arc::clone(&shared);
                let cancel = cancel.clone();
                transfers.spawn(async move {
                    let transfer = Transfer {
                        shared: &shared,
                        local: address.ip(),
                        peer,
                        path,
                        mode,
                        options,
                    };
                    transfer.run(&cancel).await;
                    drop(turn);
                });
            }
            Ok(Packet::WriteRequest { path }) => {
                let text = "this server is read-only";
                let refusal = Packet::error(ErrorCode::AccessViolation, text);
                drop(socket.send_to(&refusal.encode(), peer).await);
                (shared.observer)(TransferEvent {
                    path: printable(&path),
                    peer,
                    bytes: 0,
                    size: None,
                    stage: TransferStage::Finished(Outcome::Refused(text.to_owned())),
                });
            }
            // answering an error with an error would never end
            Ok(Packet::Error { .. }) => {}
            Ok(_) => {
                let unknown = Packet::error(ErrorCode::UnknownTransfer, "unknown transfer");
                drop(socket.send_to(&unknown.encode(), peer).await);
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "TFTP request not understood");
                let refusal = Packet::error(ErrorCode::IllegalOperation, &error.to_string());
                drop(socket.send_to(&refusal.encode(), peer).await);
            }
        }
    }
    // the transfers see the same cancellation
    while transfers.join_next().await.is_some() {}
}

/// A request's place among the active ones, given back when dropped.
struct Turn {
    shared: Arc<Shared>,
    request: (SocketAddr, Vec<u8>),
}

impl Turn {
    fn take(shared: &Arc<Shared>, peer: SocketAddr, datagram: &[u8]) -> Option<Self> {
        let request = (peer, datagram.to_vec());
        let mut active = shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.insert(request.clone()).then(|| Self {
            shared: Arc::clone(shared),
            request,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.request);
    }
}

/// Text from outside for logs and the timeline.
fn printable(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(256).collect()
}

struct Transfer<'a> {
    shared: &'a Shared,
    local: IpAddr,
    peer: SocketAddr,
    path: String,
    mode: Mode,
    options: OptionList,
}

impl Transfer<'_> {
    async fn run(self, cancel: &CancellationToken) {
        let name = clean_path(&self.path).unwrap_or_else(|| printable(&self.path));
        let mut event = TransferEvent {
            path: name,
            peer: self.peer,
            bytes: 0,
            size: None,
            stage: TransferStage::Started,
        };
        let outcome = self.serve(&mut event, cancel).await;
        event.stage = TransferStage::Finished(outcome);
        (self.shared.observer)(event);
    }

    async fn serve(&self, event: &mut TransferEvent, cancel: &CancellationToken) -> Outcome {
        let socket = match self.socket().await {
            Ok(socket) => socket,
            Err(error) => return Outcome::Failed(format!("no socket for the transfer: {error}")),
        };
        let opened = match clean_path(&self.path) {
            Some(path) => self.shared.source.open(&path, self.peer).await,
            None => Err(OpenError::Denied("the path is not allowed".to_owned())),
        };
        let (code, text, outcome) = match opened {
            Ok(file) => return self.send(&socket, file, event, cancel).await,
            Err(OpenError::NotFound) => {
                let text = "file not found".to_owned();
                (ErrorCode::FileNotFound, text, Outcome::NotFound)
            }
            Err(OpenError::Denied(text)) => (
                ErrorCode::AccessViolation,
                text.clone(),
                Outcome::Refused(text),
            ),
            Err(OpenError::Failed(text)) => {
                (ErrorCode::NotDefined, text.clone(), Outcome::Failed(text))
            }
        };
        drop(socket.send(&Packet::error(code, &text).encode()).await);
        outcome
    }

    async fn socket(&self) -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.local, 0)).await?;
        socket.connect(self.peer).await?;
        Ok(socket)
    }

    async fn send(
        &self,
        socket: &UdpSocket,
        mut file: Box<dyn TftpFile>,
        event: &mut TransferEvent,
        cancel: &CancellationToken,
    ) -> Outcome {
        if self.mode == Mode::Netascii {
            file = Box::new(Netascii::new(file));
        }
        event.size = file.size();
        let negotiated = negotiate(&self.options, event.size, &self.shared.settings.limits);
        (self.shared.observer)(event.clone());
        let begin = Instant::now();
        let mut sender = Sender::new(&negotiated, Duration::ZERO);
        let mut block = vec![0u8; sender.blksize()];
        let mut buffer = vec![0u8; 2048];
        let mut told = begin;
        loop {
            while sender.wants_data() {
                match fill(&mut *file, &mut block).await {
                    Ok(length) => sender.push(block.get(..length).unwrap_or_default()),
                    Err(error) => {
                        let text = format!("the file cannot be read: {}", error.kind());
                        let packet = Packet::error(ErrorCode::NotDefined, &text);
                        drop(socket.send(&packet.encode()).await);
                        return Outcome::Failed(text);
                    }
                }
            }
            while let Some(datagram) = sender.transmit(begin.elapsed()) {
                if let Err(error) = socket.send(&datagram).await
                    && let Some(outcome) = gone(&error, &sender, &negotiated)
                {
                    return outcome;
                }
            }
            event.bytes = sender.acknowledged_bytes();
            if sender.finished() {
                return Outcome::Sent;
            }
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                event.stage = TransferStage::Progress;
                (self.shared.observer)(event.clone());
            }
            let deadline = begin + sender.deadline();
            tokio::select! {
                () = cancel.cancelled() => {
                    let text = "the server is stopping";
                    let packet = Packet::error(ErrorCode::NotDefined, text);
                    drop(socket.send(&packet.encode()).await);
                    return Outcome::Failed(text.to_owned());
                }
                () = tokio::time::sleep_until(deadline) => {
                    if sender.expire(begin.elapsed()).is_err() {
                        return Outcome::TimedOut;
                    }
                }
                received = socket.recv(&mut buffer) => match received {
                    Ok(length) => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        if let Some(outcome) = take(socket, &mut sender, datagram, &negotiated, begin).await {
                            event.bytes = sender.acknowledged_bytes();
                            return outcome;
                        }
                    }
                    Err(error) => {
                        if let Some(outcome) = gone(&error, &sender, &negotiated) {
                            return outcome;
                        }
                    }
                },
            }
        }
    }
}

/// Hands a datagram to the sender; `Some` ends the transfer.
async fn take(
    socket: &UdpSocket,
    sender: &mut Sender,
    datagram: &[u8],
    negotiated: &Negotiated,
    begin: Instant,
) -> Option<Outcome> {
    let packet = Packet::decode(datagram).ok()?;
    match sender.receive(&packet, begin.elapsed()) {
        Ok(None) => None,
        Ok(Some(complaint)) => {
            drop(socket.send(&complaint.encode()).await);
            Some(Outcome::Aborted("the client broke the protocol".to_owned()))
        }
        Err(Error::Refused { message, .. }) => Some(ended_by_client(sender, negotiated, message)),
        Err(error) => Some(Outcome::Failed(error.to_string())),
    }
}

fn ended_by_client(sender: &Sender, negotiated: &Negotiated, message: String) -> Outcome {
    let asked_size = negotiated.granted.iter().any(|(name, _)| name == "tsize");
    if asked_size && sender.acknowledged_bytes() == 0 && !sender.finished() {
        Outcome::SizeAsked
    } else {
        Outcome::Aborted(message)
    }
}

/// What an error of a connected socket means: the client closed its port, or nothing for the transfer.
fn gone(error: &std::io::Error, sender: &Sender, negotiated: &Negotiated) -> Option<Outcome> {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused if sender.last_block_sent() => {
            // some loaders close their port instead of acknowledging the last block
            Some(Outcome::Sent)
        }
        std::io::ErrorKind::ConnectionRefused => Some(ended_by_client(
            sender,
            negotiated,
            "the client closed its port".to_owned(),
        )),
        // the repetition and its bounded number deal with everything else
        _ => None,
    }
}

/// Reads until the buffer is full or the file ends.
async fn fill(file: &mut dyn TftpFile, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..)
        && !rest.is_empty()
    {
        match file.read(rest).await? {
            0 => break,
            read => filled = filled.saturating_add(read),
        }
    }
    Ok(filled)
}
