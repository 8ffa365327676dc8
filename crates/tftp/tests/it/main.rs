//! The server against independent clients (tftp-hpa, atftp), and against our own over a network that loses packets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lossy;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_tftp::receiver::Wanted;
use bessemer_tftp::{
    ClientSettings, Error, Limits, Outcome, Server, ServerSettings, TransferEvent, TransferStage,
    Tree, download,
};
use tokio_util::sync::CancellationToken;

type Events = Arc<Mutex<Vec<TransferEvent>>>;

struct Running {
    addresses: Vec<SocketAddr>,
    events: Events,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(root: &Path, listen: &[&str], limits: Limits) -> Self {
        let server = Server::bind(ServerSettings {
            listen: listen.iter().map(|a| a.parse().unwrap()).collect(),
            limits,
            max_transfers: 64,
        })
        .await
        .unwrap();
        let addresses = server.addresses().to_vec();
        let events = Events::default();
        let cancel = CancellationToken::new();
        let seen = Arc::clone(&events);
        let task = tokio::spawn(server.run(
            Arc::new(Tree::new(root)),
            Arc::new(move |event| seen.lock().unwrap().push(event)),
            cancel.clone(),
        ));
        Self {
            addresses,
            events,
            cancel,
            task,
        }
    }

    async fn stop(self) -> Vec<TransferEvent> {
        self.cancel.cancel();
        self.task.await.unwrap();
        let events = self.events.lock().unwrap();
        events.clone()
    }

    /// Waits until a transfer of this file has ended so often.
    async fn finished(&self, path: &str, times: usize) -> Vec<Outcome> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let outcomes: Vec<_> = self
                .events
                .lock()
                .unwrap()
                .iter()
                .filter(|event| event.path == path)
                .filter_map(|event| match &event.stage {
                    TransferStage::Finished(outcome) => Some(outcome.clone()),
                    _ => None,
                })
                .collect();
            if outcomes.len() >= times {
                return outcomes;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{path}: {outcomes:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn generous() -> Limits {
    Limits {
        max_blksize: 65464,
        ..Limits::default()
    }
}

/// Bytes that differ everywhere, so that a block in the wrong place is seen.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

async fn run(program: &str, arguments: Vec<String>) -> std::process::Output {
    let name = program.to_owned();
    tokio::task::spawn_blocking(move || {
        Command::new(&name)
            .args(&arguments)
            .output()
            .unwrap_or_else(|error| panic!("{name} is needed for this test: {error}"))
    })
    .await
    .unwrap()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

const SIZES: [usize; 7] = [0, 1, 511, 512, 1024, 1428 * 3, 100_000];

fn tree(sizes: &[usize]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for size in sizes {
        std::fs::write(root.path().join(format!("f{size}")), content(*size)).unwrap();
    }
    root
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn judged_by_tftp_hpa() {
    let root = tree(&SIZES);
    let out = tempfile::tempdir().unwrap();
    let server = Running::start(root.path(), &["127.0.0.1:0"], generous()).await;
    let port = server.addresses[0].port().to_string();
    for size in SIZES {
        let local = out.path().join(format!("f{size}"));
        // reads its commands from the command line; "-m binary" is octet
        let arguments = strings(&[
            "-m",
            "binary",
            "127.0.0.1",
            &port,
            "-c",
            "get",
            &format!("f{size}"),
            local.to_str().unwrap(),
        ]);
        let output = run("tftp", arguments).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            std::fs::read(&local).unwrap(),
            content(size),
            "{size} bytes"
        );
    }
    // netascii there and back is the same text
    let text = "one\ntwo\r\nthree\rfour\n".repeat(400);
    std::fs::write(root.path().join("text"), &text).unwrap();
    let local = out.path().join("text");
    let arguments = strings(&[
        "-m",
        "ascii",
        "127.0.0.1",
        &port,
        "-c",
        "get",
        "text",
        local.to_str().unwrap(),
    ]);
    run("tftp", arguments).await;
    assert_eq!(std::fs::read_to_string(&local).unwrap(), text);

    let missing = strings(&[
        "-m",
        "binary",
        "127.0.0.1",
        &port,
        "-c",
        "get",
        "missing",
        "/dev/null",
    ]);
    let output = run("tftp", missing).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("file not found"), "{said}");
    let write = strings(&[
        "-m",
        "binary",
        "127.0.0.1",
        &port,
        "-c",
        "put",
        "/etc/hostname",
        "x",
    ]);
    let output = run("tftp", write).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this server is read-only"), "{said}");
    assert!(!root.path().join("x").exists());

    assert_eq!(server.finished("missing", 1).await, [Outcome::NotFound]);
    assert_eq!(server.finished("f100000", 1).await, [Outcome::Sent]);
    let events = server.stop().await;
    assert!(events.iter().any(|event| event.path == "f100000"
        && event.bytes == 100_000
        && event.size == Some(100_000)
        && event.stage == TransferStage::Finished(Outcome::Sent)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn judged_by_atftp() {
    let long = 8 * 65_540 + 3;
    let mut sizes = SIZES.to_vec();
    sizes.extend([8192 * 2, 300_000, long]);
    let root = tree(&sizes);
    let out = tempfile::tempdir().unwrap();
    let server = Running::start(root.path(), &["127.0.0.1:0"], generous()).await;
    let port = server.addresses[0].port().to_string();
    let cases: &[(usize, &[&str], &str)] = &[
        (0, &[], ""),
        (0, &["blksize 1428", "windowsize 4"], "OACK"),
        (1024, &["blksize 512"], "blksize: 512"),
        (1428 * 3, &["blksize 1428"], "blksize: 1428"),
        (100_000, &["blksize 1428", "tsize 0"], "tsize: 100000"),
        (8192 * 2, &["blksize 8192"], "blksize: 8192"),
        (
            300_000,
            &["blksize 8192", "tsize 0", "timeout 3"],
            "timeout: 3",
        ),
        (300_000, &["windowsize 8"], "windowsize: 8"),
        (
            300_000,
            &["blksize 1428", "windowsize 16"],
            "windowsize: 16",
        ),
        // more than 65535 blocks
        (long, &["blksize 8", "windowsize 64"], "windowsize: 64"),
    ];
    for (number, (size, options, traced)) in cases.iter().enumerate() {
        let local = out.path().join(number.to_string());
        let remote = format!("f{size}");
        let mut arguments = strings(&["--trace"]);
        for option in *options {
            arguments.extend(["--option".to_owned(), (*option).to_owned()]);
        }
        arguments.extend(strings(&[
            "-g",
            "-r",
            &remote,
            "-l",
            local.to_str().unwrap(),
            "127.0.0.1",
            &port,
        ]));
        let output = run("atftp", arguments).await;
        let trace = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let head: String = trace.chars().take(600).collect();
        assert!(output.status.success(), "{size} {options:?}: {head}");
        assert!(trace.contains(traced), "{size} {options:?}: {head}");
        assert!(
            std::fs::read(&local).unwrap() == content(*size),
            "{size} {options:?}: other bytes"
        );
    }
    server.stop().await;
}

/// The kernel would answer from 127.0.0.1 if the transfer's socket were not bound; the client drops such answers.
#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    let root = tree(&[5000]);
    let server = Running::start(root.path(), &["127.0.0.1:0", "127.0.0.2:0"], generous()).await;
    for address in server.addresses.clone() {
        let mut bytes = Vec::new();
        let done = download(address, "/f5000", &ClientSettings::default(), |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(bytes, content(5000));
        assert_eq!(done.tsize, Some(5000));
        assert_eq!(done.blksize, 1432);
    }
    server.stop().await;
}

/// Our own client over more than 65535 blocks; lock step over the edge is in the engines' unit tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolls_over() {
    let length = 8 * 65_536;
    let root = tree(&[length]);
    let server = Running::start(root.path(), &["127.0.0.1:0"], generous()).await;
    let settings = ClientSettings {
        wanted: Wanted {
            blksize: Some(8),
            windowsize: Some(32),
            ..Wanted::default()
        },
        ..ClientSettings::default()
    };
    let mut bytes = Vec::new();
    download(
        server.addresses[0],
        &format!("f{length}"),
        &settings,
        |part| {
            bytes.extend_from_slice(part);
            Ok(())
        },
    )
    .await
    .unwrap();
    assert!(bytes == content(length));
    server.stop().await;
}

#[tokio::test]
async fn a_network_that_loses_a_fifth() {
    let root = tree(&[0, 20_000, 1024 * 16]);
    let limits = Limits {
        timeout: Duration::from_millis(15),
        attempts: 12,
        ..generous()
    };
    let server = Running::start(root.path(), &["127.0.0.1:0"], limits).await;
    for (seed, size, blksize, windowsize) in [
        (1, 20_000, 512, None),
        (2, 20_000, 512, Some(4)),
        (3, 1024 * 16, 1024, Some(16)),
        (4, 0, 1024, Some(2)),
        (5, 20_000, 64, Some(32)),
        (6, 20_000, 512, Some(8)),
    ] {
        let proxy = lossy::Proxy::start(server.addresses[0], seed, 0.2).await;
        let settings = ClientSettings {
            wanted: Wanted {
                blksize: Some(blksize),
                windowsize,
                tsize: true,
                timeout_seconds: None,
            },
            timeout: Duration::from_millis(15),
            attempts: 12,
            ..ClientSettings::default()
        };
        let mut bytes = Vec::new();
        let done = download(proxy.address, &format!("f{size}"), &settings, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })
        .await;
        assert!(done.is_ok(), "seed {seed}: {done:?}");
        assert!(bytes == content(size), "seed {seed}: other bytes");
        let (lost, passed) = proxy.stop().await;
        assert!(lost > 0 || size == 0, "seed {seed}: {lost} of {passed}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_ends_a_transfer() {
    let root = tree(&[100_000]);
    let limits = Limits {
        timeout: Duration::from_millis(10),
        attempts: 3,
        ..generous()
    };
    let server = Running::start(root.path(), &["127.0.0.1:0"], limits).await;
    let address = server.addresses[0];
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0u8; 2048];

    // EDK2 asks for the size, then aborts
    let ask = b"\0\x01f100000\0octet\0tsize\x000\0blksize\x001428\0";
    socket.send_to(ask, address).await.unwrap();
    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(
        &buffer[..length],
        b"\0\x06tsize\x00100000\0blksize\x001428\0"
    );
    socket
        .send_to(b"\0\x05\0\x08User aborted the transfer\0", from)
        .await
        .unwrap();
    assert_eq!(server.finished("f100000", 1).await, [Outcome::SizeAsked]);

    // the same from the same port again, and then silence: three times the OACK and no more
    socket.send_to(ask, address).await.unwrap();
    socket.send_to(ask, address).await.unwrap();
    assert_eq!(server.finished("f100000", 2).await[1], Outcome::TimedOut);
    let mut answers = 0;
    while let Ok(received) = socket.try_recv_from(&mut buffer) {
        assert_eq!(&buffer[..2], b"\0\x06", "{received:?}");
        answers += 1;
    }
    assert_eq!(answers, 3);

    // a client that aborts in the middle
    socket
        .send_to(b"\0\x01f100000\0octet\0", address)
        .await
        .unwrap();
    let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
    socket.send_to(b"\0\x04\0\x01", from).await.unwrap();
    socket.send_to(b"\0\x05\0\x03full\0", from).await.unwrap();
    assert_eq!(
        server.finished("f100000", 3).await[2],
        Outcome::Aborted("full".into())
    );

    // a client whose port is closed: known at once, not after three attempts
    let gone = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    gone.send_to(b"\0\x01f100000\0octet\0", address)
        .await
        .unwrap();
    gone.recv_from(&mut buffer).await.unwrap();
    drop(gone);
    assert_eq!(
        server.finished("f100000", 4).await[3],
        Outcome::Aborted("the client closed its port".into())
    );

    // paths that are not served
    for path in ["../etc/passwd", "a/../../x", "a\u{7}"] {
        let done = download(address, path, &ClientSettings::default(), |_| Ok(())).await;
        let Err(Error::Refused { code, message }) = done else {
            panic!("{path}: {done:?}")
        };
        assert_eq!((code, message.as_str()), (2, "the path is not allowed"));
    }
    // limits of the client
    let small = ClientSettings {
        max_size: 1000,
        timeout: Duration::from_millis(10),
        attempts: 3,
        ..ClientSettings::default()
    };
    let done = download(address, "f100000", &small, |_| Ok(())).await;
    assert!(matches!(done, Err(Error::TooLong { limit: 1000 })));
    server.stop().await;
    // nobody there any more
    let done = download(address, "x", &small, |_| Ok(()))
        .await
        .unwrap_err();
    assert!(
        matches!(done, Error::Unreachable { .. } | Error::TimedOut { .. }),
        "{done:?}"
    );
}
