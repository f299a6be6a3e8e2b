// SPDX-License-Identifier: GPL-2.0

//! Freezers: how the world is stopped.
//!
//! The kernel's own hibernation code freezes user tasks before `prepare` and
//! kernel threads after it, and thaws both at the end; a freezer adds to that
//! what has to happen before the first and after the last of it.

#![forbid(unsafe_code)]

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
use crate::engine;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
use crate::sys::hibernate;
use kernel::prelude::*;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
use kernel::sync::Arc;

/// Most tasks that may be kept running.
pub const MOST_KEPT: usize = 8;

/// Process ids of the tasks that are to keep running, zero where there is
/// none.
pub type Kept = [i32; MOST_KEPT];

/// A way to stop the world.
pub trait Freezer: Send + Sync {
    /// Name as chosen in sysfs.
    fn name(&self) -> &'static CStr;

    /// Called before user tasks are frozen; `kept` are to keep running. One of
    /// them that has ended meanwhile is no reason not to hibernate. May sleep.
    ///
    /// # Errors
    ///
    /// Whatever keeps the world from being stopped; the cycle ends with that.
    fn begin(&self, kept: &Kept) -> Result;

    /// Undoes [`Freezer::begin`], after everything has been thawed, also in
    /// the restored kernel. May sleep.
    fn end(&self, kept: &Kept);
}

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
/// The kernel's own freezer, with tasks exempted from it by a task flag.
pub struct Pm;

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
impl Freezer for Pm {
    fn name(&self) -> &'static CStr {
        kernel::c_str!("pm")
    }

    fn begin(&self, kept: &Kept) -> Result {
        // A child that was being made when this was undone last may have been missed.
        hibernate::clear_no_pm_freeze();
        for &pid in kept.iter().filter(|&&pid| pid != 0) {
            if hibernate::set_no_pm_freeze(pid).is_err() {
                engine::warn(format_args!(
                    "task {pid}, which was to keep running, is not there any more, or is one of the kernel's"
                ));
            }
        }
        Ok(())
    }

    fn end(&self, kept: &Kept) {
        if kept.iter().any(|&pid| pid != 0) {
            hibernate::clear_no_pm_freeze();
        }
    }
}

/// The freezer `pm` as an object to register. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub fn pm() -> Result<Arc<dyn Freezer>> {
    let pm: Arc<dyn Freezer> = Arc::new(Pm, GFP_KERNEL)?;
    Ok(pm)
}
