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

/// Number of free page frames. Any context.
pub fn free_pages() -> usize {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_free_pages() as usize }
}

/// Makes the kernel give up about `pages` pages that it can do without, and returns how many it
/// did. While kernel threads run; may sleep.
pub fn shrink(pages: usize) -> usize {
    // SAFETY: Process context is all that is required.
    unsafe { ffi::dormouse_shrink(pages as u64) as usize }
}

/// Page frames for copies, which stay out of the image.
///
/// # Invariants
///
/// - The first `len` of `pages` are addresses of pages of `dormouse_copy_alloc()`, each of them there
///   once.
/// - The first `filled` of them are initialised and nobody writes to them, unless `busy`.
pub struct CopyPages {
    pages: Table<usize>,
    len: usize,
    filled: AtomicUsize,
    busy: AtomicBool,
    gone: AtomicBool,
}

impl CopyPages {
    /// Largest blocks that are asked for: 128 KiB.
    const MOST_ORDER: u32 = 5;

    /// Reserves `n` page frames, as long as possible in blocks that are contiguous. In `prepare`;
    /// may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also at any other time.
    pub fn reserve(n: usize) -> Result<Self> {
        // INVARIANT: No pages.
        let mut copies = CopyPages {
            pages: Table::new(n)?,
            len: 0,
            filled: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        let mut order = Self::MOST_ORDER;
        while let Some(most) = n.saturating_sub(copies.len).checked_ilog2() {
            order = order.min(most);
            if !copies.reserve_block(order) {
                order = order.checked_sub(1).ok_or(ENOMEM)?;
            }
        }
        Ok(copies)
    }

    fn reserve_block(&mut self, order: u32) -> bool {
        let end = self.len.saturating_add(1 << order);
        let Some(room) = self.pages.get_mut(self.len..end) else {
            return false;
        };
        // SAFETY: Process context is all that is required.
        let block = unsafe { ffi::dormouse_copy_alloc(order) } as usize;
        if block == 0 {
            return false;
        }
        for (i, page) in room.iter_mut().enumerate() {
            *page = block.wrapping_add(i.wrapping_mul(PAGE_BYTES));
        }
        // INVARIANT: These are the pages of the block.
        self.len = end;
        true
    }

    /// Number of page frames. Any context.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
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
        for &page in self.pages.iter().take(self.len) {
            // SAFETY: By the type invariants this frees each page once. (Unless the kernel has done
            // that, in which case the call does nothing.)
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

const EMPTY: u8 = 0;
const TAKING: u8 = 1;
const TAKEN: u8 = 2;

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
    /// copies have been used already, `EPERM` at any other time.
    pub fn take(&self, copies: &CopyPages) -> Result<Counts> {
        self.state
            .compare_exchange(EMPTY, TAKING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        if copies.busy.swap(true, Ordering::Acquire) || copies.gone.load(Ordering::Acquire) {
            return Err(EBUSY);
        }
        let mut counts = ffi::dormouse_counts::default();
        // SAFETY: `TAKING` and `busy` were both set by this call only and are never unset, so nobody
        // else uses the entries or the copies; the entries are never borrowed while that is so.
        to_result(unsafe {
            ffi::dormouse_snapshot(
                self.entries.as_raw(),
                self.entries.len() as u64,
                copies.pages.as_ptr().cast(),
                copies.len as u64,
                &mut counts,
            )
        })?;
        let image_pages = counts.image_pages as usize;
        let data_pages = counts.data_pages as usize;
        // INVARIANT: The copies have just been made, and there will be no others.
        copies.filled.store(data_pages, Ordering::Release);
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
