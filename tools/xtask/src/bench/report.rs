// SPDX-License-Identifier: GPL-2.0

//! What comes out: rows, a table, JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{ensure, Result};
use serde::Serialize;

use super::compare::Comparison;
use super::cycle::{Peer, Sample};

/// Both peers with one compressor and one number of processors.
pub struct Pair {
    /// The compressor's name.
    pub compressor: String,
    /// Processors.
    pub vcpus: u32,
    /// swsusp's numbers.
    pub swsusp: Option<Sample>,
    /// Ours.
    pub dormouse: Option<Sample>,
}

/// Greatest difference of the two images' pages, in percent, at which the two
/// guests still count as the same.
const MOST_DIFFERENCE: u64 = 4;

/// One line of the table.
struct Row {
    direction: &'static str,
    seconds: [Option<f64>; 2],
    whole: [Option<f64>; 2],
    atomic: [Option<f64>; 2],
}

/// The sample that stands for several: the median of each number, with an
/// even count the lower of the two in the middle. `None` without samples.
pub fn median(samples: &[Sample]) -> Option<Sample> {
    let mut result = *samples.first()?;
    let middle = (samples.len() - 1) / 2;
    let float = |get: fn(&Sample) -> f64| {
        let mut all: Vec<f64> = samples.iter().map(get).collect();
        all.sort_by(f64::total_cmp);
        all[middle]
    };
    let whole = |get: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(get).collect();
        all.sort_unstable();
        all[middle]
    };
    result.pages = whole(|s| s.pages);
    result.plain_pages = whole(|s| s.plain_pages);
    result.stored_bytes = whole(|s| s.stored_bytes);
    result.atomic_seconds = float(|s| s.atomic_seconds);
    result.save_seconds = float(|s| s.save_seconds);
    result.load_seconds = float(|s| s.load_seconds);
    if result.whole_save_seconds.is_some() && result.whole_load_seconds.is_some() {
        result.whole_save_seconds = Some(float(|s| s.whole_save_seconds.unwrap_or(f64::NAN)));
        result.whole_load_seconds = Some(float(|s| s.whole_load_seconds.unwrap_or(f64::NAN)));
    }
    Some(result)
}

impl Pair {
    /// Checks that both peers saved the same.
    ///
    /// # Errors
    ///
    /// When the images differ in size by more than what the peers themselves use.
    pub fn check(&self) -> Result<()> {
        let (Some(swsusp), Some(dormouse)) = (&self.swsusp, &self.dormouse) else {
            return Ok(());
        };
        let most = swsusp.pages * MOST_DIFFERENCE / 100;
        ensure!(
            swsusp.pages.abs_diff(dormouse.pages) <= most,
            "not the same memory: swsusp saved {} pages, Dormouse {}",
            swsusp.pages,
            dormouse.pages
        );
        Ok(())
    }

    fn sides(&self) -> [Option<Sample>; 2] {
        [self.swsusp, self.dormouse]
    }

    /// Bytes of memory that both are said to have saved: those of the peer's
    /// image, so that the ratio of speeds is the ratio of times.
    fn memory(&self) -> f64 {
        let pages = self
            .sides()
            .iter()
            .flatten()
            .next()
            .map_or(0, |sample| sample.pages);
        pages as f64 * 4096.0
    }

    fn rows(&self) -> [Row; 2] {
        let each = |get: fn(Sample) -> Option<f64>| self.sides().map(|side| side.and_then(get));
        [
            Row {
                direction: "save",
                seconds: each(|s| Some(s.save_seconds)),
                whole: each(|s| s.whole_save_seconds),
                atomic: each(|s| Some(s.atomic_seconds)),
            },
            Row {
                direction: "load",
                seconds: each(|s| Some(s.load_seconds)),
                whole: each(|s| s.whole_load_seconds),
                atomic: [None, None],
            },
        ]
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        match self.seconds {
            [Some(swsusp), Some(dormouse)] => Some(swsusp / dormouse),
            _ => None,
        }
    }

    /// MB/s of both.
    fn speeds(&self, pair: &Pair) -> [Option<f64>; 2] {
        let bytes = pair.memory();
        self.seconds
            .map(|time| time.map(|seconds| bytes / seconds / 1e6))
    }
}

/// What `bench.json` holds of one row: speed in 10^6 bytes a second. A side
/// that was not measured is null.
#[derive(Serialize)]
pub struct Speed<'a> {
    /// What Dormouse is compared with.
    pub peer: &'a str,
    /// Compressor of the images.
    pub compressor: &'a str,
    /// Encryptor of Dormouse's images.
    pub encryptor: &'a str,
    /// Where Dormouse's images go.
    pub writer: &'a str,
    /// Processors of the guest.
    pub vcpus: u32,
    /// `save` or `load`.
    pub direction: &'a str,
    /// Speed of the peer.
    pub peer_mb_s: Option<f64>,
    /// Ours.
    pub dormouse_mb_s: Option<f64>,
    /// Ours by the peer's.
    pub ratio: Option<f64>,
    /// Bytes that the peer stored.
    pub peer_stored_bytes: Option<u64>,
    /// Bytes that we stored.
    pub dormouse_stored_bytes: Option<u64>,
    /// Seconds of the peer's atomic section.
    pub peer_atomic_s: Option<f64>,
    /// Seconds of ours.
    pub dormouse_atomic_s: Option<f64>,
}

/// The same when instructions were counted.
#[derive(Serialize)]
struct Count<'a> {
    peer: &'a str,
    compressor: &'a str,
    direction: &'a str,
    peer_instructions: Option<u64>,
    dormouse_instructions: Option<u64>,
    ratio: Option<f64>,
}

/// `value` with so many digits behind the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

impl Pair {
    fn speed<'a>(&'a self, row: &Row) -> Speed<'a> {
        let [peer, dormouse] = row.speeds(self).map(|speed| speed.map(|s| rounded(s, 1)));
        let stored = self
            .sides()
            .map(|side| side.map(|sample| sample.stored_bytes));
        let atomic = row.atomic.map(|time| time.map(|t| rounded(t, 6)));
        Speed {
            peer: Peer::Swsusp.name(),
            compressor: &self.compressor,
            encryptor: "none",
            writer: "swap",
            vcpus: self.vcpus,
            direction: row.direction,
            peer_mb_s: peer,
            dormouse_mb_s: dormouse,
            ratio: row.ratio().map(|ratio| rounded(ratio, 3)),
            peer_stored_bytes: stored[0],
            dormouse_stored_bytes: stored[1],
            peer_atomic_s: atomic[0],
            dormouse_atomic_s: atomic[1],
        }
    }

    fn count<'a>(&'a self, row: &Row) -> Count<'a> {
        let [peer, dormouse] = row
            .seconds
            .map(|time| time.map(|t| (t * 1e9).round() as u64));
        Count {
            peer: Peer::Swsusp.name(),
            compressor: &self.compressor,
            direction: row.direction,
            peer_instructions: peer,
            dormouse_instructions: dormouse,
            ratio: row.ratio().map(|ratio| rounded(ratio, 3)),
        }
    }
}

/// The contents of `bench.json`. With `instructions` times are counts of
/// instructions, which are listed under a name of their own.
///
/// # Errors
///
/// When a number has no place in JSON.
pub fn json(pairs: &[Pair], others: &[Comparison], instructions: bool) -> Result<String> {
    let rows = || {
        pairs
            .iter()
            .flat_map(|pair| pair.rows().map(|row| (pair, row)))
    };
    let value = if instructions {
        let counts: Vec<Count> = rows().map(|(pair, row)| pair.count(&row)).collect();
        serde_json::to_string_pretty(&BTreeMap::from([("instructions", counts)]))
    } else {
        let speeds = rows().map(|(pair, row)| pair.speed(&row));
        let speeds: Vec<Speed> = speeds.chain(others.iter().map(Comparison::speed)).collect();
        serde_json::to_string_pretty(&BTreeMap::from([("rows", speeds)]))
    };
    Ok(value? + "\n")
}

/// The table for people. With `instructions` times are millions of
/// instructions.
pub fn table(pairs: &[Pair], instructions: bool) -> String {
    let time = if instructions {
        "10^6 instr."
    } else {
        "seconds"
    };
    let mut out = format!(
        "{:22}|{:^23}|{time:^17}|{:^17}|{:^17}|{:^17}|{:^17}\n",
        "", "MB/s of memory", "whole, seconds", "memory, MiB", "stored, MiB", "atomic, seconds"
    );
    let _ = write!(
        out,
        "compressor cpus       |{:8}{:9}{:>6}",
        "swsusp", "dormouse", "ratio"
    );
    out.push_str(&"|  swsusp dormouse".repeat(5));
    out.push('\n');
    for pair in pairs {
        for row in pair.rows() {
            line(&mut out, pair, &row, instructions);
        }
    }
    out
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
}

fn cells(out: &mut String, values: [Option<f64>; 2], digits: usize) {
    let [swsusp, dormouse] = values.map(|value| cell(value, digits));
    let _ = write!(out, "|{swsusp:>8} {dormouse:>8}");
}

fn line(out: &mut String, pair: &Pair, row: &Row, instructions: bool) {
    let mib = |get: fn(Sample) -> u64| {
        let size = |sample| get(sample) as f64 / f64::from(1 << 20);
        pair.sides().map(|side| side.map(size))
    };
    let (name, cpus, way) = (&pair.compressor, pair.vcpus, row.direction);
    let _ = write!(out, "{name:<10} {cpus:>4}  {way:<5}");
    if instructions {
        cells(out, [None, None], 0);
    } else {
        cells(out, row.speeds(pair), 1);
    }
    let _ = write!(out, "{:>6}", cell(row.ratio(), 2));
    if instructions {
        cells(out, row.seconds.map(|time| time.map(|t| t * 1e3)), 0);
    } else {
        cells(out, row.seconds, 2);
    }
    cells(out, row.whole, 2);
    cells(out, mib(|sample| sample.pages * 4096), 1);
    cells(out, mib(|sample| sample.stored_bytes), 1);
    cells(out, row.atomic, 3);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn sample(save_seconds: f64) -> Sample {
        Sample {
            pages: 1000,
            plain_pages: 10,
            stored_bytes: 2_000_000,
            atomic_seconds: 0.1,
            save_seconds,
            whole_save_seconds: Some(3.0),
            load_seconds: 1.0,
            whole_load_seconds: Some(4.0),
        }
    }

    #[test]
    fn median_takes_the_middle() {
        assert!(median(&[]).is_none());
        let samples = [sample(3.0), sample(1.0), sample(2.0)];
        assert_eq!(median(&samples).unwrap().save_seconds, 2.0);
    }

    fn pair(swsusp: Option<Sample>, dormouse: Option<Sample>) -> Pair {
        Pair {
            compressor: "lz4".into(),
            vcpus: 2,
            swsusp,
            dormouse,
        }
    }

    fn first(pair: Pair, instructions: bool, list: &str) -> Value {
        let text = json(&[pair], &[], instructions).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value[list][0].take()
    }

    #[test]
    fn a_missing_side_is_null() {
        let row = first(pair(None, Some(sample(2.0))), false, "rows");
        assert_eq!(row["dormouse_mb_s"], 2.0);
        for name in ["peer_mb_s", "ratio", "peer_stored_bytes", "peer_atomic_s"] {
            assert_eq!(row.get(name), Some(&Value::Null), "{name}");
        }
    }

    #[test]
    fn the_ratio_is_that_of_times() {
        let row = first(pair(Some(sample(4.0)), Some(sample(2.0))), false, "rows");
        assert_eq!(row["ratio"], 2.0);
        assert_eq!(row["direction"], "save");
        let count = first(
            pair(Some(sample(4.0)), Some(sample(2.0))),
            true,
            "instructions",
        );
        assert_eq!(count["peer_instructions"], 4_000_000_000_u64);
    }

    #[test]
    fn other_memory_is_refused() {
        let other = |pages| Sample {
            pages,
            ..sample(2.0)
        };
        assert!(pair(Some(sample(4.0)), Some(other(1030))).check().is_ok());
        assert!(pair(Some(sample(4.0)), Some(other(900))).check().is_err());
        assert!(pair(None, Some(other(900))).check().is_ok());
    }
}
