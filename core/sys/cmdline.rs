// SPDX-License-Identifier: GPL-2.0

//! Options of the kernel's command line.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use super::ffi;
use kernel::str::CStr;

/// The value of option `dormouse.NAME=`, the last one if there are several; `None` when it was not
/// given, or is none that there is. Any context.
pub fn option(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: The name is valid for the call.
    let value = unsafe { ffi::dormouse_option(name.as_char_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: The value ends with a NUL and stays where it is, unchanged, for as long as the kernel
    // runs.
    Some(unsafe { CStr::from_char_ptr(value) })
}
