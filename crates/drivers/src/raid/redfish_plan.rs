//! Which drives make which volumes. Pure: a wanted configuration and the drives that there are, to volumes with drives.

use std::collections::HashMap;

use bessemer_model::Fault;
use serde_json::Value;

const GIB: u64 = 1_073_741_824;
/// Drives hold whole stripes of this many bytes (64 MiB), as upstream counts.
const STRIPE: u64 = 64 * 1024 * 1024;

/// A level that can be made.
struct Level {
    name: &'static str,
    raid_type: &'static str,
    /// Of a single span.
    min: usize,
    max: usize,
    /// Drives of a span that hold no data.
    overhead: usize,
    spans: Spans,
}

enum Spans {
    One,
    Two,
    /// Pairs.
    Half,
}

#[rustfmt::skip]
const LEVELS: &[Level] = &[
    Level { name: "0", raid_type: "RAID0", min: 1, max: 1000, overhead: 0, spans: Spans::One },
    Level { name: "1", raid_type: "RAID1", min: 2, max: 2, overhead: 1, spans: Spans::One },
    Level { name: "5", raid_type: "RAID5", min: 3, max: 1000, overhead: 1, spans: Spans::One },
    Level { name: "6", raid_type: "RAID6", min: 4, max: 1000, overhead: 2, spans: Spans::One },
    Level { name: "1+0", raid_type: "RAID10", min: 2, max: 2, overhead: 1, spans: Spans::Half },
    Level { name: "5+0", raid_type: "RAID50", min: 3, max: 1000, overhead: 1, spans: Spans::Two },
    Level { name: "6+0", raid_type: "RAID60", min: 4, max: 1000, overhead: 2, spans: Spans::Two },
];

/// The level's name of a `RAIDType`.
#[must_use]
pub fn level_of(raid_type: &str) -> Option<&'static str> {
    LEVELS
        .iter()
        .find(|l| l.raid_type == raid_type)
        .map(|l| l.name)
}

impl Level {
    fn spans(&self, drives: usize) -> usize {
        match self.spans {
            Spans::One => 1,
            Spans::Two => 2,
            Spans::Half => drives / 2,
        }
    }

    /// Whether so many drives make this level.
    fn takes(&self, drives: usize) -> bool {
        let spans = self.spans(drives);
        let enough = match self.spans {
            Spans::One => spans == 1,
            Spans::Two | Spans::Half => spans >= 2,
        };
        enough
            && drives.is_multiple_of(spans)
            && drives / spans >= self.min
            && drives / spans <= self.max
    }

    /// Drives that hold data.
    fn data(&self, drives: usize) -> u64 {
        drives.saturating_sub(self.overhead * self.spans(drives)) as u64
    }
}

/// A drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    pub id: String,
    /// Of the storage that it belongs to.
    pub storage: String,
    pub bytes: u64,
    /// `HDD`, `SSD`.
    pub media: Option<String>,
    /// `SAS`, `SATA`, ...
    pub protocol: Option<String>,
}

/// A volume to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub storage: String,
    pub raid_type: &'static str,
    /// `None`: all that there is.
    pub bytes: Option<u64>,
    pub drives: Vec<String>,
    pub name: Option<String>,
    pub shares: bool,
}

struct Wanted<'a> {
    disk: &'a Value,
    level: &'static Level,
    /// `None`: MAX.
    bytes: Option<u64>,
    drives: Option<Vec<String>>,
    shares: bool,
}

impl<'a> Wanted<'a> {
    fn read(disk: &'a Value) -> Result<Self, Fault> {
        let name = disk
            .get("raid_level")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let level = LEVELS.iter().find(|l| l.name == name).ok_or_else(|| {
            Fault::invalid(format!(
                "RAID level {name} is not supported by the driver. Supported RAID levels: {}",
                LEVELS.iter().map(|l| l.name).collect::<Vec<_>>().join(", ")
            ))
        })?;
        let drives = match disk.get("physical_disks").and_then(Value::as_array) {
            None => None,
            Some(list) => Some(
                list.iter()
                    .map(|d| {
                        d.as_str().map(str::to_owned).ok_or_else(|| {
                            Fault::invalid(
                                "physical_disks by hints cannot be chosen over Redfish; name the drives by their ids.",
                            )
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
        let bytes = match disk.get("size_gb") {
            Some(Value::String(_)) if drives.is_none() => {
                return Err(Fault::invalid(format!(
                    "'physical_disks' is missing from logical_disk while 'size_gb'='MAX' was requested: {disk}"
                )));
            }
            Some(Value::String(_)) => None,
            other => Some(
                other
                    .and_then(Value::as_u64)
                    .unwrap_or(0)
                    .saturating_mul(GIB),
            ),
        };
        Ok(Self {
            disk,
            level,
            bytes,
            drives,
            shares: disk.get("share_physical_disks") == Some(&Value::Bool(true)),
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.disk.get(key).and_then(Value::as_str)
    }
}

type Free = HashMap<String, u64>;

/// Takes the space of a volume from its drives.
fn take(wanted: &Wanted<'_>, drives: &[&Drive], free: &mut Free) -> Result<Planned, String> {
    let Some(first) = drives.first() else {
        return Err("none of its drives is there".into());
    };
    if let Some(named) = &wanted.drives
        && drives.len() != named.len()
    {
        let missing: Vec<&str> = named
            .iter()
            .filter(|n| !drives.iter().any(|d| d.id == **n))
            .map(String::as_str)
            .collect();
        return Err(format!("there is no drive {}", missing.join(", ")));
    }
    if drives.iter().any(|d| d.storage != first.storage) {
        return Err("its drives belong to different controllers".into());
    }
    if !wanted.level.takes(drives.len()) {
        return Err(format!(
            "{} drives do not make RAID level {}",
            drives.len(),
            wanted.level.name
        ));
    }
    let data = wanted.level.data(drives.len()).max(1);
    let left = |d: &Drive| free.get(&d.id).copied().unwrap_or(0);
    let smallest = drives.iter().map(|d| left(d)).min().unwrap_or(0);
    let largest = smallest / STRIPE * STRIPE * data;
    let bytes = match wanted.bytes {
        None if largest == 0 => return Err("there is no space left on its drives".into()),
        None => largest,
        Some(bytes) if bytes > largest => {
            return Err(format!(
                "{bytes} bytes do not fit on its drives, which have {largest}"
            ));
        }
        Some(bytes) => bytes,
    };
    let each = bytes.div_ceil(STRIPE).div_ceil(data) * STRIPE;
    for drive in drives {
        if let Some(space) = free.get_mut(&drive.id) {
            *space = space.saturating_sub(each);
        }
    }
    Ok(Planned {
        storage: wanted
            .text("controller")
            .unwrap_or(&first.storage)
            .to_owned(),
        raid_type: wanted.level.raid_type,
        bytes: wanted.bytes,
        drives: drives.iter().map(|d| d.id.clone()).collect(),
        name: wanted.text("volume_name").map(str::to_owned),
        shares: wanted.shares,
    })
}

/// Drives of one sort: a volume is made of drives that are alike.
fn sorts(drives: &[Drive]) -> Vec<Vec<&Drive>> {
    let mut found: Vec<Vec<&Drive>> = Vec::new();
    for drive in drives {
        let alike = |d: &&Drive| {
            (&d.media, &d.protocol, d.bytes, &d.storage)
                == (&drive.media, &drive.protocol, drive.bytes, &drive.storage)
        };
        match found
            .iter_mut()
            .find(|sort| sort.first().is_some_and(alike))
        {
            Some(sort) => sort.push(drive),
            None => found.push(vec![drive]),
        }
    }
    found
}

/// Chooses drives for the volumes that name none, the first of them first; tries the next choice where the rest does not fit.
fn choose(
    rest: &[Wanted<'_>],
    sorts: &[Vec<&Drive>],
    taken: &[String],
    free: &Free,
    budget: &mut u32,
) -> Option<(Vec<Planned>, Free)> {
    let Some((wanted, rest)) = rest.split_first() else {
        return Some((Vec::new(), free.clone()));
    };
    let is = |theirs: &Option<String>, want: Option<&str>| {
        want.is_none_or(|w| theirs.as_deref().is_some_and(|t| t.eq_ignore_ascii_case(w)))
    };
    for sort in sorts {
        let mut usable: Vec<&Drive> = sort
            .iter()
            .copied()
            .filter(|d| {
                let left = free.get(&d.id).copied().unwrap_or(0);
                let untouched = left == d.bytes && left > 0;
                !taken.contains(&d.id)
                    && if wanted.shares { left > 0 } else { untouched }
                    && is(&d.media, wanted.text("disk_type"))
                    && is(&d.protocol, wanted.text("interface_type"))
                    && wanted.text("controller").is_none_or(|c| c == d.storage)
            })
            .collect();
        usable.sort_by_key(|d| free.get(&d.id).copied().unwrap_or(0));
        let number = wanted
            .disk
            .get("number_of_physical_disks")
            .and_then(Value::as_u64);
        for count in 1..=usable.len() {
            if number.is_some_and(|n| n != count as u64) || !wanted.level.takes(count) {
                continue;
            }
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            let mut after = free.clone();
            let Some(chosen) = usable.get(..count) else {
                continue;
            };
            let Ok(planned) = take(wanted, chosen, &mut after) else {
                continue;
            };
            if let Some((mut others, free)) = choose(rest, sorts, taken, &after, budget) {
                others.insert(0, planned);
                return Some((others, free));
            }
        }
    }
    None
}

/// The volumes of a checked configuration's `logical_disks`, in the order in which they are made: those with named drives and a
/// size, those without drives, those that take what is left.
///
/// # Errors
/// A level that there is not; drives that do not fit.
pub fn plan(disks: &[&Value], drives: &[Drive]) -> Result<Vec<Planned>, Fault> {
    let wanted: Vec<Wanted<'_>> = disks
        .iter()
        .map(|d| Wanted::read(d))
        .collect::<Result<_, _>>()?;
    let mut free: Free = drives.iter().map(|d| (d.id.clone(), d.bytes)).collect();
    let mut planned = Vec::new();
    let failed = |w: &Wanted<'_>, why: String| {
        Fault::invalid(format!("No volume can be made of {}: {why}.", w.disk))
    };
    let named = |w: &Wanted<'_>, free: &mut Free| {
        let ids = w.drives.as_deref().unwrap_or_default();
        let mine: Vec<&Drive> = drives.iter().filter(|d| ids.contains(&d.id)).collect();
        take(w, &mine, free).map_err(|why| failed(w, why))
    };
    for w in wanted
        .iter()
        .filter(|w| w.drives.is_some() && w.bytes.is_some())
    {
        planned.push(named(w, &mut free)?);
    }
    // Drives that are named are not for others, unless they are shared.
    let taken: Vec<String> = wanted
        .iter()
        .filter(|w| !w.shares)
        .filter_map(|w| w.drives.clone())
        .flatten()
        .collect();
    let (open, last): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .filter(|w| w.drives.is_none() || w.bytes.is_none())
        .partition(|w| w.drives.is_none());
    if !open.is_empty() {
        let (chosen, after) = choose(&open, &sorts(drives), &taken, &free, &mut 20_000)
            .ok_or_else(|| {
                Fault::invalid("failed to find matching physical disks for all logical disks")
            })?;
        planned.extend(chosen);
        free = after;
    }
    for w in &last {
        planned.push(named(w, &mut free)?);
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn drives(n: usize) -> Vec<Drive> {
        (0..n)
            .map(|i| Drive {
                id: format!("D{i}"),
                storage: "S".into(),
                bytes: 100 * GIB,
                media: Some(if i < 2 { "SSD" } else { "HDD" }.into()),
                protocol: Some("SAS".into()),
            })
            .collect()
    }

    fn check(disks: Value, count: usize, expected: Result<&[(&str, &[&str])], &str>) {
        let disks: Vec<&Value> = disks.as_array().unwrap().iter().collect();
        match (plan(&disks, &drives(count)), expected) {
            (Ok(planned), Ok(want)) => {
                let shown: Vec<(&str, Vec<&str>)> = planned
                    .iter()
                    .map(|p| (p.raid_type, p.drives.iter().map(String::as_str).collect()))
                    .collect();
                let want: Vec<(&str, Vec<&str>)> =
                    want.iter().map(|(t, d)| (*t, d.to_vec())).collect();
                assert_eq!(shown, want);
            }
            (Err(fault), Err(part)) => assert!(fault.text.contains(part), "{}", fault.text),
            (found, want) => panic!("{found:?} instead of {want:?}"),
        }
    }

    #[test]
    fn drives_are_chosen() {
        check(
            json!([{"raid_level": "1", "size_gb": 50}]),
            6,
            Ok(&[("RAID1", &["D0", "D1"])]),
        );
        check(
            json!([{"raid_level": "1", "size_gb": 50, "disk_type": "ssd"}, {"raid_level": "5", "size_gb": 150, "disk_type": "hdd"}]),
            6,
            Ok(&[("RAID1", &["D0", "D1"]), ("RAID5", &["D2", "D3", "D4"])]),
        );
        // as few as hold it
        check(
            json!([{"raid_level": "0", "size_gb": 250, "disk_type": "hdd"}]),
            6,
            Ok(&[("RAID0", &["D2", "D3", "D4"])]),
        );
        check(
            json!([{"raid_level": "1+0", "size_gb": 100, "disk_type": "hdd"}]),
            6,
            Ok(&[("RAID10", &["D2", "D3", "D4", "D5"])]),
        );
        check(
            json!([{"raid_level": "5+0", "size_gb": 10, "disk_type": "hdd"}]),
            8,
            Ok(&[("RAID50", &["D2", "D3", "D4", "D5", "D6", "D7"])]),
        );
        check(
            json!([{"raid_level": "6", "size_gb": 10, "number_of_physical_disks": 4}]),
            6,
            Ok(&[("RAID6", &["D2", "D3", "D4", "D5"])]),
        );
        // two volumes on the same drives
        check(
            json!([{"raid_level": "1", "size_gb": 40, "disk_type": "ssd", "share_physical_disks": true},
                   {"raid_level": "0", "size_gb": "MAX", "physical_disks": ["D0", "D1"], "controller": "S", "share_physical_disks": true}]),
            2,
            Ok(&[("RAID1", &["D0", "D1"]), ("RAID0", &["D0", "D1"])]),
        );
        check(
            json!([{"raid_level": "1", "size_gb": 150}]),
            6,
            Err("failed to find matching physical disks"),
        );
        check(
            json!([{"raid_level": "2", "size_gb": 1}]),
            6,
            Err("RAID level 2 is not supported"),
        );
        check(
            json!([{"raid_level": "1", "size_gb": "MAX"}]),
            6,
            Err("'physical_disks' is missing"),
        );
        check(
            json!([{"raid_level": "1", "size_gb": 1, "physical_disks": ["D0", "X"], "controller": "S"}]),
            6,
            Err("there is no drive X"),
        );
        check(
            json!([{"raid_level": "5", "size_gb": 1, "physical_disks": ["D0", "D1"], "controller": "S"}]),
            6,
            Err("2 drives do not make RAID level 5"),
        );
        check(
            json!([{"raid_level": "0", "size_gb": 101, "physical_disks": ["D0"], "controller": "S"}]),
            6,
            Err("do not fit"),
        );
        check(
            json!([{"raid_level": "1", "size_gb": 1, "physical_disks": [{"size": "> 1"}, {}], "controller": "S"}]),
            6,
            Err("by hints"),
        );
    }
}
