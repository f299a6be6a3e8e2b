// SPDX-License-Identifier: GPL-2.0

//! A cell that is borrowed by one user at a time, without ever waiting.
//!
//! The steps of a cycle follow each other under `system_transition_mutex`, so
//! their state never has two users; but one step, the snapshot, runs with
//! interrupts off, where no lock may be taken, and in the restored kernel it
//! never returns. A lock that it held would stay locked for ever in the
//! restored kernel. This cell has no such memory: [`TryCell::reclaim`] takes
//! it back.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A cell with one borrower at a time.
pub struct TryCell<T> {
    busy: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `busy` admits one borrower at a time, so that the value is only ever
// used by one thread, which `T: Send` allows.
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        TryCell {
            busy: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Borrows the value, or gives `None` while somebody else does. Any
    /// context; neither waits nor allocates.
    pub fn try_borrow(&self) -> Option<TryRef<'_, T>> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(TryRef(self))
    }

    /// Ends a borrow whose owner is gone: in the restored kernel the snapshot
    /// step that held it does not exist any more. Any context.
    pub fn reclaim(&self, _proof: &Restored) {
        // By the invariant of `Restored` no thread is inside a borrow.
        self.busy.store(false, Ordering::Release);
    }
}

/// Proof that this is the restored kernel, right after the restore.
///
/// # Invariants
///
/// While it exists, the only thread that ever borrows a [`TryCell`] of the
/// cycle is the one that holds it, and it is not inside a borrow.
pub struct Restored(());

impl Restored {
    /// Makes the proof.
    ///
    /// # Safety
    ///
    /// Only for the `discard(true)` callback of `hibernation_image_ops`, for
    /// the length of the call: there the snapshot step ended with the kernel
    /// that loaded the image, and the cycle's other steps are not running.
    #[cfg_attr(not(CONFIG_HIBERNATION), allow(dead_code))]
    pub(super) unsafe fn new() -> Self {
        // INVARIANT: By the safety requirement.
        Restored(())
    }
}

/// The borrow of a [`TryCell`].
pub struct TryRef<'a, T>(&'a TryCell<T>);

impl<T> Deref for TryRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `busy` was taken by this borrow, which is the only one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for TryRef<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for TryRef<'_, T> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}
