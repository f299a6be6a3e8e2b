// SPDX-License-Identifier: GPL-2.0

//! What kernel and machine this is.

use super::ffi;
use kernel::error::to_result;
use kernel::str::CStr;

/// Release of the kernel, as of `uname -r`. Any context.
pub fn release() -> &'static CStr {
    // SAFETY: A NUL-terminated string that is there for ever and never changes.
    unsafe { CStr::from_char_ptr(ffi::dormouse_uts_release()) }
}

/// Version of the kernel, which says when it was built, as of `uname -v`. Any context.
pub fn version() -> &'static CStr {
    // SAFETY: As in `release`.
    unsafe { CStr::from_char_ptr(ffi::dormouse_uts_version()) }
}

/// Kind of machine, as of `uname -m`. Any context.
pub fn machine() -> &'static CStr {
    // SAFETY: As in `release`.
    unsafe { CStr::from_char_ptr(ffi::dormouse_uts_machine()) }
}

/// What the linker took as identity of the running kernel, if it was told to. Any context.
pub fn build_id() -> Option<[u8; 20]> {
    let mut id = [0; 20];
    // SAFETY: The array is ours to write.
    to_result(unsafe { ffi::dormouse_build_id(id.as_mut_ptr()) }).ok()?;
    Some(id)
}

/// Page frames that the kernel had at boot. Any context.
pub fn ram_pages() -> u64 {
    // SAFETY: No requirements.
    unsafe { ffi::dormouse_ram_pages() }
}
