// SPDX-License-Identifier: GPL-2.0

//! Bounds-checked little-endian reading and writing over slices, and the seal.
//!
//! Nothing here can panic, whatever the bytes are.

#![forbid(unsafe_code)]

use super::{
    Error,
    ImageId,
    Result, //
};

/// Bytes of a seal, the CRC-32C field of a part.
const CRC_BYTES: usize = 4;

/// Rounds `len` up to the 8 bytes that parts inside of parts are aligned to.
///
/// Saturates at the largest multiple of 8, which no buffer reaches.
pub const fn align8(len: usize) -> usize {
    len.saturating_add(7) & !7
}

/// Returns the CRC-32C of `bytes`, with the usual inversions before and after.
pub fn crc(bytes: &[u8]) -> u32 {
    !crate::checksum::crc32c(!0, bytes)
}

/// Returns the sum that a frame keeps of its payload: XXH64 with seed 0. Payloads are most of an
/// image, and it is the fastest that finds accidents as well as their length demands.
pub fn payload_sum(bytes: &[u8]) -> u64 {
    crate::checksum::xxh64(bytes)
}

/// Returns the CRC-32C of `bytes` with the four bytes at `at` taken as zero.
///
/// # Errors
///
/// [`Error::Truncated`] when `bytes` does not hold those four bytes.
pub fn crc_without(bytes: &[u8], at: usize) -> Result<u32> {
    let before = bytes.get(..at).ok_or(Error::Truncated)?;
    let after = at.checked_add(CRC_BYTES).and_then(|end| bytes.get(end..));
    let after = after.ok_or(Error::Truncated)?;
    let mut sum = crate::checksum::crc32c(!0, before);
    sum = crate::checksum::crc32c(sum, &[0; CRC_BYTES]);
    Ok(!crate::checksum::crc32c(sum, after))
}

/// Seals `bytes`: stores their checksum at `at`, and returns it.
///
/// # Errors
///
/// [`Error::NoRoom`] when `bytes` does not hold four bytes at `at`.
pub fn seal(bytes: &mut [u8], at: usize) -> Result<u32> {
    let sum = crc_without(bytes, at).map_err(|_| Error::NoRoom)?;
    Writer::at(bytes, at)?.u32(sum)?;
    Ok(sum)
}

/// Checks the seal that [`seal`] stored at `at`, and returns it.
///
/// # Errors
///
/// [`Error::Truncated`] when `bytes` is too short, [`Error::BadCrc`] when it does not match.
pub fn check_seal(bytes: &[u8], at: usize) -> Result<u32> {
    let stored = Reader::at(bytes, at)?.u32()?;
    if crc_without(bytes, at)? != stored {
        return Err(Error::BadCrc);
    }
    Ok(stored)
}

/// Reads fields one after the other.
///
/// Every method returns [`Error::Truncated`] when the bytes run out.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Starts at byte `at`.
    pub fn at(bytes: &'a [u8], at: usize) -> Result<Self> {
        let rest = bytes.get(at..).ok_or(Error::Truncated)?;
        Ok(Self { rest })
    }

    /// Returns what was not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `N` bytes by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// Reads `len` bytes by reference.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let head = self.rest.get(..len).ok_or(Error::Truncated)?;
        self.rest = self.rest.get(len..).ok_or(Error::Truncated)?;
        Ok(head)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Reads 16 bits.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads 32 bits.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads 64 bits.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads 64 bits with a sign.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads the identity of an image.
    pub fn id(&mut self) -> Result<ImageId> {
        self.array().map(ImageId)
    }

    /// Reads `expected`, or fails with [`Error::BadMagic`].
    pub fn magic(&mut self, expected: &[u8]) -> Result {
        if self.bytes(expected.len())? != expected {
            return Err(Error::BadMagic);
        }
        Ok(())
    }

    /// Reads `len` bytes that must be zero, or fails with [`Error::NotZero`].
    pub fn zeros(&mut self, len: usize) -> Result {
        if self.bytes(len)?.iter().any(|&b| b != 0) {
            return Err(Error::NotZero);
        }
        Ok(())
    }

    /// Reads a text field of `width` bytes, padded with NULs.
    ///
    /// # Errors
    ///
    /// [`Error::BadText`] when it is not UTF-8, holds control characters, or holds anything
    /// behind its first NUL.
    pub fn text(&mut self, width: usize) -> Result<&'a str> {
        let field = self.bytes(width)?;
        let len = field.iter().position(|&b| b == 0).unwrap_or(width);
        let text = field.get(..len).unwrap_or_default();
        let mut padding = field.get(len..).unwrap_or_default().iter();
        let text = core::str::from_utf8(text).map_err(|_| Error::BadText)?;
        if padding.any(|&b| b != 0) || text.chars().any(char::is_control) {
            return Err(Error::BadText);
        }
        Ok(text)
    }
}

/// Writes fields one after the other.
///
/// Every method returns [`Error::NoRoom`] when the buffer is full.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    position: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Starts at byte `at`.
    pub fn at(bytes: &'a mut [u8], at: usize) -> Result<Self> {
        if at > bytes.len() {
            return Err(Error::NoRoom);
        }
        Ok(Self {
            bytes,
            position: at,
        })
    }

    /// Returns the offset of the next byte, from the start of the buffer.
    pub const fn position(&self) -> usize {
        self.position
    }

    fn take(&mut self, len: usize) -> Result<&mut [u8]> {
        let end = self.position.checked_add(len).ok_or(Error::NoRoom)?;
        let place = self.bytes.get_mut(self.position..end);
        self.position = end;
        place.ok_or(Error::NoRoom)
    }

    /// Writes `bytes` as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) -> Result {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes 16 bits.
    pub fn u16(&mut self, value: u16) -> Result {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes 32 bits.
    pub fn u32(&mut self, value: u32) -> Result {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes 64 bits.
    pub fn u64(&mut self, value: u64) -> Result {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes 64 bits with a sign.
    pub fn i64(&mut self, value: i64) -> Result {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes the identity of an image.
    pub fn id(&mut self, id: &ImageId) -> Result {
        self.bytes(&id.0)
    }

    /// Writes `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Result {
        self.take(len)?.fill(0);
        Ok(())
    }

    /// Writes zeros up to the offset `end`; nothing when that is already behind.
    pub fn zeros_to(&mut self, end: usize) -> Result {
        self.zeros(end.saturating_sub(self.position))
    }

    /// Writes `text` into a field of `width` bytes, padded with NULs.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when it does not fit, [`Error::BadText`] when [`Reader::text`] would
    /// refuse it.
    pub fn text(&mut self, text: &str, width: usize) -> Result {
        if text.chars().any(char::is_control) {
            return Err(Error::BadText);
        }
        let padding = width.checked_sub(text.len()).ok_or(Error::TooLong)?;
        self.bytes(text.as_bytes())?;
        self.zeros(padding)
    }
}
