//! Real firmware in QEMU boots our images for virtual media: SeaBIOS by GRUB's El Torito image, OVMF by shim and Debian's signed
//! GRUB, to the first heartbeat of our agent with the token out of the image.
//!
//! The BMC is the lab's: what it was told to insert is put into QEMU's CD drive by hand.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bessemer_lab::{BmcKind, Fault, FirmwareChoice};
use bessemer_store::testing;
use serde_json::{Value, json};

use crate::harness::{Api, Controller, Life, Site, Step, until};
use crate::life::on;

/// How long emulated firmware, kernel and agent may take on a busy computer.
const BOOT: Duration = Duration::from_secs(240);
/// Where a guest of QEMU's own network finds this computer's 127.0.0.1.
const OUTSIDE: &str = "10.0.2.2";

struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()),
        )
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Kernel and ramdisk as the test command builds them.
fn ramdisk() -> PathBuf {
    std::env::var_os("BESSEMER_TEST_RAMDISK_DIR")
        .map(PathBuf::from)
        .expect("BESSEMER_TEST_RAMDISK_DIR names the directory of the deploy ramdisk: `make ramdisk` builds one, `make test` sets it")
}

/// The boot loaders as `docs/howto/redfish.md` makes them.
fn loaders(directory: &Path) -> (PathBuf, PathBuf) {
    let (bios, esp) = (directory.join("grub-bios.img"), directory.join("esp.img"));
    let (bios_text, esp_text) = (bios.to_str().unwrap(), esp.to_str().unwrap());
    run(
        "grub-mkimage",
        &[
            "-O",
            "i386-pc-eltorito",
            "-p",
            "/boot/grub",
            "-o",
            bios_text,
            "biosdisk",
            "iso9660",
            "linux",
            "normal",
            "configfile",
            "search",
            "search_label",
        ],
    );
    std::fs::File::create(&esp)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    run("mkfs.vfat", &["-n", "ESP", esp_text]);
    run("mmd", &["-i", esp_text, "::EFI", "::EFI/BOOT"]);
    for (source, target) in [
        ("/usr/lib/shim/shimx64.efi.signed", "::EFI/BOOT/BOOTX64.EFI"),
        (
            "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed",
            "::EFI/BOOT/grubx64.efi",
        ),
    ] {
        run("mcopy", &["-i", esp_text, source, target]);
    }
    (bios, esp)
}

/// Connections to this port of 127.0.0.1 are passed on.
async fn forward(to: std::net::SocketAddr) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut guest, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut service) = tokio::net::TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut guest, &mut service).await;
                }
            });
        }
    });
    port
}

fn machine(directory: &Path, firmware: FirmwareChoice, mac: &str, iso: &Path) -> Machine {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", "max", "-M", "q35,graphics=off"])
        .args(["-m", "512", "-display", "none", "-nodefaults"])
        .args(["-device", "virtio-rng-pci", "-netdev", "user,id=n0"])
        // no option ROM: nothing can be booted from the network
        .args([
            "-device",
            &format!("virtio-net-pci,netdev=n0,mac={mac},romfile="),
        ])
        .args([
            "-drive",
            &format!(
                "if=none,id=cd0,media=cdrom,format=raw,readonly=on,file={}",
                iso.display()
            ),
        ])
        .args(["-device", "ide-cd,drive=cd0,bootindex=1"])
        .args([
            "-serial",
            &format!("file:{}", directory.join("console").display()),
        ]);
    if firmware == FirmwareChoice::Uefi {
        let vars = directory.join("vars.fd");
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
        qemu.args([
            "-drive",
            "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
        ])
        .args([
            "-drive",
            &format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
        ]);
    }
    Machine(qemu.stdin(Stdio::null()).spawn().unwrap())
}

async fn boots(firmware: FirmwareChoice) {
    let site = Site::new().await;
    let directory = tempfile::tempdir().unwrap();
    let (bios, esp) = loaders(directory.path());
    let api_address = format!("{}:6385", site.address(1)).parse().unwrap();
    let port = forward(api_address).await;
    let database = testing::sqlite();
    let mut config = on(&site, &database);
    let file = |name: &str| Some(format!("file://{}", ramdisk().join(name).display()));
    config.conductor.deploy_kernel = file("deploy-cloud.kernel");
    config.conductor.deploy_ramdisk = file("deploy-cloud.initramfs");
    config.conductor.bootloader = Some(format!("file://{}", esp.display()));
    config.default.isolinux_bin = bios;
    config.pxe.kernel_append_params = "console=ttyS0".into();
    config.deploy.external_callback_url = Some(format!("http://{OUTSIDE}:{port}"));
    let mut settings = site.lab_settings(1);
    settings.bmc = vec![BmcKind::RedfishHttp];
    settings.firmware = firmware;
    let mut lab = site.lab(&settings);
    let host = lab.hosts[0].clone();
    // the machine is QEMU's
    lab.set_fault("h0", Fault::NeverBoots, true, None).unwrap();
    let controller = Controller::start(config, None).await;
    let api = Api::new(site.url(1));
    let mut life = Life::new(
        api.clone(),
        host.clone(),
        site.images.small(),
        &lab.log_path,
    );
    life.boot_interface = Some("redfish-virtual-media");
    life.enrol().await;
    life.step(Step::Manage).await;
    api.provision("h0", json!({"target": "provide"})).await;
    api.wait_for("h0", "clean wait").await;

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let slot = format!(
        "{}/redfish/v1/Systems/1/VirtualMedia/Cd",
        host.redfish_url().unwrap()
    );
    let request = client
        .get(&slot)
        .basic_auth(&host.bmc_user, Some(&host.bmc_password));
    let slot: Value = request.send().await.unwrap().json().await.unwrap();
    let image = client
        .get(slot["Image"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let iso = directory.path().join("boot.iso");
    std::fs::write(&iso, image.bytes().await.unwrap()).unwrap();

    let running = machine(directory.path(), firmware, &host.mac, &iso);
    let seen = tokio::time::timeout(
        BOOT,
        until("the agent's first heartbeat", BOOT * 2, async || {
            let node = api.get("/v1/nodes/h0").await.ok();
            node["driver_internal_info"]["agent_url"]
                .as_str()
                .map(str::to_owned)
        }),
    )
    .await;
    let console = std::fs::read(directory.path().join("console")).unwrap_or_default();
    let console = String::from_utf8_lossy(&console).into_owned();
    let seen = seen.unwrap_or_else(|_| panic!("no heartbeat came; the console:\n{console}"));
    assert_eq!(seen, "https://10.0.2.15:9999", "{console}");
    assert!(console.contains("boot_method=vmedia"), "{console}");
    drop(running);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seabios_boots_virtual_media() {
    boots(FirmwareChoice::Bios).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ovmf_boots_virtual_media() {
    boots(FirmwareChoice::Uefi).await;
}
