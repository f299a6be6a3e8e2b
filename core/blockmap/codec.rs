// SPDX-License-Identifier: GPL-2.0

//! Map blocks: the block map as it is stored on the first device.
//!
//! The first map block holds the table of devices; the superblock's `storage_word0` says where
//! it is. The map blocks behind it hold the entries. Each one says where the next is, as a block
//! of the first device; 0 ends the chain.

#![forbid(unsafe_code)]

use core::ops::{
    Deref,
    DerefMut, //
};

use super::{
    BlockMap,
    MapEntry,
    DEVICES_MAX, //
};
use crate::image::wire::{
    check_seal,
    seal,
    Reader,
    Writer, //
};
use crate::image::{
    Error,
    ImageId,
    Result,
    BLOCK,
    VERSION, //
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

fn get_link<'a>(block: &'a [u8], id: &ImageId) -> Result<(Link, Reader<'a>)> {
    let block = block.get(..BLOCK).ok_or(Error::Truncated)?;
    let mut r = Reader::new(block);
    r.magic(&MAGIC)?;
    if r.u32()? != VERSION {
        return Err(Error::UnknownVersion);
    }
    check_seal(block, CRC_AT)?;
    r.u32()?;
    if r.id()? != *id {
        return Err(Error::OtherImage);
    }
    let link = Link {
        next: r.u64()?,
        sequence: r.u32()?,
        count: r.u32()?,
        total: r.u64()?,
        first: r.u64()?,
    };
    Ok((link, r))
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

/// Reads a chain of map blocks, one after the other.
#[derive(Clone, Debug)]
pub struct ChainReader {
    image_id: ImageId,
    next: u64,
    sequence: u32,
    total: u64,
    device_count: u32,
    device_blocks: [u64; DEVICES_MAX],
}

impl ChainReader {
    /// Starts with the first map block of the image `id`.
    ///
    /// Returns the reader and the devices.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::BadMagic`], [`Error::UnknownVersion`] or
    /// [`Error::BadCrc`] before anything else is looked at; [`Error::OtherImage`],
    /// [`Error::BadOrder`], [`Error::BadCount`], [`Error::BadText`], [`Error::BlockRange`] or
    /// [`Error::NotZero`] for a field.
    pub fn begin<'a>(block: &'a [u8], id: &ImageId) -> Result<(Self, Devices<'a>)> {
        let (link, mut r) = get_link(block, id)?;
        if link.sequence != 0 || link.first != 0 {
            return Err(Error::BadOrder);
        }
        if link.count == 0 || link.count as usize > DEVICES_MAX {
            return Err(Error::BadCount);
        }
        let devices = Devices {
            left: link.count,
            rest: r.clone(),
        };
        let mut reader = Self {
            image_id: *id,
            next: link.next,
            sequence: 0,
            total: link.total,
            device_count: link.count,
            device_blocks: [0; DEVICES_MAX],
        };
        let places = reader.device_blocks.iter_mut();
        for (_, place) in (0..link.count).zip(places) {
            *place = get_device(&mut r)?.blocks;
        }
        r.zeros(r.rest().len())?;
        reader.check_next()?;
        Ok((reader, devices))
    }

    // The next map block is another block of the first device.
    fn check_next(&self) -> Result {
        let [first, ..] = self.device_blocks;
        if self.next != 0 && self.next >= first {
            return Err(Error::BlockRange);
        }
        Ok(())
    }

    /// Returns the block of the first device that holds the next map block, or nothing when the
    /// chain has ended.
    pub const fn next(&self) -> Option<u64> {
        if self.next == 0 {
            None
        } else {
            Some(self.next)
        }
    }

    /// Returns the blocks that the whole space has.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Reads the next map block, and adds its entries to `map`.
    ///
    /// # Errors
    ///
    /// As [`ChainReader::begin`]; [`Error::BadDevice`] or [`Error::BlockRange`] for an entry,
    /// [`Error::NoRoom`] when `map` is full. `map` is of no use then.
    pub fn block<S: DerefMut<Target = [MapEntry]>>(
        &mut self,
        block: &[u8],
        map: &mut BlockMap<S>,
    ) -> Result {
        let (link, mut r) = get_link(block, &self.image_id)?;
        let sequence = self.sequence.checked_add(1).ok_or(Error::BadOrder)?;
        let in_order = link.sequence == sequence && link.first == map.total();
        if !in_order || link.total != self.total || self.next == 0 {
            return Err(Error::BadOrder);
        }
        if link.count == 0 || link.count as usize > ENTRIES_PER_BLOCK {
            return Err(Error::BadCount);
        }
        for _ in 0..link.count {
            let block = r.u64()?;
            let count = r.u32()?;
            let device = r.u32()?;
            if device >= self.device_count {
                return Err(Error::BadDevice);
            }
            let blocks = self.device_blocks.get(device as usize);
            let end = block.checked_add(u64::from(count));
            if end.is_none() || end > blocks.copied() {
                return Err(Error::BlockRange);
            }
            map.append(device, block, count)?;
        }
        r.zeros(r.rest().len())?;
        if map.total() > self.total {
            return Err(Error::BadCount);
        }
        self.sequence = sequence;
        self.next = link.next;
        self.check_next()
    }

    /// Checks that `map` is the whole space, once the chain has ended.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] when it is not.
    pub fn finish<S: Deref<Target = [MapEntry]>>(&self, map: &BlockMap<S>) -> Result {
        if self.next != 0 || map.total() != self.total {
            return Err(Error::BadCount);
        }
        Ok(())
    }
}

fn get_device<'a>(r: &mut Reader<'a>) -> Result<Device<'a>> {
    let device = Device {
        uuid: r.array()?,
        blocks: r.u64()?,
        major: r.u32()?,
        minor: r.u32()?,
        signature_block: r.u64()?,
        private: r.u64()?,
        label: r.text(LABEL_BYTES)?,
    };
    r.zeros(8)?;
    if device.blocks == 0 || device.signature_block >= device.blocks {
        return Err(Error::BlockRange);
    }
    Ok(device)
}

/// Iterates over the devices of the first map block.
#[derive(Clone, Debug)]
pub struct Devices<'a> {
    left: u32,
    rest: Reader<'a>,
}

impl<'a> Iterator for Devices<'a> {
    type Item = Device<'a>;

    fn next(&mut self) -> Option<Device<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Never an error: `ChainReader::begin` went through all of them.
        get_device(&mut self.rest).ok()
    }
}
