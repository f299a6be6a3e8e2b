// SPDX-License-Identifier: GPL-2.0

//! Work for the kernel's workers.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::thread::Gate;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
use super::time;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::workqueue;

/// How long one wait takes.
const TICK_MS: u32 = 200;

/// Lets a worker run `f`, which may sleep for as long as it likes, and returns when it has ended;
/// sooner when `go_on`, which is asked several times in a second, says so. Workers are not frozen.
/// May sleep and allocate.
///
/// # Errors
///
/// `ENOMEM`, and then `f` does not run; that of `go_on`, and then `f` goes on by itself.
pub fn run(f: impl FnOnce() + Send + 'static, mut go_on: impl FnMut() -> Result) -> Result {
    let ended = Arc::new(Gate::new()?, GFP_KERNEL)?;
    let gate = ended.clone();
    workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
        f();
        gate.open_all();
    })?;
    while !ended.wait_within(TICK_MS) {
        go_on()?;
    }
    Ok(())
}

/// Drops `what` when `is_over` says so, which is asked now and then, perhaps for ever. What cannot
/// be waited for is never dropped. Both are of this crate, as a module may go before. May sleep and
/// allocate.
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub(super) fn drop_when<T: Send + 'static>(what: T, is_over: impl Fn(&T) -> bool + Send + 'static) {
    let kept = core::mem::ManuallyDrop::new(what);
    let wait = move || {
        while !is_over(&kept) {
            time::sleep_ms(TICK_MS);
        }
        drop(core::mem::ManuallyDrop::into_inner(kept));
    };
    // Without memory for it the closure is dropped, which leaves what it keeps alone.
    if workqueue::system_unbound()
        .try_spawn(GFP_KERNEL, wait)
        .is_err()
    {
        pr_warn!("what a device may still use stays reserved\n");
    }
}
