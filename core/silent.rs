// SPDX-License-Identifier: GPL-2.0

//! Remembers which devices did not answer.
//!
//! A system and an image each have a list of filesystems and swap areas, and one
//! that is not where it was is looked for on all devices. A disk that answers
//! nobody would be waited for once for each entry, and a boot would take minutes.
//! So it is waited for once, and then for a moment each time, until it answers or
//! some time has passed.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// Devices that are remembered; further ones are waited for.
const DEVICES: usize = 16;
/// How long, in seconds.
const MEMORY_S: u32 = 120;

/// Devices that did not answer. Any context.
pub struct Silent {
    /// Number of the device in the upper half, second in which it was given up
    /// in the lower one; 0 for none.
    slots: [AtomicU64; DEVICES],
}

fn slot_of(dev: u32, second: u32) -> u64 {
    u64::from(dev) << 32 | u64::from(second)
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
        self.find(dev)
            .any(|(_, value)| second.wrapping_sub(value as u32) <= MEMORY_S)
    }

    /// Remembers that `dev` was given up in `second`.
    pub fn note(&self, dev: u32, second: u32) {
        self.forget(dev);
        let is_free = |value: u64| value == 0 || second.wrapping_sub(value as u32) > MEMORY_S;
        for slot in &self.slots {
            let value = slot.load(Ordering::Relaxed);
            let new = slot_of(dev, second);
            if is_free(value)
                && slot
                    .compare_exchange(value, new, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
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
