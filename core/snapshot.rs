// SPDX-License-Identifier: GPL-2.0

//! Snapshot methods: which pages go into an image, and how they are held
//! still while it is written.

#![forbid(unsafe_code)]

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod atomic;

use crate::image::PAGE;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// One 8-byte word over and over, in native byte order.
    Fill(u64),
    /// The bytes of [`Pages::page`] at this place.
    Held(usize),
}

/// One page of the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Page frame number.
    pub pfn: u64,
    /// Contents.
    pub content: Content,
}

/// How many pages an image has.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// All pages.
    pub pages: u64,
    /// Those that one word fills.
    pub fill: u64,
}

/// A way to take a snapshot.
pub trait Snapshot: Send + Sync {
    /// Name as chosen in sysfs and recorded in the image header.
    fn name(&self) -> &'static CStr;

    /// Page frames that [`Pages::reserve`] takes for a snapshot of `pages`
    /// pages. Any context.
    fn frames_needed(&self, pages: usize) -> usize;

    /// Bytes of memory that [`Snapshot::prepare`] takes for up to `pages`
    /// pages. Any context.
    fn memory(&self, pages: usize) -> usize;

    /// Makes the tables for a snapshot of up to `pages` pages. User tasks
    /// are frozen, kernel threads run. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn prepare(&self, pages: usize) -> Result<Arc<dyn Pages>>;
}

/// The pages of one snapshot.
pub trait Pages: Send + Sync {
    /// Reserves what holds `pages` pages still, no more than were prepared
    /// for. Once, and the last that is allocated before the snapshot. User
    /// tasks are frozen, kernel threads run. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` the second time.
    fn reserve(&self, pages: usize) -> Result;

    /// Takes the snapshot. One CPU, interrupts off: neither allocates, nor
    /// sleeps, nor takes a lock; in the restored kernel it never returns.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there are more pages than were reserved for.
    fn take(&self) -> Result<Counts>;

    /// Fills `out` with the records from number `first` on, in ascending order
    /// of page frame number, and returns how many it wrote; zero after the
    /// last one. Process context.
    fn records(&self, first: usize, out: &mut [Record]) -> usize;

    /// The page held at `place`. Process context.
    fn page(&self, place: usize) -> Option<&[u8; PAGE]>;

    /// The `count` pages held from `place` on, when they lie next to each
    /// other in memory, so that nobody has to gather them. Process context.
    fn contiguous(&self, place: usize, count: usize) -> Option<&[u8]>;

    /// Told when the kernel has freed the page frames that were marked for
    /// the image (`swsusp_free()`): they are not ours to free any more.
    /// Process context.
    fn release(&self);
}
