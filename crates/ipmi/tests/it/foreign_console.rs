//! `ipmitool` at our BMC, and its requests compared with those of our client.

use bessemer_ipmi::bmc::Event;
use bessemer_ipmi::{BootDevice, BootFlags, CipherSuite, DeviceId, Persistence};

use crate::support::{OurBmc, PASSWORD, USER, client, ipmitool, ipmitool_with};

async fn check(bmc: &OurBmc, suite: CipherSuite, arguments: &str, parts: &[&str]) {
    let (good, told) = ipmitool(bmc.port(), suite, PASSWORD, arguments).await;
    assert!(good, "{arguments}: {told}");
    for part in parts {
        assert!(
            told.contains(part),
            "{arguments}: {part:?} is not in: {told}"
        );
    }
}

async fn drive(suite: CipherSuite) {
    let bmc = OurBmc::start(|server| {
        server.with_device_id(DeviceId {
            device_id: 0x20,
            device_revision: 1,
            available: true,
            firmware_major: 4,
            firmware_minor: 27,
            ipmi_version: (2, 0),
            manufacturer_id: 674,
            product_id: 256,
            auxiliary_firmware: None,
        })
    })
    .await;
    check(&bmc, suite, "power status", &["Chassis Power is off"]).await;
    check(&bmc, suite, "power on", &["Up/On"]).await;
    assert!(bmc.chassis.is_on());
    check(&bmc, suite, "power status", &["Chassis Power is on"]).await;
    check(
        &bmc,
        suite,
        "chassis status",
        &["System Power         : on", "Main Power Fault     : false"],
    )
    .await;
    check(&bmc, suite, "power diag", &[]).await;
    assert_eq!(bmc.chassis.interrupts(), 1);
    check(
        &bmc,
        suite,
        "chassis bootdev pxe options=persistent,efiboot",
        &["Set Boot Device to pxe"],
    )
    .await;
    let told = [
        "Boot parameter version: 1",
        "Boot Flag Valid",
        "Options apply to all future boots",
        "BIOS EFI boot",
        "Force PXE",
    ];
    check(&bmc, suite, "chassis bootparam get 5", &told).await;
    check(&bmc, suite, "power cycle", &[]).await;
    assert_eq!(bmc.chassis.booted_from(), Some(BootDevice::Pxe));
    check(&bmc, suite, "chassis bootdev disk", &[]).await;
    check(
        &bmc,
        suite,
        "chassis bootparam get 5",
        &[
            "Options apply to only next boot",
            "BIOS PC Compatible (legacy) boot",
            "Hard-Drive",
        ],
    )
    .await;
    check(&bmc, suite, "power reset", &[]).await;
    assert_eq!(bmc.chassis.booted_from(), Some(BootDevice::Disk));
    check(
        &bmc,
        suite,
        "chassis bootparam get 5",
        &["Boot Flag Invalid"],
    )
    .await;
    check(&bmc, suite, "raw 0x00 0x08 0x03 0x08", &[]).await;
    check(
        &bmc,
        suite,
        "chassis bootparam get 3",
        &["Don't automatically clear boot flag valid bit on timeout"],
    )
    .await;
    check(&bmc, suite, "power soft", &[]).await;
    assert!(!bmc.chassis.is_on());
    check(
        &bmc,
        suite,
        "mc info",
        &[
            "Firmware Revision         : 4.27",
            "IPMI Version              : 2.0",
            "674",
        ],
    )
    .await;
    check(&bmc, suite, "mc guid", &["System GUID"]).await;
    check(&bmc, suite, "mc reset cold", &["Sent cold reset"]).await;
    let (good, told) = ipmitool(bmc.port(), suite, PASSWORD, "power cycle").await;
    assert!(
        !good && told.contains("not supported in present state"),
        "{told}"
    );

    bmc.events();
    let (good, told) = ipmitool(bmc.port(), suite, "wrong", "power on").await;
    assert!(!good && told.contains("Unable to establish"), "{told}");
    assert!(!bmc.chassis.is_on());
    assert!(
        !bmc.events()
            .iter()
            .any(|event| matches!(event, Event::Login { .. } | Event::Command { .. }))
    );
    bmc.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmitool_drives_our_bmc_with_suite_3() {
    drive(CipherSuite::Suite3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmitool_drives_our_bmc_with_suite_17() {
    drive(CipherSuite::Suite17).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmitool_finds_the_suite_and_uses_the_key() {
    for suite in CipherSuite::PREFERENCE {
        let bmc = OurBmc::start(|server| {
            server
                .with_suites(&[suite])
                .with_kg(b"0123456789abcdefghij".to_vec().into())
        })
        .await;
        let login = format!("-U {USER} -P {PASSWORD}");
        let (good, told) = ipmitool_with(
            bmc.port(),
            &format!("{login} -k 0123456789abcdefghij power status"),
        )
        .await;
        assert!(good && told.contains("Power is off"), "{told}");
        assert!(bmc.events().contains(&Event::Login {
            user: USER.into(),
            suite
        }));
        let (good, told) = ipmitool_with(
            bmc.port(),
            &format!("{login} -L OPERATOR -C {} -k another power on", suite.id()),
        )
        .await;
        assert!(!good, "{told}");
        assert!(!bmc.chassis.is_on());
        let (good, told) = ipmitool_with(
            bmc.port(),
            &format!("{login} channel getciphers ipmi -k 0123456789abcdefghij 1"),
        )
        .await;
        assert!(good && told.contains(&suite.id().to_string()), "{told}");
        bmc.stop().await;
    }
}

/// Byte for byte: the chassis requests, decrypted, that both consoles send for the same wish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_sends_what_ipmitool_sends() {
    let bmc = OurBmc::start(|server| server).await;
    let client = client(bmc.port(), None);
    for (name, device) in [
        ("pxe", BootDevice::Pxe),
        ("disk", BootDevice::Disk),
        ("cdrom", BootDevice::Cdrom),
        ("bios", BootDevice::Bios),
        ("safe", BootDevice::Safe),
    ] {
        for (options, persistence, efi) in [
            ("", Persistence::Once, false),
            ("options=persistent", Persistence::Persistent, false),
            ("options=efiboot", Persistence::Once, true),
            ("options=persistent,efiboot", Persistence::Persistent, true),
        ] {
            bmc.events();
            check(
                &bmc,
                CipherSuite::Suite17,
                &format!("chassis bootdev {name} {options}"),
                &[],
            )
            .await;
            let theirs = bmc.chassis_requests();
            client
                .set_boot_device(device, persistence, efi)
                .await
                .unwrap();
            let ours = bmc.chassis_requests();
            assert_eq!(ours, theirs, "{name} {options}");
            assert!(ours.contains(&(
                0x08,
                [&[0x05], &BootFlags::new(device, persistence, efi).0[..]].concat()
            )));
        }
    }
    for (arguments, ask) in [
        ("power status", 0),
        ("power on", 1),
        ("power reset", 2),
        ("power diag", 3),
        ("power cycle", 4),
        ("power soft", 5),
        ("power off", 6),
        ("chassis bootparam get 5", 7),
        ("raw 0x00 0x08 0x03 0x08", 8),
    ] {
        // reset, diag and cycle want the power on
        bmc.chassis.set_on(true);
        bmc.events();
        check(&bmc, CipherSuite::Suite3, arguments, &[]).await;
        let theirs = bmc.chassis_requests();
        match ask {
            0 => drop(client.power_status().await.unwrap()),
            1 => client.power_on().await.unwrap(),
            7 => drop(client.get_boot_device().await.unwrap().flags),
            8 => client.disable_boot_timer().await.unwrap(),
            2 => client.power_reset().await.unwrap(),
            3 => client.power_diag().await.unwrap(),
            4 => client.power_cycle().await.unwrap(),
            5 => client.power_soft().await.unwrap(),
            _ => client.power_off().await.unwrap(),
        }
        bmc.chassis.set_on(true);
        assert_eq!(bmc.chassis_requests(), theirs, "{arguments}");
    }
    client.close().await;
    bmc.stop().await;
}
