// SPDX-License-Identifier: GPL-2.0

//! The block map: where on which device a block of the linear space lies.
//!
//! A storage that is made of pieces (slots of several swap areas, the extents of a file) builds
//! one [`BlockMap`] when it reserves its space, and stores it on its first device as a chain of
//! map blocks ([`codec`]), so that the resuming kernel finds the pieces before it knows anything
//! else. [`stripe()`] spreads the space over devices.
//!
//! The memory is the caller's: `&mut [MapEntry]` or anything that owns such a slice.

#![forbid(unsafe_code)]

use core::ops::{
    Deref,
    DerefMut, //
};

use crate::image::{
    Error,
    Result, //
};

pub mod codec;

mod stripe;

pub use self::stripe::{
    stripe,
    Area,
    STRIPE_BLOCKS, //
};

/// Most devices of one map.
pub const DEVICES_MAX: usize = 32;

/// A run of blocks on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapEntry {
    /// Number of the device in the map's device table.
    pub device: u32,
    /// Blocks.
    pub count: u32,
    /// First block on the device.
    pub block: u64,
    /// First block in the linear space.
    pub linear: u64,
}

/// A part of a range of the linear space that lies in one piece on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the device in the map's device table.
    pub device: u32,
    /// First block on the device.
    pub block: u64,
    /// First block in the linear space.
    pub linear: u64,
    /// Blocks.
    pub count: u64,
}

/// A linear space of blocks made of runs on devices.
///
/// # Invariants
///
/// The first `len` entries are not empty; each one's `linear` is the number of blocks in front
/// of it; `total` is the number of all blocks.
#[derive(Debug)]
pub struct BlockMap<S> {
    store: S,
    len: usize,
    total: u64,
}

impl<S: DerefMut<Target = [MapEntry]>> BlockMap<S> {
    /// Starts an empty map in `store`, whose contents do not matter.
    pub const fn new(store: S) -> Self {
        Self {
            store,
            len: 0,
            total: 0,
        }
    }

    /// Adds `count` blocks from `block` of `device` to the end of the space.
    ///
    /// They extend the last entry when they follow it.
    ///
    /// # Errors
    ///
    /// [`Error::BadDevice`] for a number above [`DEVICES_MAX`], [`Error::BlockRange`] when the
    /// run is empty or overflows, [`Error::NoRoom`] when `store` is full. The map is unchanged
    /// then.
    pub fn append(&mut self, device: u32, block: u64, count: u32) -> Result {
        if device as usize >= DEVICES_MAX {
            return Err(Error::BadDevice);
        }
        let added = u64::from(count);
        let total = self.total.checked_add(added).ok_or(Error::BlockRange)?;
        if count == 0 || block.checked_add(added).is_none() {
            return Err(Error::BlockRange);
        }
        let linear = self.total;
        let last = self.len.checked_sub(1);
        if let Some(last) = last.and_then(|at| self.store.get_mut(at)) {
            let end = last.block.saturating_add(u64::from(last.count));
            let joined = last.count.checked_add(count);
            if let (true, Some(joined)) = (last.device == device && end == block, joined) {
                last.count = joined;
                self.total = total;
                return Ok(());
            }
        }
        let place = self.store.get_mut(self.len).ok_or(Error::NoRoom)?;
        *place = MapEntry {
            device,
            count,
            block,
            linear,
        };
        self.len = self.len.saturating_add(1);
        self.total = total;
        Ok(())
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.len = 0;
        self.total = 0;
    }
}

impl<S: Deref<Target = [MapEntry]>> BlockMap<S> {
    /// Returns the blocks of the space.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Returns the runs, in the order of the space.
    pub fn entries(&self) -> &[MapEntry] {
        self.store.get(..self.len).unwrap_or_default()
    }

    /// Returns where `count` blocks from `start` of the linear space lie.
    ///
    /// # Errors
    ///
    /// [`Error::BlockRange`] when the range is empty or does not lie in the space.
    pub fn lookup(&self, start: u64, count: u64) -> Result<Pieces<'_>> {
        let end = start.checked_add(count).ok_or(Error::BlockRange)?;
        if count == 0 || end > self.total {
            return Err(Error::BlockRange);
        }
        let all = self.entries();
        let behind = all.partition_point(|entry| entry.linear <= start);
        let entries = all.get(behind.saturating_sub(1)..).unwrap_or_default();
        Ok(Pieces {
            entries,
            linear: start,
            end,
        })
    }

    /// Checks that no block of a device belongs to two runs.
    ///
    /// `scratch` takes one element per entry.
    ///
    /// # Errors
    ///
    /// [`Error::Overlap`], and [`Error::NoRoom`] for `scratch`.
    pub fn check_disjoint(&self, scratch: &mut [MapEntry]) -> Result {
        let entries = self.entries();
        let sorted = scratch.get_mut(..entries.len()).ok_or(Error::NoRoom)?;
        sorted.copy_from_slice(entries);
        crate::sort::by_key(sorted, |entry| (entry.device, entry.block));
        let mut last: Option<MapEntry> = None;
        for &entry in sorted.iter() {
            if let Some(last) = last {
                let end = last.block.saturating_add(u64::from(last.count));
                if last.device == entry.device && entry.block < end {
                    return Err(Error::Overlap);
                }
            }
            last = Some(entry);
        }
        Ok(())
    }

    /// Returns whether block `block` of `device` belongs to the space. Takes linear time.
    pub fn holds(&self, device: u32, block: u64) -> bool {
        self.entries().iter().any(|entry| {
            let offset = block.checked_sub(entry.block);
            entry.device == device && offset.is_some_and(|o| o < u64::from(entry.count))
        })
    }

    /// Returns the memory of the map.
    pub fn into_store(self) -> S {
        self.store
    }
}

/// Iterates over the pieces of a range, in order; made by [`BlockMap::lookup`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    entries: &'a [MapEntry],
    linear: u64,
    end: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let left = self.end.saturating_sub(self.linear);
        if left == 0 {
            return None;
        }
        let (entry, rest) = self.entries.split_first()?;
        let offset = self.linear.checked_sub(entry.linear)?;
        let here = u64::from(entry.count).checked_sub(offset)?;
        let piece = Piece {
            device: entry.device,
            block: entry.block.saturating_add(offset),
            linear: self.linear,
            count: here.min(left),
        };
        self.entries = rest;
        self.linear = self.linear.saturating_add(piece.count);
        Some(piece)
    }
}
