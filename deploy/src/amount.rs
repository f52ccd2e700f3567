//! Amounts as people write them: memory (`512M`), cores (`1.5`), and shares (`5%`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units of memory, each 1024 times the one before.
const UNITS: &str = "KMGT";

/// Bytes of memory, shown as `512M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(pub u64);

/// A share of the machine's processor time in thousandths of a core, shown as `1.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cores {
    /// Thousandths of a core.
    pub millis: u32,
}

/// A share of something in thousandths, shown as `5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// 1000 is all of it.
    pub per_mille: u16,
}

/// A text that is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a share (write 5%, 0.5% or 0.05)")]
pub struct NotShare(String);

/// A text that is no amount of memory.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an amount of memory (write 512M or 1.5G; K, M, G and T are powers of 1024)")]
pub struct NotMemory(String);

/// A text that is no number of cores.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a number of cores (write 2, 1.5 or 0.25)")]
pub struct NotCores(String);

impl Memory {
    /// So many megabytes of 1024 kilobytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }
}

impl FromStr for Memory {
    type Err = NotMemory;

    fn from_str(text: &str) -> Result<Self, NotMemory> {
        let bad = || NotMemory(text.to_owned());
        let trimmed = text.trim();
        let trimmed = trimmed.strip_suffix("iB").unwrap_or(trimmed);
        let unit = trimmed.chars().last().and_then(|unit| UNITS.find(unit.to_ascii_uppercase()));
        let number = if unit.is_some() { &trimmed[..trimmed.len() - 1] } else { text.trim() };
        let factor = unit.map_or(1, |index| 1024_u64 << (10 * index));
        let number = number.trim_end();
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(bad);
        }
        // Half a byte is nothing; half a gigabyte is something.
        let part: f64 = number.parse().map_err(|_| bad())?;
        let bytes = part * factor as f64;
        let fits = unit.is_some() && (0.0..u64::MAX as f64).contains(&bytes);
        if fits { Ok(Self(bytes as u64)) } else { Err(bad()) }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |index: &usize| self.0 > 0 && self.0.is_multiple_of(1024 << (10 * index));
        match (0..UNITS.len()).rev().find(divides) {
            Some(index) => {
                write!(f, "{}{}", self.0 / (1024 << (10 * index)), &UNITS[index..=index])
            }
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Cores {
    type Err = NotCores;

    fn from_str(text: &str) -> Result<Self, NotCores> {
        let bad = || NotCores(text.to_owned());
        let cores: f64 = text.trim().parse().map_err(|_| bad())?;
        let millis = (cores * 1000.0).round();
        match (0.0..=f64::from(u32::MAX)).contains(&millis) {
            true => Ok(Self { millis: millis as u32 }),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.millis) / 1000.0)
    }
}

impl FromStr for Share {
    type Err = NotShare;

    fn from_str(text: &str) -> Result<Self, NotShare> {
        let bad = || NotShare(text.to_owned());
        let (number, all) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), 100.0),
            None => (text.trim(), 1.0),
        };
        let part: f64 = number.parse().map_err(|_| bad())?;
        let per_mille = (part / all * 1000.0).round();
        match (0.0..=1000.0).contains(&per_mille) {
            true => Ok(Self { per_mille: per_mille as u16 }),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.per_mille) / 10.0)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = number_or_text(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = number_or_text(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Cores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.millis.is_multiple_of(1000) {
            true => serializer.serialize_u32(self.millis / 1000),
            false => serializer.serialize_f64(f64::from(self.millis) / 1000.0),
        }
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = number_or_text(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

pub(crate) fn number_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(serde_json::Number),
        Text(String),
    }
    Ok(match Raw::deserialize(deserializer)? {
        Raw::Number(number) => number.to_string(),
        Raw::Text(text) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_people_write_it() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("512 MiB", 512 << 20),
            ("1.5G", 1536 << 20),
            ("64K", 64 << 10),
            ("2T", 2 << 40),
            ("1048576", 1 << 20),
        ] {
            assert_eq!(text.parse::<Memory>().unwrap(), Memory(bytes), "{text}");
        }
        for bad in ["", "M", "512MB", "-1M", "1.5", "many", "99999999T", "NaNG", "1 2M"] {
            assert!(bad.parse::<Memory>().is_err(), "{bad:?}");
        }
        for (bytes, text) in [(0, "0"), (1000, "1000"), (1 << 20, "1M"), (1536 << 20, "1536M")] {
            assert_eq!(Memory(bytes).to_string(), text);
        }
        assert_eq!(serde_json::from_str::<Memory>("\"1G\"").unwrap(), Memory(1 << 30));
        assert_eq!(serde_json::to_string(&Memory::from_mib(3)).unwrap(), "\"3M\"");
    }

    #[test]
    fn a_share_is_a_percentage_or_a_part_of_one() {
        for (text, per_mille) in [
            ("\"5%\"", 50),
            ("\"0.5 %\"", 5),
            ("0.05", 50),
            ("1", 1000),
            ("0", 0),
            ("\"100%\"", 1000),
        ] {
            assert_eq!(serde_json::from_str::<Share>(text).unwrap().per_mille, per_mille, "{text}");
        }
        for bad in ["5", "-0.1", "\"101%\"", "\"half\"", "\"NaN%\""] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Share { per_mille: 5 }).unwrap(), "\"0.5%\"");
    }

    #[test]
    fn cores_are_a_number() {
        for (text, millis) in [("2", 2000), ("1.5", 1500), ("\"0.25\"", 250), ("0.0004", 0)] {
            assert_eq!(serde_json::from_str::<Cores>(text).unwrap().millis, millis, "{text}");
        }
        for bad in ["-1", "\"two\"", "1e30", "\"NaN\"", "true"] {
            assert!(serde_json::from_str::<Cores>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Cores { millis: 2000 }).unwrap(), "2");
        assert_eq!(serde_json::to_string(&Cores { millis: 1500 }).unwrap(), "1.5");
        assert_eq!(Cores { millis: 1500 }.to_string(), "1.5");
    }
}
