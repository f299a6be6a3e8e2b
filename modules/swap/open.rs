// SPDX-License-Identifier: GPL-2.0

//! Finding a space again, and putting right what a power cut left half-way.

#![forbid(unsafe_code)]

use crate::areas;
use crate::blockmap::BlockMap;
use crate::image::superblock::{State, Superblock};
use crate::image::ImageId;
use crate::mark::Part;
use crate::space::{Reserved, SwapSpace};
use dormouse::blockspace::{BlockSpace, Stored};
use dormouse::engine;
use dormouse::errno;
use dormouse::storage::Place;
use dormouse::swapmark::sector::{self, Found, Record, Role};
use dormouse::swapmark::{open_device, type_at, Header};
use dormouse::sys::block::DevT;
use dormouse::sys::hibernate::ResumeDevice;
use dormouse::sys::table::Table;
use dormouse::text::Text;
use kernel::prelude::*;

fn is_nothing(e: Error) -> bool {
    e == ENXIO || e == ENODEV || e == ENOENT || e == EINVAL
}

/// What the header of a primary area says.
struct Primary {
    header: Header,
    record: Record,
    /// The signature is that of an image.
    image: bool,
    superblock: Option<Superblock>,
    /// The area is in use by this kernel.
    active: bool,
}

fn find_primary(at: &ResumeDevice) -> Result<Primary> {
    let active = type_at(at);
    let device = open_device(at.dev, active).map_err(|e| if is_nothing(e) { ENODEV } else { e })?;
    let (header, last) = match Header::open(device, at.block) {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => return Err(ENODEV),
        Err(e) if is_nothing(e) => return Err(ENODEV),
        Err(e) => return Err(e),
    };
    let Found::Ours { record, image } = sector::decode(&last) else {
        if !sector::is_damaged(&last) {
            return Err(ENODEV);
        }
        let name = header.name();
        return Err(engine::fail(
            errno::error(errno::EBADMSG),
            format_args!("the mark of the image on {name} is damaged, so the image cannot be found: it is not restored"),
        ));
    };
    if record.role == Role::Bystander && image {
        let name = header.name();
        return Err(engine::fail(
            ENXIO,
            format_args!("{name} only has pages of a saved system, whose image is somewhere else: resume= has to name that place"),
        ));
    }
    if record.role != Role::Primary {
        if !image {
            return Err(ENODEV);
        }
        let (name, (major, minor)) = (header.name(), record.primary);
        return Err(engine::fail(
            ENXIO,
            format_args!("{name} only holds a part of an image, which began on {major}:{minor} when it was saved: resume= has to name that swap area"),
        ));
    }
    let bytes = sector::superblock(&last).ok_or(EINVAL)?;
    let superblock = Superblock::decode(bytes).ok().flatten();
    if superblock.is_none() && !image {
        return Err(ENODEV);
    }
    Ok(Primary {
        header,
        record,
        image,
        superblock,
        active: active.is_some(),
    })
}

impl Primary {
    /// Whether the area was put to use since an image on it was complete:
    /// `swapon` of some versions puts the signature of an area back, and an
    /// area in use by this kernel is no image whatever its signature says.
    fn dead(&self) -> bool {
        !self.image || self.active
    }

    fn first_map_block(&self) -> u64 {
        self.superblock.as_ref().map_or(0, |sb| sb.storage_word0)
    }

    /// A space of which nothing but the superblock is of use.
    fn alone(self) -> Result<SwapSpace> {
        let (chain, dead) = (self.first_map_block(), self.dead());
        let map = self.record.map;
        let mut devices = KVec::new();
        devices.push(self.header.device.clone(), GFP_KERNEL)?;
        let mut parts = KVec::new();
        let part = Part {
            header: self.header,
            record: self.record,
        };
        parts.push(part, GFP_KERNEL)?;
        Ok(SwapSpace {
            space: BlockSpace::new(devices, BlockMap::new(Table::new(0)?)),
            parts,
            map,
            chain,
            dead,
            missing: false,
            _reserved: None,
        })
    }
}

/// One device of a block map, as it was when the map was written.
struct Recorded {
    uuid: [u8; 16],
    dev: Option<DevT>,
    block: u64,
    label: Text<64>,
}

/// Begins to read the block map: which areas it is made of.
fn begin_map(primary: &Primary) -> Result<(Stored, KVec<Recorded>)> {
    let bad = errno::error(errno::EBADMSG);
    let sb = primary.superblock.as_ref().ok_or(bad)?;
    if !sb.storage_private.starts_with(&primary.record.map.0) {
        return Err(bad);
    }
    let header = &primary.header;
    let mut list = KVec::new();
    let stored = Stored::begin(
        &header.device,
        primary.first_map_block(),
        &primary.record.map,
        |i, d| {
            if i == 0 && (d.uuid != header.uuid || d.signature_block != header.block) {
                return Err(bad);
            }
            let recorded = Recorded {
                uuid: d.uuid,
                dev: DevT::new(d.major, d.minor),
                block: d.signature_block,
                label: Text::format_plain(format_args!("{}", d.label)),
            };
            list.push(recorded, GFP_KERNEL)?;
            Ok(())
        },
    )?;
    Ok((stored, list))
}

/// Finds the area that `wanted` describes: where it was, or, because devices
/// can change their numbers from boot to boot, where another one was. Says
/// whether it carries the mark of the image, too.
fn find_member(
    wanted: &Recorded,
    list: &[Recorded],
    known: &[Part],
    record: Record,
) -> Result<(Part, bool)> {
    let there = match wanted.dev {
        Some(dev) => try_member(dev, wanted, known, record),
        None => Ok(None),
    };
    if let Ok(Some((part, true))) = there {
        return Ok((part, true));
    }
    for dev in list.iter().filter_map(|other| other.dev) {
        if let Ok(Some((part, true))) = try_member(dev, wanted, known, record) {
            return Ok((part, true));
        }
    }
    there?.ok_or(ENXIO)
}

fn try_member(
    dev: DevT,
    wanted: &Recorded,
    known: &[Part],
    record: Record,
) -> Result<Option<(Part, bool)>> {
    let at = ResumeDevice {
        dev,
        block: wanted.block,
    };
    // Two swap files may be on the same device.
    let shared = known.iter().find(|p| p.header.device.dev() == dev);
    let device = match shared {
        Some(part) => part.header.device.clone(),
        None => match open_device(dev, type_at(&at)) {
            Ok(device) => device,
            Err(e) if is_nothing(e) => return Ok(None),
            Err(e) => return Err(e),
        },
    };
    match Header::open(device, wanted.block) {
        Ok(Ok((header, last))) if header.uuid == wanted.uuid => {
            let part = Part { header, record };
            let marked = part.is_marked(&last);
            Ok(Some((part, marked)))
        }
        Ok(_) => Ok(None),
        Err(e) if is_nothing(e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The record of a member of the primary's map; where its original sector is
/// kept only its own header knows.
fn member_record(map: ImageId, primary: &Header) -> Record {
    let dev = primary.device.dev();
    Record {
        role: Role::Member,
        map,
        keep: 0,
        primary: (dev.major(), dev.minor()),
    }
}

/// What becomes of an image, of which `space` has all but the blocks, when its
/// block map is not to be had for the reason `e`.
fn without_map(space: SwapSpace, e: Error) -> Result<SwapSpace> {
    let name = space.parts.first().ok_or(EINVAL)?.header.name();
    let bad = e == errno::error(errno::EBADMSG);
    let how = if bad { "is damaged" } else { "cannot be read" };
    let e = engine::fail(
        e,
        format_args!("the block map of the image on {name} {how}"),
    );
    // A space without blocks lets the engine give the image up.
    match bad {
        true => Ok(space),
        false => Err(e),
    }
}

/// Reads the rest of the block map, now that all areas of `space` are there.
fn load_map(stored: Stored, space: &SwapSpace) -> Result<BlockSpace> {
    let mut devices = KVec::new();
    for part in space.parts.iter() {
        devices.push(part.header.device.clone(), GFP_KERNEL)?;
    }
    let map = stored.load(&devices)?;
    Ok(BlockSpace::new(devices, map))
}

/// Opens a complete image: all areas have to be there.
fn open_complete(primary: Primary) -> Result<SwapSpace> {
    let begun = begin_map(&primary);
    let record = member_record(primary.record.map, &primary.header);
    let mut space = primary.alone()?;
    let (stored, list) = match begun {
        Ok(begun) => begun,
        Err(e) => return without_map(space, e),
    };
    for wanted in list.iter().skip(1) {
        let label = &wanted.label;
        let (member, marked) = find_member(wanted, &list, &space.parts, record).map_err(|e| {
            engine::fail(
                e,
                format_args!("swap area {label}, which holds a part of the image, is not there; the image is kept"),
            )
        })?;
        if !marked {
            space.dead = true;
            engine::fail(
                errno::error(errno::ESTALE),
                format_args!("swap area {label}, which holds a part of the image, was put to use after it was saved"),
            );
        }
        space.parts.push(member, GFP_KERNEL)?;
    }
    match load_map(stored, &space) {
        Ok(blocks) => {
            space.space = blocks;
            Ok(space)
        }
        Err(e) => without_map(space, e),
    }
}

/// Opens what is left of an image that is not complete, and takes marks off
/// that it left: the power may have gone between two of them.
fn open_rest(primary: Primary) -> Result<SwapSpace> {
    let (stored, list) = match begin_map(&primary) {
        Ok((stored, list)) => (Some(stored), list),
        // Its blocks were free to be used for something else since.
        Err(_) => (None, KVec::new()),
    };
    let image = primary.image;
    let superblock = primary.superblock.clone();
    let record = member_record(primary.record.map, &primary.header);
    let mut space = primary.alone()?;
    for wanted in list.iter().skip(1) {
        match find_member(wanted, &list, &space.parts, record) {
            Ok((member, _)) => space.parts.push(member, GFP_KERNEL)?,
            Err(e) => {
                space.missing = true;
                pr_notice!(
                    "swap area {} is not there ({})\n",
                    wanted.label,
                    e.to_errno()
                );
            }
        }
    }
    if let Some(stored) = stored.filter(|_| space.parts.len() == list.len()) {
        // The header may still be there, which tells of more marks.
        match load_map(stored, &space) {
            Ok(blocks) => space.space = blocks,
            Err(e) if e == errno::error(errno::ECANCELED) => return Err(e),
            Err(_) => {}
        }
    }
    if Reserved::any() {
        // A save of this kernel is between two marks itself.
        return Ok(space);
    }
    if let Some(sb) = superblock {
        if let Err(e) = space.heal(&sb, image) {
            pr_err!(
                "the mark of an image that does not exist could not be taken off ({})\n",
                e.to_errno()
            );
        } else if sb.state == State::Empty {
            return Err(ENODEV);
        }
    }
    Ok(space)
}

/// Opens what is at `place`. May sleep.
///
/// # Errors
///
/// `ENODEV` when there is nothing of ours, `EINVAL` for a place that is no
/// swap area, `ENXIO` when a part of an image is missing, `EBADMSG` when it is
/// damaged, with the reason recorded; `ENOMEM`, I/O errors.
pub(crate) fn open(place: Place<'_>) -> Result<SwapSpace> {
    let at = areas::locate(place)?.ok_or(ENODEV)?;
    let primary = find_primary(&at)?;
    let Some(sb) = primary.superblock.as_ref() else {
        // Damaged, but with the signature of an image: not for us to touch.
        return primary.alone();
    };
    if sb.state.is_image() && !primary.dead() {
        open_complete(primary)
    } else {
        open_rest(primary)
    }
}

/// Opens the superblock of what is at `place`, whatever became of the rest. May
/// sleep.
///
/// # Errors
///
/// As [`open`], without the parts of the image.
pub(crate) fn open_mark(place: Place<'_>) -> Result<SwapSpace> {
    find_primary(&areas::locate(place)?.ok_or(ENODEV)?)?.alone()
}
