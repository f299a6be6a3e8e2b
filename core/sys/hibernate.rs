// SPDX-License-Identifier: GPL-2.0

//! The kernel's hibernation code: how to start it, what it knows, and (where the kernel has it) how
//! to replace the image that it makes.
//!
//! C header: [`include/linux/suspend.h`](srctree/include/linux/suspend.h)

use super::block::DevT;
use super::ffi;
use crate::text::Text;
use kernel::error::to_result;
use kernel::prelude::*;

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
mod hooks;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub use hooks::{
    arch_header_restore, arch_header_save, pm_test, register, resume_device, resume_offset,
    set_resume_device, Hooks, Registration,
};

/// The place that `resume=` or `/sys/power/resume` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResumeDevice {
    /// The device.
    pub dev: DevT,
    /// Where on it the swap header is, in pages.
    pub block: u64,
}

impl ResumeDevice {
    /// Block `block` (in pages) of the device with these numbers. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` for numbers out of the kernel's range.
    pub fn numbered(major: u32, minor: u32, block: u64) -> Result<Self> {
        let dev = DevT::new(major, minor).ok_or(EINVAL)?;
        Ok(ResumeDevice { dev, block })
    }
}

/// True when hibernation is allowed: by the command line, lockdown, and all other conditions. Any
/// context.
pub fn hibernation_available() -> bool {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_hibernation_available() }
}

/// Hibernates, and returns when the machine has been restored or has not gone down. May sleep. The
/// caller must hold no locks, and must not be one of the [`Hooks`].
///
/// # Errors
///
/// `EPERM` when hibernation is not allowed, `EBUSY` when it is under way, `ENOSYS` when the kernel
/// has none, or what made it fail.
pub fn trigger_hibernate() -> Result {
    // SAFETY: Process context is all that is required.
    to_result(unsafe { ffi::dormouse_trigger_hibernate() })
}

/// Asks the registered [`Hooks`] for an image and restores it; then this does not return. May
/// sleep. The caller must hold no locks, and must not be one of the hooks.
///
/// # Errors
///
/// `EPERM` when hibernation is not allowed, `ENODEV` when there is no image, `EOPNOTSUPP` when the
/// kernel has no hibernation, or what made it fail.
pub fn trigger_resume() -> Result {
    // SAFETY: Process context is all that is required.
    to_result(unsafe { ffi::dormouse_trigger_resume() })
}

/// True when an event has occurred for which the machine has to stay up. Any context.
pub fn wakeup_pending() -> bool {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_wakeup_pending() }
}

/// Powers the machine off; with an image on the storage, as the kernel itself does after a save.
/// Does not return. The caller must be the thread that hibernates, with devices live.
pub fn power_off() -> ! {
    go_down(false)
}

/// As [`power_off`], but the machine starts anew.
pub fn reboot() -> ! {
    go_down(true)
}

fn go_down(reboot: bool) -> ! {
    // SAFETY: Process context is all that is required.
    unsafe { ffi::dormouse_go_down(reboot) };
    // Never reached; declarations from C do not say so.
    loop {
        core::hint::spin_loop();
    }
}

/// Exempts the process `pid` and all that it has started from being frozen for hibernation, with
/// all their threads. Children inherit it. Any context but NMI.
///
/// # Errors
///
/// `ESRCH` when there is no such process.
pub fn set_no_pm_freeze(pid: i32) -> Result {
    // SAFETY: Any number is allowed.
    to_result(unsafe { ffi::dormouse_set_no_pm_freeze(pid) })
}

/// Undoes [`set_no_pm_freeze`] for everybody. Any context but NMI.
pub fn clear_no_pm_freeze() {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_clear_no_pm_freeze() }
}

/// Name of the task `pid`, if there is one. Any context but NMI.
pub fn task_name(pid: i32) -> Option<Text<16>> {
    let mut name = [0u8; 16];
    // SAFETY: Any number is allowed; the name has as much room.
    unsafe { ffi::dormouse_task_name(pid, name.as_mut_ptr().cast(), name.len()) }
        .then(|| Text::until_nul(&name))
}
