//! The API over a fresh database, called without a socket.

use std::sync::Arc;
use std::time::Duration;

use bessemer_api::{ApiState, router};
use bessemer_config::Config;
use bessemer_store::{Settings, Store};
use http::Request;
use serde_json::Value;

pub use crate::compare::Reply;
use crate::compare::ask;
use crate::conductor::{TestConductor, catalogue};

pub const HOST: &str = "127.0.0.1:16385";

pub struct Service {
    pub router: axum::Router,
    pub store: Store,
    pub conductor: Arc<TestConductor>,
}

impl Reply {
    /// The inner object of a refusal.
    pub fn refusal(&self) -> Value {
        let whole = self.json();
        let inner = whole["error_message"]
            .as_str()
            .unwrap_or_else(|| panic!("not wrapped: {whole}"));
        serde_json::from_str(inner).unwrap()
    }

    pub fn fault(&self) -> String {
        self.refusal()["faultstring"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Service {
    pub async fn start(settings: &Settings) -> Self {
        Self::with(settings, Config::dev()).await
    }

    pub async fn with(settings: &Settings, config: Config) -> Self {
        let store = Store::open(settings).await.unwrap();
        let hour = Duration::from_secs(3600);
        let session = store
            .register_conductor("localhost", "", &catalogue(), hour)
            .await
            .unwrap();
        assert!(store.renew_session(session, hour).await.unwrap());
        let conductor = Arc::new(TestConductor::new(store.clone()));
        let router = router(ApiState {
            store: store.clone(),
            conductor: conductor.clone(),
            config: Arc::new(config),
        })
        .unwrap();
        Self {
            router,
            store,
            conductor,
        }
    }

    pub async fn send(&self, request: Request<axum::body::Body>) -> Reply {
        ask(&self.router, request).await
    }

    /// A request at a version, with a JSON body when there is one.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("x-openstack-ironic-api-version", version);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        self.send(request.body(axum::body::Body::from(body)).unwrap())
            .await
    }

    /// A request at the newest version.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call(method, path, "1.115", body).await
    }
}
