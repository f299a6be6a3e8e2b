// SPDX-License-Identifier: GPL-2.0

//! Comparisons with other things than swsusp, made in one guest.

use std::fmt::Write;

use super::report::{rounded, Speed};

/// One row: what Dormouse reached, and what it is compared with.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What it is compared with: another setting, or another program.
    pub peer: &'static str,
    /// Compressor of Dormouse's images.
    pub compressor: String,
    /// Their encryptor.
    pub encryptor: &'static str,
    /// Where they go.
    pub writer: &'static str,
    /// Processors of the guest.
    pub vcpus: u32,
    /// `save` or `load`.
    pub direction: &'static str,
    /// Bytes in a second of the peer, and of Dormouse: medians of all rounds.
    pub speeds: [f64; 2],
    /// How many times as fast as the peer: median of the ratios of each round.
    pub ratio: f64,
    /// Bytes that were stored by each, where something was.
    pub stored: [Option<u64>; 2],
    /// Least ratio that is good enough.
    pub needed: Option<f64>,
}

impl Comparison {
    /// The row with what `rounds` gave, each of them the speeds of the peer
    /// and of Dormouse. The load of the host changes from one round to the
    /// next by more than what is looked for, so the ratio is made of speeds
    /// that were measured one right after the other. `None` without rounds.
    pub fn measured(self, rounds: &[[f64; 2]]) -> Option<Comparison> {
        let speed = |at: usize| median(rounds.iter().map(|both| both[at]));
        Some(Comparison {
            speeds: [speed(0)?, speed(1)?],
            ratio: median(rounds.iter().map(|[peer, dormouse]| dormouse / peer))?,
            ..self
        })
    }

    /// What `bench.json` holds of it.
    pub fn speed(&self) -> Speed<'_> {
        let [peer, dormouse] = self.speeds.map(|speed| Some(rounded(speed / 1e6, 1)));
        Speed {
            peer: self.peer,
            compressor: &self.compressor,
            encryptor: self.encryptor,
            writer: self.writer,
            vcpus: self.vcpus,
            direction: self.direction,
            peer_mb_s: peer,
            dormouse_mb_s: dormouse,
            ratio: Some(rounded(self.ratio, 3)),
            peer_stored_bytes: self.stored[0],
            dormouse_stored_bytes: self.stored[1],
            peer_atomic_s: None,
            dormouse_atomic_s: None,
        }
    }
}

/// The middle one of `values`, with an even count the lower of the two there.
/// `None` without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len().checked_sub(1)? / 2).copied()
}

/// The table for people; nothing without rows.
pub fn table(rows: &[Comparison]) -> String {
    let mut out = String::new();
    if rows.is_empty() {
        return out;
    }
    let _ = writeln!(
        out,
        "{:43}|{:^38}|{:^17}",
        "", "MB/s in one guest", "stored, MiB"
    );
    let _ = writeln!(
        out,
        "{:<10} {:<9} {:<10} {:>4}  {:<5}|{:>16} {:>8} {:>6} {:>5}|{:>8} {:>8}",
        "compressor",
        "encryptor",
        "writer",
        "cpus",
        "",
        "peer",
        "dormouse",
        "ratio",
        "least",
        "peer",
        "dormouse"
    );
    for row in rows {
        let [peer, dormouse] = row.speeds.map(|speed| speed / 1e6);
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        let [peer_mib, dormouse_mib] = row.stored.map(|bytes| bytes.map_or("-".to_string(), mib));
        let least = row.needed.map_or("-".to_string(), |n| format!("{n:.2}"));
        let _ = writeln!(
            out,
            "{:<10} {:<9} {:<10} {:>4}  {:<5}|{:>16} {dormouse:>8.1} {:>6.2} {least:>5}|{peer_mib:>8} {dormouse_mib:>8}",
            row.compressor,
            row.encryptor,
            row.writer,
            row.vcpus,
            row.direction,
            format!("{} {peer:.1}", row.peer),
            row.ratio,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Comparison {
        Comparison {
            peer: "swap",
            compressor: "none".to_string(),
            encryptor: "none",
            writer: "file",
            vcpus: 2,
            direction: "load",
            speeds: [400e6, 392e6],
            ratio: 0.98,
            stored: [Some(1 << 20), None],
            needed: Some(0.95),
        }
    }

    #[test]
    fn a_row_has_all_fields() {
        let value = serde_json::to_value(row().speed()).unwrap();
        assert_eq!(value["ratio"], 0.98);
        assert_eq!(value["peer"], "swap");
        assert_eq!(value["writer"], "file");
        assert_eq!(value["peer_mb_s"], 400.0);
        assert!(value["dormouse_stored_bytes"].is_null());
        assert!(table(&[row()]).contains("swap 400.0    392.0   0.98  0.95|     1.0        -"));
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn the_ratio_is_that_of_a_round() {
        // The host was slow in the last two rounds, the last one of which began late.
        let rounds = [[400.0, 400.0], [100.0, 98.0], [90.0, 200.0]];
        let row = row().measured(&rounds).unwrap();
        assert_eq!(row.speeds, [100.0, 200.0]);
        assert_eq!(row.ratio, 1.0);
        assert!(row.measured(&[]).is_none());
    }

    #[test]
    fn median_takes_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.0));
    }
}
