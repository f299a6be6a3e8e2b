// SPDX-License-Identifier: GPL-2.0

//! Filesystems that hold still, and the block devices that they are on.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::block::{self, DevT};
use super::ffi;
use crate::text::Text;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::prelude::*;

/// Numbers of at most `most` block devices of mounted filesystems, and how many there are. All
/// devices of each filesystem are listed, but none that stands still while tasks are frozen, such
/// as those made of loop devices: what is on them is in a file, whose filesystem is. May sleep;
/// takes no lock of a filesystem.
///
/// # Errors
///
/// `ENOMEM`.
pub fn devices(most: usize) -> Result<(KVec<DevT>, usize)> {
    let (list, there) = block::numbers(most, |devs, count| {
        // SAFETY: There is room for as many numbers.
        unsafe { ffi::dormouse_bdev_mounted(devs, count) }
    })?;
    let (list, left_out) = block::without_still(list)?;
    Ok((list, there.saturating_sub(left_out)))
}

/// Pages that are still to be written to filesystems. Any context.
pub fn dirty_pages() -> u64 {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_dirty_pages() }
}

/// A filesystem, for messages: its type, and most often the name of its device.
#[derive(Clone, Copy)]
pub struct Name {
    /// Name of its type.
    pub kind: Text<32>,
    /// Its own name.
    pub name: Text<32>,
}

/// All filesystems on block devices while they are being frozen. Dropping it leaves that to itself:
/// what is frozen is thawed, at once and when it is over.
///
/// # Invariants
///
/// `freeze` comes from `dormouse_fs_freeze_start()` and was neither ended nor abandoned.
pub struct Freezing {
    freeze: NonNull<ffi::dormouse_fs_freeze>,
}

impl Freezing {
    /// Starts to freeze all filesystems, newest first. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` while an earlier freeze that was dropped is still under way, `ENOMEM`.
    pub fn start() -> Result<Self> {
        // SAFETY: Process context is all that is required.
        let freeze = from_err_ptr(unsafe { ffi::dormouse_fs_freeze_start() })?;
        // INVARIANT: The freeze has just begun.
        Ok(Freezing {
            freeze: NonNull::new(freeze).ok_or(ENOMEM)?,
        })
    }

    /// Waits up to `ms` milliseconds; true when all filesystems that can be frozen are. May sleep.
    pub fn wait(&self, ms: u32) -> bool {
        // SAFETY: By the type invariants the freeze is valid.
        unsafe { ffi::dormouse_fs_freeze_wait(self.freeze.as_ptr(), ms) }
    }

    fn not_frozen(&self, all: bool) -> Option<Name> {
        const SIZE: usize = 32;
        let (mut kind, mut name) = ([0u8; SIZE], [0u8; SIZE]);
        // SAFETY: By the type invariants the freeze is valid; both have as much room.
        let found = unsafe {
            ffi::dormouse_fs_not_frozen(
                self.freeze.as_ptr(),
                all,
                kind.as_mut_ptr().cast(),
                name.as_mut_ptr().cast(),
                SIZE,
            )
        };
        found.then(|| Name {
            kind: Text::until_nul(&kind),
            name: Text::until_nul(&name),
        })
    }

    /// The filesystem that the freeze is waiting for, if it is known. Any context.
    pub fn waits_for(&self) -> Option<Name> {
        self.not_frozen(false)
    }

    /// A filesystem that could not be frozen, when [`Freezing::wait`] has returned true. Any
    /// context.
    pub fn left_out(&self) -> Option<Name> {
        self.not_frozen(true)
    }

    /// Keeps what is frozen so, when [`Freezing::wait`] has returned true, and keeps the memory
    /// allocator out of filesystems for this thread: reclaim would wait for frozen ones. May sleep.
    pub fn finish(self) -> Frozen {
        let freeze = self.freeze.as_ptr();
        core::mem::forget(self);
        // SAFETY: By the type invariants the freeze is valid; with `self` forgotten, nobody uses it
        // after this.
        unsafe { ffi::dormouse_fs_freeze_end(freeze) };
        Frozen(())
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the freeze is valid, and nobody uses it after this.
        unsafe { ffi::dormouse_fs_freeze_abandon(self.freeze.as_ptr()) };
    }
}

/// All filesystems on block devices, frozen. Dropping it thaws them. That may sleep, is for the
/// thread that froze them, and needs tasks and kernel threads to be thawed.
pub struct Frozen(());

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: Process context is all that is required, and the caller's to provide.
        unsafe { ffi::dormouse_fs_thaw() };
    }
}
