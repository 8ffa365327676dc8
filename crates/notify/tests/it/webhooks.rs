//! Webhooks: signed, in order, tried again, given up, replayed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bessemer_model::notification::Level;
use bessemer_notify::webhook::{Secrets, Webhook};
use bessemer_notify::{Limits, Receiver, Sender, Undelivered};
use bessemer_store::testing::on_both;
use bessemer_store::{OutboxSettings, Settings, Store};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver got: id, number within the payload.
type Got = Arc<Mutex<Vec<(String, i64)>>>;

struct Site {
    url: String,
    got: Got,
    count: watch::Receiver<usize>,
    /// How the next requests are answered, the last one again and again.
    answers: Arc<Mutex<Vec<StatusCode>>>,
}

impl Site {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (told, count) = watch::channel(0);
        let (got, answers) = (Got::default(), Arc::new(Mutex::new(vec![StatusCode::OK])));
        let (theirs, next) = (Arc::clone(&got), Arc::clone(&answers));
        let hook = move |headers: HeaderMap, body: Bytes| {
            let status = receive(&headers, &body, &theirs, &next);
            told.send_modify(|count| *count += 1);
            async move { status }
        };
        let router = Router::new().route("/hook", post(hook));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            got,
            count,
            answers,
        }
    }

    /// When so many requests were made.
    async fn requests(&mut self, count: usize) {
        let all = self.count.wait_for(|seen| *seen >= count);
        tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .unwrap_or_else(|_| panic!("not {count} requests"))
            .unwrap();
    }

    fn numbers(&self) -> Vec<i64> {
        self.got.lock().unwrap().iter().map(|(_, n)| *n).collect()
    }
}

/// A request that is not signed right is not counted as got.
fn receive(
    headers: &HeaderMap,
    body: &Bytes,
    got: &Got,
    answers: &Mutex<Vec<StatusCode>>,
) -> StatusCode {
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
    let secrets = Secrets::parse(&SecretString::from(SECRET)).unwrap();
    let time: i64 = time.parse().unwrap();
    if header("webhook-signature") != secrets.sign(&id, time, body) {
        return StatusCode::UNAUTHORIZED;
    }
    let message: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(message["message_id"], id.as_str());
    let status = {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0]
        }
    };
    if status.is_success() {
        let number = message["payload"]["n"].as_i64().unwrap();
        got.lock().unwrap().push((id, number));
    }
    status
}

fn receiver(url: &str, attempts: u32) -> Arc<dyn Receiver> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let secrets = Arc::new(Secrets::parse(&SecretString::from(SECRET)).unwrap());
    Arc::new(Webhook::new(url, secrets, Duration::from_secs(10), attempts, tls).unwrap())
}

async fn store(settings: Settings, receivers: &[&Arc<dyn Receiver>]) -> Store {
    let receivers = receivers.iter().map(|r| r.name().to_owned()).collect();
    let outbox = OutboxSettings {
        level: Some(Level::Info),
        host: "here".into(),
        receivers,
    };
    Store::open(&Settings {
        outbox: Some(Arc::new(outbox)),
        ..settings
    })
    .await
    .unwrap()
}

fn send(
    store: &Store,
    receivers: Vec<Arc<dyn Receiver>>,
    name: &str,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let limits = Limits {
        messages: 1000,
        time: Duration::from_secs(3600),
    };
    let sender = Sender::new(store.clone(), receivers, limits, name);
    let task = tokio::spawn(sender.run(stop.clone()));
    (stop, task)
}

async fn samples(store: &Store, numbers: std::ops::Range<i64>) {
    for n in numbers {
        store
            .add_sample("hardware.x.metrics", json!({"n": n}))
            .await
            .unwrap();
    }
}

/// In order, also over a failure; a receiver that is away holds up no other.
#[tokio::test]
async fn in_order_and_apart() {
    on_both(async |settings| {
        let mut site = Site::start().await;
        *site.answers.lock().unwrap() = vec![
            StatusCode::OK,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::OK,
        ];
        let here = receiver(&site.url, 10);
        // nobody listens there
        let away = receiver("http://127.0.0.1:9/hook", 1000);
        let store = store(settings, &[&here, &away]).await;
        samples(&store, 0..3).await;
        let (stop, task) = send(&store, vec![here.clone(), away.clone()], "a");
        samples(&store, 3..5).await;
        site.requests(7).await;
        assert_eq!(site.numbers(), [0, 1, 2, 3, 4]);
        stop.cancel();
        task.await.unwrap();
        assert!(
            store
                .waiting_messages(here.name(), 10)
                .await
                .unwrap()
                .is_empty()
        );
        let left = store.waiting_messages(away.name(), 10).await.unwrap();
        assert_eq!(left.len(), 5);
        assert!(left[0].attempts > 0 && left[0].error.is_some(), "{left:?}");
        store.close().await;
    })
    .await;
}

/// What is refused too often becomes a dead letter, the rest goes on; replayed, it keeps its id.
#[tokio::test]
async fn dead_letters_are_replayed() {
    on_both(async |settings| {
        let mut site = Site::start().await;
        *site.answers.lock().unwrap() = vec![
            StatusCode::BAD_REQUEST,
            StatusCode::BAD_REQUEST,
            StatusCode::OK,
        ];
        let here = receiver(&site.url, 2);
        let store = store(settings, &[&here]).await;
        samples(&store, 0..2).await;
        let first = store
            .waiting_messages(here.name(), 1)
            .await
            .unwrap()
            .remove(0);
        let (stop, task) = send(&store, vec![here.clone()], "a");
        site.requests(3).await;
        assert_eq!(site.numbers(), [1]);
        let dead = store.dead_letters(None, 0, 10).await.unwrap();
        assert_eq!((dead.len(), dead[0].id, dead[0].attempts), (1, first.id, 2));
        assert_eq!(dead[0].error.as_deref(), Some("answered 400 Bad Request"));
        store.replay_dead_letters(&[first.id], None).await.unwrap();
        site.requests(4).await;
        assert_eq!(site.got.lock().unwrap()[1], (first.message_id, 0));
        stop.cancel();
        task.await.unwrap();
        store.close().await;
    })
    .await;
}

/// A receiver that nobody reaches has refused nothing: its messages wait.
#[tokio::test]
async fn a_receiver_that_is_away_makes_no_dead_letters() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", closed.local_addr().unwrap());
    drop(closed);
    let away = receiver(&url, 1);
    let database = bessemer_store::testing::sqlite();
    let store = store(database.settings.clone(), &[&away]).await;
    samples(&store, 0..1).await;
    let messages = store.waiting_messages(away.name(), 1).await.unwrap();
    let (done, why) = away.deliver(&messages).await;
    assert_eq!(done, 0);
    assert!(matches!(why, Some(Undelivered::Away(_))), "{why:?}");
    store.close().await;
}

/// Two senders: each message goes out once, in order, by one of them; the other takes over.
#[tokio::test]
async fn one_of_two_senders() {
    on_both(async |settings| {
        let mut site = Site::start().await;
        let here = receiver(&site.url, 2);
        let store = store(settings, &[&here]).await;
        let (stop_one, one) = send(&store, vec![here.clone()], "a");
        let (stop_two, two) = send(&store, vec![here.clone()], "b");
        samples(&store, 0..20).await;
        site.requests(20).await;
        stop_one.cancel();
        one.await.unwrap();
        samples(&store, 20..30).await;
        site.requests(30).await;
        assert_eq!(site.numbers(), (0..30).collect::<Vec<_>>());
        stop_two.cancel();
        two.await.unwrap();
        store.close().await;
    })
    .await;
}
