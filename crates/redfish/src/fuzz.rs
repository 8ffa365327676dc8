//! Seeded mutations of documents and addresses: whatever a BMC sends, reading it ends, in bounds, without a panic.

#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::message::messages;
use crate::resource::Resource;
use crate::storage::Volume;
use crate::system::System;
use crate::target::Address;

fn corpus() -> Vec<String> {
    vec![
        json!({"error": {"code": "Base.1.8.GeneralError", "message": "See", "@Message.ExtendedInfo": [
            {"MessageId": "Base.1.8.PropertyValueNotInList", "Message": "no", "MessageArgs": ["a", 1], "Resolution": "x"}]}})
        .to_string(),
        json!({"Id": "1", "PowerState": "On", "Boot": {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe", "Hdd"]}, "IndicatorLED": "Lit",
            "Actions": {"#ComputerSystem.Reset": {"target": "/x", "ResetType@Redfish.AllowableValues": ["On"]}},
            "Links": {"Chassis": [{"@odata.id": "/c"}]}, "MemorySummary": {"TotalSystemMemoryGiB": 96}})
        .to_string(),
        json!({"RAIDType": "RAID1", "VolumeType": "Mirrored", "CapacityBytes": 1e12, "TaskState": "Exception", "Messages": []}).to_string(),
        "https://10.0.0.1:8443/redfish/v1".into(),
        "[2001:db8::1]:443".into(),
        "<html><body>503</body></html>".into(),
    ]
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len().max(1));
        match rng.random_range(0..5) {
            0 if !bytes.is_empty() => bytes[at] = rng.random(),
            1 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            2 => bytes.insert(at.min(bytes.len()), rng.random()),
            3 => {
                let end = (at + rng.random_range(0..20)).min(bytes.len());
                let piece = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.extend(piece);
            }
            _ => bytes.truncate(at),
        }
    }
}

fn read(bytes: &[u8]) {
    let told = messages(bytes);
    assert!(told.text.chars().count() <= 501 && told.ids.len() <= 17);
    assert!(!told.text.contains('\n'));
    let text = String::from_utf8_lossy(bytes);
    if let Ok(address) = Address::parse(&text) {
        // what is accepted can be asked, and asks nobody else
        let url = address.url(address.root());
        assert!(matches!(url.scheme(), "http" | "https"));
    }
    let address = Address::parse("https://10.0.0.1").unwrap();
    if let Ok(path) = address.local(&text) {
        assert_eq!(address.url(&path).host_str(), Some("10.0.0.1"));
    }
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let resource = Resource::new("/redfish/v1/X", None, document);
    let _ = (resource.id(), resource.etag(), resource.lamp());
    let _ = (
        resource.links(&["Links", "Chassis"]),
        resource.integer(&["MemorySummary", "TotalSystemMemoryGiB"]),
    );
    let _ = (
        resource.action("#ComputerSystem.Reset"),
        resource.allowed("#ComputerSystem.Reset", "ResetType"),
    );
    let volume = Volume(resource.clone());
    let _ = (volume.raid_type(), volume.is_raw());
    let system = System(resource);
    let _ = (system.boot(), system.boot_targets(), system.power_state());
}

#[test]
fn whatever_a_bmc_sends() {
    let mut rng = StdRng::seed_from_u64(6);
    for item in corpus() {
        read(item.as_bytes());
        for _ in 0..1_500 {
            let mut bytes = item.clone().into_bytes();
            mutate(&mut bytes, &mut rng);
            read(&bytes);
        }
    }
    // depth is bounded by the reader
    read("[".repeat(100_000).as_bytes());
    read(format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)).as_bytes());
}
