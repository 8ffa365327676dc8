use bessemer_netboot::Source;
use bessemer_tftp::{ClientSettings, Error, download};

use crate::support::*;

async fn fetch(running: &Running, path: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    download(
        running.addresses.tftp[0],
        path,
        &ClientSettings::default(),
        |part| {
            bytes.extend_from_slice(part);
            Ok(())
        },
    )
    .await?;
    Ok(bytes)
}

#[tokio::test]
async fn a_whole_boot_by_tftp() {
    let running = Running::start().await;
    assert!(fetch(&running, "snponly.efi").await.unwrap() == content(150_000));
    assert!(fetch(&running, "ipxe/undionly.kpxe").await.unwrap() == content(70_000));
    assert_eq!(fetch(&running, "/extra").await.unwrap(), b"extra");
    let path = "/boot/52-54-00-77-00-03/boot.ipxe";
    let script = String::from_utf8(fetch(&running, path).await.unwrap()).unwrap();
    let base = format!("tftp://{}", running.addresses.tftp[0]);
    let line = format!("\nkernel {base}/ramdisk/52-54-00-77-00-03/kernel selinux=0 ");
    assert!(script.contains(&line), "{script}");
    let kernel = fetch(&running, "/ramdisk/52-54-00-77-00-03/kernel").await;
    assert!(kernel.unwrap() == content(300_000));
    let ramdisk = fetch(&running, "/ramdisk/52-54-00-77-00-03/initramfs").await;
    assert!(ramdisk.unwrap() == content(1_000_000));
    running
        .sentence(
            TFTP,
            "TFTP ramdisk/52-54-00-77-00-03/initramfs: 1.0 MB sent to 127.0.0.1",
        )
        .await;
    let events = running.memory.events();
    assert!(
        events
            .iter()
            .any(|event| event.source == Source::Tftp && event.bytes == Some(300_000))
    );

    for (path, code) in [
        ("missing", 1),
        ("images/disk.raw", 1),
        ("../images/disk.raw", 2),
        ("boot/52-54-00-99-00-01/boot.ipxe", 1),
        ("ramdisk/52-54-00-77-00-04/kernel", 0),
    ] {
        let error = fetch(&running, path).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused { code: got, .. } if got == code),
            "{path}: {error}"
        );
    }
    running
        .sentence(
            INCOMPLETE,
            "TFTP ramdisk/52-54-00-77-00-04/kernel: not sent to 127.0.0.1: the boot row of node 00000000-0000-0000-0000-000000000004 names no kernel",
        )
        .await;
    running.stop().await;
}
