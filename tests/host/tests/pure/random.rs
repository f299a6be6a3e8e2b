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

    /// Changes `bytes` somewhere, as fuzzers do.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        const WORDS: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
        let at = self.below(bytes.len());
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
            2 => {
                // A number at the edge of its width.
                let word = WORDS[self.below(WORDS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                for (to, from) in bytes.iter_mut().skip(at).zip(&word[..width]) {
                    *to = *from;
                }
            }
            3 => bytes.truncate(at),
            4 => bytes.insert(at, self.below(256) as u8),
            5 => {
                // A piece of this or another input, somewhere else.
                let other = &others[self.below(others.len())];
                let from = self.below(other.len());
                let len = self.below(64).min(other.len() - from);
                for (to, from) in bytes.iter_mut().skip(at).zip(&other[from..from + len]) {
                    *to = *from;
                }
            }
            _ => {
                let len = self.below(16);
                bytes
                    .iter_mut()
                    .skip(at)
                    .take(len)
                    .for_each(|byte| *byte = 0);
            }
        }
    }
}
