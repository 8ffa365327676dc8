//! `http_basic`: users of a password file; public routes; what keeps the API from being served.

use bessemer_config::{AuthStrategy, Config};
use bessemer_store::testing::sqlite;
use http::{Request, StatusCode};

use crate::service::{HOST, Reply, Service};

async fn ask(service: &Service, path: &str, credentials: Option<&str>) -> Reply {
    let mut request = Request::builder().uri(path).header("host", HOST);
    if let Some(credentials) = credentials {
        request = request.header("authorization", credentials);
    }
    service
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {token}")
}

#[tokio::test]
async fn users_of_a_password_file() {
    let database = sqlite();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(
        &file,
        format!(
            "other:$apr1$x\nadmin:{}\n",
            hash.replacen("$2b$", "$2y$", 1)
        ),
    )
    .unwrap();
    let mut config = Config::dev();
    config.default.auth_strategy = Some(AuthStrategy::HttpBasic);
    config.default.http_basic_auth_user_file = file.clone();
    let service = Service::with(&database.settings, config).await;

    let check = async |path: &str, credentials: Option<String>, want: StatusCode| {
        let reply = ask(&service, path, credentials.as_deref()).await;
        assert_eq!(reply.status, want, "{path} {credentials:?}: {}", reply.text);
        if want == StatusCode::UNAUTHORIZED {
            assert_eq!(
                reply.headers["www-authenticate"],
                "Basic realm=\"Baremetal API\""
            );
            assert_eq!(reply.json()["error"]["code"], 401);
        }
        assert!(
            reply.headers["x-openstack-request-id"]
                .to_str()
                .unwrap()
                .starts_with("req-")
        );
    };
    let (ok, no, bad) = (
        StatusCode::OK,
        StatusCode::UNAUTHORIZED,
        StatusCode::BAD_REQUEST,
    );
    // twice: the second time the password is remembered
    for _ in 0..2 {
        check("/v1/nodes", Some(basic("admin", "right")), ok).await;
        check("/v1/nodes", Some(basic("admin", "wrong")), no).await;
    }
    check("/v1/nodes", None, no).await;
    check("/nodes", None, no).await;
    check("/v1/nosuch", None, no).await;
    check("/v1/nodes", Some(basic("nobody", "right")), no).await;
    check("/v1/nodes", Some(basic("other", "x")), no).await;
    check("/v1/nodes", Some("Bearer x".into()), bad).await;
    check("/v1/nodes", Some("Basic".into()), bad).await;
    check("/v1/nodes", Some("Basic !!!".into()), bad).await;
    // public
    for path in ["/", "/v1", "/v1/", "/healthcheck"] {
        check(path, None, ok).await;
    }
    check("/v1/lookup", None, StatusCode::NOT_FOUND).await;
    check("/heartbeat/x", None, StatusCode::METHOD_NOT_ALLOWED).await;
    check("/v1/heartbeat", None, no).await;
    check("/v1/nodes/lookup", None, no).await;

    // the file is read anew when it changes
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    std::fs::write(
        &file,
        format!("second:{}\n", bcrypt::hash("p:w", 4).unwrap()),
    )
    .unwrap();
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(later)
        .unwrap();
    check("/v1/nodes", Some(basic("admin", "right")), no).await;
    check("/v1/nodes", Some(basic("second", "p:w")), ok).await;
    std::fs::remove_file(&file).unwrap();
    check(
        "/v1/nodes",
        Some(basic("second", "p:w")),
        StatusCode::INTERNAL_SERVER_ERROR,
    )
    .await;
}

#[tokio::test]
async fn without_a_strategy_nobody_is_answered() {
    let database = sqlite();
    let mut config = Config::dev();
    config.default.auth_strategy = None;
    let service = Service::with(&database.settings, config).await;
    let reply = ask(&service, "/v1/nodes", None).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_missing_keeps_the_service_from_starting() {
    let database = sqlite();
    let service = Service::start(&database.settings).await;
    let directory = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Config), want: &str| {
        let mut config = Config::dev();
        change(&mut config);
        let state = bessemer_api::ApiState {
            store: service.store.clone(),
            conductor: service.conductor.clone(),
            config: std::sync::Arc::new(config),
        };
        let why = match bessemer_api::router(state) {
            Ok(_) => panic!("started; wanted: {want}"),
            Err(error) => error.to_string(),
        };
        assert!(why.contains(want), "{why}");
    };
    let keystone = |config: &mut Config| {
        config.default.auth_strategy = Some(AuthStrategy::Keystone);
        config.keystone_authtoken.auth_url = Some("http://127.0.0.1:1".into());
    };
    check(
        &|config| {
            keystone(config);
            config.keystone_authtoken.auth_url = None;
        },
        "[keystone_authtoken] auth_url is not set",
    );
    check(&keystone, "[keystone_authtoken] password is not set");
    check(
        &|config| {
            keystone(config);
            config.keystone_authtoken.username = Some("u".into());
            config.keystone_authtoken.user_domain_id = Some("default".into());
            config.keystone_authtoken.password = Some("p".to_owned().into());
            config.keystone_authtoken.cafile = Some("/nosuch".into());
        },
        "cafile /nosuch cannot be read",
    );
    let policy = directory.path().join("rules.yaml");
    check(
        &|config| config.oslo_policy.policy_file.clone_from(&policy),
        "rules.yaml cannot be read",
    );
    std::fs::write(&policy, "\n\"baremetal:node:get\": \"role:a or\"\n").unwrap();
    check(
        &|config| config.oslo_policy.policy_file.clone_from(&policy),
        "rules.yaml:2: the policy rule \"baremetal:node:get\" cannot be used: it ends where a check is wanted",
    );
}
