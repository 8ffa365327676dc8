//! Sensors: the records that describe them (section 43.1), how a reading becomes a number (36.3), and what is read of them (35.14).
//!
//! Only sensors with an analogue reading and thresholds: those of full records (type 1) that are linear, or linearised by one of
//! the functions that the specification knows.

use crate::message::BMC;
use crate::wire::{Malformed, Reader};

/// Command numbers of the storage network function.
pub(crate) mod storage {
    pub const RESERVE: u8 = 0x22;
    pub const GET_RECORD: u8 = 0x23;
}

/// Network functions of the commands here.
pub(crate) const NETFN_SENSOR: u8 = 0x04;
pub(crate) const NETFN_STORAGE: u8 = 0x0a;
/// Get Sensor Reading.
pub(crate) const GET_READING: u8 = 0x2d;

/// Header of every record: id, version, type, length of the rest.
pub(crate) const HEADER: u8 = 5;
const FULL: u8 = 0x01;
/// Event and reading type of sensors with thresholds.
const THRESHOLD: u8 = 0x01;

/// Thresholds, in the order of the bits that say which can be read.
pub const THRESHOLDS: [&str; 6] = [
    "Lower non-critical",
    "Lower critical",
    "Lower non-recoverable",
    "Upper non-critical",
    "Upper critical",
    "Upper non-recoverable",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

/// A sensor as its record describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    pub number: u8,
    pub name: String,
    pub entity: u8,
    pub instance: u8,
    /// Table 42-3; 1 is temperature.
    pub kind: u8,
    /// In percent of the unit.
    pub percent: bool,
    /// Table 43-15; 1 is degrees Celsius.
    pub unit: u8,
    format: Format,
    linearization: u8,
    m: i32,
    tolerance: u8,
    b: i32,
    r_exponent: i32,
    b_exponent: i32,
    /// Nominal reading, normal maximum, normal minimum.
    normal: [Option<u8>; 3],
    thresholds: [Option<u8>; 6],
    hysteresis: [u8; 2],
    range: [u8; 2],
}

/// What a sensor said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A raw value, and the thresholds that are crossed, one bit each, in the order of [`THRESHOLDS`].
    Value { raw: u8, crossed: u8 },
    /// It is not read: scanning is off.
    Disabled,
    /// There is none at the moment.
    Unavailable,
}

/// The low `bits` of a number as two's complement.
fn signed(value: u32, bits: u32) -> i32 {
    let value = value & ((1 << bits) - 1);
    let sign = 1 << (bits - 1);
    // at most sixteen bits
    i32::try_from(value).unwrap_or(0) - if value & sign == 0 { 0 } else { 1 << bits }
}

impl Sensor {
    /// From a whole record; `None` for records of other kinds, sensors without a number or of other controllers than the BMC,
    /// and what is malformed.
    #[must_use]
    pub fn from_record(record: &[u8]) -> Option<Self> {
        Self::parse(record).ok().flatten()
    }

    pub(crate) fn parse(record: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(record, "sensor record too short");
        let [_, _, _, kind_of_record, _] = reader.array()?;
        if kind_of_record != FULL {
            return Ok(None);
        }
        let [
            owner,
            lun,
            number,
            entity,
            instance,
            _init,
            _capabilities,
            kind,
            event,
        ] = reader.array()?;
        reader.take(4)?;
        let [readable, _settable, units, unit, _modifier, linearization] = reader.array()?;
        let [m, m_tolerance, b, b_accuracy, _accuracy, exponents] = reader.array()?;
        let [flags, nominal, maximum, minimum, largest, smallest] = reader.array()?;
        // from the uppermost down, as the record has them
        let [unr, uc, unc, lnr, lc, lnc] = reader.array()?;
        let [above, below, _, _, _] = reader.array()?;
        let [name_type] = reader.array()?;
        let name = reader.take(usize::from(name_type & 0x1f))?;
        // A satellite controller's sensor has a number of that controller: asked of the BMC, it would be another sensor.
        if owner != BMC || lun & 3 != 0 {
            return Ok(None);
        }
        if event != THRESHOLD {
            return Ok(None);
        }
        let format = match units >> 6 {
            0 => Format::Unsigned,
            1 => Format::OnesComplement,
            2 => Format::TwosComplement,
            _ => return Ok(None),
        };
        if linearization & 0x7f > 0x0b {
            return Ok(None);
        }
        let present = |bit: u8, value: u8| (flags & bit != 0).then_some(value);
        let can_be_read = |bit: usize, value: u8| (readable & (1 << bit) != 0).then_some(value);
        Ok(Some(Self {
            number,
            name: text(name_type >> 6, name),
            entity,
            instance: instance & 0x7f,
            kind,
            percent: units & 0x01 != 0,
            unit,
            format,
            linearization: linearization & 0x7f,
            m: signed(u32::from(m) | u32::from(m_tolerance & 0xc0) << 2, 10),
            tolerance: m_tolerance & 0x3f,
            b: signed(u32::from(b) | u32::from(b_accuracy & 0xc0) << 2, 10),
            r_exponent: signed(u32::from(exponents >> 4), 4),
            b_exponent: signed(u32::from(exponents & 0x0f), 4),
            normal: [
                present(0x01, nominal),
                present(0x02, maximum),
                present(0x04, minimum),
            ],
            thresholds: [
                can_be_read(0, lnc),
                can_be_read(1, lc),
                can_be_read(2, lnr),
                can_be_read(3, unc),
                can_be_read(4, uc),
                can_be_read(5, unr),
            ],
            hysteresis: [above, below],
            range: [smallest, largest],
        }))
    }

    /// A raw reading as a number of [`Self::unit`].
    fn converted(&self, raw: u8) -> f64 {
        let x = match self.format {
            Format::Unsigned => f64::from(raw),
            Format::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Format::OnesComplement => f64::from(raw),
            Format::TwosComplement => f64::from(raw.cast_signed()),
        };
        let y = (f64::from(self.m) * x + f64::from(self.b) * 10f64.powi(self.b_exponent))
            * 10f64.powi(self.r_exponent);
        self.linear(y)
    }

    fn linear(&self, y: f64) -> f64 {
        match self.linearization {
            1 => y.ln(),
            2 => y.log10(),
            3 => y.log2(),
            4 => y.exp(),
            5 => 10f64.powf(y),
            6 => y.exp2(),
            7 => y.recip(),
            8 => y.powi(2),
            9 => y.powi(3),
            0x0a => y.sqrt(),
            0x0b => y.cbrt(),
            _ => y,
        }
    }

    #[must_use]
    pub fn value(&self, reading: Reading) -> Option<f64> {
        match reading {
            Reading::Value { raw, .. } => Some(self.converted(raw)),
            Reading::Disabled | Reading::Unavailable => None,
        }
    }

    /// By how much the value may be wrong.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        let half = f64::from(self.m) * f64::from(self.tolerance) / 2.0;
        self.linear(half * 10f64.powi(self.r_exponent))
    }

    /// Nominal reading, normal maximum and normal minimum, where the record has them.
    #[must_use]
    pub fn normal(&self) -> [Option<f64>; 3] {
        self.normal.map(|raw| raw.map(|raw| self.converted(raw)))
    }

    /// By how much a reading must fall below a threshold that it exceeded, and the other way round, before it counts as gone; 0 when
    /// the sensor has none.
    #[must_use]
    pub fn hysteresis(&self) -> [f64; 2] {
        self.hysteresis.map(|raw| {
            let by = f64::from(self.m) * f64::from(raw) * 10f64.powi(self.r_exponent);
            if raw == 0 || raw == 0xff { 0.0 } else { by }
        })
    }

    /// The smallest and the largest reading; `None` where the record says nothing: the whole range of its format.
    #[must_use]
    pub fn range(&self) -> [Option<f64>; 2] {
        let [least, most] = match self.format {
            Format::Unsigned => [0x00, 0xff],
            Format::OnesComplement => [0x80, 0x7f],
            Format::TwosComplement => [0x80, 0x7f],
        };
        let [smallest, largest] = self.range;
        [(smallest, least), (largest, most)]
            .map(|(raw, end)| (raw != end).then(|| self.converted(raw)))
    }

    /// In the order of [`THRESHOLDS`], those that can be read.
    #[must_use]
    pub fn thresholds(&self) -> [Option<f64>; 6] {
        self.thresholds
            .map(|raw| raw.map(|raw| self.converted(raw)))
    }
}

impl Reading {
    /// Of the answer to Get Sensor Reading; `None` for what is none.
    #[must_use]
    pub fn from_answer(data: &[u8]) -> Option<Self> {
        Self::parse(data).ok()
    }

    pub(crate) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data, "sensor reading too short");
        let [raw, flags] = reader.array()?;
        let crossed = reader.u8().unwrap_or(0) & 0x3f;
        Ok(match flags {
            off if off & 0x40 == 0 => Self::Disabled,
            none if none & 0x20 != 0 => Self::Unavailable,
            _ => Self::Value { raw, crossed },
        })
    }

    /// Number of the gravest threshold that is crossed, in [`THRESHOLDS`].
    #[must_use]
    pub fn crossed(self) -> Option<usize> {
        let Self::Value { crossed, .. } = self else {
            return None;
        };
        [2, 5, 1, 4, 0, 3]
            .into_iter()
            .find(|bit| crossed & (1 << bit) != 0)
    }
}

/// A name in one of the record's codings (section 43.15).
fn text(coding: u8, bytes: &[u8]) -> String {
    let text: String = match coding {
        1 => bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 0x0f])
            .map(|digit| char::from(b"0123456789 -.:,_"[usize::from(digit)]))
            .collect(),
        2 => bytes
            .chunks(3)
            .flat_map(|chunk| {
                let packed = chunk
                    .iter()
                    .rev()
                    .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
                (0..chunk.len() * 8 / 6).map(move |n| (packed >> (6 * n)) & 0x3f)
            })
            .filter_map(|code| char::from_u32(code + 0x20))
            .collect(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    text.trim_end_matches(['\0', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use super::*;

    /// A temperature in two's complement, degrees Celsius, as OpenIPMI's compiler of records writes it.
    fn record() -> Vec<u8> {
        let mut record = vec![1, 0, 0x51, 1, 0];
        record.extend([0x20, 0, 7, 3, 0x81, 0x7f, 0x68, 1, 1]);
        record.extend([0, 0, 0, 0, 0x12, 0, 0x80, 1, 0, 0]);
        record.extend([2, 0x02, 0xf6, 0xc0, 0, 0xf1]);
        record.extend([0x03, 40, 50, 0, 0, 0]);
        record.extend([100, 90, 80, 0, 0xf6, 0]);
        record.extend([0, 0, 0, 0, 0, 0xc4]);
        record.extend(*b"Temp");
        record
    }

    #[test]
    fn numbers_of_a_record() {
        let sensor = Sensor::parse(&record()).unwrap().unwrap();
        assert_eq!(
            (sensor.name.as_str(), sensor.number, sensor.instance),
            ("Temp", 7, 1)
        );
        // (2x - 10 * 10) / 10
        let reading = Reading::parse(&[60, 0xc0, 0x10]).unwrap();
        assert_eq!(sensor.value(reading), Some(2.0));
        assert_eq!(sensor.tolerance(), 0.2);
        assert_eq!(sensor.normal(), [Some(-2.0), Some(0.0), None]);
        assert_eq!(
            sensor.thresholds(),
            [None, Some(-12.0), None, None, Some(8.0), None]
        );
        assert_eq!(
            reading.crossed().map(|n| THRESHOLDS[n]),
            Some("Upper critical")
        );
        assert_eq!(Reading::parse(&[60, 0xe0, 0]), Ok(Reading::Unavailable));
        assert_eq!(Reading::parse(&[60, 0x00, 0]), Ok(Reading::Disabled));
        assert!(Reading::parse(&[60]).is_err());
    }

    #[test]
    fn sensors_of_other_controllers_are_left_out() {
        for (at, value) in [(5, 0x2c), (6, 0x01)] {
            let mut record = record();
            record[at] = value;
            assert_eq!(Sensor::parse(&record).unwrap(), None);
        }
    }

    #[test]
    fn codings_of_names() {
        assert_eq!(text(3, b"Fan 1\0"), "Fan 1");
        assert_eq!(text(1, &[0x12, 0xcb]), "12.-");
        // the specification's example: "IPMI"
        assert_eq!(text(2, &[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(text(2, &[0x29]), "I");
    }

    #[test]
    fn whatever_is_cut_off() {
        let record = record();
        for length in 0..record.len() {
            assert!(Sensor::parse(&record[..length]).is_err());
        }
    }
}
