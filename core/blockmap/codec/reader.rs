// SPDX-License-Identifier: GPL-2.0

//! Reading map blocks.

#![forbid(unsafe_code)]

use core::ops::{
    Deref,
    DerefMut, //
};

use super::{
    Device,
    Link,
    CRC_AT,
    ENTRIES_PER_BLOCK,
    LABEL_BYTES,
    MAGIC, //
};
use crate::blockmap::{
    BlockMap,
    MapEntry,
    DEVICES_MAX, //
};
use crate::image::wire::{
    check_seal,
    Reader, //
};
use crate::image::{
    Error,
    ImageId,
    Result,
    BLOCK,
    VERSION, //
};

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
    /// All map blocks but the last one are full of entries that cannot be joined, as a writer makes
    /// them: so a chain takes no longer to read than the entries of its map need.
    ///
    /// # Errors
    ///
    /// As [`ChainReader::begin`], [`Error::BadCount`] also for a block that is not full or has
    /// entries that can be joined; [`Error::BadDevice`] or [`Error::BlockRange`] for an entry,
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
        let count = link.count as usize;
        if count == 0 || count > ENTRIES_PER_BLOCK {
            return Err(Error::BadCount);
        }
        if link.next != 0 && count != ENTRIES_PER_BLOCK {
            return Err(Error::BadCount);
        }
        let before = map.entries().len();
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
        let added = map.entries().len().saturating_sub(before);
        if added != count || map.total() > self.total {
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
