//! Our client at boards that do what real ones do and the emulator does not: sessions that end, ETags, pages, tasks, redirections,
//! refusals in odd forms, answers that never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_redfish::{
    Address, AuthType, BootOverride, Class, Client, Error, MAX_BODY, MediaKind, TaskState, Timing,
};
use serde_json::{Value, json};

use crate::board::{Asked, Board, Reply};
use crate::emulator::{PASSWORD, USER, client, target, transports};

const ROOT: &str = "/redfish/v1/";

fn root() -> Value {
    json!({"@odata.id": ROOT, "Systems": {"@odata.id": "/redfish/v1/Systems"},
           "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}})
}

/// Root and system without sessions; other paths by `more`.
fn plain(asked: &Asked, more: impl Fn(&Asked) -> Option<Reply>) -> Reply {
    if let Some(reply) = more(asked) {
        return reply;
    }
    match asked.line().as_str() {
        "GET /redfish/v1/" => Reply::json(
            200,
            json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}}),
        ),
        "GET /redfish/v1/Systems" => Reply::json(
            200,
            json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}),
        ),
        "GET /redfish/v1/Systems/1" => Reply::json(200, json!({"Id": "1", "PowerState": "On"})),
        _ => Reply::json(
            404,
            json!({"error": {"code": "Base.1.0.ResourceMissingAtURI", "message": "no"}}),
        ),
    }
}

#[tokio::test]
async fn sessions_are_reused_renewed_and_closed() {
    let logins = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&logins);
    let board = Board::start(move |asked| {
        let session = "/redfish/v1/SessionService/Sessions";
        if asked.line() == format!("POST {session}") {
            if asked.body != json!({"UserName": USER, "Password": PASSWORD}) {
                return Reply::json(401, json!({}));
            }
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::json(201, json!({"Id": n}))
                .with("X-Auth-Token", format!("token-{n}"))
                .with("Location", format!("{session}/{n}"));
        }
        if asked.path == ROOT {
            return Reply::json(200, root());
        }
        // these find the session gone
        let dropped = match asked.path.rsplit('/').next() {
            Some("Late") => asked.token.as_deref() == Some("token-1"),
            Some("Later") => matches!(asked.token.as_deref(), Some("token-3" | "token-4")),
            Some("Never") => true,
            _ => false,
        };
        if asked.token.is_none() || dropped {
            return Reply::json(401, json!({"error": {"message": "NoValidSession"}}));
        }
        match asked.method.as_str() {
            "DELETE" => Reply::text(204, ""),
            _ => Reply::json(200, json!({"Token": asked.token})),
        }
    })
    .await;
    let client = client(target(&board.address));
    let (first, second) = tokio::join!(client.get("/redfish/v1/A"), client.get("/redfish/v1/B"));
    assert_eq!(first.unwrap().text(&["Token"]), Some("token-1"));
    assert_eq!(second.unwrap().text(&["Token"]), Some("token-1"));
    assert_eq!(logins.load(Ordering::SeqCst), 1);
    let late = client.get("/redfish/v1/Late").await.unwrap();
    assert_eq!(late.text(&["Token"]), Some("token-2"));
    board.lines();
    client.close().await;
    assert_eq!(
        board.lines(),
        ["DELETE /redfish/v1/SessionService/Sessions/2"]
    );
    client.get("/redfish/v1/A").await.unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 3);
    // dropped twice in a row is chance, and says nothing against the password
    let later = client.get("/redfish/v1/Later").await.unwrap();
    assert_eq!(later.text(&["Token"]), Some("token-5"));
    let error = client.get("/redfish/v1/Never").await.unwrap_err();
    assert!(matches!(error, Error::SessionsEnded { .. }), "{error}");
    assert_eq!(error.class(), Class::RetryLater);
    assert_eq!(logins.load(Ordering::SeqCst), 7);

    // a wrong password is offered once, and not again in another form
    let mut stranger = target(&board.address);
    stranger.password = "wrong".into();
    let stranger = crate::emulator::client(stranger);
    board.lines();
    let error = stranger.get("/redfish/v1/A").await.unwrap_err();
    assert!(
        matches!(error, Error::AuthenticationFailed { .. }),
        "{error}"
    );
    assert_eq!(
        board.lines(),
        [
            "GET /redfish/v1/",
            "POST /redfish/v1/SessionService/Sessions"
        ]
    );
}

#[tokio::test]
async fn without_sessions_the_password_goes_along() {
    for status in [404, 405, 501, 503, 500, 400] {
        let board = Board::start(move |asked| match asked.line().as_str() {
            "GET /redfish/v1/" => Reply::json(200, root()),
            "POST /redfish/v1/SessionService/Sessions" => Reply::json(status, json!({})),
            _ if asked.basic => Reply::json(200, json!({})),
            _ => Reply::json(401, json!({})),
        })
        .await;
        client(target(&board.address))
            .get("/redfish/v1/A")
            .await
            .unwrap();
        let mut only = target(&board.address);
        only.auth = AuthType::Session;
        client(only).get("/redfish/v1/A").await.unwrap_err();
        let mut basic = target(&board.address);
        basic.auth = AuthType::Basic;
        board.lines();
        client(basic).get("/redfish/v1/A").await.unwrap();
        assert_eq!(board.lines(), ["GET /redfish/v1/A"]);
    }
}

#[tokio::test]
async fn etags_are_sent_and_read_anew() {
    // the strong form of a weak tag is what this board takes
    let board = Board::start(|asked| {
        plain(asked, |asked| match asked.line().as_str() {
            "GET /redfish/v1/X" => Some(Reply::json(200, json!({})).with("ETag", "W/\"2\"")),
            "PATCH /redfish/v1/X" => Some(match asked.if_match.as_deref() {
                Some("\"2\"") => Reply::text(204, ""),
                Some(_) => Reply::json(412, json!({})),
                None => Reply::json(428, json!({})),
            }),
            _ => None,
        })
    })
    .await;
    let client = client(target(&board.address));
    client
        .patch("/redfish/v1/X", &json!({"A": 1}), Some("W/\"1\""))
        .await
        .unwrap();
    let tags: Vec<_> = board
        .asked()
        .into_iter()
        .filter(|a| a.method == "PATCH")
        .map(|a| a.if_match)
        .collect();
    assert_eq!(
        tags,
        [
            Some("W/\"1\"".into()),
            Some("W/\"2\"".into()),
            Some("\"2\"".into())
        ]
    );
    client
        .patch("/redfish/v1/X", &json!({"A": 1}), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn collections_come_in_pages_without_circles() {
    let board = Board::start(|asked| {
        plain(asked, |asked| {
            let member = |n: usize| json!({"@odata.id": format!("/redfish/v1/M/{n}")});
            Some(match asked.path.as_str() {
                "/redfish/v1/C" => Reply::json(200, json!({"Members": [member(1), member(2)], "Members@odata.nextLink": "/redfish/v1/C?$skip=2"})),
                "/redfish/v1/C?$skip=2" => Reply::json(200, json!({"Members": [member(2), {"@odata.id": "/redfish/v1/M/3", "Id": "3", "Name": "here"}], "@odata.nextLink": "/redfish/v1/C?$skip=3"})),
                "/redfish/v1/C?$skip=3" => Reply::json(200, json!({"Members": [member(9), null, {}]})),
                "/redfish/v1/Circle" => Reply::json(200, json!({"Members": [], "Members@odata.nextLink": "/redfish/v1/Circle?a"})),
                "/redfish/v1/Circle?a" => Reply::json(200, json!({"Members@odata.nextLink": "/redfish/v1/Circle"})),
                "/redfish/v1/Away" => Reply::json(200, json!({"Members": [{"@odata.id": "http://evil.example/x"}]})),
                path if path.starts_with("/redfish/v1/M/") && !path.ends_with('9') => Reply::json(200, json!({"Id": path})),
                _ => return None,
            })
        })
    })
    .await;
    let client = client(target(&board.address));
    let members = client.members("/redfish/v1/C").await.unwrap();
    let ids: Vec<_> = members.iter().map(|m| m.id().to_owned()).collect();
    assert_eq!(ids, ["/redfish/v1/M/1", "/redfish/v1/M/2", "3"]);
    assert!(
        !board.lines().contains(&"GET /redfish/v1/M/3".to_owned()),
        "it was there already"
    );
    let circle = client.members("/redfish/v1/Circle").await.unwrap_err();
    assert!(circle.to_string().contains("lead back"), "{circle}");
    let away = client.members("/redfish/v1/Away").await.unwrap_err();
    assert!(away.to_string().contains("another host"), "{away}");
}

#[tokio::test]
async fn redirections_stay_on_the_bmc() {
    let board = Board::start(|asked| match asked.path.as_str() {
        "/redfish/v1/Old" => Reply::text(308, "").with("Location", "/redfish/v1/New"),
        "/redfish/v1/New" => Reply::json(200, json!({"Basic": asked.basic})),
        "/redfish/v1/Evil" => Reply::text(307, "").with("Location", "http://127.0.0.2:1/x"),
        "/redfish/v1/Tls" => {
            Reply::text(301, "").with("Location", "https://127.0.0.1/redfish/v1/Tls")
        }
        "/redfish/v1/Round" => Reply::text(302, "").with("Location", "/redfish/v1/Round"),
        _ => Reply::json(200, json!({})),
    })
    .await;
    let client = client(target(&board.address));
    assert_eq!(
        client
            .get("/redfish/v1/Old")
            .await
            .unwrap()
            .flag(&["Basic"]),
        Some(true)
    );
    for (path, part) in [
        ("/redfish/v1/Evil", "another host"),
        ("/redfish/v1/Tls", "use https"),
        ("/redfish/v1/Round", "circles"),
    ] {
        let error = client.get(path).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn refusals_are_sentences_without_secrets() {
    let board = Board::start(|asked| {
        plain(asked, |asked| {
            Some(match asked.path.as_str() {
                "/redfish/v1/Echo" => Reply::json(400, json!({"error": {"@Message.ExtendedInfo": [
                    {"MessageId": "Base.1.2.PropertyUnknown", "Message": format!("what is {PASSWORD}?")}]}})),
                "/redfish/v1/Html" => Reply::text(502, "<html><h1>Bad Gateway</h1></html>"),
                "/redfish/v1/Empty" => Reply::text(500, ""),
                "/redfish/v1/List" => Reply::text(200, "[1]"),
                "/redfish/v1/Torn" => Reply::text(200, "{\"a\":"),
                "/redfish/v1/Huge" => Reply::text(200, &"x".repeat(MAX_BODY + 1)),
                _ => return None,
            })
        })
    })
    .await;
    let client = client(target(&board.address));
    for (path, part, class) in [
        (
            "/redfish/v1/Echo",
            "HTTP 400, what is ******?",
            Class::Never,
        ),
        (
            "/redfish/v1/Html",
            "HTTP 502, Bad Gateway",
            Class::RetryLater,
        ),
        (
            "/redfish/v1/Empty",
            "HTTP 500, without a reason",
            Class::RetryLater,
        ),
        ("/redfish/v1/List", "not an object", Class::RetryLater),
        ("/redfish/v1/Torn", "not JSON", Class::RetryLater),
        ("/redfish/v1/Huge", "bytes", Class::RetryLater),
    ] {
        let error = client.get(path).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.class(), class, "{error}");
        assert!(!format!("{error:?}").contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_bmc_that_is_away_or_silent_is_told_so() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = client(target(&format!("http://{gone}")))
        .root()
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.class() == Class::RetryLater,
        "{error}"
    );

    // it takes connections and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut to = target("x");
    to.address = Address::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let timing = Timing {
        request: Duration::from_millis(100),
        attempts: 1,
        pause: Duration::ZERO,
    };
    let client = Client::new(to, timing, &transports()).unwrap();
    let error = client.root().await.map(drop).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");

    // busy for a moment: reading is repeated, changing is not
    let busy = AtomicUsize::new(0);
    let board = Board::start(move |asked| {
        let first = busy.fetch_add(1, Ordering::SeqCst) == 0;
        if first || asked.method != "GET" {
            return Reply::text(503, "").with("Retry-After", "0");
        }
        Reply::json(200, json!({}))
    })
    .await;
    let client = crate::emulator::client(target(&board.address));
    client.root().await.unwrap();
    board.lines();
    client.post("/redfish/v1/X", &json!({})).await.unwrap_err();
    assert_eq!(
        board
            .lines()
            .iter()
            .filter(|l| l.starts_with("POST"))
            .count(),
        1
    );
}

#[tokio::test]
async fn tasks_are_followed_by_their_monitor() {
    let board = Board::start(|asked| {
        plain(asked, |asked| {
            Some(match asked.path.as_str() {
                "/redfish/v1/Do" => Reply::json(202, json!({"@odata.id": "/redfish/v1/T/1"}))
                    .with("Location", "/redfish/v1/T/1/Monitor"),
                "/redfish/v1/Only" => Reply::json(202, json!({"@odata.id": "/redfish/v1/T/1"})),
                "/redfish/v1/T/1/Monitor" => {
                    Reply::json(202, json!({"TaskState": "Running", "PercentComplete": 40}))
                }
                "/redfish/v1/T/2" => {
                    Reply::json(200, json!({"TaskState": "Completed", "TaskStatus": "OK"}))
                }
                "/redfish/v1/T/3" => Reply::json(
                    200,
                    json!({"TaskState": "Exception", "Messages": [{"Message": "no space"}]}),
                ),
                "/redfish/v1/T/4" => Reply::json(400, json!({"error": {"message": "bad image"}})),
                "/redfish/v1/T/5" => Reply::text(204, ""),
                "/redfish/v1/T/6" => Reply::json(
                    200,
                    json!({"TaskState": "Completed", "TaskStatus": "Critical"}),
                ),
                _ => return None,
            })
        })
    })
    .await;
    let client = client(target(&board.address));
    let answer = client.post("/redfish/v1/Do", &json!({})).await.unwrap();
    assert_eq!(answer.monitor(), Some("/redfish/v1/T/1/Monitor"));
    let only = client.post("/redfish/v1/Only", &json!({})).await.unwrap();
    assert_eq!(only.monitor(), Some("/redfish/v1/T/1"));
    for (path, state) in [
        (
            "/redfish/v1/T/1/Monitor",
            TaskState::Running {
                state: "Running".into(),
                percent: Some(40),
            },
        ),
        ("/redfish/v1/T/2", TaskState::Done),
        ("/redfish/v1/T/3", TaskState::Failed("no space".into())),
        ("/redfish/v1/T/4", TaskState::Failed("bad image".into())),
        ("/redfish/v1/T/5", TaskState::Done),
        (
            "/redfish/v1/T/6",
            TaskState::Failed("without a reason".into()),
        ),
        ("/redfish/v1/T/7", TaskState::Gone),
    ] {
        assert_eq!(client.task(path).await.unwrap(), state, "{path}");
    }
}

/// Each row of the table of quirks, at a board that is like that.
#[tokio::test]
async fn boards_get_what_they_want() {
    // Supermicro: virtual CDs are USB CDs
    let board = Board::start(|asked| match asked.line().as_str() {
        "GET /redfish/v1/" => Reply::json(200, json!({"Vendor": "Supermicro", "Systems": {"@odata.id": "/redfish/v1/Systems"}})),
        "GET /redfish/v1/Systems" => Reply::json(200, json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]})),
        "GET /redfish/v1/Systems/1" => Reply::json(200, json!({"Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe", "Cd", "UsbCd"], "HttpBootUri": "http://old"}})),
        _ => Reply::text(204, ""),
    })
    .await;
    let supermicro = client(target(&board.address));
    let system = supermicro.system().await.unwrap();
    assert!(
        supermicro
            .quirks(&system)
            .await
            .unwrap()
            .always_send_enabled
    );
    let cd = BootOverride {
        target: Some("Cd".into()),
        ..BootOverride::default()
    };
    supermicro.set_boot(&system, &cd).await.unwrap();
    let sent = board.asked().pop().unwrap();
    assert_eq!(
        sent.body,
        json!({"Boot": {"BootSourceOverrideTarget": "UsbCd", "HttpBootUri": null}})
    );

    // iDRAC 10: only slot 1; a slot for the console refuses; the board wants to be told the protocol
    let board = Board::start(|asked| {
        let slot = |n: &str| json!({"Id": n, "MediaTypes": ["CD", "DVD"], "Inserted": false, "@odata.id": format!("/v/{n}"),
            "Actions": {"#VirtualMedia.InsertMedia": {"target": format!("/v/{n}/insert")}}});
        match asked.line().as_str() {
            "GET /redfish/v1/" => Reply::json(200, json!({"Vendor": "Dell", "Systems": {"@odata.id": "/redfish/v1/Systems"}})),
            "GET /redfish/v1/Systems" => Reply::json(200, json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]})),
            "GET /redfish/v1/Systems/1" => Reply::json(200, json!({"VirtualMedia": {"@odata.id": "/v"}, "Links": {"ManagedBy": [{"@odata.id": "/m"}]}})),
            "GET /m" => Reply::json(200, json!({"Model": "17G Monolithic"})),
            "GET /v" => Reply::json(200, json!({"Members": [slot("2"), slot("1")]})),
            _ if asked.body.get("TransferProtocolType").is_none() => Reply::json(400, json!({"error": {"@Message.ExtendedInfo": [
                {"MessageId": "Base.1.18.ActionParameterMissing", "Message": "needs a parameter", "MessageArgs": ["TransferProtocolType"]},
                {"Message": "TransferProtocolType is required"}]}})),
            _ => Reply::text(204, ""),
        }
    })
    .await;
    let dell = client(target(&board.address));
    let system = dell.system().await.unwrap();
    dell.insert(&system, MediaKind::Cd, "https://images/x.iso")
        .await
        .unwrap();
    let posted: Vec<_> = board
        .asked()
        .into_iter()
        .filter(|a| a.method == "POST")
        .collect();
    assert_eq!(posted.len(), 2);
    assert_eq!(
        (
            posted[1].path.as_str(),
            &posted[1].body["TransferProtocolType"]
        ),
        ("/v/1/insert", &json!("HTTPS"))
    );
    let floppy = dell
        .insert(&system, MediaKind::Floppy, "http://x")
        .await
        .unwrap_err();
    assert!(floppy.to_string().contains("Floppy"), "{floppy}");
}
