//! Our client at BMCs that are not ours.

use std::time::{Duration, Instant};

use bessemer_ipmi::{
    AuthenticationFailure, BootDevice, CipherSuite, Class, Client, Error, Persistence, Privilege,
    Target, Timing,
};

use crate::support::{PASSWORD, PATIENT, USER, client, ipmi_sim, ipmitool, pyghmi_bmc, target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmi_sim_is_driven_with_suite_3() {
    let bmc = ipmi_sim(None).await;
    // no suite given: 17 is refused, 3 is taken
    let client = client(bmc.port, None);
    assert!(!client.power_status().await.unwrap());
    assert_eq!(client.suite().await, Some(CipherSuite::Suite3));

    client.power_on().await.unwrap();
    assert_eq!(bmc.read("power"), "1");
    assert!(client.power_status().await.unwrap());
    client.power_off().await.unwrap();
    assert_eq!(bmc.read("power"), "0");
    client.power_on().await.unwrap();
    client.power_soft().await.unwrap();
    assert!(!client.power_status().await.unwrap());
    client.power_on().await.unwrap();
    client.power_reset().await.unwrap();
    assert_eq!(
        bmc.read("calls")
            .lines()
            .filter(|call| call.starts_with("reset"))
            .count(),
        1
    );

    let id = client.device_id().await.unwrap();
    assert_eq!(
        (id.manufacturer_id, id.product_id, id.ipmi_version),
        (0x1291, 0xf02, (2, 0))
    );
    assert_eq!((id.firmware_major, id.firmware_minor), (9, 8));
    let unknown = client.raw(0x00, 0x3f, &[]).await.unwrap();
    assert_eq!(unknown.completion_code.0, 0xc1);

    client.disable_boot_timer().await.unwrap();
    for (device, file) in [
        (BootDevice::Pxe, "pxe"),
        (BootDevice::Cdrom, "cdrom"),
        (BootDevice::Bios, "bios"),
        (BootDevice::Disk, "default"),
    ] {
        client
            .set_boot_device(device, Persistence::Once, false)
            .await
            .unwrap();
        assert_eq!(bmc.read("boot"), file);
        assert_eq!(client.get_boot_device().await.unwrap().device, Some(device));
        let (_, told) = ipmitool(
            bmc.port,
            CipherSuite::Suite3,
            PASSWORD,
            "chassis bootparam get 5",
        )
        .await;
        let named = match device {
            BootDevice::Pxe => "Force PXE",
            BootDevice::Cdrom => "Force Boot from CD/DVD",
            BootDevice::Bios => "Force Boot into BIOS Setup",
            _ => "Force Boot from default Hard-Drive",
        };
        assert!(told.contains(named), "{told}");
    }
    // the simulator does not know safe mode: the refusal names the code
    let refused = client
        .set_boot_device(BootDevice::Safe, Persistence::Once, false)
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Refused {
                operation: "set the boot device",
                ..
            }
        ),
        "{refused}"
    );
    client.close().await;
    // and after closing, a new session
    assert!(client.power_status().await.unwrap());
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmi_sim_refuses_what_is_wrong() {
    let bmc = ipmi_sim(Some("aBMCkeyOf16bytes")).await;
    let attempt = |change: fn(Target) -> Target| {
        let target = Target {
            kg: Some(b"aBMCkeyOf16bytes".to_vec().into()),
            ..target(bmc.port, None)
        };
        let client = Client::new(change(target), PATIENT);
        async move { client.power_status().await }
    };
    let started = Instant::now();
    let refusal = |result: Result<bool, Error>| match result.unwrap_err() {
        Error::AuthenticationFailed { why, user, .. } => (why, user),
        other => panic!("{other}"),
    };
    let wrong = refusal(
        attempt(|target| Target {
            password: "wrong".into(),
            ..target
        })
        .await,
    );
    assert_eq!(wrong, (AuthenticationFailure::Password, USER.to_owned()));
    let wrong = refusal(
        attempt(|target| Target {
            username: "nobody".into(),
            ..target
        })
        .await,
    );
    assert_eq!(wrong.0, AuthenticationFailure::UserName);
    let wrong = refusal(attempt(|target| Target { kg: None, ..target }).await);
    assert_eq!(wrong.0, AuthenticationFailure::BmcKey);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "refusals are answers, not time-outs: {:?}",
        started.elapsed()
    );
    // with the right key, and as a mere user
    assert!(!attempt(|target| target).await.unwrap());
    let kg = Some(b"aBMCkeyOf16bytes".to_vec().into());
    let watcher = Target {
        kg,
        privilege: Privilege::User,
        ..target(bmc.port, None)
    };
    let watcher = Client::new(
        Target {
            username: "watcher".into(),
            password: "eyes".into(),
            ..watcher
        },
        PATIENT,
    );
    assert!(!watcher.power_status().await.unwrap());
    let refused = watcher.power_on().await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused { code, .. } if code.0 == 0xd4),
        "{refused}"
    );
    assert_eq!(refused.class(), Class::Never);
    let only_17 = attempt(|target| Target {
        suite: Some(CipherSuite::Suite17),
        ..target
    })
    .await
    .unwrap_err();
    assert!(
        matches!(only_17, Error::UnsupportedSuite { .. }),
        "{only_17}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_the_restart_of_the_bmc() {
    let mut bmc = ipmi_sim(None).await;
    let client = Client::new(
        target(bmc.port, None),
        Timing {
            first_timeout: Duration::from_millis(100),
            max_attempts: 8,
            total: Duration::from_secs(20),
        },
    );
    client.power_on().await.unwrap();
    bmc.restart().await;
    assert!(client.power_status().await.unwrap());
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyghmi_is_driven_with_suite_17() {
    let bmc = pyghmi_bmc().await;
    let (good, told) = ipmitool(bmc.port, CipherSuite::Suite17, PASSWORD, "power status").await;
    assert!(good, "the peer itself works with another console: {told}");

    let client = client(bmc.port, None);
    assert!(!client.power_status().await.unwrap());
    assert_eq!(client.suite().await, Some(CipherSuite::Suite17));
    client.power_on().await.unwrap();
    assert!(client.power_status().await.unwrap());
    client.power_reset().await.unwrap();
    client.power_soft().await.unwrap();
    assert!(!client.power_status().await.unwrap());
    let refused = client.power_reset().await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused { code, .. } if code.0 == 0xd5),
        "{refused}"
    );
    client.disable_boot_timer().await.unwrap();
    client
        .set_boot_device(BootDevice::Pxe, Persistence::Persistent, true)
        .await
        .unwrap();
    let options = client.get_boot_device().await.unwrap();
    assert!(options.valid);
    assert_eq!(options.device, Some(BootDevice::Pxe));
    client.device_id().await.unwrap();
    client.close().await;

    let wrong = Client::new(
        Target {
            password: "wrong".into(),
            ..target(bmc.port, None)
        },
        PATIENT,
    );
    let error = wrong.power_status().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::AuthenticationFailed {
                why: AuthenticationFailure::Password,
                ..
            }
        ),
        "{error}"
    );
    let only_3 = Client::new(target(bmc.port, Some(CipherSuite::Suite3)), PATIENT);
    let error = only_3.power_status().await.unwrap_err();
    assert!(matches!(error, Error::UnsupportedSuite { .. }), "{error}");
    // this server says nothing at all to a user that it does not know
    let timing = Timing {
        first_timeout: Duration::from_millis(50),
        max_attempts: 2,
        total: Duration::from_secs(5),
    };
    let stranger = Client::new(
        Target {
            username: "nobody".into(),
            ..target(bmc.port, None)
        },
        timing,
    );
    let error = stranger.power_status().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::AuthenticationFailed {
                why: AuthenticationFailure::Silence,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.class(), Class::RetryLater);
}

#[tokio::test]
async fn an_absent_bmc_ends_within_the_deadline() {
    // a port with a socket that nobody reads: silence, as from a machine that is gone
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (max_attempts, total) in [(2, 20_000), (100, 400)] {
        let timing = Timing {
            first_timeout: Duration::from_millis(100),
            max_attempts,
            total: Duration::from_millis(total),
        };
        let started = Instant::now();
        let error = Client::new(target(port, None), timing)
            .power_status()
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::TimedOut {
                    operation: "read the power state",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.class(), Class::RetryLater);
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(240)..Duration::from_millis(1500)).contains(&took),
            "{took:?}"
        );
    }
    drop(silent);
    // a closed port on a machine that is there
    let timing = Timing {
        first_timeout: Duration::from_millis(50),
        max_attempts: 5,
        total: Duration::from_secs(5),
    };
    let error = Client::new(target(port, None), timing)
        .power_status()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let nowhere = Target {
        address: "does-not-exist.invalid".into(),
        ..target(port, None)
    };
    let error = Client::new(nowhere, timing)
        .power_status()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. } | Error::TimedOut { .. }),
        "{error}"
    );
    let long = Target {
        password: "x".repeat(21).into(),
        ..target(port, None)
    };
    let error = Client::new(long, timing).power_status().await.unwrap_err();
    assert!(matches!(error, Error::InvalidTarget { .. }), "{error}");
    assert!(!error.to_string().contains("xxx"));
}
