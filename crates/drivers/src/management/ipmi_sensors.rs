//! Sensors over IPMI, in the members and texts that upstream gets from `ipmitool sdr -v`, which receivers of samples know.

use bessemer_ipmi::{Reading, Sensor, THRESHOLDS};
use serde_json::{Map, Value};

/// First words of the kinds of sensors that have a number (table 42-3).
const KINDS: [&str; 14] = [
    "reserved",
    "Temperature",
    "Voltage",
    "Current",
    "Fan",
    "Physical Security",
    "Platform Security",
    "Processor",
    "Power Supply",
    "Power Unit",
    "Cooling Device",
    "Other",
    "Memory",
    "Drive Slot / Bay",
];

/// Units (table 43-15).
const UNITS: [&str; 26] = [
    "unspecified",
    "degrees C",
    "degrees F",
    "degrees K",
    "Volts",
    "Amps",
    "Watts",
    "Joules",
    "Coulombs",
    "VA",
    "Nits",
    "lumen",
    "lux",
    "Candela",
    "kPa",
    "PSI",
    "Newton",
    "CFM",
    "RPM",
    "Hz",
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
];

/// Entities (table 43-13).
const ENTITIES: [&str; 48] = [
    "Unspecified",
    "Other",
    "Unknown",
    "Processor",
    "Disk or Disk Bay",
    "Peripheral Bay",
    "System Management Module",
    "System Board",
    "Memory Module",
    "Processor Module",
    "Power Supply",
    "Add-in Card",
    "Front Panel Board",
    "Back Panel Board",
    "Power System Board",
    "Drive Backplane",
    "System Internal Expansion Board",
    "Other System Board",
    "Processor Board",
    "Power Unit",
    "Power Module",
    "Power Management",
    "Chassis Back Panel Board",
    "System Chassis",
    "Sub-Chassis",
    "Other Chassis Board",
    "Disk Drive Bay",
    "Peripheral Bay",
    "Device Bay",
    "Fan Device",
    "Cooling Unit",
    "Cable/Interconnect",
    "Memory Device",
    "System Management Software",
    "BIOS",
    "Operating System",
    "System Bus",
    "Group",
    "Remote Management Device",
    "External Environment",
    "Battery",
    "Processing Blade",
    "Connectivity Switch",
    "Processor/Memory Module",
    "I/O Module",
    "Processor/IO Module",
    "Management Controller Firmware",
    "IPMI Channel",
];

/// What the state of a threshold is called.
const STATES: [&str; 6] = [
    "Lower Non-Critical",
    "Lower Critical",
    "Lower Non-Recoverable",
    "Upper Non-Critical",
    "Upper Critical",
    "Upper Non-Recoverable",
];

/// Whole numbers without, others with three decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn unit(sensor: &Sensor) -> String {
    let name = UNITS
        .get(usize::from(sensor.unit))
        .copied()
        .unwrap_or("unspecified");
    match (sensor.percent, sensor.unit) {
        (true, 0) => "percent".to_owned(),
        (true, _) => format!("% {name}"),
        (false, _) => name.to_owned(),
    }
}

fn kind(sensor: &Sensor) -> &'static str {
    KINDS
        .get(usize::from(sensor.kind))
        .copied()
        .unwrap_or("Unknown")
}

fn fields(sensor: &Sensor, reading: Reading) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: String| {
        all.insert(name.to_owned(), value.into());
    };
    let entity = ENTITIES
        .get(usize::from(sensor.entity))
        .copied()
        .unwrap_or("Unknown");
    put(
        "Sensor ID",
        format!("{} (0x{:x})", sensor.name, sensor.number),
    );
    put(
        "Entity ID",
        format!("{}.{} ({entity})", sensor.entity, sensor.instance),
    );
    put(
        "Sensor Type (Threshold)",
        format!("{} (0x{:02x})", kind(sensor), sensor.kind),
    );
    let (said, status) = match (reading, sensor.value(reading)) {
        (_, Some(value)) => {
            let said = format!(
                "{} (+/- {}) {}",
                number(value),
                number(sensor.tolerance()),
                unit(sensor)
            );
            let crossed = reading.crossed().and_then(|bit| STATES.get(bit));
            (said, crossed.copied().unwrap_or("ok"))
        }
        (Reading::Disabled, _) => ("Disabled".to_owned(), "Not Available"),
        _ => ("No Reading".to_owned(), "Not Available"),
    };
    put("Sensor Reading", said);
    put("Status", status.to_owned());
    let normal = ["Nominal Reading", "Normal Maximum", "Normal Minimum"];
    for (name, value) in normal.iter().zip(sensor.normal()) {
        if let Some(value) = value {
            put(name, format!("{value:.3}"));
        }
    }
    for (name, value) in THRESHOLDS.iter().zip(sensor.thresholds()) {
        if let Some(value) = value {
            put(name, format!("{value:.3}"));
        }
    }
    let hysteresis = ["Positive Hysteresis", "Negative Hysteresis"];
    for (name, value) in hysteresis.iter().zip(sensor.hysteresis()) {
        let shown = if value == 0.0 {
            UNSPECIFIED.to_owned()
        } else {
            format!("{value:.3}")
        };
        put(name, shown);
    }
    let range = ["Minimum sensor range", "Maximum sensor range"];
    for (name, value) in range.iter().zip(sensor.range()) {
        put(
            name,
            value.map_or_else(|| UNSPECIFIED.to_owned(), |value| format!("{value:.3}")),
        );
    }
    all
}

/// That a record says nothing of it.
const UNSPECIFIED: &str = "Unspecified";

/// Sensor type to sensor to its fields.
pub(super) fn shown(sensors: &[(Sensor, Reading)]) -> Value {
    let mut all = Map::new();
    for (sensor, reading) in sensors {
        let fields = fields(sensor, *reading);
        let word = kind(sensor).split(' ').next().unwrap_or_default();
        let of_kind = all
            .entry(word.to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        if let (Value::Object(of_kind), Some(Value::String(id))) =
            (of_kind, fields.get("Sensor ID"))
        {
            of_kind.insert(id.clone(), Value::Object(fields.clone()));
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Members that say how events are configured, which are not read.
    const LEFT_OUT: [&str; 6] = [
        "Event Message Control",
        "Readable Thresholds",
        "Settable Thresholds",
        "Threshold Read Mask",
        "Event Enable",
        "Assertions Enabled",
    ];

    /// Records and answers of OpenIPMI's simulator, and what upstream makes of what ipmitool says of them.
    #[test]
    fn as_upstream_reads_ipmitool() {
        let golden: Value = serde_json::from_str(include_str!("ipmi_sensors.json")).unwrap();
        let bytes = |value: &Value| -> Vec<u8> {
            let numbers = value.as_array().unwrap().iter();
            numbers
                .map(|n| u8::try_from(n.as_u64().unwrap()).unwrap())
                .collect()
        };
        let sensors: Vec<_> = golden["sensors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    Sensor::from_record(&bytes(&one["record"])).unwrap(),
                    Reading::from_answer(&bytes(&one["answer"])).unwrap(),
                )
            })
            .collect();
        let mut theirs = golden["payload"].clone();
        let mut count = 0;
        for kind in theirs.as_object_mut().unwrap().values_mut() {
            for sensor in kind.as_object_mut().unwrap().values_mut() {
                let sensor = sensor.as_object_mut().unwrap();
                sensor.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
                count += sensor.len();
            }
        }
        assert_eq!(shown(&sensors), theirs);
        assert!(count > 40, "only {count} members");
    }
}
