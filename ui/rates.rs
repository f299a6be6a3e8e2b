// SPDX-License-Identifier: GPL-2.0

//! How fast a save or load goes, and how long it will take.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Samples that are kept.
const SAMPLES: usize = 8;
/// Only over this many milliseconds is a rate worth something.
const LEAST_MS: u64 = 250;

const PAGES_BITS: u32 = 36;
const PAGES_MOST: u64 = (1 << PAGES_BITS) - 1;
const MS_MOST: u64 = u64::MAX >> PAGES_BITS;
/// No time and page count makes this one: they are cut off below it.
const NONE: u64 = u64::MAX;

/// What was done at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Milliseconds since the beginning.
    pub ms: u64,
    /// Pages done.
    pub pages: u64,
}

impl Sample {
    /// Both numbers in one word, so that they are read and written together.
    fn pack(self) -> u64 {
        let ms = self.ms.min(MS_MOST.saturating_sub(1));
        (ms << PAGES_BITS) | self.pages.min(PAGES_MOST)
    }

    fn unpack(word: u64) -> Option<Sample> {
        (word != NONE).then_some(Sample {
            ms: word >> PAGES_BITS,
            pages: word & PAGES_MOST,
        })
    }
}

/// Pages per second, from the one to the other.
fn per_second(from: Sample, to: Sample) -> Option<u64> {
    let ms = to.ms.checked_sub(from.ms)?;
    let pages = to.pages.checked_sub(from.pages)?;
    if ms < LEAST_MS {
        return None;
    }
    pages.saturating_mul(1000).checked_div(ms)
}

/// The last samples of a save or load. Written by one thread at a time, read
/// by any, without a lock: a reader may see a sample more or less, but none
/// that is made of two.
pub struct Recent {
    samples: [AtomicU64; SAMPLES],
    next: AtomicUsize,
}

impl Recent {
    /// No samples.
    pub const fn new() -> Self {
        Recent {
            samples: [const { AtomicU64::new(NONE) }; SAMPLES],
            next: AtomicUsize::new(0),
        }
    }

    /// Adds a sample. One that lies before the last one begins anew: that is
    /// another save or load. Any context.
    pub fn add(&self, sample: Sample) {
        let next = self.next.load(Ordering::Relaxed);
        let last = self.get(next.wrapping_sub(1));
        if last.is_some_and(|last| sample.ms < last.ms || sample.pages < last.pages) {
            self.samples
                .iter()
                .for_each(|place| place.store(NONE, Ordering::Relaxed));
        }
        if let Some(place) = self.samples.get(next % SAMPLES) {
            place.store(sample.pack(), Ordering::Relaxed);
        }
        self.next.store(next.wrapping_add(1), Ordering::Relaxed);
    }

    fn get(&self, number: usize) -> Option<Sample> {
        let place = self.samples.get(number % SAMPLES)?;
        Sample::unpack(place.load(Ordering::Relaxed))
    }

    /// Pages per second from the oldest sample that is kept until `now`; `None`
    /// when that is too short to tell. Any context.
    pub fn rate(&self, now: Sample) -> Option<u64> {
        let places = self.samples.iter();
        let samples = places.filter_map(|place| Sample::unpack(place.load(Ordering::Relaxed)));
        per_second(samples.min_by_key(|sample| sample.ms)?, now)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

/// Pages per second from the beginning until `now`; `None` when that is too
/// short to tell.
pub fn average(now: Sample) -> Option<u64> {
    per_second(Sample::default(), now)
}

/// Milliseconds until `total` pages are done, when it goes on between as fast
/// as on the average and as fast as of late; `None` when that cannot be told.
pub fn remaining_ms(now: Sample, total: u64, recent: Option<u64>) -> Option<u64> {
    if total == 0 {
        return None;
    }
    let left = total.saturating_sub(now.pages);
    if left == 0 {
        return Some(0);
    }
    let average = average(now)?;
    // Half of each cannot overflow.
    let rate = (recent.unwrap_or(average) / 2).saturating_add(average.div_ceil(2));
    left.saturating_mul(1000).checked_div(rate)
}
