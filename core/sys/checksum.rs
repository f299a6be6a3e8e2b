// SPDX-License-Identifier: GPL-2.0

//! Checksums.

use super::ffi;

/// Continues a CRC-32C over `bytes`; `crc` and the return value are not inverted, so the usual
/// CRC-32C of `bytes` is `!crc32c(!0, bytes)`. Any context but NMI.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The bytes are valid for the call.
    unsafe { ffi::dormouse_crc32c(crc, bytes.as_ptr().cast(), bytes.len()) }
}

/// Returns the XXH64 of `bytes` with seed 0. Any context.
pub fn xxh64(bytes: &[u8]) -> u64 {
    // SAFETY: The bytes are valid for the call.
    unsafe { ffi::dormouse_xxh64(bytes.as_ptr().cast(), bytes.len()) }
}
