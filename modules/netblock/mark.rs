// SPDX-License-Identifier: GPL-2.0

//! What an export looks like: a mark in its first sector, and the image.
//!
//! ```text
//! byte 0       superblock, 448 bytes
//! byte 448     record of this module, 64 bytes
//! byte 512     zeros, to byte 65536
//! byte 65536   block 0 of the image
//! ```
//!
//! Superblock and record fill one sector of 512 bytes, so that a change is
//! whole even where a server only keeps sectors whole.
//!
//! Record: magic(4), version u32, signature u32 (0 none, 1 image), zeros(4),
//! size of the export in bytes u64, zeros(36), CRC-32C of the record with this
//! field zero.

#![forbid(unsafe_code)]

use crate::image::superblock;
use crate::image::wire::{check_seal, seal, Reader, Writer};
use crate::image::{Error, Result, BLOCK};

/// Bytes of the sector.
pub const SECTOR: usize = 512;
/// First block of the image, in blocks of the export.
pub const FIRST_BLOCK: u64 = 16;

const RECORD_AT: usize = superblock::BYTES;
const RECORD_BYTES: usize = SECTOR - RECORD_AT;
const MAGIC: [u8; 4] = *b"DMNB";
const RECORD_VERSION: u32 = 1;
const CRC_AT: usize = RECORD_BYTES - 4;

/// What the first block of an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing but zeros.
    Blank,
    /// Ours; whether it carries the signature of an image, and the size that
    /// the export had then, in bytes.
    Ours {
        /// It does.
        image: bool,
        /// Bytes.
        size: u64,
    },
    /// Something else.
    Foreign,
}

/// Blocks that an image can have on an export of `size` bytes.
pub const fn blocks(size: u64) -> u64 {
    (size / BLOCK as u64).saturating_sub(FIRST_BLOCK)
}

/// Makes the first sector.
///
/// # Errors
///
/// None in practice: everything fits.
pub fn encode(
    superblock: &[u8; superblock::BYTES],
    image: bool,
    size: u64,
) -> Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    let (head, record) = sector
        .split_first_chunk_mut::<RECORD_AT>()
        .ok_or(Error::NoRoom)?;
    *head = *superblock;
    let mut w = Writer::new(record);
    w.bytes(&MAGIC)?;
    w.u32(RECORD_VERSION)?;
    w.u32(u32::from(image))?;
    w.zeros(4)?;
    w.u64(size)?;
    w.zeros_to(RECORD_BYTES)?;
    seal(record, CRC_AT)?;
    Ok(sector)
}

/// Says what `block`, the first one of an export, is.
pub fn decode(block: &[u8]) -> Found {
    if block.iter().all(|&b| b == 0) {
        return Found::Blank;
    }
    match record(block) {
        Ok((image, size)) => Found::Ours { image, size },
        Err(_) => Found::Foreign,
    }
}

fn record(block: &[u8]) -> Result<(bool, u64)> {
    let record = block.get(RECORD_AT..SECTOR).ok_or(Error::Truncated)?;
    check_seal(record, CRC_AT)?;
    let mut r = Reader::new(record);
    r.magic(&MAGIC)?;
    if r.u32()? != RECORD_VERSION {
        return Err(Error::UnknownVersion);
    }
    let image = match r.u32()? {
        0 => false,
        1 => true,
        _ => return Err(Error::BadState),
    };
    r.zeros(4)?;
    let size = r.u64()?;
    r.zeros(CRC_AT.saturating_sub(24))?;
    Ok((image, size))
}

/// The superblock in the first block.
pub fn superblock(block: &[u8]) -> Option<&[u8; superblock::BYTES]> {
    block.first_chunk()
}
