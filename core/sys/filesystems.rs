// SPDX-License-Identifier: GPL-2.0

//! Filesystems that hold still, and the block devices that they are on.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::block::{self, DevT};
use super::ffi;
use crate::text::Text;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::ffi::c_char;
use kernel::prelude::*;

/// Numbers of the block devices of mounted filesystems, all devices of each. May sleep; takes no
/// lock of a filesystem.
///
/// # Errors
///
/// `E2BIG` for more than [`block::DEVICES_MAX`], `ENOMEM`.
pub fn devices() -> Result<KVec<DevT>> {
    block::listed(|devs, count| {
        // SAFETY: There is room for as many numbers.
        unsafe { ffi::dormouse_bdev_mounted(devs, count) }
    })
}

/// Whether an earlier freeze or thaw still waits for a device. Any context.
pub fn is_busy() -> bool {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_fs_busy() }
}

/// A filesystem, for messages: its type, and most often the name of its device.
#[derive(Clone, Copy)]
pub struct Name {
    /// Name of its type.
    pub kind: Text<32>,
    /// Its own name.
    pub name: Text<32>,
}

impl Name {
    /// The name that `find` writes to two buffers of the same size, if it finds one.
    fn of(find: impl FnOnce(*mut c_char, *mut c_char, usize) -> bool) -> Option<Self> {
        const SIZE: usize = 32;
        let (mut kind, mut name) = ([0u8; SIZE], [0u8; SIZE]);
        let found = find(kind.as_mut_ptr().cast(), name.as_mut_ptr().cast(), SIZE);
        found.then(|| Name {
            kind: Text::until_nul(&kind),
            name: Text::until_nul(&name),
        })
    }
}

/// How far a freeze has come.
#[derive(Clone, Copy, Default)]
pub struct Progress {
    /// Filesystems that are frozen.
    pub frozen: u32,
    /// Pages of all filesystems that are still to be written.
    pub dirty: u64,
    /// Sectors written to the devices of the filesystem that is being frozen; says something only
    /// when it changes.
    pub written: u64,
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

    /// How far it has come. May sleep.
    pub fn progress(&self) -> Progress {
        let mut progress = ffi::dormouse_fs_progress::default();
        // SAFETY: By the type invariants the freeze is valid; the description is ours to write.
        unsafe { ffi::dormouse_fs_freeze_progress(self.freeze.as_ptr(), &mut progress) };
        Progress {
            frozen: progress.frozen,
            dirty: progress.dirty,
            written: progress.written,
        }
    }

    fn not_frozen(&self, all: bool) -> Option<Name> {
        Name::of(|kind, name, size| {
            // SAFETY: By the type invariants the freeze is valid; both have as much room.
            unsafe { ffi::dormouse_fs_not_frozen(self.freeze.as_ptr(), all, kind, name, size) }
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
        let freeze = self.freeze;
        core::mem::forget(self);
        // SAFETY: By the type invariants the freeze is valid.
        unsafe { ffi::dormouse_fs_freeze_end(freeze.as_ptr()) };
        // INVARIANT: The freeze was ended just now; with `self` forgotten, nobody else uses it.
        Frozen { freeze }
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the freeze is valid, and nobody uses it after this.
        unsafe { ffi::dormouse_fs_freeze_abandon(self.freeze.as_ptr()) };
    }
}

/// All filesystems on block devices, frozen. Dropping it thaws them, as [`Frozen::thaw`] without
/// waiting for the last of them. That may sleep, is for the thread that froze them, and needs tasks
/// and kernel threads to be thawed.
///
/// # Invariants
///
/// `freeze` was given to `dormouse_fs_freeze_end()`, and nobody else uses it.
pub struct Frozen {
    freeze: NonNull<ffi::dormouse_fs_freeze>,
}

// SAFETY: What it refers to is bound to no CPU; that it is dropped by the thread that froze is what
// its only user sees to.
unsafe impl Send for Frozen {}

impl Frozen {
    /// Thaws all of them; waits up to `ms` milliseconds for those that are slow at that, and
    /// returns one that is still frozen because its device does not answer. It is thawed when the
    /// device does. As to drop it.
    pub fn thaw(self, ms: u32) -> Option<Name> {
        let freeze = self.freeze;
        core::mem::forget(self);
        Self::end(freeze, ms)
    }

    fn end(freeze: NonNull<ffi::dormouse_fs_freeze>, ms: u32) -> Option<Name> {
        Name::of(|kind, name, size| {
            // SAFETY: By the type invariants of who calls it the freeze is valid, and not used
            // after this; both have as much room. Process context is the caller's to provide.
            unsafe { ffi::dormouse_fs_thaw(freeze.as_ptr(), ms, kind, name, size) }
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        Self::end(self.freeze, 0);
    }
}
