// SPDX-License-Identifier: GPL-2.0

//! Saving: which pages belong in an image, and copies of them.
//!
//! Everything here works only inside of the [`Hooks`](super::hibernate::Hooks), where the kernel
//! has the bitmaps that tell which pages these are; at any other time it gives `EPERM`.

use super::ffi;
use super::table::Table;
use core::mem;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use kernel::error::to_result;
use kernel::ffi::c_void;
use kernel::prelude::*;

const EMPTY: u8 = 0;
const RESERVING: u8 = 1;
const RESERVED: u8 = 2;
const TAKING: u8 = 3;
const TAKEN: u8 = 4;

/// Bytes of a page.
pub const PAGE_BYTES: usize = kernel::page::PAGE_SIZE;

/// Counts the pages that an image would have now. In `prepare`; may sleep.
///
/// # Errors
///
/// `EPERM` at any other time.
pub fn count_saveable() -> Result<usize> {
    // SAFETY: Process context is all that is required.
    let count = unsafe { ffi::dormouse_count_saveable() };
    usize::try_from(count).map_err(|_| EPERM)
}

/// Page frames that nobody uses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FreePages {
    /// All of them.
    pub all: usize,
    /// Those that only memory which can be moved may take (`CMA`, `ZONE_MOVABLE`): copies are put
    /// there, but no tables and buffers.
    pub movable: usize,
    /// Those that the allocator keeps for emergencies, whoever asks.
    pub kept_back: usize,
}

/// Counts free page frames. Any context.
pub fn free_pages() -> FreePages {
    let mut free = ffi::dormouse_free_pages::default();
    // SAFETY: The description is ours to write.
    unsafe { ffi::dormouse_free_pages(&mut free) };
    FreePages {
        all: free.all as usize,
        movable: free.movable as usize,
        kept_back: free.kept_back as usize,
    }
}

/// Makes the kernel give up about `pages` pages that it can do without, and returns how many it
/// did. They count as free afterwards. While kernel threads run; may sleep.
pub fn shrink(pages: usize) -> usize {
    // SAFETY: Process context is all that is required.
    unsafe { ffi::dormouse_shrink(pages as u64) as usize }
}

/// What page frames are to be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// For copies: wherever there are any.
    Copies,
    /// To be given back, so that anybody can allocate them then.
    Reserve,
}

/// Page frames that stay out of the image. They are dropped in the hooks `prepare` and `write`
/// alone; at any other time the kernel frees them, see [`CopyPages::forget`].
///
/// # Invariants
///
/// - The first `len` of `pages` are addresses of pages of `dormouse_copy_alloc()`, each of them there
///   once. Nobody writes to `pages` but the one who has set `state` to `RESERVING`.
/// - The first `filled` of them are initialised and nobody writes to them, unless `state` is
///   `TAKING`.
pub struct CopyPages {
    pages: Table<usize>,
    wanted: Use,
    state: AtomicU8,
    len: AtomicUsize,
    filled: AtomicUsize,
    gone: AtomicBool,
}

impl CopyPages {
    /// Largest blocks that are asked for: 4 MiB, the largest that the kernel has.
    const MOST_ORDER: u32 = 10;

    /// Bytes of memory for each page, beside the page itself.
    pub const ENTRY_BYTES: usize = mem::size_of::<usize>();

    /// Makes the table of up to `most` page frames, and reserves none of them. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(most: usize, wanted: Use) -> Result<Self> {
        // INVARIANT: No pages.
        Ok(CopyPages {
            pages: Table::new(most)?,
            wanted,
            state: AtomicU8::new(EMPTY),
            len: AtomicUsize::new(0),
            filled: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        })
    }

    /// Reserves `n` page frames, as long as possible in blocks that are contiguous. Once, in
    /// `prepare`; may sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the table is too small, `EBUSY` the second time, `ENOMEM`, also at any other
    /// time.
    pub fn reserve(&self, n: usize) -> Result {
        if n > self.pages.len() {
            return Err(EINVAL);
        }
        self.state
            .compare_exchange(EMPTY, RESERVING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        let mut len = 0usize;
        let mut order = Self::MOST_ORDER;
        while let Some(most) = n.saturating_sub(len).checked_ilog2() {
            order = order.min(most);
            if !self.reserve_block(len, order) {
                order = order.checked_sub(1).ok_or(ENOMEM)?;
                continue;
            }
            len = len.saturating_add(1 << order);
            // INVARIANT: `reserve_block()` has stored their addresses.
            self.len.store(len, Ordering::Relaxed);
        }
        self.state.store(RESERVED, Ordering::Release);
        Ok(())
    }

    /// Stores the addresses of a new block from number `first` on. By who has set `RESERVING` only.
    fn reserve_block(&self, first: usize, order: u32) -> bool {
        let pages = 1usize << order;
        if first.saturating_add(pages) > self.pages.len() {
            return false;
        }
        let movable = self.wanted == Use::Copies;
        // SAFETY: Process context is all that is required.
        let block = unsafe { ffi::dormouse_copy_alloc(order, movable) } as usize;
        if block == 0 {
            return false;
        }
        for i in 0..pages {
            // SAFETY: The table is as long as that, and only we write to it now; nobody reads what
            // is not below `len`.
            unsafe {
                self.pages
                    .as_raw()
                    .add(first.wrapping_add(i))
                    .write(block.wrapping_add(i.wrapping_mul(PAGE_BYTES)));
            }
        }
        true
    }

    /// Number of page frames that are reserved. Any context.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The copy number `i` of the snapshot. Any context.
    pub fn page(&self, i: usize) -> Option<&[u8; PAGE_BYTES]> {
        self.contiguous(i, 1)?.try_into().ok()
    }

    /// The `n` copies from number `first` on as one piece, if they follow each other in memory. Any
    /// context.
    pub fn contiguous(&self, first: usize, n: usize) -> Option<&[u8]> {
        let end = first.checked_add(n)?;
        if end > self.filled.load(Ordering::Acquire) {
            return None;
        }
        // `filled` is only set after the last change of the table.
        let run = self.pages.get(first..end)?;
        let start = *run.first()?;
        for (i, &page) in run.iter().enumerate() {
            if page != start.wrapping_add(i.wrapping_mul(PAGE_BYTES)) {
                return None;
            }
        }
        // SAFETY: The pages follow each other, and by the type invariants they are initialised, and
        // nobody writes to them.
        Some(unsafe { slice::from_raw_parts(start as *const u8, n.checked_mul(PAGE_BYTES)?) })
    }

    /// Takes note that the kernel has freed the page frames, as it does before it calls `discard`.
    /// Nobody may be using them any more. Any context.
    pub fn forget(&self) {
        self.gone.store(true, Ordering::Release);
        self.filled.store(0, Ordering::Release);
    }
}

impl Drop for CopyPages {
    fn drop(&mut self) {
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        for &page in self.pages.iter().take(self.len()) {
            // SAFETY: By the type invariants this frees each page once. (The call does nothing but
            // complain where the kernel has done that, or nobody can any more.)
            unsafe { ffi::dormouse_copy_free(page as *mut c_void) };
        }
    }
}

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageContent {
    /// The bytes of the copy of this number.
    Data(usize),
    /// This word over and over, in native byte order.
    Fill(u64),
}

/// A page of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageEntry {
    /// Page frame number.
    pub pfn: u64,
    /// What it holds.
    pub content: PageContent,
}

/// How many pages a snapshot has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// All pages.
    pub image_pages: usize,
    /// Those that were copied.
    pub data_pages: usize,
    /// Those that one word fills.
    pub fill_pages: usize,
}

/// The list of the pages of a snapshot.
///
/// # Invariants
///
/// While `state` is `TAKEN`, nobody writes to the entries, and the first `len` of them are those of
/// a snapshot.
pub struct SnapshotTable {
    entries: Table<ffi::dormouse_entry>,
    state: AtomicU8,
    len: AtomicUsize,
}

impl SnapshotTable {
    /// Bytes of memory for each page.
    pub const ENTRY_BYTES: usize = mem::size_of::<ffi::dormouse_entry>();

    /// Makes a table for up to `max_pages` pages. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(max_pages: usize) -> Result<Self> {
        Ok(SnapshotTable {
            entries: Table::new(max_pages)?,
            state: AtomicU8::new(EMPTY),
            len: AtomicUsize::new(0),
        })
    }

    /// Takes the snapshot: copies every page that belongs in the image, or notes the word that fills
    /// it. In `snapshot`; neither sleeps, nor allocates, nor takes a lock that others use. In the
    /// restored kernel it never returns.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there are more pages than entries or copies, `EBUSY` when this table or the
    /// copies have been used already or no copies are reserved, `EPERM` at any other time.
    pub fn take(&self, copies: &CopyPages) -> Result<Counts> {
        self.state
            .compare_exchange(EMPTY, TAKING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        copies
            .state
            .compare_exchange(RESERVED, TAKING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        if copies.gone.load(Ordering::Acquire) {
            return Err(EBUSY);
        }
        let mut counts = ffi::dormouse_counts::default();
        // SAFETY: `TAKING` was set twice by this call, and nobody sets it again, so nobody else uses
        // the entries or the copies; the entries are never borrowed while that is so.
        to_result(unsafe {
            ffi::dormouse_snapshot(
                self.entries.as_raw(),
                self.entries.len() as u64,
                copies.pages.as_ptr().cast(),
                copies.len() as u64,
                &mut counts,
            )
        })?;
        let image_pages = counts.image_pages as usize;
        let data_pages = counts.data_pages as usize;
        // INVARIANT: The copies have just been made, and there will be no others.
        copies.filled.store(data_pages, Ordering::Release);
        copies.state.store(TAKEN, Ordering::Release);
        self.len.store(image_pages, Ordering::Relaxed);
        // INVARIANT: So have the entries.
        self.state.store(TAKEN, Ordering::Release);
        Ok(Counts {
            image_pages,
            data_pages,
            fill_pages: image_pages.saturating_sub(data_pages),
        })
    }

    /// The page number `i` of the snapshot, in ascending order of page frame numbers; `None` after
    /// the last one. Any context.
    pub fn entry(&self, i: usize) -> Option<PageEntry> {
        if self.state.load(Ordering::Acquire) != TAKEN || i >= self.len.load(Ordering::Relaxed) {
            return None;
        }
        let entry = self.entries.get(i)?;
        // The bit makes the constant negative for bindgen.
        let fill = ffi::DORMOUSE_ENTRY_FILL as u64;
        Some(PageEntry {
            pfn: entry.pfn & !fill,
            content: if entry.pfn & fill == 0 {
                PageContent::Data(entry.word as usize)
            } else {
                PageContent::Fill(entry.word)
            },
        })
    }
}
