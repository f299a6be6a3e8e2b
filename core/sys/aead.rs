// SPDX-License-Identifier: GPL-2.0

//! Authenticated ciphers and HMAC of the crypto API.
//!
//! C headers: [`include/crypto/aead.h`](srctree/include/crypto/aead.h),
//! [`include/crypto/hash.h`](srctree/include/crypto/hash.h)

use super::ffi;
use crate::image::cipher::{self, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use core::ptr::NonNull;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::str::CStr;

/// A cipher, its key, and all the memory that it ever needs. The key is overwritten when it is
/// dropped.
///
/// # Invariants
///
/// `aead` comes from `dormouse_aead_new()` and is freed by nobody else.
pub struct Aead {
    aead: NonNull<ffi::dormouse_aead>,
}

// SAFETY: A cipher may be used by any thread, one at a time, which `&mut self` ensures.
unsafe impl Send for Aead {}

// SAFETY: A shared cipher offers nothing.
unsafe impl Sync for Aead {}

impl Aead {
    /// Makes a cipher for the algorithm `name`, such as `gcm(aes)`, with a nonce of 12 bytes and a
    /// tag of 16. It will take no more than `len_max` bytes at once, tag included, to which no more
    /// than `bound_max` are bound. Without a key it refuses everything. May sleep, also to load a
    /// module.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such algorithm, `EINVAL` for lengths of nonce and tag, `ENOMEM`.
    #[inline(never)]
    pub fn new(name: &CStr, len_max: usize, bound_max: usize) -> Result<Self> {
        // SAFETY: The name is valid for the call.
        let aead = from_err_ptr(unsafe {
            ffi::dormouse_aead_new(name.as_char_ptr(), len_max, bound_max, TAG_BYTES as u32)
        })?;
        // INVARIANT: The cipher has just been made.
        Ok(Aead {
            aead: NonNull::new(aead).ok_or(ENOENT)?,
        })
    }

    /// Sets the key. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the algorithm takes no key of this length.
    #[inline(never)]
    pub fn set_key(&mut self, key: &[u8]) -> Result {
        let len = u32::try_from(key.len()).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariants the cipher is valid, and it is ours alone; the key is
        // valid for the call.
        to_result(unsafe { ffi::dormouse_aead_set_key(self.aead.as_ptr(), key.as_ptr(), len) })
    }

    #[inline(never)]
    fn crypt(
        &mut self,
        encrypt: bool,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        src: &[u8],
        dst: &mut [u8],
    ) -> Result {
        // SAFETY: By the type invariants the cipher is valid, and it is ours alone; all slices are
        // valid for the call, and `dst`, being mutable, overlaps no other.
        to_result(unsafe {
            ffi::dormouse_aead_crypt(
                self.aead.as_ptr(),
                encrypt,
                nonce.as_ptr(),
                NONCE_BYTES as u32,
                bound.as_ptr(),
                bound.len(),
                src.as_ptr(),
                src.len(),
                dst.as_mut_ptr(),
                dst.len(),
            )
        })
    }

    /// Encrypts `src`, binds `bound` to it, and returns how many bytes of `dst` it takes with the
    /// tag. Nobody may use a nonce twice with a key. Process context; does not allocate.
    ///
    /// # Errors
    ///
    /// `E2BIG` when `dst` is too short, `EINVAL` for no bytes or too many, or what the cipher says.
    pub fn encrypt(
        &mut self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<usize> {
        let len = src.len().checked_add(TAG_BYTES).ok_or(E2BIG)?;
        let dst = dst.get_mut(..len).ok_or(E2BIG)?;
        self.crypt(true, nonce, bound, src, dst)?;
        Ok(len)
    }

    /// Decrypts `src`, which may be anything, and returns how many bytes of `dst` it takes. What
    /// is in `dst` after an error is of no use. Process context; does not allocate.
    ///
    /// # Errors
    ///
    /// `EBADMSG` when this is not what [`Aead::encrypt`] made with this key, this nonce and
    /// `bound`; `E2BIG` when `dst` is too short, `EINVAL` for too many bytes.
    pub fn decrypt(
        &mut self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<usize> {
        let bad = crate::errno::error(crate::errno::EBADMSG);
        let len = src.len().checked_sub(TAG_BYTES).ok_or(bad)?;
        let dst = dst.get_mut(..len).ok_or(E2BIG)?;
        self.crypt(false, nonce, bound, src, dst)?;
        Ok(len)
    }
}

impl Drop for Aead {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this frees the cipher once.
        unsafe { ffi::dormouse_aead_free(self.aead.as_ptr()) };
    }
}

/// HMAC-SHA256. The key is overwritten when it is dropped.
///
/// # Invariants
///
/// `hmac` comes from `dormouse_hmac_new()` and is freed by nobody else.
pub struct Hmac {
    hmac: NonNull<ffi::dormouse_hmac>,
}

// SAFETY: An HMAC may be used by any thread, one at a time, which `&mut self` ensures.
unsafe impl Send for Hmac {}

// SAFETY: A shared HMAC offers nothing.
unsafe impl Sync for Hmac {}

impl Hmac {
    /// Makes one. May sleep, also to load a module.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the kernel has no HMAC or no SHA-256, `ENOMEM`.
    #[inline(never)]
    pub fn new() -> Result<Self> {
        // SAFETY: There are no requirements.
        let hmac = from_err_ptr(unsafe { ffi::dormouse_hmac_new() })?;
        // INVARIANT: It has just been made.
        Ok(Hmac {
            hmac: NonNull::new(hmac).ok_or(ENOENT)?,
        })
    }
}

impl cipher::Hmac for Hmac {
    type Error = Error;

    #[inline(never)]
    fn hmac(&mut self, key: &[u8], parts: &[&[u8]], out: &mut [u8; KEY_BYTES]) -> Result {
        let hmac = self.hmac.as_ptr();
        let len = u32::try_from(key.len()).map_err(|_| E2BIG)?;
        // SAFETY: By the type invariants it is valid, and it is ours alone; the key is valid for
        // the call.
        to_result(unsafe { ffi::dormouse_hmac_begin(hmac, key.as_ptr(), len) })?;
        for part in parts {
            // Some lengths do not fit the interface, and some hashes do not like a long wait.
            for bytes in part.chunks(1 << 20) {
                // SAFETY: As above; the bytes are valid for the call.
                to_result(unsafe {
                    ffi::dormouse_hmac_add(hmac, bytes.as_ptr(), bytes.len() as u32)
                })?;
            }
        }
        // SAFETY: As above; there is room for the result.
        to_result(unsafe { ffi::dormouse_hmac_end(hmac, out.as_mut_ptr()) })
    }
}

impl Drop for Hmac {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this frees it once.
        unsafe { ffi::dormouse_hmac_free(self.hmac.as_ptr()) };
    }
}
