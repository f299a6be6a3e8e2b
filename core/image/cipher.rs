// SPDX-License-Identifier: GPL-2.0

//! Authenticated encryption of an image: what nonces are made of, what is bound to the data, and
//! which key is for what.
//!
//! The cipher itself and HMAC-SHA256 come from whoever uses this: the kernel's crypto API, or an
//! independent implementation in the tests.
//!
//! # Keys
//!
//! ```text
//! key of the user + salt of the image --HKDF--> wrapping key   opens `params::Params::wrapped`
//! data key, random, new for each image --HKDF--> frame key     one AEAD call per frame
//!                                      --HKDF--> seal key      one HMAC over all that describes it
//! ```
//!
//! # Nonces
//!
//! The frame key exists for one image, in which no frame number is used twice, and the nonce of a
//! frame is its number. The wrapping key is used once, because its salt is new for each image.

#![forbid(unsafe_code)]

use super::frame::{
    Frame,
    Kind,
    EXTENTS_MAX,
    EXTENT_BYTES,
    HEADER_BYTES,
    MAGIC, //
};
use super::wire::Writer;
use super::{
    Error,
    ImageId,
    Result, //
};

pub mod params;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// Bytes that the cipher adds to what it encrypts.
pub const TAG_BYTES: usize = 16;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// Most bytes that are bound to a frame: its header and its extents.
pub const FRAME_BOUND_MAX: usize = HEADER_BYTES + EXTENTS_MAX * EXTENT_BYTES;

/// First part of a nonce: the data key is being wrapped.
const DOMAIN_WRAP: u32 = 0;

/// First part of a nonce: a frame.
const DOMAIN_FRAME: u32 = 1;

fn nonce(domain: u32, number: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    let (first, rest) = nonce.split_at_mut(4);
    first.copy_from_slice(&domain.to_le_bytes());
    rest.copy_from_slice(&number.to_le_bytes());
    nonce
}

/// The nonce that wraps the data key.
pub fn wrap_nonce() -> [u8; NONCE_BYTES] {
    nonce(DOMAIN_WRAP, 0)
}

/// Where a frame belongs and what it says of itself: what an encryptor binds to its contents.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The image that the frame is part of.
    pub image_id: ImageId,
    /// Number of the frame, never used twice in an image.
    pub frame_no: u64,
    /// What the frame holds.
    pub kind: Kind,
    /// Transforms that were applied to it, up to and including the one that looks at this: bit i
    /// for transform i of the image.
    pub applied: u8,
    /// Bytes of the payload before all transforms.
    pub raw_len: u32,
    /// The frame's extents, as they are stored.
    pub extents: &'a [u8],
}

impl<'a> Place<'a> {
    /// The place of a frame that was read.
    pub fn of(image_id: ImageId, frame: &Frame<'a>) -> Self {
        Place {
            image_id,
            frame_no: frame.frame_no,
            kind: frame.kind,
            applied: frame.applied,
            raw_len: frame.raw_len,
            extents: frame.extent_bytes(),
        }
    }

    /// The frame's nonce.
    pub fn nonce(&self) -> [u8; NONCE_BYTES] {
        nonce(DOMAIN_FRAME, self.frame_no)
    }

    /// Writes what is bound to the frame and returns its length, at most [`FRAME_BOUND_MAX`]: the
    /// frame's header, with zeros for `crc`, `stored_len` and `payload_sum`, and its extents.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] for `out`, [`Error::BadCount`] for the extents.
    pub fn bound(&self, out: &mut [u8]) -> Result<usize> {
        let count = self.extents.len() / EXTENT_BYTES;
        if self.extents.len() % EXTENT_BYTES != 0 || count > EXTENTS_MAX {
            return Err(Error::BadCount);
        }
        let mut w = Writer::new(out);
        w.bytes(&MAGIC)?;
        w.u32(0)?;
        w.u8(self.kind as u8)?;
        w.u8(self.applied)?;
        w.u16(count as u16)?;
        w.u32(self.raw_len)?;
        w.u32(0)?;
        w.u32(0)?;
        w.u64(self.frame_no)?;
        w.id(&self.image_id)?;
        w.zeros_to(HEADER_BYTES)?;
        w.bytes(self.extents)?;
        Ok(w.position())
    }
}

/// HMAC-SHA256, from whoever has it.
pub trait Hmac {
    /// What can go wrong.
    type Error;

    /// Computes the HMAC of `parts`, one after the other, under `key` into `out`.
    ///
    /// # Errors
    ///
    /// Those of the implementation.
    fn hmac(
        &mut self,
        key: &[u8],
        parts: &[&[u8]],
        out: &mut [u8; KEY_BYTES],
    ) -> Result<(), Self::Error>;
}

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Wraps the data key.
    Wrap,
    /// Encrypts frames.
    Frames,
    /// Authenticates what describes the image.
    Seal,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Purpose::Wrap => b"dormouse 1 wrap",
            Purpose::Frames => b"dormouse 1 frames",
            Purpose::Seal => b"dormouse 1 seal",
        }
    }
}

/// HKDF-Extract (RFC 5869): makes a key of even strength from the user's key and the image's salt.
///
/// # Errors
///
/// That of `hmac`.
pub fn extract<H: Hmac>(
    hmac: &mut H,
    salt: &[u8; params::SALT_BYTES],
    key: &[u8],
    out: &mut [u8; KEY_BYTES],
) -> Result<(), H::Error> {
    hmac.hmac(salt, &[key], out)
}

/// HKDF-Expand (RFC 5869), of one block: the key for `purpose` of the encryptor `name`.
///
/// # Errors
///
/// That of `hmac`.
pub fn expand<H: Hmac>(
    hmac: &mut H,
    key: &[u8; KEY_BYTES],
    purpose: Purpose,
    name: &str,
    out: &mut [u8; KEY_BYTES],
) -> Result<(), H::Error> {
    let info = [purpose.label(), &[0], name.as_bytes(), &[1]];
    hmac.hmac(key, &info, out)
}

/// Compares without a hint in the time it takes where the difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && core::hint::black_box(differences) == 0
}
