//! Sensors over Redfish, in the members that upstream gives them (schemas Thermal, Power, Drive, SimpleStorage).

use bessemer_redfish::{Client, Error, Resource, System};
use serde_json::{Map, Value, json};

/// `(upstream's name, the schema's)`.
type Members = &'static [(&'static str, &'static str)];

const FAN: Members = &[
    ("identity", "MemberId"),
    ("max_reading_range", "MaxReadingRange"),
    ("min_reading_range", "MinReadingRange"),
    ("reading", "Reading"),
    ("reading_units", "ReadingUnits"),
    ("serial_number", "SerialNumber"),
    ("physical_context", "PhysicalContext"),
];
const TEMPERATURE: Members = &[
    ("identity", "MemberId"),
    ("max_reading_range_temp", "MaxReadingRangeTemp"),
    ("min_reading_range_temp", "MinReadingRangeTemp"),
    ("reading_celsius", "ReadingCelsius"),
    ("physical_context", "PhysicalContext"),
    ("sensor_number", "SensorNumber"),
];
const SUPPLY: Members = &[
    ("power_capacity_watts", "PowerCapacityWatts"),
    ("line_input_voltage", "LineInputVoltage"),
    ("last_power_output_watts", "LastPowerOutputWatts"),
    ("serial_number", "SerialNumber"),
];
const DRIVE: Members = &[
    ("name", "Name"),
    ("model", "Model"),
    ("capacity_bytes", "CapacityBytes"),
];

fn fields(of: &Value, members: Members) -> Map<String, Value> {
    let mut found: Map<String, Value> = members
        .iter()
        .map(|(name, theirs)| {
            (
                (*name).to_owned(),
                of.get(theirs).cloned().unwrap_or(Value::Null),
            )
        })
        .collect();
    for (name, theirs) in [("state", "State"), ("health", "Health")] {
        let value = of.get("Status").and_then(|s| s.get(theirs)).cloned();
        found.insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    found
}

fn identity(of: &Value) -> &str {
    of.get("MemberId")
        .or_else(|| of.get("Id"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn drive(of: &Value) -> Map<String, Value> {
    let mut sensor = fields(of, DRIVE);
    // some boards tell only the health
    if sensor.get("state").is_none_or(Value::is_null)
        && sensor.get("health").is_some_and(|h| !h.is_null())
    {
        sensor.insert("state".into(), json!("Enabled"));
    }
    sensor
}

/// Parts that cannot be read are left out.
async fn optional(client: &Client, of: &Resource, link: &str) -> Option<Resource> {
    match client.follow(of, &[link]).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!("sensors were left out: {error}");
            None
        }
    }
}

/// Sensor type to sensor to its fields.
pub(super) async fn read(client: &Client, system: &System) -> Result<Value, Error> {
    let (mut fans, mut temperatures, mut supplies, mut drives) =
        (Map::new(), Map::new(), Map::new(), Map::new());
    if let Some(chassis) = client.chassis(system).await?.first() {
        let at = chassis.id();
        if let Some(thermal) = optional(client, chassis, "Thermal").await {
            for fan in thermal.list(&["Fans"]) {
                fans.insert(
                    format!("{}@{at}", identity(fan)),
                    Value::Object(fields(fan, FAN)),
                );
            }
            for sensor in thermal.list(&["Temperatures"]) {
                temperatures.insert(
                    format!("{}@{at}", identity(sensor)),
                    Value::Object(fields(sensor, TEMPERATURE)),
                );
            }
        }
        if let Some(power) = optional(client, chassis, "Power").await {
            for supply in power.list(&["PowerSupplies"]) {
                supplies.insert(
                    format!("{}:{}@{at}", identity(supply), power.id()),
                    Value::Object(fields(supply, SUPPLY)),
                );
            }
        }
    }
    let here = system.0.path().trim_end_matches('/');
    let here = here.rsplit('/').next().unwrap_or_default();
    let mut add = |of: &Value, storage: &str| {
        let sensor = drive(of);
        let name = sensor
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        drives.insert(format!("{name}:{storage}@{here}"), Value::Object(sensor));
    };
    if system.0.link(&["SimpleStorage"]).is_some() {
        for storage in client.members_of(&system.0, &["SimpleStorage"]).await? {
            for device in storage.list(&["Devices"]) {
                // enclosures and backplanes are no drives
                if device.get("CapacityBytes").and_then(Value::as_f64) > Some(0.0) {
                    add(device, storage.id());
                }
            }
        }
    } else {
        for storage in client.storage(system).await? {
            for drive in &storage.drives {
                add(drive.body(), storage.resource.id());
            }
        }
    }
    Ok(json!({
        "Extra": {
            "Manufacturer": system.0.at(&["Manufacturer"]),
            "Model": system.0.at(&["Model"]),
            "UUID": system.0.at(&["UUID"]),
        },
        "Fan": fans, "Temperature": temperatures, "Power": supplies, "Drive": drives,
    }))
}
