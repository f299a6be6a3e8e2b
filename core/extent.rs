// SPDX-License-Identifier: GPL-2.0

//! Sorted runs of pages, and the number of a page among all of them.
//!
//! A resume numbers the pages of an image by ascending page frame number; the *slot* of a page is
//! that number, so one flat array can say where each page was loaded to. An [`ExtentList`]
//! collects runs in any order; sealing it makes the [`ExtentTable`] that answers questions.
//!
//! The memory is the caller's: `&mut [Extent]` or anything that owns such a slice.

#![forbid(unsafe_code)]

use core::ops::{
    Deref,
    DerefMut, //
};

use crate::image::{
    Error,
    Result,
    PFN_LIMIT, //
};

/// A run of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First page frame number.
    pub pfn: u64,
    /// Pages.
    pub count: u64,
    /// Slot of the first page; meaningful in an [`ExtentTable`].
    pub slot: u64,
}

impl Extent {
    // Never wraps in a list or table: `push` checked it.
    const fn end(&self) -> u64 {
        self.pfn.saturating_add(self.count)
    }
}

/// What [`ExtentList::seal`] makes of a page that is in two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlaps {
    /// It is an error: every page is in the image once.
    Refuse,
    /// It counts once: later frames may override earlier ones.
    Merge,
}

/// Collects runs of pages in any order.
#[derive(Debug)]
pub struct ExtentList<S> {
    store: S,
    len: usize,
}

impl<S: DerefMut<Target = [Extent]>> ExtentList<S> {
    /// Starts an empty list in `store`, whose contents do not matter.
    pub const fn new(store: S) -> Self {
        Self { store, len: 0 }
    }

    /// Adds `count` pages from `pfn`; they extend the last run when they follow it.
    ///
    /// # Errors
    ///
    /// [`Error::PageRange`] when the range is empty or too high, [`Error::NoRoom`] when `store`
    /// is full.
    pub fn push(&mut self, pfn: u64, count: u64) -> Result {
        match pfn.checked_add(count) {
            Some(end) if count != 0 && end <= PFN_LIMIT => (),
            _ => return Err(Error::PageRange),
        }
        let last = self.len.checked_sub(1);
        if let Some(last) = last.and_then(|at| self.store.get_mut(at)) {
            if last.end() == pfn {
                last.count = last.count.saturating_add(count);
                return Ok(());
            }
        }
        let place = self.store.get_mut(self.len).ok_or(Error::NoRoom)?;
        *place = Extent {
            pfn,
            count,
            slot: 0,
        };
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Sorts and joins the runs, and numbers their pages.
    ///
    /// # Errors
    ///
    /// [`Error::Overlap`] when a page is in two runs and `overlaps` refuses that.
    pub fn seal(mut self, overlaps: Overlaps) -> Result<ExtentTable<S>> {
        let runs = self.store.get_mut(..self.len).ok_or(Error::NoRoom)?;
        crate::sort::by_key(runs, |run| run.pfn);

        // `kept` runs are final; `current` is the one that may still grow.
        let mut kept = 0usize;
        let mut slot = 0u64;
        let mut current: Option<Extent> = None;
        for at in 0..runs.len() {
            let Some(&next) = runs.get(at) else { break };
            let Some(run) = current.as_mut() else {
                current = Some(next);
                continue;
            };
            if next.pfn < run.end() && overlaps == Overlaps::Refuse {
                return Err(Error::Overlap);
            }
            if next.pfn <= run.end() {
                run.count = run.end().max(next.end()).saturating_sub(run.pfn);
                continue;
            }
            run.slot = slot;
            slot = slot.saturating_add(run.count);
            if let Some(place) = runs.get_mut(kept) {
                *place = *run;
            }
            kept = kept.saturating_add(1);
            *run = next;
        }
        if let Some(mut run) = current {
            run.slot = slot;
            slot = slot.saturating_add(run.count);
            if let Some(place) = runs.get_mut(kept) {
                *place = run;
            }
            kept = kept.saturating_add(1);
        }
        Ok(ExtentTable {
            store: self.store,
            len: kept,
            total: slot,
        })
    }
}

/// Runs of pages, ascending and apart from each other.
///
/// # Invariants
///
/// The first `len` runs ascend, none touches the next, each one's slot is the number of pages in
/// front of it, and `total` is the number of all pages.
#[derive(Debug)]
pub struct ExtentTable<S> {
    store: S,
    len: usize,
    total: u64,
}

impl<S: Deref<Target = [Extent]>> ExtentTable<S> {
    /// Returns the runs.
    pub fn extents(&self) -> &[Extent] {
        self.store.get(..self.len).unwrap_or_default()
    }

    /// Returns the number of pages.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Returns the slot of page `pfn` and how many pages from there on, itself included, have
    /// the slots that follow; or nothing when the page is not in the table.
    pub fn find(&self, pfn: u64) -> Option<(u64, u64)> {
        let runs = self.extents();
        let behind = runs.partition_point(|run| run.pfn <= pfn);
        let run = runs.get(behind.checked_sub(1)?)?;
        let offset = pfn.checked_sub(run.pfn)?;
        let left = run.count.checked_sub(offset)?;
        (left != 0).then_some((run.slot.saturating_add(offset), left))
    }

    /// Returns the slot of page `pfn`, or nothing when the page is not in the table.
    pub fn slot(&self, pfn: u64) -> Option<u64> {
        self.find(pfn).map(|(slot, _)| slot)
    }

    /// Returns the page that has `slot`.
    pub fn pfn(&self, slot: u64) -> Option<u64> {
        let runs = self.extents();
        let behind = runs.partition_point(|run| run.slot <= slot);
        let run = runs.get(behind.checked_sub(1)?)?;
        let offset = slot.checked_sub(run.slot)?;
        (offset < run.count).then_some(run.pfn.saturating_add(offset))
    }

    /// Returns the memory of the table.
    pub fn into_store(self) -> S {
        self.store
    }
}
