use reqwest::{Client, Method, StatusCode};

use crate::support::*;

fn client() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn scripts() {
    let running = Running::start().await;
    let client = client();
    let get = async |path: &str| {
        let answer = client.get(running.http(path)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let base = running.http("");

    let (status, script) = get("/boot/52-54-00-77-00-01/boot.ipxe").await;
    assert_eq!(status, StatusCode::OK);
    let kernel = format!(
        "\nkernel {base}/ramdisk/52-54-00-77-00-01/kernel selinux=0 troubleshoot=0 text ipa-api-url=http://127.77.0.1:6385 BOOTIF=01-52-54-00-77-00-01 initrd=initramfs || goto again\n"
    );
    assert!(script.contains(&kernel), "{script}");
    running
        .sentence(
            RAMDISK,
            &format!(
                "HTTP GET /boot/52-54-00-77-00-01/boot.ipxe: {} bytes sent to 127.0.0.1",
                script.len()
            ),
        )
        .await;

    let (status, script) = get("/boot/52:54:00:77:00:02/boot.ipxe").await;
    assert_eq!(status, StatusCode::OK);
    assert!(script.contains("sanboot --no-describe --drive 0x80"));

    let (status, script) = get("/boot/ipxe").await;
    assert_eq!(status, StatusCode::OK);
    assert!(script.contains(&format!(
        "chain --replace {base}/boot/${{net0/mac:hexhyp}}/boot.ipxe"
    )));

    let (status, text) = get("/boot/52-54-00-99-00-01/boot.ipxe").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        text,
        "no node has a port with the address 52:54:00:99:00:01\n"
    );

    let (status, text) = get("/boot/52-54-00-77-00-04/boot.ipxe").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let why = "the boot row of node 00000000-0000-0000-0000-000000000004 names no kernel";
    assert_eq!(text, format!("{why}\n"));
    running
        .sentence(
            INCOMPLETE,
            &format!(
                "HTTP GET /boot/52-54-00-77-00-04/boot.ipxe from 127.0.0.1: answered 503, {why}"
            ),
        )
        .await;
    running.stop().await;
}

#[tokio::test]
async fn files_and_ranges() {
    let running = Running::start().await;
    let client = client();
    let disk = content(3_000_000);
    let whole: &[(&str, &[u8])] = &[
        ("/images/disk.raw", &disk),
        ("/disk.raw", &disk),
        ("/images//./disk.raw", &disk),
        ("/images/empty", &[]),
        ("/ipxe/snponly.efi", &content(150_000)),
        ("/ramdisk/52-54-00-77-00-01/kernel", &content(300_000)),
        ("/ramdisk/52-54-00-77-00-01/initramfs", &content(1_000_000)),
    ];
    for (path, expected) in whole {
        for method in [Method::HEAD, Method::GET] {
            let request = client.request(method.clone(), running.http(path));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(
                answer.headers()["content-length"],
                expected.len().to_string().as_str(),
                "{method} {path}"
            );
            assert_eq!(answer.headers()["accept-ranges"], "bytes");
            let body = answer.bytes().await.unwrap();
            if method == Method::GET {
                assert!(body == *expected, "{path}");
            } else {
                assert!(body.is_empty());
            }
        }
    }
    running
        .sentence(
            RAMDISK,
            "HTTP GET /ramdisk/52-54-00-77-00-01/kernel: 300 kB sent to 127.0.0.1",
        )
        .await;
    // the same address: its node is known from then on
    client
        .get(running.http("/disk.raw"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    running
        .sentence(RAMDISK, "HTTP GET /disk.raw: 3.0 MB sent to 127.0.0.1")
        .await;

    let url = running.http("/images/disk.raw");
    let tag = client.head(&url).send().await.unwrap().headers()["etag"].clone();
    type Case<'a> = (
        &'a str,
        Option<&'a str>,
        u16,
        &'a str,
        std::ops::Range<usize>,
    );
    let parts: &[Case<'_>] = &[
        ("bytes=0-0", None, 206, "bytes 0-0/3000000", 0..1),
        (
            "bytes=100-299999",
            None,
            206,
            "bytes 100-299999/3000000",
            100..300_000,
        ),
        (
            "bytes=2999990-",
            None,
            206,
            "bytes 2999990-2999999/3000000",
            2_999_990..3_000_000,
        ),
        (
            "bytes=-10",
            None,
            206,
            "bytes 2999990-2999999/3000000",
            2_999_990..3_000_000,
        ),
        ("bytes=3000000-", None, 416, "bytes */3000000", 0..0),
        ("bytes=0-1,5-6", None, 200, "", 0..3_000_000),
        ("bytes=5-8", Some("tag"), 206, "bytes 5-8/3000000", 5..9),
        ("bytes=5-8", Some("\"other\""), 200, "", 0..3_000_000),
    ];
    for (range, if_range, status, content_range, expected) in parts {
        let mut request = client.get(&url).header("range", *range);
        if let Some(value) = if_range {
            request = match *value {
                "tag" => request.header("if-range", tag.clone()),
                other => request.header("if-range", other),
            };
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), *status, "{range}");
        let given = answer.headers().get("content-range");
        assert_eq!(
            given.map_or("", |value| value.to_str().unwrap()),
            *content_range
        );
        let body = answer.bytes().await.unwrap();
        if *status != 416 {
            assert!(body == disk[expected.clone()], "{range}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_refused() {
    let running = Running::start().await;
    let client = client();
    for path in [
        "/images/outside",
        "/outside",
        "/images/%2e%2e/loaders/snponly.efi",
        "/images/..%2f..%2fetc/passwd",
        "/images",
        "/",
        "/ipxe",
        "/ipxe/..%2fboot/deploy.gz",
        "/images/missing",
        "/boot/x/boot.ipxe",
        "/boot/52-54-00-77-00-01/other",
        "/ramdisk/52-54-00-77-00-02/kernel",
        "/ramdisk/52-54-00-77-00-01/shadow",
    ] {
        let answer = client.get(running.http(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let answer = client.get(running.http("/%ff")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let request = client.request(method, running.http("/images/disk.raw"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
    std::fs::remove_file(running.files.path().join("boot/deploy.gz")).unwrap();
    let url = running.http("/ramdisk/52-54-00-77-00-01/initramfs");
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.text().await.unwrap(),
        format!(
            "the node's initramfs {}/boot/deploy.gz cannot be read: entity not found\n",
            running.files.path().display()
        )
    );
    running.stop().await;
}

/// Several requests on one connection, and a client that goes away in the middle.
#[tokio::test]
async fn connections() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let running = Running::start().await;
    let address = running.addresses.http[0];
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        let request = b"GET /images/disk.raw HTTP/1.1\r\nHost: x\r\nRange: bytes=10-13\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(&content(14)[10..]) {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        assert!(bytes.starts_with(b"HTTP/1.1 206 Partial Content\r\n"));
    }
    // EDK2 and old iPXE speak HTTP/1.0 at times
    let mut old = tokio::net::TcpStream::connect(address).await.unwrap();
    old.write_all(b"HEAD /ipxe/snponly.efi HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).await.unwrap();
    assert!(
        text.to_lowercase().contains("content-length: 150000\r\n"),
        "{text}"
    );

    // more than the kernel's socket buffers take, or the file would be sent before the client goes
    let file = running.files.path().join("boot/deploy.gz");
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(256 << 20).unwrap();
    let request = b"GET /ramdisk/52-54-00-77-00-01/initramfs HTTP/1.1\r\nHost: x\r\n\r\n";
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut gone = socket.connect(address).await.unwrap();
    gone.write_all(request).await.unwrap();
    let mut some = [0u8; 100];
    gone.read_exact(&mut some).await.unwrap();
    drop(gone);
    let broken_off = || {
        let events = running.memory.events();
        events.iter().any(|event| {
            event
                .text
                .starts_with("HTTP GET /ramdisk/52-54-00-77-00-01/initramfs: broken off after ")
                && event.text.ends_with(" MB to 127.0.0.1")
        })
    };
    wait_for(broken_off, || format!("{:#?}", running.memory.events())).await;
    running.stop().await;
}
