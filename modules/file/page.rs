// SPDX-License-Identifier: GPL-2.0

//! The first page of a file: what makes it ours, and the state of its image.
//!
//! The first sector is the *label*, which changes only when the file is made
//! or configured. The last one holds the superblock and, behind it, the *seal*,
//! which says to which file and to which mount the superblock belongs; they
//! change together, by a write of that one sector. What is between the two is
//! not looked at.
//!
//! Label: magic(16), version u32, CRC-32C of the sector with this field zero,
//! identity of the file(16), UUID of its filesystem(16), block of the device
//! that this page is in u64, blocks of the file u64, zeros to 512.
//!
//! Seal: magic(8), version u32, CRC-32C of the seal with this field zero,
//! identity of the file(16), fingerprint of the filesystem u32, zeros to 64.

#![forbid(unsafe_code)]

use crate::image::superblock;
use crate::image::wire::{check_seal, seal, Reader, Writer};
use crate::image::{Error, ImageId, Result, BLOCK, VERSION};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// Offset of the sector with the superblock, in bytes.
pub(crate) const STATE_AT: usize = BLOCK - SECTOR;
/// Bytes of the seal behind the superblock.
pub(crate) const SEAL_BYTES: usize = SECTOR - superblock::BYTES;

const MAGIC: [u8; 16] = *b"DORMOUSE-FILE-1\n";
const CRC_AT: usize = 20;
const SEAL_MAGIC: [u8; 8] = *b"DMFISEAL";
const SEAL_CRC_AT: usize = 12;

/// A sector.
pub(crate) type Sector = [u8; SECTOR];

/// What the first sector says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Identity of the file; a copy has the same.
    pub(crate) file: ImageId,
    /// UUID of the filesystem, zeros before it is known.
    pub(crate) uuid: [u8; 16],
    /// Block of the device that the label is in, 0 before it is known. A copy
    /// is somewhere else.
    pub(crate) block: u64,
    /// Blocks of the file.
    pub(crate) blocks: u64,
}

/// What is behind the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Identity of the file.
    pub(crate) file: ImageId,
    /// Of the filesystem, when the image was complete.
    pub(crate) fingerprint: u32,
}

/// Makes the first sector.
///
/// # Errors
///
/// None in practice: every field has a fixed width.
pub(crate) fn encode_label(label: &Label) -> Result<Sector> {
    let mut sector = [0; SECTOR];
    let mut w = Writer::new(&mut sector);
    w.bytes(&MAGIC)?;
    w.u32(VERSION)?;
    w.u32(0)?;
    w.id(&label.file)?;
    w.bytes(&label.uuid)?;
    w.u64(label.block)?;
    w.u64(label.blocks)?;
    seal(&mut sector, CRC_AT)?;
    Ok(sector)
}

/// Reads the first sector of `page`.
///
/// # Errors
///
/// [`Error::BadMagic`] for a page that is not ours, otherwise what is wrong
/// with it.
pub(crate) fn decode_label(page: &[u8]) -> Result<Label> {
    let sector = page.get(..SECTOR).ok_or(Error::Truncated)?;
    let mut r = Reader::new(sector);
    r.magic(&MAGIC)?;
    if r.u32()? != VERSION {
        return Err(Error::UnknownVersion);
    }
    r.u32()?;
    check_seal(sector, CRC_AT)?;
    let label = Label {
        file: r.id()?,
        uuid: r.array()?,
        block: r.u64()?,
        blocks: r.u64()?,
    };
    let rest = r.rest().len();
    r.zeros(rest)?;
    Ok(label)
}

/// Makes the sector with the superblock.
///
/// # Errors
///
/// None in practice: every field has a fixed width.
pub(crate) fn encode_state(superblock: &[u8; superblock::BYTES], s: &Seal) -> Result<Sector> {
    let mut bytes = [0; SEAL_BYTES];
    let mut w = Writer::new(&mut bytes);
    w.bytes(&SEAL_MAGIC)?;
    w.u32(VERSION)?;
    w.u32(0)?;
    w.id(&s.file)?;
    w.u32(s.fingerprint)?;
    seal(&mut bytes, SEAL_CRC_AT)?;
    let mut sector = [0; SECTOR];
    let mut w = Writer::new(&mut sector);
    w.bytes(superblock)?;
    w.bytes(&bytes)?;
    Ok(sector)
}

/// Returns the superblock in `sector`.
pub(crate) fn superblock(sector: &Sector) -> Option<&[u8; superblock::BYTES]> {
    sector.first_chunk()
}

/// Reads what is behind the superblock in `sector`.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn decode_seal(sector: &Sector) -> Result<Seal> {
    let bytes = sector.get(superblock::BYTES..).ok_or(Error::Truncated)?;
    let mut r = Reader::new(bytes);
    r.magic(&SEAL_MAGIC)?;
    if r.u32()? != VERSION {
        return Err(Error::UnknownVersion);
    }
    r.u32()?;
    check_seal(bytes, SEAL_CRC_AT)?;
    let found = Seal {
        file: r.id()?,
        fingerprint: r.u32()?,
    };
    let rest = r.rest().len();
    r.zeros(rest)?;
    Ok(found)
}

/// Makes the first page of a new file of `blocks` blocks.
///
/// # Errors
///
/// None in practice: every field has a fixed width.
pub(crate) fn new_page(page: &mut [u8; BLOCK], file: ImageId, blocks: u64) -> Result {
    let label = Label {
        file,
        blocks,
        ..Label::default()
    };
    let state = Seal {
        file,
        fingerprint: 0,
    };
    let mut w = Writer::new(page);
    w.bytes(&encode_label(&label)?)?;
    w.zeros_to(STATE_AT)?;
    w.bytes(&encode_state(&[0; superblock::BYTES], &state)?)?;
    Ok(())
}
