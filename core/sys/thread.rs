// SPDX-License-Identifier: GPL-2.0

//! Kernel threads, and gates for them to wait at.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use super::ffi;
use core::ptr::NonNull;
use kernel::alloc::KBox;
use kernel::error::from_err_ptr;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CStr;

/// A kernel thread, which is not freezable; dropping it waits for its end.
///
/// # Invariants
///
/// `thread` comes from `dormouse_thread_spawn()` and is joined by nobody else.
pub struct Thread {
    thread: NonNull<ffi::dormouse_thread>,
}

// SAFETY: Any thread may wait for the end of another one.
unsafe impl Send for Thread {}

// SAFETY: A shared handle offers nothing.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread that runs `work`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINTR` when the caller has been killed.
    pub fn spawn<F: FnOnce() + Send + 'static>(name: &CStr, work: F) -> Result<Thread> {
        let ctx = KBox::into_raw(KBox::new(work, GFP_KERNEL)?).cast();
        // SAFETY: `ctx` is a boxed `F`, which is `Send`, to be run once.
        unsafe { Self::spawn_raw(name, run::<F>, ctx) }.inspect_err(|_| {
            // SAFETY: The thread was not started, so the box is still ours.
            drop(unsafe { KBox::from_raw(ctx.cast::<F>()) });
        })
    }

    // Not inlined into modules, which have no access to the shims.
    //
    /// # Safety
    ///
    /// `run` may be called once with `ctx` from any thread.
    #[inline(never)]
    unsafe fn spawn_raw(
        name: &CStr,
        run: unsafe extern "C" fn(*mut c_void),
        ctx: *mut c_void,
    ) -> Result<Thread> {
        // SAFETY: The name is valid for the call; the rest is the safety requirement.
        let thread = unsafe { ffi::dormouse_thread_spawn(name.as_char_ptr(), Some(run), ctx) };
        // INVARIANT: The thread has just been made.
        Ok(Thread {
            thread: NonNull::new(from_err_ptr(thread)?).ok_or(ENOMEM)?,
        })
    }

    /// Waits until the thread has ended. May sleep.
    pub fn join(self) {
        drop(self);
    }

    /// Waits at most `ms` milliseconds until the thread has ended, and says whether it has. May
    /// sleep.
    pub fn has_ended_within(&self, ms: u32) -> bool {
        // SAFETY: By the type invariants the thread was not joined yet.
        unsafe { ffi::dormouse_thread_wait(self.thread.as_ptr(), ms) }
    }

    /// Leaves the thread to itself. Its code must stay until it ends: that of a module may not. Any
    /// context.
    pub fn leave(self) {
        // SAFETY: By the type invariants this gives up the thread once, as it is forgotten.
        unsafe { ffi::dormouse_thread_leave(self.thread.as_ptr()) };
        core::mem::forget(self);
    }
}

/// # Safety
///
/// `ctx` is a boxed `F` that belongs to the callee.
unsafe extern "C" fn run<F: FnOnce()>(ctx: *mut c_void) {
    // SAFETY: By the safety requirement.
    let work = unsafe { KBox::from_raw(ctx.cast::<F>()) };
    KBox::into_inner(work)();
}

impl Drop for Thread {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this joins the thread once.
        unsafe { ffi::dormouse_thread_join(self.thread.as_ptr()) };
    }
}

/// A gate that threads wait at, closed at first.
///
/// # Invariants
///
/// `gate` comes from `dormouse_gate_new()` and is freed by nobody else.
pub struct Gate {
    gate: NonNull<ffi::dormouse_gate>,
}

// SAFETY: The gate has its own lock.
unsafe impl Send for Gate {}

// SAFETY: As above.
unsafe impl Sync for Gate {}

impl Gate {
    /// Makes a gate. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: No requirements but process context.
        let gate = unsafe { ffi::dormouse_gate_new() };
        // INVARIANT: The gate has just been made.
        Ok(Gate {
            gate: NonNull::new(gate).ok_or(ENOMEM)?,
        })
    }

    /// Lets everybody through, now and from now on. Any context but NMI.
    pub fn open_all(&self) {
        // SAFETY: By the type invariants the gate is valid.
        unsafe { ffi::dormouse_gate_open(self.gate.as_ptr()) };
    }

    /// Closes the gate again. Nobody can be waiting at it, as it is borrowed exclusively. Any
    /// context.
    pub fn close(&mut self) {
        // SAFETY: By the type invariants the gate is valid.
        unsafe { ffi::dormouse_gate_close(self.gate.as_ptr()) };
    }

    /// Waits until the gate is open. May sleep; signals don't matter.
    pub fn wait(&self) {
        // SAFETY: By the type invariants the gate is valid.
        unsafe { ffi::dormouse_gate_wait(self.gate.as_ptr()) };
    }

    /// Waits at most `ms` milliseconds until the gate is open, and says whether it is. May sleep.
    pub fn wait_within(&self, ms: u32) -> bool {
        // SAFETY: By the type invariants the gate is valid.
        unsafe { ffi::dormouse_gate_wait_within(self.gate.as_ptr(), ms) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the gate is valid, and nobody uses it after this.
        unsafe { ffi::dormouse_gate_free(self.gate.as_ptr()) };
    }
}

/// Bytes of memory that a kernel thread takes. Any context.
pub fn thread_bytes() -> usize {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_thread_bytes() }
}

/// Number of the thread that asks, never 0. Process context.
pub fn id() -> u32 {
    // SAFETY: Process context is all that is required.
    unsafe { ffi::dormouse_thread_id() }
}

/// Number of CPUs that are online. Any context.
pub fn online_cpus() -> usize {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_online_cpus() }
}
