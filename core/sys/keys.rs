// SPDX-License-Identifier: GPL-2.0

//! Keys of the kernel's keyrings.
//!
//! C header: [`include/linux/key.h`](srctree/include/linux/key.h)

use super::buf::Buf;
use super::ffi;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::str::CStr;

/// A reference to a key. It keeps the key from going away, also when its keyring does, and not from
/// being revoked or expiring.
///
/// # Invariants
///
/// `key` comes from `dormouse_key_find()`, and one reference to it belongs to this object.
pub struct Key {
    key: NonNull<ffi::dormouse_key>,
}

// SAFETY: Keys have their own locks.
unsafe impl Send for Key {}

// SAFETY: As above.
unsafe impl Sync for Key {}

impl Key {
    /// Finds a key by type and description, in the keyrings of the current process. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOKEY` when there is none, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`; `EOPNOTSUPP` for a type
    /// that is not built into the kernel.
    #[inline(never)]
    pub fn find(key_type: &CStr, description: &CStr) -> Result<Self> {
        // SAFETY: Both strings are valid for the call.
        let key = from_err_ptr(unsafe {
            ffi::dormouse_key_find(key_type.as_char_ptr(), description.as_char_ptr())
        })?;
        // INVARIANT: There is a reference now.
        Ok(Key {
            key: NonNull::new(key).ok_or(ENOENT)?,
        })
    }

    /// Copies the key's secret to `out` and returns its length in bytes. May sleep.
    ///
    /// # Errors
    ///
    /// `E2BIG` when `out` is too short, `EKEYREVOKED`, `EKEYEXPIRED`.
    #[inline(never)]
    pub fn read(&self, out: &mut Buf) -> Result<usize> {
        // SAFETY: By the type invariants the key is valid; the buffer is ours to write.
        let len = unsafe {
            ffi::dormouse_key_read(self.key.as_ptr(), out.as_mut_ptr().cast(), out.len())
        };
        if len < 0 {
            return Err(Error::from_errno(len as i32));
        }
        Ok(len as usize)
    }
}

impl Drop for Key {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give up.
        unsafe { ffi::dormouse_key_put(self.key.as_ptr()) };
    }
}
