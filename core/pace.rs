// SPDX-License-Identifier: GPL-2.0

//! How often something may happen: a limit that many threads share without a
//! lock.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// Lets something happen at most once in an interval.
pub struct Pace {
    interval_ns: u64,
    /// When it may happen next.
    next_ns: AtomicU64,
}

impl Pace {
    /// A limit of once in `interval_ns` nanoseconds; the first time is free.
    pub const fn every(interval_ns: u64) -> Self {
        Pace {
            interval_ns,
            next_ns: AtomicU64::new(0),
        }
    }

    /// Whether it may happen now, at `now_ns` of a clock that does not go
    /// back. Of several threads that ask at once, one is told so. Any context.
    pub fn is_due(&self, now_ns: u64) -> bool {
        let next = self.next_ns.load(Ordering::Relaxed);
        now_ns >= next
            && self
                .next_ns
                .compare_exchange(
                    next,
                    now_ns.saturating_add(self.interval_ns),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Counts the interval from `now_ns`: it has just happened for another
    /// reason. Any context.
    pub fn restart(&self, now_ns: u64) {
        let next = now_ns.saturating_add(self.interval_ns);
        self.next_ns.store(next, Ordering::Relaxed);
    }
}
