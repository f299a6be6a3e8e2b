// SPDX-License-Identifier: GPL-2.0

//! Map blocks: the block map as it is stored on the first device.
//!
//! The first map block holds the table of devices; the superblock's `storage_word0` says where
//! it is. The map blocks behind it hold the entries. Each one says where the next is, as a block
//! of the first device; 0 ends the chain.

#![forbid(unsafe_code)]

use core::ops::Deref;

use super::{
    BlockMap,
    MapEntry,
    DEVICES_MAX, //
};
use crate::image::wire::{
    seal,
    Writer, //
};
use crate::image::{
    Error,
    ImageId,
    Result,
    BLOCK,
    VERSION, //
};

mod reader;

pub use self::reader::{
    ChainReader,
    Devices, //
};

/// First bytes of every map block.
pub const MAGIC: [u8; 8] = *b"DMBLKMAP";

/// Offset of the seal.
pub const CRC_AT: usize = 12;

/// Bytes in front of the table of a map block.
pub const HEADER_BYTES: usize = 64;

/// Bytes of one device in the first map block.
pub const DEVICE_BYTES: usize = 120;

/// Width of the field for a device's label.
pub const LABEL_BYTES: usize = 64;

/// Bytes of one entry in the other map blocks.
pub const ENTRY_BYTES: usize = 16;

/// Entries of one map block.
pub const ENTRIES_PER_BLOCK: usize = (BLOCK - HEADER_BYTES) / ENTRY_BYTES;

/// Returns the map blocks that a map of `entries` entries takes, the device table included.
pub const fn blocks_for(entries: usize) -> usize {
    entries.div_ceil(ENTRIES_PER_BLOCK).saturating_add(1)
}

/// A device that gives blocks to the linear space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device<'a> {
    /// Identity that the storage finds the device by.
    pub uuid: [u8; 16],
    /// Blocks of the device; no entry reaches beyond.
    pub blocks: u64,
    /// Device number, major part, when the image was written.
    pub major: u32,
    /// Device number, minor part, when the image was written.
    pub minor: u32,
    /// Block of the signature that the storage replaced, and puts back afterwards.
    pub signature_block: u64,
    /// For the storage.
    pub private: u64,
    /// Name for people: the path of the device or file; may be empty.
    pub label: &'a str,
}

/// Where in the chain a map block stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    next: u64,
    sequence: u32,
    count: u32,
    total: u64,
    first: u64,
}

fn put_link(w: &mut Writer<'_>, id: &ImageId, link: &Link) -> Result {
    w.bytes(&MAGIC)?;
    w.u32(VERSION)?;
    w.u32(0)?;
    w.id(id)?;
    w.u64(link.next)?;
    w.u32(link.sequence)?;
    w.u32(link.count)?;
    w.u64(link.total)?;
    w.u64(link.first)
}

/// Writes the first map block, with the table of devices.
///
/// `next` is the block of the first device that will hold the second map block, or 0; `total`
/// the blocks of the space.
///
/// # Errors
///
/// [`Error::BadCount`] for no or too many devices, [`Error::TooLong`] or [`Error::BadText`] for
/// a label.
pub fn encode_devices(
    out: &mut [u8; BLOCK],
    id: &ImageId,
    devices: &[Device<'_>],
    next: u64,
    total: u64,
) -> Result {
    if devices.is_empty() || devices.len() > DEVICES_MAX {
        return Err(Error::BadCount);
    }
    let link = Link {
        next,
        sequence: 0,
        count: devices.len() as u32,
        total,
        first: 0,
    };
    let mut w = Writer::new(out);
    put_link(&mut w, id, &link)?;
    for device in devices {
        w.bytes(&device.uuid)?;
        w.u64(device.blocks)?;
        w.u32(device.major)?;
        w.u32(device.minor)?;
        w.u64(device.signature_block)?;
        w.u64(device.private)?;
        w.text(device.label, LABEL_BYTES)?;
        w.zeros(8)?;
    }
    w.zeros_to(BLOCK)?;
    seal(out, CRC_AT)?;
    Ok(())
}

/// Writes map block `sequence` (the first with entries is 1) of `map`.
///
/// `next` is the block of the first device that will hold the map block after it, or 0.
///
/// # Errors
///
/// [`Error::BadOrder`] when the map has no entries for such a block.
pub fn encode_entries<S: Deref<Target = [MapEntry]>>(
    out: &mut [u8; BLOCK],
    id: &ImageId,
    map: &BlockMap<S>,
    sequence: u32,
    next: u64,
) -> Result {
    let number = sequence.checked_sub(1).ok_or(Error::BadOrder)? as usize;
    let mut tables = map.entries().chunks(ENTRIES_PER_BLOCK);
    let entries = tables.nth(number).ok_or(Error::BadOrder)?;
    let link = Link {
        next,
        sequence,
        count: entries.len() as u32,
        total: map.total(),
        first: entries.first().map_or(0, |entry| entry.linear),
    };
    let mut w = Writer::new(out);
    put_link(&mut w, id, &link)?;
    for entry in entries {
        w.u64(entry.block)?;
        w.u32(entry.count)?;
        w.u32(entry.device)?;
    }
    w.zeros_to(BLOCK)?;
    seal(out, CRC_AT)?;
    Ok(())
}
