// SPDX-License-Identifier: GPL-2.0

//! Spaces on block devices: what the storages that use them share.
//!
//! A [`BlockSpace`] is a block map with its devices: it carries out transfers
//! and flushes. [`store`] writes the map to the first device as a chain of map
//! blocks and [`Stored`] reads it back. A [`Sector`] is one sector on a device
//! that is changed as a whole, such as the one with a superblock.

#![forbid(unsafe_code)]

use crate::blockmap::codec::{
    blocks_for, encode_devices, encode_entries, ChainReader, Device, ENTRIES_PER_BLOCK,
};
use crate::blockmap::{BlockMap, MapEntry};
use crate::engine;
use crate::errno;
use crate::image::filesystem::{self, Filesystem};
use crate::image::{self, ImageId, BLOCK};
use crate::patience;
use crate::storage::{Op, WHO};
use crate::sys::block::{BlockDevice, BlockRequest};
use crate::sys::buf::Buf;
use crate::sys::ioq::IoBuf;
use crate::sys::table::Table;
use crate::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A block map in memory.
pub type Map = BlockMap<Table<MapEntry>>;

/// Byte offset of block `block` of a device.
///
/// # Errors
///
/// `ENXIO` when no device is that large.
pub fn offset(block: u64) -> Result<u64> {
    block.checked_mul(BLOCK as u64).ok_or(ENXIO)
}

/// How long a device may take to say what is on it: longer than a disk that has
/// to spin up.
pub(crate) const PATIENCE_MS: u32 = 20_000;

/// Finds out what filesystem is on `device`, as it is on the medium; `None` for
/// none that is known. May sleep.
///
/// # Errors
///
/// `ETIMEDOUT` for a device that says nothing, as one does that is served by a
/// frozen task; `ECANCELED` when it did not answer before the cycle was to stop;
/// `ENXIO` for a device that is too small for any, `ENOMEM`, I/O errors.
pub fn filesystem(device: &BlockDevice) -> Result<Option<Filesystem>> {
    let mut blocks = [Buf::new(BLOCK)?, Buf::new(BLOCK)?];
    for (buf, place) in blocks.iter_mut().zip(filesystem::PLACES) {
        device.read_within(offset(place)?, buf, PATIENCE_MS)?;
    }
    let [first, second] = &blocks;
    let first = first.first_chunk().ok_or(EINVAL)?;
    let second = second.first_chunk().ok_or(EINVAL)?;
    Ok(filesystem::identify(first, second))
}

/// A line of blocks that is made of runs on block devices.
pub struct BlockSpace {
    devices: KVec<Arc<BlockDevice>>,
    map: Map,
}

impl BlockSpace {
    /// The space of `map`, whose device numbers are indices into `devices`.
    pub fn new(devices: KVec<Arc<BlockDevice>>, map: Map) -> Self {
        BlockSpace { devices, map }
    }

    /// Length of the line of blocks. Any context.
    pub fn blocks(&self) -> u64 {
        self.map.total()
    }

    /// Where the blocks are. Any context.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The devices. Any context.
    pub fn devices(&self) -> &[Arc<BlockDevice>] {
        &self.devices
    }

    /// Starts a transfer of `buf.len()` bytes at `block`; `buf` is completed
    /// when it is over, with the first error if there was one. Process
    /// context; may sleep for memory from reserves only.
    pub fn submit(&self, op: Op, block: u64, buf: IoBuf) {
        let len = buf.len();
        if len == 0 || len % BLOCK != 0 || len > buf.capacity() {
            buf.complete(Err(EINVAL));
            return;
        }
        let mut request = BlockRequest::begin(buf, op);
        match self.add_pieces(&mut request, block, (len / BLOCK) as u64) {
            Ok(()) => request.submit(),
            Err(e) => request.fail(e),
        }
    }

    fn add_pieces(&self, request: &mut BlockRequest, block: u64, count: u64) -> Result {
        let mut from = 0usize;
        for piece in self.map.lookup(block, count).map_err(|_| ENXIO)? {
            let device = self.devices.get(piece.device as usize).ok_or(ENXIO)?;
            // No more than the transfer, whose bytes are in memory.
            let len = (piece.count as usize).saturating_mul(BLOCK);
            request.piece(device, offset(piece.block)?, from, len)?;
            from = from.saturating_add(len);
        }
        Ok(())
    }

    /// Name of a device that requests are under way to, the one with most of
    /// them; empty if there are none. Any context.
    pub fn waits_for(&self) -> Text<WHO> {
        let busy = self.devices.iter().filter(|d| d.pending() != 0);
        match busy.max_by_key(|d| d.pending()) {
            Some(device) => Text::format(format_args!("{}", device.name())),
            None => Text::new(),
        }
    }

    /// Finds out whether each device answers within `ms` milliseconds. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` and `ECANCELED` with the reason recorded, I/O errors of the
    /// first device that has any.
    pub fn probe(&self, ms: u32) -> Result {
        let mut block = Buf::new(BLOCK)?;
        for device in self.devices.iter() {
            device.probe(0, &mut block, ms).map_err(|e| {
                let name = device.name();
                if e == errno::error(errno::ECANCELED) {
                    return patience::stopped(format_args!("{name}"));
                }
                let why = match e == errno::error(errno::ETIMEDOUT) {
                    true => "does not answer now that all is frozen: what serves it is frozen, too (a loop device, or a server of this machine); choose another target",
                    false => "cannot be read any more",
                };
                engine::fail(e, format_args!("{name} {why}"))
            })?;
        }
        Ok(())
    }

    /// Returns when all completed writes are on the media. May sleep.
    ///
    /// # Errors
    ///
    /// The first error of a device. All others are flushed in any case, but none
    /// after one that does not answer (`ETIMEDOUT`): the next one may be as silent,
    /// and tasks are frozen.
    pub fn flush(&self) -> Result {
        let mut result = Ok(());
        for device in self.devices.iter() {
            let flushed = device.flush();
            result = result.and(flushed);
            if flushed == Err(errno::error(errno::ETIMEDOUT)) {
                break;
            }
        }
        result
    }
}

fn as_block(buf: &mut Buf) -> Result<&mut [u8; BLOCK]> {
    buf.first_chunk_mut().ok_or(EINVAL)
}

/// Writes `map` as a chain of map blocks to `blocks` of the first of its
/// devices, and flushes that. `table` describes the devices. May sleep.
///
/// # Errors
///
/// `ENOSPC` when `blocks` are too few, `EINVAL` for a table that cannot be
/// encoded, `ENOMEM`, I/O errors.
pub fn store(
    first: &BlockDevice,
    blocks: &[u64],
    id: &ImageId,
    table: &[Device<'_>],
    map: &Map,
) -> Result {
    let entries = map.entries().len();
    let blocks = blocks.get(..blocks_for(entries)).ok_or(ENOSPC)?;
    let mut buf = Buf::new(BLOCK)?;
    let mut followers = blocks.iter().skip(1).copied();
    for (sequence, &block) in (0u32..).zip(blocks) {
        let next = followers.next().unwrap_or(0);
        let out = as_block(&mut buf)?;
        if sequence == 0 {
            encode_devices(out, id, table, next, map.total())?;
        } else {
            encode_entries(out, id, map, sequence, next)?;
        }
        first.write(offset(block)?, &buf, false)?;
    }
    first.flush()
}

/// A stored map of which the first map block was read.
pub struct Stored {
    first: Arc<BlockDevice>,
    reader: ChainReader,
}

impl Stored {
    /// Begins to read the map `id` whose first map block is `block` of `first`.
    /// Calls `device` for each of the map's devices in turn. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`image::Error`](crate::image::Error) when the block is damaged or belongs to
    /// another map, in general `EBADMSG`; `ENXIO` when it is beyond the device;
    /// what `device` says; `ENOMEM`, I/O errors.
    pub fn begin(
        first: &Arc<BlockDevice>,
        block: u64,
        id: &ImageId,
        mut device: impl FnMut(usize, &Device<'_>) -> Result,
    ) -> Result<Stored> {
        let mut buf = Buf::new(BLOCK)?;
        first.read(offset(block)?, &mut buf)?;
        let (reader, devices) = ChainReader::begin(&buf, id)?;
        for (i, d) in devices.enumerate() {
            device(i, &d)?;
        }
        let first = first.clone();
        Ok(Stored { first, reader })
    }

    /// Reads the rest. `devices` are those of the map, as they are there: nobody
    /// vouches for the map, and it may say that they are larger. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`image::Error`](crate::image::Error) when the chain is damaged or
    /// belongs to another map, in general `EBADMSG`; those of
    /// [`engine::go_on`]; `ENXIO` when the chain leaves the device, `ENOMEM`, I/O
    /// errors.
    pub fn load(self, devices: &[Arc<BlockDevice>]) -> Result<Map> {
        let Stored { first, mut reader } = self;
        let blocks = devices.iter().map(|d| d.size_bytes() / BLOCK as u64);
        // No block of a device belongs to two runs.
        if reader.total() > blocks.fold(0, u64::saturating_add) {
            return Err(image::Error::BadCount.into());
        }
        let mut buf = Buf::new(BLOCK)?;
        let mut room = 0usize;
        let mut map = BlockMap::new(Table::new(room)?);
        // The chain ends: a block is only accepted in its own place in the order.
        while let Some(next) = reader.next() {
            engine::go_on()?;
            first.read(offset(next)?, &mut buf)?;
            let needed = map.entries().len().saturating_add(ENTRIES_PER_BLOCK);
            if needed > room {
                room = needed.saturating_mul(2);
                map = enlarged(&map, room)?;
            }
            reader.block(&buf, &mut map)?;
        }
        reader.finish(&map)?;
        let mut scratch = Table::new(map.entries().len())?;
        map.check_disjoint(&mut scratch)?;
        Ok(map)
    }
}

/// The same map with room for `room` entries.
fn enlarged(map: &Map, room: usize) -> Result<Map> {
    let mut larger = BlockMap::new(Table::new(room)?);
    for entry in map.entries() {
        larger.append(entry.device, entry.block, entry.count)?;
    }
    Ok(larger)
}

/// A sector of a device, read and written as a whole.
pub struct Sector {
    device: Arc<BlockDevice>,
    offset: u64,
}

impl Sector {
    /// Bytes of a sector.
    pub const BYTES: usize = 512;

    /// The sector at byte `offset`, a multiple of [`Sector::BYTES`].
    pub fn new(device: Arc<BlockDevice>, offset: u64) -> Self {
        Sector { device, offset }
    }

    /// Reads what surrounds the sector, in the unit of the device, and returns
    /// that with its own offset and that of the sector in it.
    fn read_unit(&self) -> Result<(Buf, u64, usize)> {
        let unit = self.device.logical_block_size().max(Self::BYTES);
        let within = self.offset.checked_rem(unit as u64).ok_or(EINVAL)?;
        let start = self.offset.saturating_sub(within);
        let mut buf = Buf::new(unit)?;
        self.device.read(start, &mut buf)?;
        Ok((buf, start, within as usize))
    }

    /// Writes the sector, and nothing else but what the device cannot keep
    /// apart from it. The change is atomic as far as the device's writes of
    /// one unit are. All writes that were complete before are on the medium
    /// before it, and it is when the call returns. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody else uses the device, `EROFS` when it cannot be
    /// written, `ENOMEM`, I/O errors; the reason is recorded, with `what` for
    /// what the sector is. Whether it was written is uncertain after an I/O
    /// error.
    pub fn write(&self, sector: &[u8; Self::BYTES], what: &str) -> Result {
        self.put(sector).map_err(|e| {
            let name = self.device.name();
            if e == EROFS && !self.device.is_read_only() {
                return engine::fail(
                    EBUSY,
                    format_args!("{name} is in use, by a mount or otherwise: an image on it can be looked at, but neither resumed nor erased"),
                );
            }
            engine::fail(e, format_args!("{what} on {name} could not be written"))
        })
    }

    fn put(&self, sector: &[u8; Self::BYTES]) -> Result {
        let (mut buf, start, within) = self.read_unit()?;
        let rest = buf.get_mut(within..).ok_or(EINVAL)?;
        *rest.first_chunk_mut().ok_or(EINVAL)? = *sector;
        self.device.write(start, &buf, true)
    }
}
