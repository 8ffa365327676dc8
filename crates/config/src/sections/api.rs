//! The API: how it listens, who may call it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{list, seconds};
use crate::types::TlsVersion;

section! {
    /// The Bare Metal API over HTTP.
    Api = "api" {
        #[reader("server")]
        /// Address that the API listens on.
        host_ip: IpAddr = IpAddr::from([0, 0, 0, 0]),
        #[reader("server, conductor")]
        /// TCP port that the API listens on.
        port: u16 = 6385,
        #[reader("api, conductor")]
        /// URL of the API in links, for clients behind a proxy. Not set: what the client's request was sent to.
        public_endpoint: Option<String> = None,
        #[reader("api")]
        /// Most items of one list answer; a larger `limit` is cut to it. At most 1000.
        max_limit: u32 = 1000,
        #[reader("api")]
        /// Deepest nesting of a request body.
        max_json_body_depth: u32 = 25,
        #[reader("api")]
        /// Largest request body, KiB.
        max_json_body_size: u32 = 1024,
        #[reader("api")]
        /// Largest body of a provision request (it may carry a config drive), KiB.
        max_json_body_size_provision: u32 = 65536,
        #[reader("api")]
        /// Largest body of an inspection ramdisk's report, KiB.
        max_json_body_size_inspection: u32 = 16384,
        #[reader("api")]
        /// Let administrators of a project create, and delete, nodes that the project owns.
        project_admin_can_manage_own_nodes: bool = true,
        #[reader("server")]
        /// Serve the API over TLS.
        enable_ssl_api: bool = false,
        #[reader("server")]
        /// Certificate of the API in PEM, with its chain. Read anew when it changes. Not set: `[ssl] cert_file`.
        cert_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Its key in PEM. Not set: `[ssl] key_file`.
        key_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Oldest version of TLS that is spoken.
        server_tls_minimum_version: TlsVersion = TlsVersion::V1_3,
        #[reader("server")]
        /// Connections at once; more wait until one ends. Not in upstream.
        max_connections: u32 = 4096,
        #[reader("server")]
        /// How long a client may take to send the head of a request, and how long a connection may stay idle. Not in upstream.
        header_timeout: Duration = seconds(60),
        #[reader("server")]
        /// How long a request may take, its body included; then it is answered 503. Not in upstream.
        request_timeout: Duration = seconds(300),
        #[reader("api")]
        /// Calls a minute that one address may make to the routes without authentication (lookup, heartbeat, inspection data); more are answered 429. Loopback is not limited; 0 = no limit. Not in upstream.
        ramdisk_requests_per_minute: u32 = 600,
        #[reader("api")]
        /// Serve lookup and heartbeat, which agents call without authentication.
        enable_ramdisk_endpoints: bool = true,
        #[reader("conductor")]
        /// Answer lookups only for nodes that wait for an agent.
        restrict_lookup: bool = true,
        #[reader("api")]
        /// Longest time between two heartbeats of an agent; told to it at lookup.
        ramdisk_heartbeat_timeout: Duration = seconds(300),
        #[reader("api")]
        /// Steps that clients may not ask for in `clean_steps`, as `interface.step`.
        disallow_clean_steps: Vec<String> = list(&["vendor.send_raw"]),
        #[reader("api")]
        /// Steps that clients may not ask for in `deploy_steps`.
        disallow_deploy_steps: Vec<String> = list(&["vendor.send_raw"]),
        #[reader("api")]
        /// Steps that clients may not ask for in `service_steps`.
        disallow_service_steps: Vec<String> = list(&["vendor.send_raw"]),
    }
}

section! {
    /// Who may do what, for `auth_strategy = "keystone"`: upstream's policies, over them the operator's rules in the language of oslo.policy. Relative paths are below the directory of the settings file. A file that cannot be used keeps the service from starting; later changes are taken over within a second when they can be used, and logged as an error when not.
    OsloPolicy = "oslo_policy" {
        #[reader("api")]
        /// File of rules, `"policy": "rule"` in YAML. It may be absent when it has its default name.
        policy_file: PathBuf = "policy.yaml".into(),
        #[reader("api")]
        /// Directories whose files, in the order of their names, go over it. They may be absent.
        policy_dirs: Vec<String> = list(&["policy.d"]),
        #[reader("api")]
        /// Rule that stands for one that does not exist.
        policy_default_rule: String = "default".into(),
        #[reader("api")]
        /// Refuse tokens whose scope (system, project) a policy is not for. Upstream always does.
        enforce_scope: bool = true,
        #[reader("api")]
        /// Leave out the checks from before system scope and project owners (`rule:is_admin` and the like). Off: whoever passes the old or the new check may.
        enforce_new_defaults: bool = true,
    }
}

section! {
    /// How the service asks Keystone whose a token is, for `auth_strategy = "keystone"`.
    KeystoneAuthtoken = "keystone_authtoken" {
        #[reader("api")]
        /// URL of Keystone that clients without a valid token are told. Not set: auth_url.
        www_authenticate_uri: Option<String> = None,
        #[reader("api")]
        /// URL of Keystone as this service reaches it, with or without `/v3`.
        auth_url: Option<String> = None,
        #[reader("api")]
        /// How the service itself authenticates: `password` or `v3applicationcredential`.
        auth_type: String = "password".into(),
        #[reader("api")]
        /// The service's own user.
        username: Option<String> = None,
        #[reader("api")]
        /// The service's own user by its id.
        user_id: Option<String> = None,
        #[reader("api")]
        /// Its password.
        password: Option<SecretString> = None,
        #[reader("api")]
        /// Domain of the user.
        user_domain_name: Option<String> = None,
        #[reader("api")]
        /// Domain of the user by its id.
        user_domain_id: Option<String> = None,
        #[reader("api")]
        /// Project of the service.
        project_name: Option<String> = None,
        #[reader("api")]
        /// Project of the service by its id.
        project_id: Option<String> = None,
        #[reader("api")]
        /// Domain of the project.
        project_domain_name: Option<String> = None,
        #[reader("api")]
        /// Domain of the project by its id.
        project_domain_id: Option<String> = None,
        #[reader("api")]
        /// `all`: the service's own token is for the whole system, not for a project.
        system_scope: Option<String> = None,
        #[reader("api")]
        /// Application credential, for `auth_type = "v3applicationcredential"`.
        application_credential_id: Option<String> = None,
        #[reader("api")]
        /// Its secret.
        application_credential_secret: Option<SecretString> = None,
        #[reader("api")]
        /// PEM file of authorities that Keystone's certificate may come from, besides the system's.
        cafile: Option<PathBuf> = None,
        #[reader("api")]
        /// Client certificate for Keystone, PEM.
        certfile: Option<PathBuf> = None,
        #[reader("api")]
        /// Its key, when it is not in the same file.
        keyfile: Option<PathBuf> = None,
        #[reader("api")]
        /// Accept any certificate for Keystone's. Whoever answers is believed: only for tests.
        insecure: bool = false,
        #[reader("api")]
        /// Endpoint of Keystone in its own catalogue that tokens are validated at: `internal`, `public` or `admin`. Where the catalogue has none: auth_url.
        interface: String = "internal".into(),
        #[reader("api")]
        /// Region of that endpoint. Not set: any.
        region_name: Option<String> = None,
        #[reader("api")]
        /// How long a connection to Keystone may take; an answer may take twice as long.
        http_connect_timeout: Duration = seconds(10),
        #[reader("api")]
        /// Further tries when Keystone does not answer.
        http_request_max_retries: u32 = 3,
        #[reader("api")]
        /// Seconds for which a validated token is remembered: a revoked one works for so long at most. 0 or -1 = not at all.
        token_cache_time: i32 = 300,
        #[reader("api")]
        /// Roles of which a service token (`X-Service-Token`) has one.
        service_token_roles: Vec<String> = list(&["service"]),
        #[reader("api")]
        /// Refuse service tokens with none of them.
        service_token_roles_required: bool = true,
        #[reader("api")]
        /// Our own service type in access rules of application credentials. Not set: tokens with such rules are refused.
        service_type: Option<String> = Some("baremetal".into()),
    }
}

section! {
    /// Certificate of the API where `[api]` names none; upstream's older place.
    Ssl = "ssl" {
        #[reader("server")]
        /// Certificate in PEM, with its chain.
        cert_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Its key in PEM.
        key_file: Option<PathBuf> = None,
    }
}

section! {
    /// Calls of API processes to conductors, over TLS with a certificate and a secret that each conductor makes at its start and that the database passes on. Only with PostgreSQL; in one process nothing is called.
    JsonRpc = "json_rpc" {
        #[reader("server")]
        /// Address that a conductor answers them on. Not set: my_ip.
        host_ip: Option<IpAddr> = None,
        #[reader("server")]
        /// TCP port of that.
        port: u16 = 8089,
    }
}

section! {
    /// Figures for Prometheus: `GET /metrics` on a listener of its own, without authentication and without secrets.
    Metrics = "metrics" {
        #[reader("server")]
        /// Serve them.
        enabled: bool = false,
        #[reader("server")]
        /// Address that they are served on.
        host_ip: IpAddr = IpAddr::from([127, 0, 0, 1]),
        #[reader("server")]
        /// TCP port of that.
        port: u16 = 9764,
    }
}

section! {
    /// `GET /healthcheck`.
    Healthcheck = "healthcheck" {
        #[reader("api")]
        /// Answer `/healthcheck` (200 when the database answers, 503 otherwise), without authentication.
        enabled: bool = true,
    }
}
