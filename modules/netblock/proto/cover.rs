// SPDX-License-Identifier: GPL-2.0

//! Which bytes of a read have arrived: all of them, and none twice.

#![forbid(unsafe_code)]

/// Pieces with gaps between them that a server may send; those that sort or
/// stream their pieces need one.
const PIECES: usize = 4;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Ranges from..to, ascending, neither adjoining nor overlapping.
    pieces: [(u32, u32); PIECES],
    used: usize,
}

impl Cover {
    /// Nothing.
    pub const fn new() -> Self {
        Cover {
            pieces: [(0, 0); PIECES],
            used: 0,
        }
    }

    /// Adds `len` bytes from `at` on; false when some of them are there
    /// already, there are none, or the set has become too scattered.
    #[must_use]
    pub fn add(&mut self, at: u32, len: u32) -> bool {
        let Some(mut to) = at.checked_add(len).filter(|_| len != 0) else {
            return false;
        };
        let mut from = at;
        let mut merged = [(0, 0); PIECES];
        let mut used = 0usize;
        let mut placed = false;
        let mut put = |piece: (u32, u32)| match merged.get_mut(used) {
            Some(slot) => {
                *slot = piece;
                used = used.saturating_add(1);
                true
            }
            None => false,
        };
        for &(a, b) in self.pieces.iter().take(self.used) {
            if a < to && from < b {
                return false;
            }
            if b == from {
                from = a;
            } else if a == to {
                to = b;
            } else {
                if a > to && !placed {
                    placed = true;
                    if !put((from, to)) {
                        return false;
                    }
                }
                if !put((a, b)) {
                    return false;
                }
            }
        }
        if !placed && !put((from, to)) {
            return false;
        }
        self.pieces = merged;
        self.used = used;
        true
    }

    /// Whether it is exactly the first `len` bytes.
    pub fn is_whole(&self, len: u32) -> bool {
        self.used == 1 && self.pieces.first() == Some(&(0, len))
    }
}
