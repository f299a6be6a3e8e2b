// SPDX-License-Identifier: GPL-2.0

//! What comes out: rows, a table, JSON.

use std::fmt::Write;

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::cycle::Sample;

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
    result.whole_save_seconds = float(|s| s.whole_save_seconds);
    result.load_seconds = float(|s| s.load_seconds);
    if result.whole_load_seconds.is_some() {
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
                whole: each(|s| Some(s.whole_save_seconds)),
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
}

fn rounded(value: Option<f64>, digits: i32) -> Value {
    let unit = 10f64.powi(digits);
    value.map_or(Value::Null, |value| json!((value * unit).round() / unit))
}

/// The rows as the issue tracker's `bench.json` has them. With `instructions`
/// times are counts of instructions, in a list of their own.
pub fn json(pairs: &[Pair], instructions: bool) -> Value {
    let mut rows = Vec::new();
    let mut counts = Vec::new();
    for pair in pairs {
        for row in pair.rows() {
            let mb_s = |seconds: Option<f64>| seconds.map(|s| pair.memory() / s / 1e6);
            let [peer, dormouse] = row.seconds;
            let stored = pair
                .sides()
                .map(|side| side.map(|sample| sample.stored_bytes));
            let count = |seconds: Option<f64>| seconds.map(|s| (s * 1e9).round() as u64);
            if instructions {
                counts.push(json!({
                    "peer": "swsusp",
                    "compressor": pair.compressor,
                    "direction": row.direction,
                    "peer_instructions": count(peer),
                    "dormouse_instructions": count(dormouse),
                    "ratio": rounded(row.ratio(), 3),
                }));
                continue;
            }
            rows.push(json!({
                "peer": "swsusp",
                "compressor": pair.compressor,
                "vcpus": pair.vcpus,
                "direction": row.direction,
                "peer_mb_s": rounded(mb_s(peer), 1),
                "dormouse_mb_s": rounded(mb_s(dormouse), 1),
                "ratio": rounded(row.ratio(), 3),
                "peer_stored_bytes": stored[0],
                "dormouse_stored_bytes": stored[1],
                "peer_atomic_s": rounded(row.atomic[0], 6),
                "dormouse_atomic_s": rounded(row.atomic[1], 6),
            }));
        }
    }
    match instructions {
        true => json!({ "instructions": counts }),
        false => json!({ "rows": rows }),
    }
}

/// The table for people. With `instructions` times are shown as millions of
/// instructions.
pub fn table(pairs: &[Pair], instructions: bool) -> String {
    let unit = if instructions { "Minstr" } else { "seconds" };
    let mut out = format!(
        "{:<22}|{:^22}|{:^18}|{:^18}|{:^18}|{:^16}|{:^18}\n{:<22}",
        "",
        "MB/s of memory",
        unit,
        "whole, s",
        "memory, MiB",
        "stored, MiB",
        "atomic, s",
        "compressor cpus way"
    );
    for (width, ratio) in [
        (7, true),
        (8, false),
        (8, false),
        (8, false),
        (7, false),
        (8, false),
    ] {
        let _ = write!(
            out,
            "|{:>width$} {:>width$} ",
            "swsusp",
            "Dormouse",
            width = width.max(8)
        );
        if ratio {
            let _ = write!(out, "{:>5}", "ratio");
        }
    }
    out.push('\n');
    for pair in pairs {
        for row in pair.rows() {
            line(&mut out, pair, &row, instructions);
        }
    }
    out
}

fn line(out: &mut String, pair: &Pair, row: &Row, instructions: bool) {
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
    };
    let two = |out: &mut String, values: [Option<f64>; 2], digits: usize| {
        let [a, b] = values.map(|value| cell(value, digits));
        let _ = write!(out, "|{a:>8} {b:>8} ");
    };
    let mib = |get: fn(Sample) -> u64| {
        pair.sides()
            .map(|side| side.map(|sample| get(sample) as f64 / f64::from(1 << 20)))
    };
    let _ = write!(
        out,
        "{:<10} {:>4} {:<6}",
        pair.compressor, pair.vcpus, row.direction
    );
    let speeds = row
        .seconds
        .map(|time| time.map(|time| pair.memory() / time / 1e6));
    two(out, if instructions { [None, None] } else { speeds }, 1);
    let _ = write!(out, "{:>5}", cell(row.ratio(), 2));
    match instructions {
        true => two(out, row.seconds.map(|time| time.map(|time| time * 1e3)), 0),
        false => two(out, row.seconds, 2),
    }
    two(
        out,
        if instructions {
            [None, None]
        } else {
            row.whole
        },
        2,
    );
    two(out, mib(|sample| sample.pages * 4096), 1);
    two(out, mib(|sample| sample.stored_bytes), 1);
    two(out, row.atomic, 3);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(save_seconds: f64) -> Sample {
        Sample {
            pages: 1000,
            plain_pages: 10,
            stored_bytes: 2_000_000,
            atomic_seconds: 0.1,
            save_seconds,
            whole_save_seconds: 3.0,
            load_seconds: 1.0,
            whole_load_seconds: None,
        }
    }

    #[test]
    fn median_takes_the_middle() {
        assert!(median(&[]).is_none());
        let samples = [sample(3.0), sample(1.0), sample(2.0)];
        assert_eq!(median(&samples).unwrap().save_seconds, 2.0);
    }

    #[test]
    fn a_missing_side_is_null() {
        let alone = Pair {
            compressor: "zstd".into(),
            vcpus: 2,
            swsusp: None,
            dormouse: Some(sample(2.0)),
        };
        let row = &json(&[alone], false)["rows"][0];
        assert_eq!(row["dormouse_mb_s"], 2.0);
        assert!(row["peer_mb_s"].is_null() && row["ratio"].is_null());
        assert!(row["peer_stored_bytes"].is_null());
    }

    #[test]
    fn the_ratio_is_that_of_times_and_other_memory_is_refused() {
        let mut pair = Pair {
            compressor: "lz4".into(),
            vcpus: 1,
            swsusp: Some(sample(4.0)),
            dormouse: Some(sample(2.0)),
        };
        assert_eq!(json(&[pair_of(&pair)], false)["rows"][0]["ratio"], 2.0);
        assert!(pair.check().is_ok());
        pair.dormouse = Some(Sample {
            pages: 900,
            ..sample(2.0)
        });
        assert!(pair.check().is_err());
    }

    fn pair_of(pair: &Pair) -> Pair {
        Pair {
            compressor: pair.compressor.clone(),
            ..*pair
        }
    }
}
