// SPDX-License-Identifier: GPL-2.0

//! Random bytes.

use super::ffi;

/// Fills `out` with random bytes fit for keys. Any context.
pub fn fill_random(out: &mut [u8]) {
    // SAFETY: The bytes are ours to write.
    unsafe { ffi::dormouse_fill_random(out.as_mut_ptr().cast(), out.len()) };
}
