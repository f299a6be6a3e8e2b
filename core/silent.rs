// SPDX-License-Identifier: GPL-2.0

//! Remembers which devices did not answer.
//!
//! An image lists filesystems and swap areas, and a boot looks for each of them
//! on all devices. If it waited for a disk that does not answer each time, it
//! would take minutes. So it waits once, and from then on for a moment only, until
//! the disk answers or some time has passed.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// Most devices that are remembered.
const DEVICES: usize = 16;
/// How long, in seconds.
const MEMORY_S: u32 = 120;

/// Devices that did not answer. Any context.
pub struct Silent {
    /// Number of the device in the upper half, second in which it was given up
    /// in the lower one; 0 for none.
    slots: [AtomicU64; DEVICES],
}

/// Whether what `slot` holds still counts in `second`.
fn is_fresh(slot: u64, second: u32) -> bool {
    slot != 0 && second.wrapping_sub(slot as u32) <= MEMORY_S
}

impl Silent {
    /// None so far.
    pub const fn new() -> Self {
        Silent {
            slots: [const { AtomicU64::new(0) }; DEVICES],
        }
    }

    fn find(&self, dev: u32) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let all = self
            .slots
            .iter()
            .map(|slot| (slot, slot.load(Ordering::Relaxed)));
        all.filter(move |&(_, value)| value != 0 && value >> 32 == u64::from(dev))
    }

    /// Whether `dev` did not answer shortly before `second` of a clock that only
    /// goes forward.
    pub fn is_known(&self, dev: u32, second: u32) -> bool {
        self.find(dev).any(|(_, value)| is_fresh(value, second))
    }

    /// Remembers that `dev` was given up in `second`.
    pub fn note(&self, dev: u32, second: u32) {
        self.forget(dev);
        let new = u64::from(dev) << 32 | u64::from(second);
        for slot in &self.slots {
            let take = |value| (!is_fresh(value, second)).then_some(new);
            let relaxed = Ordering::Relaxed;
            if slot.fetch_update(relaxed, relaxed, take).is_ok() {
                return;
            }
        }
    }

    /// Forgets `dev`, which has answered.
    pub fn forget(&self, dev: u32) {
        for (slot, value) in self.find(dev) {
            // Another value is not of this device, or newer.
            let _ = slot.compare_exchange(value, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Default for Silent {
    fn default() -> Self {
        Self::new()
    }
}
