//! Our client at our BMC, over a network that loses, delays and doubles packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_ipmi::bmc::{BmcServer, Event, Faults, MemoryChassis, User, Users};
use bessemer_ipmi::{
    AuthenticationFailure, BootDevice, CipherSuite, Client, Error, Persistence, Privilege, Target,
    Timing,
};
use tokio_util::sync::CancellationToken;

use crate::support::{OurBmc, client, target};

const QUICK: Timing = Timing {
    first_timeout: Duration::from_millis(60),
    max_attempts: 12,
    total: Duration::from_secs(30),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_network_costs_time_only() {
    for (seed, suite) in [(1, CipherSuite::Suite3), (2, CipherSuite::Suite17)] {
        let faults = Faults {
            drop_rate: 0.2,
            duplicate_rate: 0.2,
            delay: Duration::from_millis(50),
            seed,
        };
        let bmc = OurBmc::start(|server| server.with_faults(faults)).await;
        let mut boots = 0;
        for round in 0..4 {
            let client = Client::new(target(bmc.port(), Some(suite)), QUICK);
            client
                .set_boot_device(BootDevice::Pxe, Persistence::Once, true)
                .await
                .unwrap();
            let options = client.get_boot_device().await.unwrap();
            assert!(
                options.valid && options.efi && !options.persistent,
                "round {round}"
            );
            client.power_on().await.unwrap();
            boots += 1;
            assert!(client.power_status().await.unwrap());
            assert_eq!(bmc.chassis.booted_from(), Some(BootDevice::Pxe));
            // carried out once each, however often it had to be sent
            client.power_reset().await.unwrap();
            client.power_cycle().await.unwrap();
            boots += 2;
            assert_eq!(
                bmc.chassis.boots().len(),
                boots,
                "seed {seed}, round {round}"
            );
            client.power_off().await.unwrap();
            assert!(!client.power_status().await.unwrap());
            client.close().await;
        }
        bmc.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_is_opened_again() {
    let bmc = OurBmc::start(|server| server).await;
    let client = Client::new(target(bmc.port(), None), QUICK);
    client.power_on().await.unwrap();
    // a cold reset of the BMC forgets every session
    assert!(
        client
            .raw(0x06, 0x02, &[])
            .await
            .unwrap()
            .completion_code
            .is_ok()
    );
    assert!(client.power_status().await.unwrap());
    let logins = bmc
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Login { .. }))
        .count();
    assert_eq!(logins, 2);
    client.close().await;
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bmc_that_falls_silent_ends_in_time_and_comes_back() {
    let bmc = OurBmc::start(|server| server).await;
    let timing = Timing {
        first_timeout: Duration::from_millis(30),
        max_attempts: 4,
        total: Duration::from_millis(600),
    };
    let client = Client::new(target(bmc.port(), None), timing);
    client.power_on().await.unwrap();
    bmc.faults.set(Faults {
        drop_rate: 1.0,
        ..Faults::default()
    });
    let started = Instant::now();
    let error = client.power_status().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
    bmc.faults.set(Faults::default());
    assert!(client.power_status().await.unwrap());
    // what must not happen twice is not repeated in a new session
    bmc.faults.set(Faults {
        drop_rate: 1.0,
        ..Faults::default()
    });
    let error = client.power_reset().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TimedOut {
                operation: "reset",
                ..
            }
        ),
        "{error}"
    );
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once() {
    let bmc = OurBmc::start(|server| server).await;
    let wrong = Client::new(
        Target {
            password: "wrong".into(),
            ..target(bmc.port(), None)
        },
        QUICK,
    );
    let error = wrong.power_status().await.unwrap_err();
    assert!(
        error.to_string().contains("user name or password is wrong"),
        "{error}"
    );
    assert!(!error.to_string().contains("secret"));
    // the BMC heard of it once: the client's farewell
    crate::support::eventually("the farewell arrived", || async {
        !bmc.events().is_empty()
    })
    .await;
    assert!(bmc.events().is_empty());
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_share_a_bmc_and_one_client_is_shared() {
    let bmc = OurBmc::start(|server| server).await;
    let clients: Vec<Client> = (0..8).map(|_| client(bmc.port(), None)).collect();
    clients[0].power_on().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients.iter().chain(&clients).chain(&clients) {
        let client = client.clone();
        tasks.spawn(async move { client.power_status().await });
    }
    while let Some(result) = tasks.join_next().await {
        assert!(result.unwrap().unwrap());
    }
    let logins = bmc
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Login { .. }))
        .count();
    assert_eq!(logins, clients.len());
    for client in &clients {
        assert!(!client.close_if_idle(Duration::from_secs(60)).await);
        assert!(client.close_if_idle(Duration::ZERO).await);
    }
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bmc_says_so_and_farewells_free_it() {
    let bmc = OurBmc::start(|server| server.with_max_sessions(2)).await;
    let (one, two, three) = (
        client(bmc.port(), None),
        client(bmc.port(), None),
        client(bmc.port(), None),
    );
    one.power_status().await.unwrap();
    two.power_status().await.unwrap();
    let error = three.power_status().await.unwrap_err();
    assert!(
        matches!(error, Error::SessionRefused { status, .. } if status.0 == 1),
        "{error}"
    );
    // a client that is only dropped tells the BMC too
    drop(one);
    three.power_status().await.unwrap();
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privilege_levels_are_kept() {
    let user = |name: &str, privilege| User {
        name: name.into(),
        password: "pw".into(),
        privilege,
    };
    let users = Users(vec![
        user("boss", Privilege::Administrator),
        user("watcher", Privilege::User),
    ]);
    let chassis = Arc::new(MemoryChassis::new());
    let server = BmcServer::bind(([127, 0, 0, 1], 0).into(), users, chassis.clone())
        .await
        .unwrap();
    let (port, stop) = (
        server.local_addr().unwrap().port(),
        CancellationToken::new(),
    );
    let task = tokio::spawn(server.run(stop.clone()));
    let client = |name: &str, privilege| {
        let target = Target {
            port,
            privilege,
            ..Target::new("127.0.0.1", name, "pw".into())
        };
        Client::new(target, QUICK)
    };
    let error = client("watcher", Privilege::Administrator)
        .power_status()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::AuthenticationFailed {
                why: AuthenticationFailure::Privilege,
                ..
            }
        ),
        "{error}"
    );
    let error = client("nobody", Privilege::User)
        .power_status()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::AuthenticationFailed {
                why: AuthenticationFailure::UserName,
                ..
            }
        ),
        "{error}"
    );
    let watcher = client("watcher", Privilege::User);
    assert!(!watcher.power_status().await.unwrap());
    let error = watcher.power_on().await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { code, .. } if code.0 == 0xd4),
        "{error}"
    );
    client("boss", Privilege::Operator)
        .power_on()
        .await
        .unwrap();
    assert!(chassis.is_on());
    stop.cancel();
    task.await.unwrap();
}
