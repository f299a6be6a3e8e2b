// SPDX-License-Identifier: GPL-2.0

//! A static that is set once and then shared for the life of the kernel.
//!
//! The engine is built in and never unloaded, so what it sets up at boot can
//! be handed out as `&'static`.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::prelude::*;
use kernel::types::ForeignOwnable;

/// A value that is set at most once.
///
/// # Invariants
///
/// The pointer is null, or comes from [`Pin<KBox<T>>::into_foreign`] and is
/// never freed.
pub struct Once<T: Send + Sync + 'static>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Once<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Once(AtomicPtr::new(ptr::null_mut()))
    }

    /// Stores `value`. Any context.
    ///
    /// # Errors
    ///
    /// `EBUSY` when a value is there already; `value` is dropped.
    pub fn set(&self, value: Pin<KBox<T>>) -> Result<&'static T> {
        let raw = value.into_foreign() as *mut T;
        match self
            .0
            .compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire)
        {
            // INVARIANT: `raw` comes from `into_foreign` and nobody frees it.
            // SAFETY: The pointer is valid and stays so for ever.
            Ok(_) => Ok(unsafe { &*raw }),
            Err(_) => {
                // SAFETY: `raw` was just made by `into_foreign` and was not
                // stored, so this is the only owner.
                drop(unsafe { <Pin<KBox<T>> as ForeignOwnable>::from_foreign(raw.cast()) });
                Err(EBUSY)
            }
        }
    }

    /// The value, if it has been set. Any context, lock-free.
    pub fn get(&self) -> Option<&'static T> {
        let raw = self.0.load(Ordering::Acquire);
        // SAFETY: By the type invariant the pointer is null or valid for ever.
        unsafe { raw.as_ref() }
    }
}
