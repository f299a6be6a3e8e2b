// SPDX-License-Identifier: GPL-2.0

//! Random numbers that are the same everywhere.

/// Marsaglia's xorshift64*.
pub struct Random(u64);

impl Random {
    /// Starts at `seed`; an even one counts as the next odd one, as zero would
    /// stay zero.
    pub fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    /// The next number, below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (word as usize) % limit.max(1)
    }
}
