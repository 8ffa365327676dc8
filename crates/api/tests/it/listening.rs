//! The listener: TLS and its certificate, limits of connections and requests; the limit of the ramdisk's routes;
//! the audit.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use bessemer_api::{Listening, Peer};
use bessemer_config::{AuthStrategy, Config, TlsVersion};
use bessemer_store::testing::{Database, sqlite};
use http::Request;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::service::{HOST, Service};

/// A served API; ends with the value.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    _database: Database,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn served(config: Config) -> Served {
    let database = sqlite();
    let listening = Listening::new(&config).unwrap();
    let service = Service::with(&database.settings, config).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(bessemer_api::serve(
        listener,
        service.router.clone(),
        listening,
        stop.clone(),
    ));
    Served {
        address,
        stop,
        _database: database,
    }
}

/// Writes a new certificate and its key; the certificate.
fn identity(directory: &Path) -> reqwest::Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
}

fn client(certificate: &reqwest::Certificate, newest: reqwest::tls::Version) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .tls_certs_only([certificate.clone()])
        .tls_version_max(newest)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let first = identity(directory.path());
    let mut config = Config::dev();
    config.api.enable_ssl_api = true;
    config.ssl.cert_file = Some(directory.path().join("cert.pem"));
    config.ssl.key_file = Some(directory.path().join("key.pem"));
    let strict = served(config.clone()).await;
    config.api.server_tls_minimum_version = TlsVersion::V1_2;
    let served = served(config).await;
    let url = |served: &Served| format!("https://localhost:{}/v1/nodes", served.address.port());

    let (old, new) = (
        reqwest::tls::Version::TLS_1_2,
        reqwest::tls::Version::TLS_1_3,
    );
    let answer = client(&first, new).get(url(&strict)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // our own clients do without HTTP/2; another's finds it
    let curl = tokio::process::Command::new("curl")
        .args(["-sk", "-o", "/dev/null", "-w", "%{http_version}"])
        .arg(url(&strict))
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "2");
    assert!(client(&first, old).get(url(&strict)).send().await.is_err());
    let root = format!("https://localhost:{}/", served.address.port());
    let answer: Value = client(&first, old)
        .get(&root)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let link = answer["default_version"]["links"][0]["href"]
        .as_str()
        .unwrap();
    assert_eq!(link, format!("{root}v1/"));

    // nonsense changes nothing; a new certificate is shown to new connections
    std::fs::write(directory.path().join("cert.pem"), "nonsense").unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert!(client(&first, new).get(url(&served)).send().await.is_ok());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let second = identity(directory.path());
    let until = Instant::now() + Duration::from_secs(30);
    while client(&second, new).get(url(&served)).send().await.is_err() {
        assert!(Instant::now() < until, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(client(&first, new).get(url(&served)).send().await.is_err());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::dev();
    config.api.enable_ssl_api = true;
    config.api.cert_file = Some(directory.path().join("cert.pem"));
    config.api.key_file = Some(directory.path().join("key.pem"));
    let check = |want: &str| {
        let why = Listening::new(&config).err().expect(want).to_string();
        assert!(why.contains(want), "{why}");
    };
    check("cert.pem cannot be read as PEM certificates");
    identity(directory.path());
    std::fs::write(directory.path().join("key.pem"), "nonsense").unwrap();
    check("key.pem cannot be read as a PEM private key");
    let other = tempfile::tempdir().unwrap();
    identity(other.path());
    std::fs::copy(
        other.path().join("key.pem"),
        directory.path().join("key.pem"),
    )
    .unwrap();
    check("the certificate of the API cannot be used");
}

/// Sends bytes and reads until the connection ends.
async fn exchange(address: SocketAddr, bytes: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        socket.write_all(&bytes).unwrap();
        let mut text = Vec::new();
        // a reset is an end, too
        let _ = socket.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_more_than_their_share() {
    let mut config = Config::dev();
    config.api.header_timeout = Duration::from_millis(500);
    config.api.request_timeout = Duration::from_secs(1);
    config.api.max_connections = 2;
    let served = served(config).await;
    let head = "GET /v1/nodes HTTP/1.1\r\nHost: here\r\n";
    let many = "X-A: b\r\n".repeat(200);
    let long = format!("X-A: {}\r\n", "b".repeat(100_000));
    for (what, request, want) in [
        (
            "an ordinary request",
            format!("{head}Connection: close\r\n\r\n"),
            "HTTP/1.1 200",
        ),
        ("many headers", format!("{head}{many}\r\n"), "HTTP/1.1 431"),
        ("a long header", format!("{head}{long}\r\n"), "HTTP/1.1 431"),
        ("no end of the head", head.to_owned(), ""),
        (
            "a body that does not come",
            "POST /v1/nodes HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n{".to_owned(),
            "HTTP/1.1 503",
        ),
        (
            "not HTTP",
            "\0\u{1}\u{2}\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
    ] {
        let answer = exchange(served.address, request.into_bytes()).await;
        assert!(answer.starts_with(want), "{what}: {answer}");
        assert!(!want.is_empty() || answer.is_empty(), "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_wait_for_their_turn() {
    let mut config = Config::dev();
    config.api.max_connections = 1;
    let served = served(config).await;
    let address = served.address;
    let first = tokio::task::spawn_blocking(move || TcpStream::connect(address).unwrap())
        .await
        .unwrap();
    let request = b"GET /v1/ HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".to_vec();
    let second = tokio::spawn(exchange(address, request));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    drop(first);
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn routes_without_authentication_are_limited_by_address() {
    let database = sqlite();
    let mut config = Config::dev();
    config.api.ramdisk_requests_per_minute = 3;
    let service = Service::with(&database.settings, config).await;
    let from = async |address: &str, path: &str| {
        let address: IpAddr = address.parse().unwrap();
        let request = Request::builder()
            .uri(path)
            .header("host", HOST)
            .header("x-openstack-ironic-api-version", "1.115")
            .extension(Peer(address))
            .body(Body::empty())
            .unwrap();
        service.send(request).await
    };
    for _ in 0..3 {
        let reply = from("192.0.2.1", "/v1/lookup?addresses=52:54:00:00:00:01").await;
        assert_eq!(reply.status, 404, "{}", reply.text);
    }
    let reply = from("192.0.2.1", "/lookup/?addresses=52:54:00:00:00:01").await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert_eq!(reply.headers["retry-after"], "20");
    assert!(reply.text.contains("Too many requests from this address."));
    let reply = from("192.0.2.1", "/v1/heartbeat/x").await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    for (address, path, want) in [
        ("192.0.2.1", "/v1", 200),
        ("192.0.2.1", "/", 200),
        ("192.0.2.1", "/v1/nodes", 200),
        ("192.0.2.2", "/v1/lookup?addresses=52:54:00:00:00:01", 404),
        ("127.0.0.1", "/v1/lookup?addresses=52:54:00:00:00:01", 404),
    ] {
        assert_eq!(from(address, path).await.status, want, "{address} {path}");
    }
}

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_audit_says_who_did_what() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    let _present = tracing::subscriber::set_default(subscriber);

    let database = sqlite();
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::dev();
    config.default.auth_strategy = Some(AuthStrategy::HttpBasic);
    config.default.http_basic_auth_user_file = directory.path().join("htpasswd");
    std::fs::write(
        &config.default.http_basic_auth_user_file,
        format!("jo:{}\n", bcrypt::hash("right", 4).unwrap()),
    )
    .unwrap();
    let service = Service::with(&database.settings, config).await;
    let call = async |method: &str, path: &str, password: &str, body: Value| {
        use base64::Engine;
        let word = base64::engine::general_purpose::STANDARD.encode(format!("jo:{password}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("x-openstack-ironic-api-version", "1.115")
            .header("content-type", "application/json")
            .header("authorization", format!("Basic {word}"))
            .extension(Peer(IpAddr::from([192, 0, 2, 7])))
            .body(Body::from(body.to_string()))
            .unwrap();
        service.send(request).await
    };
    let secret = json!({"name": "n1", "driver": "fake-hardware", "driver_info": {"password": "hidden-word"}});
    let made = call("POST", "/v1/nodes", "right", secret).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["uuid"].as_str().unwrap().to_owned();
    let request = made.headers["x-openstack-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    call("GET", "/v1/nodes", "right", Value::Null).await;
    call(
        "PUT",
        "/v1/nodes/n1/states/power",
        "right",
        json!({"target": "x"}),
    )
    .await;
    call("GET", "/v1/nodes", "wrong-word", Value::Null).await;

    let timeline = call("GET", "/v1/nodes/n1/timeline", "right", Value::Null).await;
    assert_eq!(
        timeline.json()["timeline"][0]["text"],
        "created with driver fake-hardware by jo from 192.0.2.7"
    );
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("hidden-word") && !text.contains("wrong-word"));
    let audit: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "audit")
        .map(|line| line["fields"].clone())
        .collect();
    assert_eq!(audit.len(), 3, "{audit:#?}");
    let check = |line: &Value, want: Value| {
        for (name, value) in want.as_object().unwrap() {
            assert_eq!(line[name], *value, "{name}: {line}");
        }
    };
    check(
        &audit[0],
        json!({"outcome": "success", "status": 201, "method": "POST", "path": "/v1/nodes", "node": id,
               "user": "jo", "user_id": "jo", "from": "192.0.2.7", "request": request, "reason": "-"}),
    );
    check(
        &audit[1],
        json!({"outcome": "failure", "status": 400, "node": "n1", "path": "/v1/nodes/n1/states/power"}),
    );
    assert!(
        audit[1]["reason"]
            .as_str()
            .unwrap()
            .contains("\"x\" can not be performed")
    );
    check(
        &audit[2],
        json!({"outcome": "failure", "status": 401, "method": "GET", "user": "-", "from": "192.0.2.7",
               "reason": "Incorrect username or password"}),
    );
}
