// SPDX-License-Identifier: GPL-2.0

//! Clocks, and waiting.

use super::ffi;

/// Nanoseconds of the monotonic clock, which stands still while the machine is off. Any context,
/// except the atomic section.
pub fn monotonic_ns() -> u64 {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_monotonic_ns() }
}

/// Nanoseconds of the scheduler's clock, which goes on in the atomic section. Only differences on
/// one CPU mean something. Any context.
pub fn sched_ns() -> u64 {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_sched_ns() }
}

/// Seconds of the wall clock since 1970. Any context.
pub fn realtime_s() -> i64 {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_realtime_s() }
}

/// Sleeps for about `ms` milliseconds. Process context.
pub fn sleep_ms(ms: u32) {
    // SAFETY: Process context is all that is required.
    unsafe { ffi::dormouse_sleep_ms(ms) }
}
