//! Nodes with two ports each: ours through the API, upstream's by copying rows in its SQLite file, since 10,000 creations there take
//! minutes. What a list costs there is linear in the nodes that are listed, so fewer stored nodes do for upstream.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::client::{self, Client, Outcome};
use crate::process::{self, command};

/// UUID of the n-th node.
pub fn uuid(n: usize) -> String {
    format!("0000000b-0000-4000-8000-{n:012x}")
}

/// A node as a site has them, about 3 kB when shown in detail.
pub fn node(n: usize) -> String {
    format!(
        r#"{{"uuid": "{}", "name": "bench-{n}", "driver": "fake-hardware", "resource_class": "baremetal.{}",
        "description": "rack {} unit {}", "owner": null, "conductor_group": "",
        "properties": {{"cpu_arch": "x86_64", "cpus": 64, "memory_mb": 262144, "local_gb": 894, "vendor": "Example Corp.",
            "capabilities": "boot_mode:uefi,secure_boot:true,iscsi_boot:True,cpu_vt:true,cpu_aes:true"}},
        "driver_info": {{"ipmi_address": "10.{}.{}.{}", "ipmi_username": "admin", "ipmi_password": "not-a-secret-{n}",
            "deploy_kernel": "http://images.example.com/ipa.kernel", "deploy_ramdisk": "http://images.example.com/ipa.initramfs"}},
        "extra": {{"site": "dc-{}", "asset": "A{n:08}", "notes": "{}"}}}}"#,
        uuid(n),
        n % 7,
        n / 40,
        n % 40,
        n / 65536,
        n / 256 % 256,
        n % 256,
        n % 3,
        "delivered, burnt in, cabled and labelled; see the ticket of the delivery for serial numbers. ".repeat(3)
    )
}

/// A port of the n-th node.
pub fn port(n: usize, which: usize) -> String {
    let number = n * 2 + which;
    format!(
        r#"{{"node_uuid": "{}", "address": "52:54:{:02x}:{:02x}:{:02x}:{:02x}", "physical_network": "net{which}"}}"#,
        uuid(n),
        number >> 24 & 255,
        number >> 16 & 255,
        number >> 8 & 255,
        number & 255
    )
}

/// Creates nodes through the API; what it took.
pub fn create(port: u16, clients: usize, from: usize, to: usize) -> Result<Outcome> {
    sound(client::run(port, clients, to - from, None, |client, n| {
        client.call("POST", "/v1/nodes", &node(from + n))
    }))
}

/// Creates the two ports of each of these nodes.
pub fn create_ports(port_number: u16, clients: usize, from: usize, to: usize) -> Result<Outcome> {
    sound(client::run(
        port_number,
        clients,
        2 * (to - from),
        None,
        |client, n| client.call("POST", "/v1/ports", &port(from + n / 2, n % 2)),
    ))
}

fn sound(outcome: Outcome) -> Result<Outcome> {
    if outcome.failed > 0 {
        bail!(
            "{} requests failed: {}",
            outcome.failed,
            outcome.errors.join("; ")
        );
    }
    Ok(outcome)
}

/// Copies upstream's first node and its ports until there are so many; the service must not run.
const COPY: &str = r#"
import sqlite3, sys
path, count = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path)
def columns(table):
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
def copies(table, row):
    names = columns(table)
    return (f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", names,
            dict(zip(names, db.execute(f"SELECT {', '.join(names)} FROM {table} WHERE id = ?", (row,)).fetchone())))
node_id, = db.execute("SELECT MIN(id) FROM nodes").fetchone()
sql, names, first = copies("nodes", node_id)
for n in range(1, count):
    row = dict(first, uuid="0000000b-0000-4000-8000-%012x" % n, name="bench-%d" % n, reservation=None)
    db.execute(sql, [row[c] for c in names])
ids = [r[0] for r in db.execute("SELECT id FROM nodes WHERE id != ? ORDER BY id", (node_id,))]
ports = [r[0] for r in db.execute("SELECT id FROM ports WHERE node_id = ? ORDER BY id", (node_id,))]
for which, port in enumerate(ports):
    sql, names, first = copies("ports", port)
    for n, node in enumerate(ids, 1):
        number = 2 * n + which
        row = dict(first, uuid="0000000c-0000-4000-8000-%012x" % number, node_id=node, name=None,
                   address="52:54:%02x:%02x:%02x:%02x" % (number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255))
        db.execute(sql, [row[c] for c in names])
db.commit()
print(db.execute("SELECT COUNT(*) FROM nodes").fetchone()[0])
"#;

/// The node and the ports that [`copy`] multiplies.
pub fn first_of_upstream(port_number: u16) -> Result<()> {
    let mut client = Client::new(port_number);
    for (path, body) in [
        ("/v1/nodes", node(0)),
        ("/v1/ports", port(0, 0)),
        ("/v1/ports", port(0, 1)),
    ] {
        let status = client.call("POST", path, &body)?;
        if status != 201 {
            bail!(
                "upstream answered {status} to POST {path}: {}",
                String::from_utf8_lossy(client.body())
            );
        }
    }
    Ok(())
}

/// See [`COPY`].
pub fn copy(venv: &Path, database: &Path, count: usize) -> Result<()> {
    let python = venv.join("bin/python");
    let output = process::output(
        command(python.display().to_string())
            .args(["-c", COPY])
            .arg(database)
            .arg(count.to_string()),
    )
    .context("upstream's database could not be filled")?;
    if output.trim() != count.to_string() {
        bail!("upstream's database has {} nodes", output.trim());
    }
    Ok(())
}
