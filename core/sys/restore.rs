// SPDX-License-Identifier: GPL-2.0

//! Loading: page frames to load an image into.
//!
//! Every page of the image has a slot. It leads to the page's own frame where that is free in the
//! kernel that loads the image; otherwise to a frame from which the architecture's code moves it at
//! the very end. Everything here works only in `read` of the
//! [`Hooks`](super::hibernate::Hooks).

use super::ffi;
use super::pages::PAGE_BYTES;
use core::marker::PhantomData;
use core::mem;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kernel::alloc::KVVec;
use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::c_void;
use kernel::prelude::*;

/// Where the pages of an image are loaded to.
///
/// Dropping it frees the tables only. The page frames are freed by the kernel if `read` or the
/// restore fails.
///
/// # Invariants
///
/// - `restore` comes from `dormouse_restore_new()` and is freed by nobody else; all its slots are
///   given, and `slots` are their addresses, `len` of them, all different.
/// - A slot whose bit in `claimed` is set belongs to a [`Claim`] or was filled through one.
pub struct Destinations {
    restore: NonNull<ffi::dormouse_restore>,
    slots: NonNull<*mut c_void>,
    len: usize,
    claimed: KVVec<AtomicU64>,
    left: AtomicUsize,
}

// SAFETY: The slots are only written through claims, each of which has its own.
unsafe impl Send for Destinations {}

// SAFETY: As above.
unsafe impl Sync for Destinations {}

/// Frees the tables if it is not disarmed by taking them out.
struct Restore(NonNull<ffi::dormouse_restore>);

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: It comes from `dormouse_restore_new()`, and nobody else frees it.
        unsafe { ffi::dormouse_restore_free(self.0.as_ptr()) };
    }
}

/// A bit for each of `total` slots, none of them set.
fn unclaimed(total: usize) -> Result<KVVec<AtomicU64>> {
    let words = total.div_ceil(u64::BITS as usize);
    let mut claimed = KVVec::with_capacity(words, GFP_KERNEL)?;
    for _ in 0..words {
        claimed.push(AtomicU64::new(0), GFP_KERNEL)?;
    }
    Ok(claimed)
}

impl Destinations {
    /// Gets page frames for all `total` pages of an image. The `pfns` are runs of page frame
    /// numbers with their lengths; they are given slots in this order. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `pfns` are not `total` different pages of this machine that an image can have,
    /// `ENOMEM` when memory cannot hold them, `EPERM` outside of `read`.
    pub fn allocate(pfns: impl Iterator<Item = (u64, u64)> + Clone, total: usize) -> Result<Self> {
        let restore = new_restore(total)?;
        for (pfn, count) in pfns.clone() {
            add(&restore, pfn, count)?;
        }
        // The page frames may take all that is left.
        let claimed = unclaimed(total)?;
        own(&restore)?;
        for (pfn, count) in pfns {
            place(&restore, pfn, count)?;
        }
        Self::of(restore, total, claimed)
    }

    #[inline(never)]
    fn of(restore: Restore, total: usize, claimed: KVVec<AtomicU64>) -> Result<Self> {
        // SAFETY: It is valid.
        let placed = unsafe { ffi::dormouse_restore_placed(restore.0.as_ptr()) };
        if placed != total as u64 {
            return Err(EINVAL);
        }
        // SAFETY: It is valid.
        let slots = unsafe { ffi::dormouse_restore_slots(restore.0.as_ptr()) };
        let raw = restore.0;
        mem::forget(restore);
        // INVARIANT: All slots are given, and none is claimed. The addresses differ, as each is a
        // page frame that was allocated for one slot.
        Ok(Destinations {
            restore: raw,
            slots: NonNull::new(slots.cast_mut()).ok_or(EINVAL)?,
            len: total,
            claimed,
            left: AtomicUsize::new(total),
        })
    }

    fn slots(&self) -> &[*mut c_void] {
        // SAFETY: By the type invariants.
        unsafe { slice::from_raw_parts(self.slots.as_ptr(), self.len) }
    }

    fn bit(&self, slot: usize) -> Option<(&AtomicU64, u64)> {
        let word = self.claimed.get(slot / u64::BITS as usize)?;
        Some((word, 1 << (slot % u64::BITS as usize)))
    }

    /// Claims the `n` slots from `slot` on, to fill them; `None` when there are no such slots or one
    /// of them has been claimed before. Any context.
    pub fn claim(&self, slot: usize, n: usize) -> Option<Claim<'_>> {
        let end = slot.checked_add(n)?;
        let slots = self.slots().get(slot..end)?;
        for i in slot..end {
            let (word, mask) = self.bit(i)?;
            if word.fetch_or(mask, Ordering::AcqRel) & mask != 0 {
                // INVARIANT: Those before were claimed just now, and nothing was done with them.
                for i in slot..i {
                    let (word, mask) = self.bit(i)?;
                    word.fetch_and(!mask, Ordering::AcqRel);
                }
                return None;
            }
        }
        self.left.fetch_sub(n, Ordering::AcqRel);
        // INVARIANT: All bits were clear and are set now.
        Some(Claim {
            slots,
            _writes: PhantomData,
        })
    }

    /// Number of slots that have not been claimed yet. Any context.
    pub fn unclaimed(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// Number of pages that are loaded into their own frames. Any context.
    pub fn in_place(&self) -> usize {
        // SAFETY: By the type invariants it is valid.
        unsafe { ffi::dormouse_restore_in_place(self.restore.as_ptr()) as usize }
    }

    /// Hands the image over to the architecture, which restores it after `read`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when a page has not been claimed, `EPERM` outside of `read`.
    pub fn arm(&self) -> Result {
        if self.unclaimed() != 0 {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants it is valid.
        to_result(unsafe { ffi::dormouse_restore_arm(self.restore.as_ptr()) })
    }
}

impl Drop for Destinations {
    fn drop(&mut self) {
        drop(Restore(self.restore));
    }
}

fn new_restore(total: usize) -> Result<Restore> {
    // SAFETY: Any number is allowed, and this is process context.
    let restore = from_err_ptr(unsafe { ffi::dormouse_restore_new(total as u64) })?;
    Ok(Restore(NonNull::new(restore).ok_or(ENOMEM)?))
}

#[inline(never)]
fn add(restore: &Restore, pfn: u64, count: u64) -> Result {
    // SAFETY: It is valid; any numbers are allowed.
    to_result(unsafe { ffi::dormouse_restore_add(restore.0.as_ptr(), pfn, count) })
}

#[inline(never)]
fn own(restore: &Restore) -> Result {
    // SAFETY: It is valid.
    to_result(unsafe { ffi::dormouse_restore_own(restore.0.as_ptr()) })
}

#[inline(never)]
fn place(restore: &Restore, pfn: u64, count: u64) -> Result {
    // SAFETY: It is valid; any numbers are allowed.
    to_result(unsafe { ffi::dormouse_restore_place(restore.0.as_ptr(), pfn, count) })
}

/// Slots that the holder may fill, and nobody else.
///
/// # Invariants
///
/// The bits of `slots` in [`Destinations`] were set for this claim.
pub struct Claim<'a> {
    slots: &'a [*mut c_void],
    _writes: PhantomData<&'a mut [u8]>,
}

// SAFETY: A claim is the only one that uses its slots.
unsafe impl Send for Claim<'_> {}

impl Claim<'_> {
    /// The page of slot number `i` of this claim. Any context.
    pub fn page(&mut self, i: usize) -> Option<&mut [u8]> {
        let page = *self.slots.get(i)?;
        // SAFETY: By the type invariants the page is ours, and page frames that were allocated
        // always hold some bytes.
        Some(unsafe { slice::from_raw_parts_mut(page.cast(), PAGE_BYTES) })
    }

    /// Fills the page of slot number `i` of this claim with `bytes`. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is no such slot, or when that is not a page of bytes.
    pub fn store(&mut self, i: usize, bytes: &[u8]) -> Result {
        let page = self.page(i).ok_or(EINVAL)?;
        if page.len() != bytes.len() {
            return Err(EINVAL);
        }
        page.copy_from_slice(bytes);
        Ok(())
    }

    /// Fills all pages of this claim with `word`, in native byte order. Any context.
    pub fn fill(&mut self, word: u64) {
        let [byte, ..] = word.to_ne_bytes();
        // Above all zero: memset() is several times faster than a loop of words.
        let uniform = word == u64::from_ne_bytes([byte; 8]);
        for &page in self.slots {
            if uniform {
                // SAFETY: As in `page`.
                unsafe { page.cast::<u8>().write_bytes(byte, PAGE_BYTES) };
                continue;
            }
            // SAFETY: As in `page`; a page is aligned for words.
            let words = unsafe {
                slice::from_raw_parts_mut(page.cast::<u64>(), PAGE_BYTES / mem::size_of::<u64>())
            };
            words.fill(word);
        }
    }

    /// All pages of this claim as one piece, if they follow each other in memory. Any context.
    pub fn contiguous(&mut self) -> Option<&mut [u8]> {
        let start = *self.slots.first()?;
        for (i, &page) in self.slots.iter().enumerate() {
            if page != start.wrapping_byte_add(i.wrapping_mul(PAGE_BYTES)) {
                return None;
            }
        }
        let len = self.slots.len().checked_mul(PAGE_BYTES)?;
        // SAFETY: The pages follow each other; otherwise as in `page`.
        Some(unsafe { slice::from_raw_parts_mut(start.cast(), len) })
    }
}
