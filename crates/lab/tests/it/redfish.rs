//! BMCs that speak Redfish, judged by sushy.

use std::path::Path;
use std::process::{Command, Stdio};

use bessemer_lab::{BmcKind, Facts, Fault, Settings, Span};
use serde_json::{Value, json};

use crate::start;

/// Fresh connections to a BMC that does not speak to whom it does not know.
fn sushy(host: &Facts, kind: &str) -> Result<(), String> {
    let python = bessemer_peers::python("sushy-5.14.0", &["sushy==5.14.0"]).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sushy_judge.py");
    let output = Command::new(python)
        // certificates that nobody signed are warned of
        .args(["-W", "ignore"])
        .arg(script)
        .args([
            &host.redfish_url().unwrap(),
            &host.bmc_user,
            &host.bmc_password,
        ])
        .arg(kind)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Hosts that nobody answers DHCP, and that stay in their firmware.
fn idle(hosts: usize, log: &Path, bmc: Vec<BmcKind>) -> Settings {
    let mut settings = Settings::new(hosts, 1, log, "127.0.0.1:9".parse().unwrap());
    settings.boot_delay = Span::millis(60_000, 60_000);
    settings.firmware = bessemer_lab::FirmwareChoice::Uefi;
    settings.bmc = bmc;
    settings
}

#[test]
fn sushy_drives_bmcs() {
    let directory = tempfile::tempdir().unwrap();
    let kinds = vec![BmcKind::Ipmi, BmcKind::Redfish, BmcKind::RedfishHttp];
    let mut lab = start(&idle(3, &directory.path().join("log"), kinds));
    let hosts = lab.hosts.clone();
    assert_eq!(hosts[0].redfish_url(), None);
    assert_eq!(hosts[1].bmc_certificate.as_deref().map(str::len), Some(64));
    for (host, kind) in [(&hosts[1], "session"), (&hosts[2], "basic")] {
        if let Err(error) = sushy(host, kind) {
            panic!("{kind}: {error}");
        }
    }
    let log = lab.log().unwrap();
    for name in ["h1", "h2"] {
        let of = |event: &str| log.events(name, event).count();
        assert_eq!(
            (of("power_on"), of("power_off"), of("reset")),
            (1, 1, 3),
            "{name}"
        );
        assert_eq!(
            (of("media_inserted"), of("media_ejected")),
            (1, 1),
            "{name}"
        );
        let first = log.events(name, "boot_device_set").next().unwrap();
        let expected = json!({"device": "pxe", "valid": true, "persistent": true, "efi": true, "flags": "e004000000"});
        assert_eq!(Value::Object(first.data.clone()), expected);
    }
}

/// A request with curl's few words: status and document.
fn ask(host: &Facts, path: &str, more: &[&str]) -> (u16, Value) {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "5", "-w", "\n%{http_code}"])
        .args(["-u", &format!("{}:{}", host.bmc_user, host.bmc_password)])
        .args(more)
        .arg(format!("{}{path}", host.redfish_url().unwrap()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

#[test]
fn redfish_bmcs_have_their_faults() {
    let directory = tempfile::tempdir().unwrap();
    let mut lab = start(&idle(
        1,
        &directory.path().join("log"),
        vec![BmcKind::Redfish],
    ));
    let host = lab.hosts[0].clone();
    let system = "/redfish/v1/Systems/1";
    let cd = "/redfish/v1/Systems/1/VirtualMedia/Cd";
    let post = |path: &str, body: &str| ask(&host, path, &["-X", "POST", "-d", body]).0;
    assert_eq!(ask(&host, system, &[]).0, 200);
    assert_eq!(ask(&host, "/redfish/v1/Nothing", &[]).0, 404);
    assert_eq!(ask(&host, system, &["-X", "DELETE"]).0, 405);
    assert_eq!(
        ask(
            &host,
            system,
            &["-X", "PATCH", "-H", "If-Match: W/\"0\"", "-d", "{}"]
        )
        .0,
        412
    );

    // what is ejected is still told
    lab.set_fault("h0", Fault::StaleMedia, true, None).unwrap();
    let insert = format!("{cd}/Actions/VirtualMedia.InsertMedia");
    let eject = format!("{cd}/Actions/VirtualMedia.EjectMedia");
    assert_eq!(post(&insert, r#"{"Image": "http://127.0.0.1/a.iso"}"#), 204);
    assert_eq!(post(&eject, "{}"), 204);
    assert_eq!(ask(&host, cd, &[]).1["Image"], "http://127.0.0.1/a.iso");
    assert_eq!(post(&insert, r#"{"Image": "http://127.0.0.1/b.iso"}"#), 204);
    assert_eq!(ask(&host, cd, &[]).1["Image"], "http://127.0.0.1/b.iso");
    lab.set_fault("h0", Fault::StaleMedia, false, None).unwrap();
    assert_eq!(post(&eject, "{}"), 204);
    assert_eq!(ask(&host, cd, &[]).1["Inserted"], false);

    for (fault, expected) in [
        (Fault::BmcBusy, 503),
        (Fault::BmcRefuses, 503),
        (Fault::BmcWrongPassword, 401),
    ] {
        lab.set_fault("h0", fault, true, Some(1.0)).unwrap();
        assert_eq!(ask(&host, system, &[]).0, expected, "{fault:?}");
        lab.set_fault("h0", fault, false, None).unwrap();
    }
    // a session that was dropped
    let login = format!(
        r#"{{"UserName": "{}", "Password": "{}"}}"#,
        host.bmc_user, host.bmc_password
    );
    let sessions = "/redfish/v1/SessionService/Sessions";
    let (status, session) = ask(&host, sessions, &["-X", "POST", "-d", &login]);
    assert_eq!(status, 201);
    lab.set_fault("h0", Fault::SessionsDropped, true, Some(1.0))
        .unwrap();
    let token = ["-H", "X-Auth-Token: 0"];
    assert_eq!(ask(&host, system, &token).0, 401);
    lab.set_fault("h0", Fault::SessionsDropped, false, None)
        .unwrap();
    let own = session["@odata.id"].as_str().unwrap();
    assert_eq!(ask(&host, own, &[]).0, 404);
}
