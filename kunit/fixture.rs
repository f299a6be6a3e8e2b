// SPDX-License-Identifier: GPL-2.0

//! What suites use instead of a machine that hibernates.
//!
//! - [`pages`]: a snapshot of pages that were made up.
//! - [`space`]: a storage in memory, which completes requests late, out of order, and with errors.
//! - [`transform`]: transforms that do what they are told to.
//! - [`image`]: saves such pages to such a storage, and compares what can be read back.

#![forbid(unsafe_code)]

pub(crate) mod image;
pub(crate) mod pages;
pub(crate) mod space;
pub(crate) mod transform;

use crate::glue;
use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use dormouse::sys::time;
use kernel::page::Page;
use kernel::prelude::*;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Part of every object of the fixture that somebody might forget to drop.
pub(crate) struct Live(());

impl Live {
    /// Counts one more.
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Live(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Objects that have not been dropped.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Pages that come and go with what the kernel does meanwhile.
pub(crate) const NOISE_PAGES: usize = 600;

/// Measures how much memory is in use.
///
/// Each CPU keeps pages for itself that count as used. While a scale exists it holds as many pages
/// as the kernel lets CPUs keep, so that what is allocated now counted as free before.
pub(crate) struct Scale(KVVec<Page>);

impl Scale {
    // `MIN_PERCPU_PAGELIST_HIGH_FRACTION`: CPUs keep this part of memory at most.
    const PART: usize = 8;

    /// Sets the scale up; the kernel has a moment to free what it frees later. May sleep.
    pub(crate) fn new() -> Result<Self> {
        glue::settle();
        let most = glue::total_pages() / Self::PART;
        let mut held = KVVec::with_capacity(most, GFP_KERNEL)?;
        for _ in 0..most {
            held.push(Page::alloc_page(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Scale(held))
    }

    /// Pages in use.
    pub(crate) fn used(&self) -> usize {
        glue::total_pages().saturating_sub(glue::free_pages() + self.0.len())
    }
}

/// Pages in use. May sleep.
pub(crate) fn used_pages() -> Result<usize> {
    Ok(Scale::new()?.used())
}

/// Pages that came into use since there were `used`; waits until they are
/// fewer than `bound`, since what ended threads leave is only freed after a
/// grace period, but not for ever. May sleep.
pub(crate) fn lost_since(used: usize, bound: usize) -> Result<usize> {
    for _ in 0..100 {
        let lost = used_pages()?.saturating_sub(used);
        if lost < bound {
            return Ok(lost);
        }
        time::sleep_ms(30);
    }
    Ok(used_pages()?.saturating_sub(used))
}

/// Numbers without a pattern, the same ones in every run.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        // Xorshift64 (Marsaglia, 2003); the low bits of its state are the worst.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.rotate_left(21).wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 11) % bound as u64) as usize
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}
