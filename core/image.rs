// SPDX-License-Identifier: GPL-2.0

//! The image: what Dormouse writes, byte by byte.
//!
//! The normative text is `Documentation/image-format.rst`; a host test compares its tables with
//! the constants here. Everything in this module is pure: bytes in, checked values out. The same
//! files build in the kernel and, with their tests, under cargo.
//!
//! # Vocabulary
//!
//! An image lives in a linear space of *blocks* of [`BLOCK`] bytes. A *page* of memory travels in
//! a *frame* of up to [`PAGES_PER_FRAME`] pages; frames follow each other in a *chunk*, which is
//! one request to the storage. The *root* lists the chunks, the *index* (kept in frames of its
//! own) says which frame holds which page, the *commit record* closes the image, and the
//! *superblock*, outside of the linear space, says whether any of it counts.
//!
//! # Order of trust
//!
//! Every decoder checks lengths first, then the seal (a CRC-32C over the whole part), and only
//! then the meaning of the fields. A decoder returns a complete, checked value or an [`Error`].

#![forbid(unsafe_code)]

pub mod wire;

pub mod superblock;

pub mod header;

pub mod frame;

pub mod index;

pub mod root;

pub mod commit;

pub mod cipher;

pub mod filesystem;

mod error;

pub use self::error::Error;

/// Result of everything that reads or writes a part of an image.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Bytes of one block, the unit in which storage is addressed.
pub const BLOCK: usize = 4096;

/// Bytes of one page of memory in a version 1 image.
pub const PAGE: usize = 4096;

/// Most bytes of one chunk, that is of one storage request.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// Most pages in one data frame.
pub const PAGES_PER_FRAME: usize = 32;

/// Most bytes a frame holds before any transform: 128 KiB.
pub const FRAME_RAW_MAX: usize = PAGES_PER_FRAME * PAGE;

/// Most transforms an image may name; one bit each in a frame's `applied` byte.
pub const TRANSFORMS_MAX: usize = 8;

/// Width of every field that holds the name of a module.
pub const NAME_BYTES: usize = 32;

/// Version of the format that this code reads and writes.
pub const VERSION: u32 = 1;

/// First page frame number that no image may contain, so that an address always fits 64 bits.
pub const PFN_LIMIT: u64 = 1 << 52;

/// Identity of an image: 16 random bytes, in every part of it.
///
/// A part that carries another identity belongs to an older image on the same storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageId(pub [u8; 16]);

/// Returns the end of the page range, `pfn + count`.
///
/// # Errors
///
/// [`Error::PageRange`] when the range is empty or ends above [`PFN_LIMIT`].
pub fn page_range_end(pfn: u64, count: u32) -> Result<u64> {
    match pfn.checked_add(u64::from(count)) {
        Some(end) if count != 0 && end <= PFN_LIMIT => Ok(end),
        _ => Err(Error::PageRange),
    }
}

/// Returns whether `name` is the name a module may have: 1 to 31 characters of `[a-z0-9_-]`.
///
/// Names from an image end up in a module request, so they are checked wherever they are read.
pub fn is_module_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    !name.is_empty() && name.len() < NAME_BYTES && name.bytes().all(good)
}
