// SPDX-License-Identifier: GPL-2.0

//! The last sector of a swap header: where the mark of an image is.
//!
//! A swap header is one page. Its first sectors say what the area is and are
//! never touched. Its last 512 bytes are padding that ends in the signature:
//!
//! ```text
//!   0  superblock, 448 bytes; zeros in all but the primary
//! 448  record of the image, 54 bytes
//! 502  signature, 10 bytes
//! ```
//!
//! The *primary* area carries the superblock; the *members*, which hold other
//! parts of the same image, only carry a record, and so do the *bystanders*,
//! which have swapped-out pages of the saved system and no part of the image,
//! wherever that is. What the sector was before is put back in the end:
//! normally zeros and the signature, otherwise a copy that was kept in a block
//! of the area (the [keep](encode_keep)).
//!
//! Record: magic(4), version u8, role u8, original signature(10), identity(16)
//! of the map, in a bystander of the image, block of the keep u64, major u32,
//! minor u32 of the primary, in a bystander zeros, zeros(2), CRC-32C of the
//! record with this field zero.

#![forbid(unsafe_code)]

use crate::image::superblock;
use crate::image::wire::{check_seal, seal, Reader, Writer};
use crate::image::{Error, ImageId, Result, BLOCK, VERSION};

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Offset of the last sector in the header page, in bytes.
pub const SECTOR_AT: usize = BLOCK - SECTOR;
/// Offset of the record in the sector.
pub const RECORD_AT: usize = superblock::BYTES;
/// Bytes of a record.
pub const RECORD_BYTES: usize = SIGNATURE_AT - RECORD_AT;
/// Offset of the signature in the sector.
pub const SIGNATURE_AT: usize = SECTOR - SIGNATURE_BYTES;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 10;

/// Signature of a swap area, the only one that Linux activates.
pub const SWAP: [u8; SIGNATURE_BYTES] = *b"SWAPSPACE2";
/// Signature of an area with an image, one that libblkid reports as
/// `swsuspend` and that swsusp does not take for its own.
pub const IMAGE: [u8; SIGNATURE_BYTES] = *b"LINHIB0001";

const MAGIC: [u8; 4] = *b"DMSW";
const RECORD_VERSION: u8 = 1;
const RECORD_CRC_AT: usize = RECORD_BYTES - 4;

const KEEP_MAGIC: [u8; 8] = *b"DMSWKEEP";
const KEEP_CRC_AT: usize = 12;

const VERSION_AT: usize = 1024;
const BAD_PAGES_AT: usize = 1536;
/// Bad pages that a header can list without reaching into the last sector.
pub const BAD_PAGES_MAX: u32 = ((SECTOR_AT - BAD_PAGES_AT) / 4) as u32;

/// A sector.
pub type Sector = [u8; SECTOR];

/// What an area is to its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It carries the superblock and the block map.
    Primary,
    /// It only gives blocks.
    Member,
    /// It gives none, and has pages of the saved system.
    Bystander,
}

/// What is known of an area while there is a mark on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the area is to the image.
    pub role: Role,
    /// Identity of the block map that the area belongs to; of the image, in a
    /// bystander.
    pub map: ImageId,
    /// Block of the area's device where the original sector is kept, or 0
    /// when it was empty but for its signature.
    pub keep: u64,
    /// Device number of the primary area, for messages; zeros in a bystander.
    pub primary: (u32, u32),
}

/// What a sector turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// That of a swap area which is nothing to us.
    Swap,
    /// One with a mark of ours. `image` says whether the signature is that
    /// of an image; otherwise it is the area's own.
    Ours {
        /// The record.
        record: Record,
        /// Which signature.
        image: bool,
    },
    /// Something else, with this signature.
    Other([u8; SIGNATURE_BYTES]),
}

/// What is needed of a swap header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// UUID of the area.
    pub uuid: [u8; 16],
    /// Its label, padded with NULs.
    pub label: [u8; 16],
}

/// Why an area cannot carry the mark of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a page.
    Truncated,
    /// The version of the header is not 1.
    Version,
    /// The list of bad pages reaches into the last sector.
    BadPages,
}

impl Refusal {
    /// Returns the end of a sentence that begins with the name of the area.
    pub const fn sentence(self) -> &'static str {
        match self {
            Refusal::Truncated => "has a truncated header",
            Refusal::Version => "has a header of an unknown version",
            Refusal::BadPages => "has too many bad pages: their list takes the place of the mark",
        }
    }
}

/// Reads the parts of a header page that never change.
///
/// # Errors
///
/// Why the page is not the header of an area that can carry a mark.
pub fn header(page: &[u8]) -> core::result::Result<Header, Refusal> {
    let page = page.get(..BLOCK).ok_or(Refusal::Truncated)?;
    let mut r = Reader::at(page, VERSION_AT).map_err(|_| Refusal::Truncated)?;
    let mut word = || r.u32().map_err(|_| Refusal::Truncated);
    let version = word()?;
    let _last_page = word()?;
    let bad_pages = word()?;
    // Linux activates areas of either byte order.
    let bad_pages = match version {
        1 => bad_pages,
        0x0100_0000 => bad_pages.swap_bytes(),
        _ => return Err(Refusal::Version),
    };
    if bad_pages > BAD_PAGES_MAX {
        return Err(Refusal::BadPages);
    }
    let uuid = r.array().map_err(|_| Refusal::Truncated)?;
    let label = r.array().map_err(|_| Refusal::Truncated)?;
    Ok(Header { uuid, label })
}

/// Returns the last sector of a header page.
pub fn of_page(page: &[u8]) -> Option<&Sector> {
    page.get(SECTOR_AT..BLOCK)?.try_into().ok()
}

/// The record and the signature of `sector`.
fn parts(sector: &Sector) -> (&[u8], [u8; SIGNATURE_BYTES]) {
    let mut r = Reader::new(sector);
    let parts = r.bytes(RECORD_AT).and_then(|_| {
        let record = r.bytes(RECORD_BYTES)?;
        Ok((record, r.array::<SIGNATURE_BYTES>()?))
    });
    // Always there: a sector is that long.
    parts.unwrap_or((&[], [0; SIGNATURE_BYTES]))
}

/// Whether `sector` is what is left of a mark: the signature of an image
/// without a record, or a record with the signature of nothing. That of
/// swsusp takes the place of a part of the record, so it is never this.
pub fn is_damaged(sector: &Sector) -> bool {
    let (record, signature) = parts(sector);
    match decode(sector) {
        Found::Other(_) => signature == IMAGE || get_record(record).is_ok(),
        Found::Swap | Found::Ours { .. } => false,
    }
}

/// Finds out what `sector` is.
pub fn decode(sector: &Sector) -> Found {
    let (record, signature) = parts(sector);
    let image = signature == IMAGE;
    if !image && signature != SWAP {
        return Found::Other(signature);
    }
    match get_record(record) {
        Ok(record) => Found::Ours { record, image },
        Err(_) if image => Found::Other(signature),
        Err(_) => Found::Swap,
    }
}

/// Returns the superblock in the sector of a primary area.
pub fn superblock(sector: &Sector) -> Option<&[u8; superblock::BYTES]> {
    sector.first_chunk()
}

fn get_record(bytes: &[u8]) -> Result<Record> {
    let mut r = Reader::new(bytes);
    r.magic(&MAGIC)?;
    if r.u8()? != RECORD_VERSION {
        return Err(Error::UnknownVersion);
    }
    check_seal(bytes, RECORD_CRC_AT)?;
    let role = match r.u8()? {
        1 => Role::Primary,
        2 => Role::Member,
        3 => Role::Bystander,
        _ => return Err(Error::BadState),
    };
    // No other signature is ever replaced, so none is ever put back.
    r.magic(&SWAP)?;
    let record = Record {
        role,
        map: r.id()?,
        keep: r.u64()?,
        primary: (r.u32()?, r.u32()?),
    };
    r.zeros(2)?;
    Ok(record)
}

fn put_record(record: &Record) -> Result<[u8; RECORD_BYTES]> {
    let mut out = [0; RECORD_BYTES];
    let mut w = Writer::new(&mut out);
    w.bytes(&MAGIC)?;
    w.u8(RECORD_VERSION)?;
    w.u8(match record.role {
        Role::Primary => 1,
        Role::Member => 2,
        Role::Bystander => 3,
    })?;
    w.bytes(&SWAP)?;
    w.id(&record.map)?;
    w.u64(record.keep)?;
    w.u32(record.primary.0)?;
    w.u32(record.primary.1)?;
    seal(&mut out, RECORD_CRC_AT)?;
    Ok(out)
}

/// Makes the sector of the area that `record` describes; `superblock` is
/// zeros for all but the primary, `image` chooses the signature.
///
/// # Errors
///
/// None in practice: every field has a fixed width.
pub fn encode(
    superblock: &[u8; superblock::BYTES],
    record: &Record,
    image: bool,
) -> Result<Sector> {
    let mut sector = [0; SECTOR];
    let mut w = Writer::new(&mut sector);
    w.bytes(superblock)?;
    w.bytes(&put_record(record)?)?;
    w.bytes(if image { &IMAGE } else { &SWAP })?;
    Ok(sector)
}

/// Returns the sector of an area whose padding is empty, as `mkswap` makes it.
pub fn plain() -> Sector {
    let mut sector = [0; SECTOR];
    for (to, from) in sector.iter_mut().rev().zip(SWAP.iter().rev()) {
        *to = *from;
    }
    sector
}

/// Writes the block that keeps `sector`, which a mark of the map `map`
/// replaces.
///
/// # Errors
///
/// None in practice: every field has a fixed width.
pub fn encode_keep(out: &mut [u8; BLOCK], map: &ImageId, sector: &Sector) -> Result {
    let mut w = Writer::new(out);
    w.bytes(&KEEP_MAGIC)?;
    w.u32(VERSION)?;
    w.u32(0)?;
    w.id(map)?;
    w.bytes(sector)?;
    w.zeros_to(BLOCK)?;
    seal(out, KEEP_CRC_AT)?;
    Ok(())
}

/// Reads what [`encode_keep`] wrote.
///
/// # Errors
///
/// Why `block` is not the keep of the map `map`: it is in free swap space,
/// which may have been put to use since.
pub fn decode_keep(block: &[u8], map: &ImageId) -> Result<Sector> {
    let block = block.get(..BLOCK).ok_or(Error::Truncated)?;
    let mut r = Reader::new(block);
    r.magic(&KEEP_MAGIC)?;
    if r.u32()? != VERSION {
        return Err(Error::UnknownVersion);
    }
    check_seal(block, KEEP_CRC_AT)?;
    r.u32()?;
    if r.id()? != *map {
        return Err(Error::OtherImage);
    }
    let sector: Sector = r.array()?;
    if !sector.ends_with(&SWAP) {
        return Err(Error::BadMagic);
    }
    Ok(sector)
}
