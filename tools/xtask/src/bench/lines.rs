// SPDX-License-Identifier: GPL-2.0

//! What a kernel log says: when, and how much.

use anyhow::{Context, Result};

/// The lines of one boot's kernel log that carry a time.
pub struct Lines(Vec<Line>);

/// One of them.
#[derive(Debug)]
pub struct Line {
    /// Microseconds on the guest's own clock.
    pub micros: u64,
    /// What follows the time.
    pub text: String,
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let (time, text) = line.trim_start().strip_prefix('[')?.split_once(']')?;
        let (seconds, micros) = time.trim().split_once('.')?;
        if micros.len() != 6 {
            return None;
        }
        let seconds: u64 = seconds.parse().ok()?;
        let micros: u64 = micros.parse().ok()?;
        Some(Line {
            micros: seconds.checked_mul(1_000_000)?.checked_add(micros)?,
            text: text.trim().to_string(),
        })
    }

    /// The first `N` whole numbers in the text behind `mark`; signs and
    /// fractions are not looked at.
    ///
    /// # Errors
    ///
    /// When there are fewer.
    pub fn numbers<const N: usize>(&self, mark: &str) -> Result<[u64; N]> {
        let rest = self.text.split_once(mark).map_or("", |(_, rest)| rest);
        let digits = rest.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u64> = digits.filter_map(|number| number.parse().ok()).collect();
        let first = numbers.get(..N).and_then(|numbers| numbers.try_into().ok());
        first.with_context(|| format!("'{}' does not have {N} numbers", self.text))
    }
}

impl Lines {
    /// Takes the lines of a log.
    pub fn new(log: &[String]) -> Self {
        Lines(log.iter().filter_map(|line| Line::parse(line)).collect())
    }

    /// The first line with `mark`.
    ///
    /// # Errors
    ///
    /// When there is none: what it would have said was not measured.
    pub fn find(&self, mark: &str) -> Result<&Line> {
        let line = self.0.iter().find(|line| line.text.contains(mark));
        line.with_context(|| format!("the kernel log has no line with '{mark}'"))
    }

    /// Seconds from the first line with `from` to the first one with `to`.
    ///
    /// # Errors
    ///
    /// When one of them is missing, or they come in the other order.
    pub fn seconds(&self, from: &str, to: &str) -> Result<f64> {
        let (start, end) = (self.find(from)?.micros, self.find(to)?.micros);
        let micros = end.checked_sub(start);
        let micros = micros.with_context(|| format!("'{to}' came before '{from}'"))?;
        Ok(micros as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Lines {
        let text = "\
SeaBIOS (version 1.16)
[   12.500000] PM: hibernation: Creating image:
[   12.500100] PM: hibernation: Need to copy 100 pages
[   12.750000] PM: hibernation: Image created (90 pages copied, 10 zero pages)
[  103.000007] dormouse: saved 400 kB of memory in 17 ms (23529 kB/s), 250 kB stored";
        Lines::new(&text.lines().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn reads_times_and_numbers() {
        let log = log();
        assert_eq!(
            log.seconds("Creating image:", "Image created").unwrap(),
            0.25
        );
        assert_eq!(
            log.find("Image created")
                .unwrap()
                .numbers("created")
                .unwrap(),
            [90, 10]
        );
        assert_eq!(
            log.find("saved").unwrap().numbers("saved").unwrap(),
            [400, 17, 23529, 250]
        );
        assert_eq!(log.find("saved").unwrap().micros, 103_000_007);
    }

    #[test]
    fn what_is_missing_is_an_error() {
        let log = log();
        assert!(log.find("Wrote").is_err());
        assert!(log.find("SeaBIOS").is_err(), "a line without a time");
        assert!(log
            .find("Image created")
            .unwrap()
            .numbers::<3>("created")
            .is_err());
        assert!(log.seconds("Image created", "Creating image:").is_err());
    }
}
