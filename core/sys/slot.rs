// SPDX-License-Identifier: GPL-2.0

//! A place for one value that many threads use without a lock, and that can be taken back.

use super::time;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::types::ForeignOwnable;

/// A place for a value.
///
/// # Invariants
///
/// - The pointer is null or comes from [`KBox::into_foreign`], and whoever puts null in its place
///   owns the value.
/// - A thread that uses the value was counted in `users` before it read the pointer.
pub struct Slot<T: Send + Sync + 'static> {
    value: AtomicPtr<T>,
    users: AtomicUsize,
}

impl<T: Send + Sync + 'static> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    /// An empty place.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null and nobody uses it.
        Slot {
            value: AtomicPtr::new(ptr::null_mut()),
            users: AtomicUsize::new(0),
        }
    }

    /// Puts `value` there until what is returned is dropped. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is a value already; `ENOMEM`. `value` is dropped then.
    pub fn fill(&'static self, value: T) -> Result<Filled<T>> {
        let raw = KBox::new(value, GFP_KERNEL)?.into_foreign() as *mut T;
        let empty = ptr::null_mut();
        match self
            .value
            .compare_exchange(empty, raw, Ordering::SeqCst, Ordering::Relaxed)
        {
            // INVARIANT: `raw` comes from `into_foreign`, and `Filled` puts null in its place.
            Ok(_) => Ok(Filled(self)),
            Err(_) => {
                // SAFETY: `raw` was just made by `into_foreign` and was not stored, so this is the
                // only owner.
                drop(unsafe { <KBox<T> as ForeignOwnable>::from_foreign(raw.cast()) });
                Err(EBUSY)
            }
        }
    }

    /// Whether there is no value. Any context.
    pub fn is_empty(&self) -> bool {
        self.value.load(Ordering::Relaxed).is_null()
    }

    /// Lets `f` use the value, if there is one. Any context that `f` allows; lock-free.
    ///
    /// Whoever takes the value back waits for `f`, so it has to end soon, and must not take the
    /// value back itself.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        // INVARIANT: Counted before the pointer is read.
        self.users.fetch_add(1, Ordering::SeqCst);
        // SAFETY: By the type invariants the pointer is null or valid. A value that was read here
        // was not taken back before, in the order of all `SeqCst` operations; so who takes it back
        // sees this user afterwards, and waits until the count goes down.
        let value = unsafe { self.value.load(Ordering::SeqCst).as_ref() };
        let result = value.map(f);
        self.users.fetch_sub(1, Ordering::Release);
        result
    }
}

/// Keeps a value in its place. Dropping it takes the value back, after everybody has done with it,
/// and drops it. May sleep.
#[must_use = "dropping it takes the value back"]
pub struct Filled<T: Send + Sync + 'static>(&'static Slot<T>);

impl<T: Send + Sync + 'static> Drop for Filled<T> {
    fn drop(&mut self) {
        let raw = self.0.value.swap(ptr::null_mut(), Ordering::SeqCst);
        while self.0.users.load(Ordering::SeqCst) != 0 {
            time::sleep_ms(1);
        }
        if !raw.is_null() {
            // SAFETY: By the type invariants the pointer comes from `into_foreign`; it is not to be
            // found any more, and nobody uses it.
            drop(unsafe { <KBox<T> as ForeignOwnable>::from_foreign(raw.cast()) });
        }
    }
}
