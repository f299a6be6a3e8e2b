// SPDX-License-Identifier: GPL-2.0

//! Compressors of the crypto API.
//!
//! C header: [`include/linux/crypto.h`](srctree/include/linux/crypto.h)

use super::ffi;
use core::ptr::NonNull;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::str::CStr;

/// A compressor with its own workspace.
///
/// # Invariants
///
/// `comp` comes from `dormouse_comp_new()` and is freed by nobody else.
pub struct Comp {
    comp: NonNull<ffi::dormouse_comp>,
}

// SAFETY: A compressor may be used by any thread, one at a time, which `&mut self` ensures.
unsafe impl Send for Comp {}

// SAFETY: A shared compressor offers nothing.
unsafe impl Sync for Comp {}

fn short(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| E2BIG)
}

impl Comp {
    /// Makes a compressor for the algorithm `name`, such as `lz4`. May sleep, also to load a module.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such algorithm, `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is valid for the call.
        let comp = from_err_ptr(unsafe { ffi::dormouse_comp_new(name.as_char_ptr()) })?;
        // INVARIANT: The compressor has just been made.
        Ok(Comp {
            comp: NonNull::new(comp).ok_or(ENOENT)?,
        })
    }

    /// Compresses `src` into `dst` and returns how many bytes that took. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` or another error of the algorithm, in particular when `dst` has not enough room;
    /// `E2BIG` for more than 4 GiB.
    pub fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let mut len = short(dst.len())?;
        // SAFETY: By the type invariants the compressor is valid, and it is ours alone; both slices
        // are valid for the call.
        to_result(unsafe {
            ffi::dormouse_comp_compress(
                self.comp.as_ptr(),
                src.as_ptr(),
                short(src.len())?,
                dst.as_mut_ptr(),
                &mut len,
            )
        })?;
        Ok(len as usize)
    }

    /// Decompresses `src`, which may be anything, into `dst` and returns how many bytes came out.
    /// Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` or another error of the algorithm when `src` is damaged or `dst` has not enough
    /// room; `E2BIG` for more than 4 GiB.
    pub fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let mut len = short(dst.len())?;
        // SAFETY: As in `compress`.
        to_result(unsafe {
            ffi::dormouse_comp_decompress(
                self.comp.as_ptr(),
                src.as_ptr(),
                short(src.len())?,
                dst.as_mut_ptr(),
                &mut len,
            )
        })?;
        Ok(len as usize)
    }
}

impl Drop for Comp {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this frees the compressor once.
        unsafe { ffi::dormouse_comp_free(self.comp.as_ptr()) };
    }
}

/// True when there is a compressor for the algorithm `name`. May sleep, also to load a module.
pub fn has(name: &CStr) -> bool {
    // SAFETY: The name is valid for the call.
    unsafe { ffi::dormouse_comp_exists(name.as_char_ptr()) }
}
