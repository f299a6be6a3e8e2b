// SPDX-License-Identifier: GPL-2.0

//! Swap areas, and slots in them.
//!
//! C header: [`include/linux/swap.h`](srctree/include/linux/swap.h)

use super::block::{BlockDevice, DevT};
use super::ffi;
use super::table::Table;
use super::work;
use core::mem;
use kernel::alloc::KVVec;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A swap area in use.
pub struct SwapArea {
    /// Its number.
    pub type_no: u32,
    raw: ffi::dormouse_swap_area,
}

impl SwapArea {
    /// The area number `type_no`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none that can hold an image: one on a network filesystem cannot.
    pub fn get(type_no: u32) -> Result<Self> {
        let mut raw = ffi::dormouse_swap_area::default();
        // SAFETY: The description is ours to write.
        to_result(unsafe { ffi::dormouse_swap_area(type_no, &mut raw) })?;
        Ok(SwapArea { type_no, raw })
    }

    /// The higher, the sooner it is used.
    pub fn priority(&self) -> i32 {
        self.raw.priority
    }

    /// The block device it is on.
    pub fn dev(&self) -> DevT {
        DevT(self.raw.dev)
    }

    /// Size in pages.
    pub fn pages(&self) -> u64 {
        self.raw.pages
    }

    /// Of these free.
    pub fn free_pages(&self) -> u64 {
        self.raw.free_pages
    }

    /// Of these in use. Slots that are reserved count.
    pub fn used_pages(&self) -> u64 {
        self.raw.pages.saturating_sub(self.raw.free_pages)
    }

    /// Runs that the free pages are in, or a few more: counts them. May sleep.
    pub fn free_runs(&self) -> u64 {
        // SAFETY: Any number is allowed.
        unsafe { ffi::dormouse_swap_free_runs(self.type_no) }
    }

    /// Where its header is on the device, in pages.
    ///
    /// Of a file whose filesystem has blocks smaller than a page the kernel may have left out the
    /// beginning; then something else is there, so the signature has to be checked.
    pub fn header_block(&self) -> u64 {
        self.raw.header_block
    }

    /// True when it is a file on a filesystem.
    pub fn is_file(&self) -> bool {
        self.raw.is_file
    }

    /// True when the kernel makes the device itself, of others (dm, md): another boot may not have
    /// it, and the saved system goes on with it all the same.
    pub fn is_virtual(&self) -> bool {
        self.raw.is_virtual
    }

    /// Path of the device node or file.
    pub fn name(&self) -> &[u8] {
        let len = self.raw.name.iter().position(|&b| b == 0).unwrap_or(0);
        self.raw.name.get(..len).unwrap_or(&[])
    }
}

/// Calls `f` with all swap areas that can hold an image. May sleep.
pub fn areas(f: &mut dyn FnMut(&SwapArea)) {
    // SAFETY: No requirements.
    let types = unsafe { ffi::dormouse_swap_types() };
    for type_no in 0..types {
        if let Ok(area) = SwapArea::get(type_no) {
            f(&area);
        }
    }
}

impl BlockDevice {
    /// The device that swap area number `type_no` is on, without opening it: it is the swap area's
    /// as well. It stays, also when the swap area is given up. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such area, `ENOMEM`.
    pub fn of_swap(type_no: u32) -> Result<Self> {
        // SAFETY: Any number is allowed; the return value is handed on as it is.
        unsafe { BlockDevice::from_raw(ffi::dormouse_swap_bdev(type_no)) }
    }
}

type Extent = ffi::dormouse_swap_extent;

/// Slots of a swap area that are reserved; dropping it gives them back, as soon as no request of the
/// device that they are written through is under way. The area cannot be given up (`swapoff`) until
/// then.
pub struct SwapSlots {
    held: Held,
    device: Arc<BlockDevice>,
    len: u64,
}

/// The slots themselves, given back when it is dropped.
///
/// # Invariants
///
/// All slots of `extents` come from `dormouse_swap_alloc()`, are there once, and are given back by
/// nobody else.
struct Held {
    type_no: u32,
    extents: KVVec<Extent>,
}

impl SwapSlots {
    /// Bytes of memory for each extent.
    pub const EXTENT_BYTES: usize = mem::size_of::<Extent>();

    /// Extents that are asked for at a time.
    const BATCH: usize = 128;
    /// Slots that are asked for at a time: some milliseconds' worth.
    const BATCH_SLOTS: u64 = 4096;

    /// Reserves up to `want` slots of swap area number `type_no`, fewer when it has no more. They
    /// are only written through `device`. The kernel gives them one by one, so `go_on` is asked now
    /// and then. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such area, `ENOMEM`, that of `go_on`.
    pub fn reserve(
        type_no: u32,
        device: Arc<BlockDevice>,
        want: u64,
        go_on: impl Fn() -> Result,
    ) -> Result<Self> {
        // INVARIANT: No slots.
        let held = Held {
            type_no,
            extents: KVVec::new(),
        };
        let mut slots = SwapSlots {
            held,
            device,
            len: 0,
        };
        let mut batch = Table::<Extent>::new(Self::BATCH)?;
        while slots.len < want {
            go_on()?;
            let some = want.saturating_sub(slots.len).min(Self::BATCH_SLOTS);
            if !slots.reserve_some(some, &mut batch)? {
                break;
            }
        }
        slots.sort();
        Ok(slots)
    }

    fn reserve_some(&mut self, want: u64, batch: &mut [Extent]) -> Result<bool> {
        // SAFETY: The batch is ours to write; any other numbers are allowed.
        let used = unsafe {
            ffi::dormouse_swap_alloc(
                self.held.type_no,
                want,
                batch.as_mut_ptr(),
                batch.len() as u64,
            )
        };
        // Only that the area is not there makes it fail.
        let used = usize::try_from(used).map_err(|_| ENOENT)?;
        let mut failed = None;
        for extent in batch.iter().take(used) {
            let kept = match failed {
                None => self.add(extent),
                Some(e) => Err(e),
            };
            if let Err(e) = kept {
                // SAFETY: These slots have just been reserved, and are in no list.
                unsafe { ffi::dormouse_swap_free(self.held.type_no, extent.slot, extent.count) };
                failed = Some(e);
            }
        }
        match failed {
            None => Ok(used != 0),
            Some(e) => Err(e),
        }
    }

    /// Takes over an extent, or leaves it to the caller on error.
    fn add(&mut self, extent: &Extent) -> Result {
        let extents = &mut self.held.extents;
        if !extents.last_mut().is_some_and(|last| merge(last, extent)) {
            extents.push(*extent, GFP_KERNEL)?;
        }
        // INVARIANT: The extent is in the list now.
        self.len = self.len.saturating_add(extent.count);
        Ok(())
    }

    /// Puts the extents in the order of the device, for long requests.
    fn sort(&mut self) {
        crate::sort::by_key(&mut self.held.extents, |e| e.block);
    }

    /// Number of the swap area. Any context.
    pub fn type_no(&self) -> u32 {
        self.held.type_no
    }

    /// Number of slots. Any context.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Number of [`SwapSlots::extents`]. Any context.
    pub fn extent_count(&self) -> usize {
        self.held.extents.len()
    }

    /// The slots as runs on the device, in ascending order: first block, in pages, and number of
    /// blocks. Any context.
    pub fn extents(&self) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
        self.held.extents.iter().map(|e| (e.block, e.count))
    }

    /// Leaves the slots reserved for ever. Any context.
    pub fn forget(mut self) {
        // INVARIANT: No slots.
        self.held.extents = KVVec::new();
    }
}

/// Adds `next` to `last` if it follows it in the swap area and on the device.
fn merge(last: &mut Extent, next: &Extent) -> bool {
    let follows = last.slot.checked_add(last.count) == Some(next.slot)
        && last.block.checked_add(last.count) == Some(next.block);
    if follows {
        last.count = last.count.saturating_add(next.count);
    }
    follows
}

impl Drop for SwapSlots {
    fn drop(&mut self) {
        if self.device.pending() == 0 {
            return;
        }
        // A write that is under way would destroy what somebody else keeps there by then.
        // INVARIANT: No slots.
        let none = Held {
            type_no: self.held.type_no,
            extents: KVVec::new(),
        };
        let held = core::mem::replace(&mut self.held, none);
        let what = (held, self.device.clone());
        work::drop_when(what, |(_, device)| device.pending() == 0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for extent in self.extents.iter() {
            // SAFETY: By the type invariants this gives back each slot once.
            unsafe { ffi::dormouse_swap_free(self.type_no, extent.slot, extent.count) };
        }
    }
}
