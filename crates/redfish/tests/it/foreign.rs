//! Our client at sushy-tools' emulator.

use bessemer_redfish::{BootOverride, Class, Error, MediaKind, TlsPolicy, TlsVersion, Trust};
use serde_json::json;

use crate::board::Board;
use crate::emulator::{Emulator, client, eventually, target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emulator_is_driven() {
    let emulator = Emulator::start(false).await.unwrap();
    let client = client(target(&emulator.address));

    // power
    let system = client.system().await.unwrap();
    assert_eq!(system.power_state(), Some("Off"));
    client.reset(&system, "On").await.unwrap();
    eventually("the power is on", || async {
        client.system().await.unwrap().power_state() == Some("On")
    })
    .await;
    let unknown = client.reset(&system, "PushPowerButton").await.unwrap_err();
    assert!(
        unknown.to_string().contains("GracefulShutdown"),
        "{unknown}"
    );

    // boot device and mode
    let pxe = BootOverride {
        target: Some("Pxe".into()),
        enabled: Some("Once".into()),
        mode: Some("UEFI".into()),
        ..BootOverride::default()
    };
    client.set_boot(&system, &pxe).await.unwrap();
    let boot = client.system().await.unwrap().boot();
    assert_eq!(
        (boot.target.as_deref(), boot.mode.as_deref()),
        (Some("Pxe"), Some("UEFI"))
    );
    let floppy = BootOverride {
        target: Some("Floppy".into()),
        ..BootOverride::default()
    };
    let refused = client.set_boot(&system, &floppy).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("it has Pxe, Cd, Hdd, UefiHttp"),
        "{refused}"
    );

    // secure boot
    let secure = client.secure_boot(&system).await.unwrap().unwrap();
    assert_eq!(secure.enabled(), Some(false));
    client.set_secure_boot(&secure, true).await.unwrap();
    let secure = client.secure_boot(&system).await.unwrap().unwrap();
    assert_eq!(secure.enabled(), Some(true));
    let no_action = client
        .reset_keys(&secure, "DeleteAllKeys")
        .await
        .unwrap_err();
    assert!(no_action.is_missing(), "{no_action}");

    // BIOS settings with their registry
    let bios = client.bios(&system).await.unwrap().unwrap();
    assert_eq!(bios.attributes().unwrap()["ProcTurboMode"], "Enabled");
    let registry = client.attribute_registry(&bios).await.unwrap();
    let mode = registry.iter().find(|a| a.name == "ProcTurboMode").unwrap();
    assert_eq!(mode.kind.as_deref(), Some("Enumeration"));
    assert!(
        mode.allowed
            .as_ref()
            .unwrap()
            .contains(&"Disabled".to_owned())
    );
    let change = json!({"ProcTurboMode": "Disabled"});
    client
        .set_attributes(&bios, change.as_object().unwrap())
        .await
        .unwrap();
    let pending = client.pending(&bios).await.unwrap().unwrap();
    assert_eq!(pending["ProcTurboMode"], "Disabled");
    let wrong = json!({"NoSuch": 1});
    let error = client
        .set_attributes(&bios, wrong.as_object().unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("NoSuch"), "{error}");
    client.reset_bios(&bios).await.unwrap();
    let bios = client.bios(&system).await.unwrap().unwrap();
    assert_eq!(bios.attributes().unwrap()["ProcTurboMode"], "Enabled");

    // virtual media; the emulator fetches what is inserted
    let images = Board::start(|_| crate::board::Reply::text(200, "an image")).await;
    let image = format!("{}/boot.iso", images.address);
    client.insert(&system, MediaKind::Cd, &image).await.unwrap();
    client.insert(&system, MediaKind::Cd, &image).await.unwrap();
    let slots = client.slots(&system).await.unwrap();
    let inserted: Vec<_> = slots.iter().filter(|s| s.inserted()).collect();
    assert_eq!(inserted.len(), 1);
    assert_eq!(inserted[0].image(), Some(image.as_str()));
    client
        .insert(&system, MediaKind::UsbStick, &image)
        .await
        .unwrap();
    assert_eq!(client.eject(&system, Some(MediaKind::Cd)).await.unwrap(), 1);
    assert_eq!(client.eject(&system, None).await.unwrap(), 1);
    assert!(
        client
            .slots(&system)
            .await
            .unwrap()
            .iter()
            .all(|s| !s.inserted())
    );

    // storage
    let storage = client.storage(&system).await.unwrap();
    assert_eq!(storage.len(), 1);
    let drives: Vec<_> = storage[0].drives.iter().map(|d| d.id()).collect();
    assert_eq!(drives, ["D1", "D2", "D3"]);
    assert_eq!(storage[0].controllers.len(), 1);
    let volumes = client.volumes(&storage[0]).await.unwrap();
    assert_eq!(volumes[0].raid_type(), Some("RAID1"));
    let body =
        json!({"Name": "two", "VolumeType": "StripedWithParity", "CapacityBytes": 1_073_741_824});
    let made = client.create_volume(&storage[0], &body).await.unwrap();
    assert!(made.status == 201 && made.location.is_some(), "{made:?}");
    assert_eq!(client.volumes(&storage[0]).await.unwrap().len(), 2);

    // around it
    assert_eq!(client.managers(&system).await.unwrap().len(), 1);
    let chassis = client.chassis(&system).await.unwrap();
    client.set_lamp(&chassis[0], "Blinking").await.unwrap();
    assert_eq!(
        client.chassis(&system).await.unwrap()[0].lamp(),
        Some("Blinking")
    );
    assert_eq!(
        client
            .members_of(&system.0, &["EthernetInterfaces"])
            .await
            .unwrap()
            .len(),
        2
    );

    // what it does not have
    let error = client.get("/redfish/v1/Systems/nosuch").await.unwrap_err();
    assert!(
        error.is_missing() && error.class() == Class::Never,
        "{error}"
    );

    // a wrong password
    let mut stranger = target(&emulator.address);
    stranger.password = "not-the-password".into();
    let stranger = crate::emulator::client(stranger);
    let error = stranger.system().await.unwrap_err();
    assert!(
        matches!(&error, Error::AuthenticationFailed { user, .. } if user == "admin"),
        "{error}"
    );
    let shown = format!("{error} {error:?} {stranger:?}");
    assert!(!shown.contains("not-the-password"), "{shown}");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_trusted_as_told() {
    let emulator = Emulator::start(true).await.unwrap();
    let ask = |tls: TlsPolicy| {
        let mut target = target(&emulator.address);
        target.tls = tls;
        let client = client(target);
        async move { client.system().await.map(drop) }
    };
    let trust = |trust: Trust| TlsPolicy {
        trust,
        ..TlsPolicy::default()
    };
    let file = emulator.dir.path().join("cert.pem");
    let pem = std::fs::read(&file).unwrap();
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
    let fingerprint: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
        sha2::Sha256::default(),
        der.as_ref(),
    ))
    .into();

    ask(trust(Trust::Anyone)).await.unwrap();
    ask(trust(Trust::Authorities(file.clone()))).await.unwrap();
    ask(trust(Trust::Authorities(emulator.dir.path().to_owned())))
        .await
        .unwrap();
    ask(trust(Trust::Fingerprint(fingerprint))).await.unwrap();
    ask(TlsPolicy {
        trust: Trust::Fingerprint(fingerprint),
        oldest: TlsVersion::V13,
        ciphers: TlsPolicy::ciphers("TLS_CHACHA20_POLY1305_SHA256").unwrap(),
    })
    .await
    .unwrap();
    for refused in [Trust::System, Trust::Fingerprint([7; 32])] {
        let error = ask(trust(refused)).await.unwrap_err();
        assert!(
            matches!(error, Error::Untrusted { .. }) && error.class() == Class::Never,
            "{error}"
        );
    }
}
