// SPDX-License-Identifier: GPL-2.0

//! Finding a space again, on a device whose filesystem is not mounted.

#![forbid(unsafe_code)]

use crate::blockmap::BlockMap;
use crate::first::First;
use crate::image::superblock::{State, Superblock};
use crate::image::ImageId;
use crate::page::{self, Label, Sector};
use crate::pinned::Pinned;
use crate::space::FileSpace;
use dormouse::blockspace::{self, BlockSpace, Map, Stored};
use dormouse::engine;
use dormouse::errno;
use dormouse::storage::Place;
use dormouse::sys::block::{self, BlockDevice, DevT};
use dormouse::sys::hibernate::ResumeDevice;
use dormouse::sys::table::Table;
use dormouse::target::Target;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Opens `dev` so that nobody else gets it: a filesystem that is mounted cannot
/// be mounted in between. One that somebody has already can only be read;
/// resuming from it would pull the memory from under a mounted filesystem.
fn open_device(dev: DevT) -> Result<Arc<BlockDevice>> {
    let device = match BlockDevice::open(dev, true, true) {
        Err(e) if e == EBUSY || e == EROFS || e == EACCES => BlockDevice::open(dev, false, false),
        result => result,
    };
    Ok(Arc::new(device?, GFP_KERNEL)?)
}

fn is_nothing(e: Error) -> bool {
    e == ENXIO || e == ENODEV || e == ENOENT || e == EINVAL
}

/// What is at `first`, if it is the first page of a file of ours.
fn read(first: &First) -> Result<(Label, Sector)> {
    match first.read() {
        Ok(Some((label, state))) if label.block == first.block => Ok((label, state)),
        Ok(Some(_)) => {
            pr_notice!(
                "{}: offset {} has a copy of a file for images, which has no image\n",
                first.name(),
                first.block
            );
            Err(ENODEV)
        }
        Ok(None) => Err(ENODEV),
        Err(e) if is_nothing(e) => Err(ENODEV),
        Err(e) => Err(e),
    }
}

/// Whether block `block` of `dev` is the first page of a file on the filesystem
/// `uuid`.
fn is_there(dev: DevT, uuid: &[u8; 16], block: u64) -> bool {
    let look = || -> Result<bool> {
        let device = BlockDevice::open(dev, false, false)?;
        let device = Arc::new(device, GFP_KERNEL)?;
        Ok(read(&First { device, block })?.0.uuid == *uuid)
    };
    look().unwrap_or(false)
}

/// Finds the device with the filesystem `uuid` that has the first page of a
/// file in block `block`, whatever its number is in this boot.
fn find(uuid: &[u8; 16], block: u64) -> Result<DevT> {
    let mut found = KVec::new();
    for dev in block::devices()? {
        if is_there(dev, uuid, block) {
            found.push(dev, GFP_KERNEL)?;
        }
    }
    if found.len() > 1 {
        // Parts of a mirror and the like belong to what is made of them.
        let mut free = KVec::new();
        for &dev in found.iter() {
            if BlockDevice::open(dev, true, true).is_ok() {
                free.push(dev, GFP_KERNEL)?;
            }
        }
        found = free;
    }
    match (found.first(), found.get(1)) {
        (Some(&dev), None) => {
            pr_info!("the file at offset {} is on {}\n", block, dev);
            Ok(dev)
        }
        (Some(one), Some(other)) => {
            Err(engine::fail(errno::error(errno::ENOTUNIQ), format_args!(
                "{one} and {other} are copies of each other: name the one with the image by its number"
            )))
        }
        _ => Err(ENODEV),
    }
}

fn locate(place: Place<'_>, pinned: Option<&Arc<Pinned>>) -> Result<ResumeDevice> {
    let text = match place {
        Place::Resume(at) => return Ok(at),
        Place::Target(text) => text,
    };
    match Target::parse(text).map_err(|_| EINVAL)? {
        Target::Number {
            major,
            minor,
            offset,
        } => ResumeDevice::numbered(major, minor, offset),
        Target::UuidOffset { uuid, offset } => Ok(ResumeDevice {
            dev: find(&uuid, offset)?,
            block: offset,
        }),
        // Only while it is configured is it known where it is.
        Target::File(path) => {
            let pinned = pinned.filter(|p| p.path == *path);
            Ok(pinned.ok_or(ENODEV)?.at())
        }
        Target::Auto | Target::Device(_) | Target::Uuid(_) | Target::Nbd(_) => Err(ENODEV),
    }
}

/// What was found, on its way to become a space.
struct Found {
    first: First,
    label: Label,
    superblock: Superblock,
    map: ImageId,
    pinned: Option<Arc<Pinned>>,
}

impl Found {
    fn space(self, map: Map, dead: bool) -> Result<FileSpace> {
        let mut devices = KVec::new();
        devices.push(self.first.device.clone(), GFP_KERNEL)?;
        Ok(FileSpace {
            space: BlockSpace::new(devices, map),
            first: self.first,
            label: self.label,
            map: self.map,
            chain: self.superblock.storage_word0,
            dead,
            reserved: false,
            _pinned: self.pinned,
        })
    }

    /// A space of which nothing but the superblock is of use.
    fn alone(self, dead: bool) -> Result<FileSpace> {
        self.space(BlockMap::new(Table::new(0)?), dead)
    }

    fn load_map(&self) -> Result<Map> {
        let bad = errno::error(errno::EBADMSG);
        let ids = [self.map.0, self.label.file.0];
        let recorded = self.superblock.storage_private.iter().take(32);
        if !recorded.eq(ids.iter().flatten()) {
            return Err(bad);
        }
        let chain = self.superblock.storage_word0;
        let device = &self.first.device;
        let stored = Stored::begin(device, chain, &self.map, |i, d| {
            let same = d.uuid == self.label.uuid && d.signature_block == self.first.block;
            if i != 0 || !same {
                return Err(bad);
            }
            Ok(())
        })?;
        let map = stored.load(core::slice::from_ref(device))?;
        // What describes the image is not a part of it.
        if map.holds(0, self.first.block) || map.holds(0, chain) {
            return Err(bad);
        }
        Ok(map)
    }

    /// Opens a complete image.
    fn complete(self) -> Result<FileSpace> {
        match self.load_map() {
            Ok(map) => self.space(map, false),
            Err(e) => {
                let name = self.first.name();
                let bad = e == errno::error(errno::EBADMSG);
                let how = if bad { "is damaged" } else { "cannot be read" };
                let e = engine::fail(
                    e,
                    format_args!("the block map of the image in the file on {name} {how}"),
                );
                // A space without blocks lets the engine give the image up.
                if bad {
                    self.alone(false)
                } else {
                    Err(e)
                }
            }
        }
    }
}

/// Whether the filesystem is as it was when the image was complete; says so
/// when it is not.
fn is_as_it_was(first: &First, label: &Label, state: &Sector) -> Result<bool> {
    let name = first.name();
    let was = page::decode_seal(state)
        .ok()
        .filter(|s| s.file == label.file);
    let Some(was) = was else {
        return Err(engine::fail(
            errno::error(errno::EBADMSG),
            format_args!("the first page of the file on {name} is damaged"),
        ));
    };
    let now = blockspace::filesystem(&first.device)?;
    if now.is_some_and(|now| now.fingerprint == was.fingerprint && now.uuid == label.uuid) {
        return Ok(true);
    }
    engine::fail(
        errno::error(errno::ESTALE),
        format_args!("the filesystem on {name} was mounted since the image was saved: to resume would damage it, so the image is given up"),
    );
    Ok(false)
}

/// Opens what is at `place`; `pinned` is the file that is configured. May
/// sleep.
///
/// # Errors
///
/// `ENODEV` when there is nothing of ours, `ENOTUNIQ` for more than one,
/// `EBADMSG` when it is damaged, with the reason recorded; `ENOMEM`, I/O
/// errors.
pub(crate) fn open(place: Place<'_>, pinned: Option<Arc<Pinned>>) -> Result<FileSpace> {
    let at = locate(place, pinned.as_ref())?;
    let own = pinned.filter(|p| p.at().dev == at.dev && p.at().block == at.block);
    let device = match &own {
        Some(pinned) => pinned.first.device.clone(),
        None => open_device(at.dev).map_err(|e| if is_nothing(e) { ENODEV } else { e })?,
    };
    let first = First {
        device,
        block: at.block,
    };
    let (label, state) = read(&first)?;
    let bytes = page::superblock(&state).ok_or(EINVAL)?;
    let superblock = match Superblock::decode(bytes) {
        Ok(Some(sb)) if sb.state == State::Empty => return Err(ENODEV),
        Ok(Some(sb)) => sb,
        Ok(None) => return Err(ENODEV),
        Err(e) => {
            let name = first.name();
            return Err(engine::fail(
                e.into(),
                format_args!("the superblock in the file on {name} is damaged"),
            ));
        }
    };
    let map = superblock.storage_private.first_chunk();
    let found = Found {
        map: ImageId(*map.ok_or(EINVAL)?),
        first,
        label,
        superblock,
        pinned: own,
    };
    if !found.superblock.state.is_image() {
        // The header may still be there, which tells of the marks of others.
        return match found.load_map() {
            Ok(map) => found.space(map, false),
            Err(_) => found.alone(false),
        };
    }
    // An image in a file that is configured could not be taken off it.
    if found.pinned.is_some() || !is_as_it_was(&found.first, &found.label, &state)? {
        return found.alone(true);
    }
    found.complete()
}
