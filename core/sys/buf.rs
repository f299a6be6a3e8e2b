// SPDX-License-Identifier: GPL-2.0

//! Byte buffers.

use super::ffi;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;
use kernel::prelude::*;

/// A buffer of bytes, zeroed at first, of any size.
///
/// Small ones are physically contiguous, large ones if that was easy.
///
/// # Invariants
///
/// `data` points to `len` initialised bytes of `dormouse_zalloc()` that this buffer owns.
pub struct Buf {
    data: NonNull<u8>,
    len: usize,
    secret: bool,
}

// SAFETY: A buffer owns its bytes, which may be used by any thread.
unsafe impl Send for Buf {}

// SAFETY: A shared buffer can only be read.
unsafe impl Sync for Buf {}

impl Buf {
    /// Makes a buffer of `len` bytes. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(len: usize) -> Result<Self> {
        Self::make(len, false)
    }

    /// Makes a buffer for secrets of `len` bytes, which is overwritten before it is freed. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new_secret(len: usize) -> Result<Self> {
        Self::make(len, true)
    }

    /// Where the bytes are. Unlike a slice it does not claim that nobody else writes them.
    pub(super) fn as_raw(&self) -> *mut u8 {
        self.data.as_ptr()
    }

    #[inline(never)]
    fn make(len: usize, secret: bool) -> Result<Self> {
        // An allocation of no bytes would not be a pointer that can be used.
        // SAFETY: Any size is allowed, and this is process context.
        let data = unsafe { ffi::dormouse_zalloc(len.max(1)) };
        // INVARIANT: The memory is zeroed, is large enough, and belongs to nobody else.
        Ok(Buf {
            data: NonNull::new(data.cast()).ok_or(ENOMEM)?,
            len,
            secret,
        })
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants; the borrow keeps the buffer from being changed.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the type invariants; the borrow keeps the buffer from being used otherwise.
        unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for Buf {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this frees memory of `dormouse_zalloc()`, once.
        unsafe { ffi::dormouse_zfree(self.data.as_ptr().cast(), self.len, self.secret) };
    }
}
