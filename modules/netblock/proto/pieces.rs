// SPDX-License-Identifier: GPL-2.0

//! Long runs of bytes, in requests that a server takes.

#![forbid(unsafe_code)]

/// Cuts a run at the multiples of a length, so that a server whose own units
/// are of that length, or divide it, gets them whole. Each item is the first
/// byte of a piece and how many there are.
#[derive(Clone, Debug)]
pub struct Pieces {
    at: u64,
    end: u64,
    most: u32,
}

impl Pieces {
    /// The `len` bytes from `offset` on, in pieces of at most `most` bytes;
    /// none when `most` is 0, or when the run would go beyond 64 bits.
    pub const fn new(offset: u64, len: u64, most: u32) -> Self {
        let end = match offset.checked_add(len) {
            Some(end) if most != 0 => end,
            _ => offset,
        };
        Pieces {
            at: offset,
            end,
            most,
        }
    }
}

impl Iterator for Pieces {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        let left = self.end.checked_sub(self.at).filter(|&left| left != 0)?;
        let most = u64::from(self.most);
        let beyond = self.at.checked_rem(most)?;
        let len = most.saturating_sub(beyond).min(left);
        let piece = (self.at, u32::try_from(len).ok()?);
        self.at = self.at.saturating_add(len);
        Some(piece)
    }
}
