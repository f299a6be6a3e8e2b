// SPDX-License-Identifier: GPL-2.0

//! What allocations of a thread may do, for a while.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use super::ffi;
use core::marker::PhantomData;

/// Changes what allocations of this thread may do until it is dropped. Scopes end in the reverse
/// order of their beginning.
///
/// # Invariants
///
/// `before` comes from `dormouse_scope_begin()` in this thread, for `kind`.
pub struct Scope {
    kind: ffi::dormouse_scope,
    before: u32,
    // It belongs to a thread.
    _here: PhantomData<*mut ()>,
}

impl Scope {
    /// They start no I/O and enter no filesystem. Process context.
    ///
    /// While kernel threads are frozen, that I/O may never end. And a task that allocates memory and
    /// may enter filesystems waits without a limit for kswapd, which is frozen, once less than half
    /// of what is kept for emergencies is free (`throttle_direct_reclaim()`).
    pub fn no_io() -> Scope {
        Self::begin(ffi::dormouse_scope_DORMOUSE_SCOPE_NOIO)
    }

    /// They may take all that is kept for emergencies, and do not try to get more. For few of them,
    /// when all other memory is taken: to try would take seconds each time. Process context.
    pub fn reserves() -> Scope {
        Self::begin(ffi::dormouse_scope_DORMOUSE_SCOPE_RESERVES)
    }

    fn begin(kind: ffi::dormouse_scope) -> Scope {
        // INVARIANT: It comes from there.
        Scope {
            kind,
            // SAFETY: No requirements but process context.
            before: unsafe { ffi::dormouse_scope_begin(kind) },
            _here: PhantomData,
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; it does not leave the thread.
        unsafe { ffi::dormouse_scope_end(self.kind, self.before) };
    }
}
