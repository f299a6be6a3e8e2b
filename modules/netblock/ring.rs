// SPDX-License-Identifier: GPL-2.0

//! A queue with a fixed number of places.

#![forbid(unsafe_code)]

use kernel::prelude::*;

/// A queue: first in, first out.
pub(crate) struct Ring<T> {
    slots: KVec<Option<T>>,
    first: usize,
    len: usize,
}

impl<T> Ring<T> {
    /// An empty queue with `places` places. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(places: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(places, GFP_KERNEL)?;
        for _ in 0..places {
            slots.push(None, GFP_KERNEL)?;
        }
        Ok(Ring {
            slots,
            first: 0,
            len: 0,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&mut self, number: usize) -> Option<&mut Option<T>> {
        let at = self.first.wrapping_add(number);
        let at = at.checked_rem(self.slots.len())?;
        self.slots.get_mut(at)
    }

    /// Appends `value`, or gives it back when all places are taken.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        if self.len >= self.slots.len() {
            return Err(value);
        }
        match self.place(self.len) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Takes the first value.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.place(0)?.take();
        let next = self.first.wrapping_add(1);
        self.first = next.checked_rem(self.slots.len()).unwrap_or(0);
        self.len = self.len.saturating_sub(1);
        value
    }
}
