// SPDX-License-Identifier: GPL-2.0

//! The linear space of an image, wherever its blocks are.

#![forbid(unsafe_code)]

use std::iter;
use std::path::PathBuf;

use super::members::{self, Recorded};
use super::{Mark, Place};
use crate::blockmap::codec::{ChainReader, ENTRIES_PER_BLOCK};
use crate::blockmap::{BlockMap, MapEntry};
use crate::device::{Device, Identity};
use crate::fault::{At, Fault, Part, Reason};
use crate::image::{Error, ImageId, BLOCK};
use crate::netblock::mark;
use crate::open::Space;

type Map = BlockMap<Vec<MapEntry>>;

/// The devices of an image, and which of their blocks it has.
pub struct Disks {
    pub(super) devices: Vec<Device>,
    /// Block of each with its mark.
    headers: Vec<u64>,
    map: Map,
}

fn damaged(error: Error) -> Fault {
    Fault::image(Part::Map, error)
}

/// A map of which the first block was read: what is still to be read, and the devices.
type Begun = (ChainReader, Vec<Recorded>);

/// Begins to read the map `id` in block `block` of `device`.
fn begin(device: &Device, block: u64, id: &ImageId) -> Result<Begun, Fault> {
    let first = device.block(block).map_err(|e| Fault::io(Part::Map, e))?;
    let (chain, devices) = ChainReader::begin(&first, id).at(Part::Map)?;
    Ok((chain, devices.map(|d| Recorded::of(&d)).collect()))
}

/// How many blocks `parts` have. What is there twice has them once.
fn blocks_of<'d>(parts: impl Iterator<Item = &'d Device>) -> u64 {
    let mut seen: Vec<&Identity> = Vec::new();
    let mut blocks: u64 = 0;
    for part in parts {
        if !seen.contains(&&part.identity) {
            seen.push(&part.identity);
            blocks = blocks.saturating_add(part.blocks);
        }
    }
    blocks
}

/// Checks that `entry` lies in its device, which may be smaller than the map says.
fn check_inside(entry: &MapEntry, devices: &[Device]) -> Result<(), Error> {
    let device = devices.get(entry.device as usize).ok_or(Error::BadDevice)?;
    let end = entry.block.saturating_add(entry.count.into());
    match end > device.blocks {
        true => Err(Error::BlockRange),
        false => Ok(()),
    }
}

/// Reads the rest of a map of `devices`, the first of which it is on. The image is in `most` blocks
/// of them at most: no block belongs to two entries.
///
/// Whatever is made room for later is in proportion to the blocks of the map.
fn load(mut chain: ChainReader, devices: &[Device], most: u64) -> Result<Map, Fault> {
    let device = devices.first().ok_or(damaged(Error::BadDevice))?;
    let mut room = 0;
    let mut map = BlockMap::new(Vec::new());
    // The chain ends: a block is only accepted in its own place in the order.
    while let Some(next) = chain.next() {
        let block = device.block(next).map_err(|e| Fault::io(Part::Map, e))?;
        let needed = map.entries().len() + ENTRIES_PER_BLOCK;
        if needed > room {
            room = needed * 2;
            map = enlarged(&map, room).at(Part::Map)?;
        }
        chain.block(&block, &mut map).at(Part::Map)?;
        if map.total() > most {
            return Err(damaged(Error::BadCount));
        }
    }
    chain.finish(&map).at(Part::Map)?;
    let mut entries = map.entries().iter();
    entries
        .try_for_each(|entry| check_inside(entry, devices))
        .at(Part::Map)?;
    let mut scratch = vec![MapEntry::default(); map.entries().len()];
    map.check_disjoint(&mut scratch).at(Part::Map)?;
    Ok(map)
}

fn enlarged(map: &Map, room: usize) -> Result<Map, Error> {
    let mut larger = BlockMap::new(vec![MapEntry::default(); room]);
    for entry in map.entries() {
        larger.append(entry.device, entry.block, entry.count)?;
    }
    Ok(larger)
}

impl Disks {
    pub(super) fn open(place: &Place, members: &[PathBuf]) -> Result<Disks, Fault> {
        let again =
            || Device::open(&place.device.place, false).map_err(|e| Fault::io(Part::Superblock, e));
        if let Mark::Export { size, .. } = place.mark {
            return export(again()?, size);
        }
        let sb = place.superblock()?;
        let id = place.map_id(sb).ok_or(damaged(Error::OtherImage))?;
        let chain = sb.storage_word0;
        // A file is part of a device, unless it is a copy of one.
        let own = begin(&place.device, chain, &id);
        let own = own.and_then(|found| check_first(place, found, place.block));
        let (first, (chain, list)) = match own {
            Ok(found) => (again()?, found),
            Err(error) if place.device.is_device => return Err(error),
            Err(_) => below(place, chain, &id)?,
        };
        let mut devices = vec![first];
        for wanted in list.iter().skip(1) {
            devices.push(members::find(wanted, &list, members, &id)?);
        }
        let headers = list.iter().map(|recorded| recorded.block).collect();
        // Of the device below a file, the image has the blocks of the file.
        let most = blocks_of(iter::once(&place.device).chain(devices.iter().skip(1)));
        Ok(Disks {
            map: load(chain, &devices, most)?,
            devices,
            headers,
        })
    }
}

/// The first device of a map is the one with the mark, in block `block`.
fn check_first(place: &Place, found: Begun, block: u64) -> Result<Begun, Fault> {
    let uuid = match &place.mark {
        Mark::Swap { uuid, .. } => uuid,
        Mark::File { label } => &label.uuid,
        Mark::Export { .. } => return Err(damaged(Error::BadDevice)),
    };
    let first = found.1.first().ok_or(damaged(Error::BadDevice))?;
    if first.uuid != *uuid || first.block != block {
        return Err(damaged(Error::BadDevice));
    }
    Ok(found)
}

/// The device that the file of `place` is on.
fn below(place: &Place, chain: u64, id: &ImageId) -> Result<(Device, Begun), Fault> {
    let path = &place.device.place;
    let Some(below) = place.device.below() else {
        let sentence = format!("the filesystem of {path} does not say on which device it is: name the device, and the place of the file on it with --offset");
        return Err(Fault::missing(Part::Map, sentence));
    };
    let device = Device::open(&below.as_path().into(), false).map_err(|error| {
        let below = below.display();
        Fault::missing(
            Part::Map,
            format!("{path} is on {below}, which cannot be read: {error}"),
        )
    })?;
    let (chain, list) = begin(&device, chain, id)?;
    let block = list.first().map_or(0, |first| first.block);
    // What is there has to be what is in the file.
    let there = device.block(block).map_err(|e| Fault::io(Part::Map, e))?;
    let here = place
        .device
        .block(place.block)
        .map_err(|e| Fault::io(Part::Map, e))?;
    if there != here {
        return Err(damaged(Error::BadDevice));
    }
    let found = check_first(place, (chain, list), block)?;
    Ok((device, found))
}

/// An export is one line of blocks.
fn export(device: Device, size: u64) -> Result<Disks, Fault> {
    let whole = size / BLOCK as u64;
    if whole > device.blocks {
        let sentence = format!(
            "the export has shrunk from {size} bytes to {}, and the image with it",
            device.blocks * BLOCK as u64
        );
        return Err(Fault::missing(Part::Map, sentence));
    }
    let mut blocks = mark::blocks(size);
    // An entry counts 32 bits.
    let mut map = BlockMap::new(vec![MapEntry::default(); 1 + (blocks >> 31) as usize]);
    let mut at = mark::FIRST_BLOCK;
    while blocks != 0 {
        let count = blocks.min(1 << 31) as u32;
        map.append(0, at, count).at(Part::Map)?;
        at += u64::from(count);
        blocks -= u64::from(count);
    }
    Ok(Disks {
        devices: vec![device],
        headers: vec![0],
        map,
    })
}

impl Disks {
    /// All devices but the first, and the blocks of their marks.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Device, u64)> {
        let all = self.devices.iter().zip(self.headers.iter().copied());
        all.skip(1)
    }
}

impl Space for Disks {
    fn blocks(&self) -> u64 {
        self.map.total()
    }

    fn read(&self, block: u64, mut out: &mut [u8]) -> Result<(), Reason> {
        if out.is_empty() {
            return Ok(());
        }
        let pieces = self.map.lookup(block, out.len().div_ceil(BLOCK) as u64)?;
        for piece in pieces {
            let device = self
                .devices
                .get(piece.device as usize)
                .ok_or(Error::BadDevice)?;
            let len = usize::try_from(piece.count).map_or(out.len(), |count| {
                count.saturating_mul(BLOCK).min(out.len())
            });
            let (here, rest) = out.split_at_mut(len);
            device.read(piece.block, here)?;
            out = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;
    use crate::blockmap::codec;

    const ID: ImageId = ImageId(*b"identity of map.");

    /// A map block in front, another one, and `blocks` blocks with them. Runs are device, first block
    /// and number of blocks; of two devices that are said to be large.
    fn file(runs: &[(u32, u64, u32)], blocks: usize) -> NamedTempFile {
        let mut map = BlockMap::new(vec![MapEntry::default(); runs.len()]);
        for &(device, block, count) in runs {
            map.append(device, block, count).unwrap();
        }
        let said = codec::Device {
            blocks: 1 << 40,
            ..codec::Device::default()
        };
        let mut block = [0; BLOCK];
        codec::encode_devices(&mut block, &ID, &[said; 2], 1, map.total()).unwrap();
        let mut bytes = block.to_vec();
        codec::encode_entries(&mut block, &ID, &map, 1, 0).unwrap();
        bytes.extend(block);
        bytes.resize(blocks * BLOCK, 0);
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    fn opened(file: &NamedTempFile) -> Device {
        Device::open(&file.path().into(), false).unwrap()
    }

    /// Blocks of the map on the first of `files`, of which there are no more than `most`.
    fn load(files: [&NamedTempFile; 2], most: u64) -> Result<u64, Error> {
        let devices = files.map(opened);
        let (chain, _) = begin(&devices[0], 0, &ID).unwrap();
        let map = super::load(chain, &devices, most);
        map.map(|map| map.total())
            .map_err(|fault| fault.error().unwrap())
    }

    #[test]
    fn no_more_blocks_than_there_are() {
        let other = file(&[(0, 2, 1)], 8);
        let both = [(0, 2, 6), (1, 2, 6)];
        let cases: [(&[_], _, _); 6] = [
            (&both, 16, Ok(12)),
            // Those of a file on the device.
            (&both, 12, Ok(12)),
            (&both, 11, Err(Error::BadCount)),
            // Blocks behind the end of a device, and at it.
            (
                &[(0, 2, 6), (0, 1 << 30, u32::MAX)],
                16,
                Err(Error::BadCount),
            ),
            (&[(0, 2, 6), (1, 2, 7)], 16, Err(Error::BlockRange)),
            (&[(0, 2, 6), (0, 7, 1)], 16, Err(Error::Overlap)),
        ];
        for (runs, most, expected) in cases {
            let file = file(runs, 8);
            assert_eq!(load([&file, &other], most), expected, "{runs:?}");
        }
    }

    #[test]
    fn one_device_counts_once() {
        let (first, second) = (file(&[(0, 2, 6)], 8), file(&[(0, 2, 6)], 5));
        let most = |files: &[&NamedTempFile]| {
            let devices: Vec<_> = files.iter().map(|file| opened(file)).collect();
            blocks_of(devices.iter())
        };
        assert_eq!(most(&[&first, &second]), 13);
        assert_eq!(most(&[&first, &second, &first, &first]), 13);
    }
}
