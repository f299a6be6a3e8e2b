// SPDX-License-Identifier: GPL-2.0

//! What the files say.

use std::io;

use serde::Serialize;

use crate::text::plain;

/// A setting that is one of several names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The one that is chosen.
    pub chosen: String,
    /// All that can be.
    pub of: Vec<String>,
}

impl Choice {
    /// Reads `none [lz4] zstd`.
    pub fn parse(text: &str) -> Option<Choice> {
        let mut chosen = None;
        let mut of = Vec::new();
        for word in text.split_whitespace() {
            let name = match word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
                Some(name) if chosen.is_none() => {
                    chosen = Some(name.to_string());
                    name
                }
                Some(_) => return None,
                None => word,
            };
            of.push(name.to_string());
        }
        Some(Choice {
            chosen: chosen?,
            of,
        })
    }
}

/// What became of the last cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastResult {
    /// Zero, or a negative error number.
    pub errno: i32,
    /// The step it ended in.
    pub step: String,
    /// Why.
    pub sentence: String,
}

impl LastResult {
    /// Reads `ERRNO STEP SENTENCE`, of which all that follows the number is made one plain line:
    /// the kernel quotes names that are of anybody's choice.
    pub fn parse(text: &str) -> Option<LastResult> {
        let mut parts = text.splitn(3, ' ');
        Some(LastResult {
            errno: parts.next()?.parse().ok()?,
            step: plain(parts.next()?),
            sentence: plain(parts.next()?),
        })
    }

    /// Its sentence and a full stop, if it is about `error`; otherwise
    /// nothing.
    pub fn reason_of(&self, error: &io::Error) -> String {
        match error.raw_os_error() {
            Some(errno) if errno != 0 && self.errno == -errno => format!("{}. ", self.sentence),
            _ => String::new(),
        }
    }
}

/// How far a cycle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The step it is in.
    pub step: String,
    /// Pages that are done.
    pub done_pages: u64,
    /// Pages in all.
    pub total_pages: u64,
    /// Bytes that went to or came from the storage.
    pub stored_bytes: u64,
    /// Time since the first page.
    pub milliseconds: u64,
}

/// Bytes of a page.
pub const PAGE: u64 = 4096;

impl Progress {
    /// Reads `STEP DONE TOTAL BYTES MS`.
    pub fn parse(text: &str) -> Option<Progress> {
        let mut words = text.split_whitespace();
        let step = plain(words.next()?);
        let mut number = || words.next()?.parse::<u64>().ok();
        let progress = Progress {
            step,
            done_pages: number()?,
            total_pages: number()?,
            stored_bytes: number()?,
            milliseconds: number()?,
        };
        words.next().is_none().then_some(progress)
    }

    /// Whether pages are on their way now.
    pub fn is_moving(&self) -> bool {
        matches!(self.step.as_str(), "write" | "load") && self.total_pages > 0
    }

    /// Bytes of memory per second so far, or 0 before there is a rate.
    pub fn rate(&self) -> u64 {
        let bytes = self.done_pages.saturating_mul(PAGE);
        let rate = u128::from(bytes) * 1000 / u128::from(self.milliseconds.max(1));
        match self.milliseconds {
            0 => 0,
            _ => u64::try_from(rate).unwrap_or(u64::MAX),
        }
    }

    /// Percent that are done.
    pub fn percent(&self) -> u64 {
        let done = u128::from(self.done_pages.min(self.total_pages)) * 100;
        u64::try_from(done / u128::from(self.total_pages.max(1))).unwrap_or(100)
    }

    /// Seconds that the rest takes at this rate, rounded up, if there is a
    /// rate.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.total_pages.saturating_sub(self.done_pages);
        match self.rate() {
            0 => None,
            rate => Some(left.saturating_mul(PAGE).div_ceil(rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let choice = Choice::parse("none lzo [lz4] zstd").unwrap();
        assert_eq!(choice.chosen, "lz4");
        assert_eq!(choice.of, ["none", "lzo", "lz4", "zstd"]);
        for bad in ["", "none lz4", "[a] [b]", "[]]"] {
            let found = Choice::parse(bad);
            assert!(found.is_none() || bad == "[]]", "{bad}");
        }
    }

    #[test]
    fn results() {
        let text = "-28 prepare the storage was full";
        let last = LastResult::parse(text).unwrap();
        assert_eq!((last.errno, last.step.as_str()), (-28, "prepare"));
        assert_eq!(last.sentence, "the storage was full");
        let told = LastResult::parse("-16 freeze \"\u{1b}[2J\"\n0 resumed").unwrap();
        assert_eq!(told.sentence, "\"?[2J\"?0 resumed");
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(last.reason_of(&full), "the storage was full. ");
        assert_eq!(last.reason_of(&io::Error::from_raw_os_error(22)), "");
        for bad in ["", "0", "0 idle", "x idle y"] {
            assert!(LastResult::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        let p = Progress::parse("write 256 1024 500000 500").unwrap();
        assert!(p.is_moving());
        assert_eq!(p.rate(), 2 * 1024 * 1024);
        assert_eq!((p.percent(), p.seconds_left()), (25, Some(2)));
        let p = Progress::parse("idle 0 0 0 0").unwrap();
        assert_eq!((p.percent(), p.rate(), p.seconds_left()), (0, 0, None));
        let most = u64::MAX.to_string();
        let p = Progress::parse(&format!("load {most} {most} {most} 1")).unwrap();
        assert_eq!((p.percent(), p.seconds_left()), (100, Some(0)));
        for bad in ["", "write 1 2 3", "write 1 2 3 4 5", "write 1 2 3 x"] {
            assert!(Progress::parse(bad).is_none(), "{bad}");
        }
    }
}
