// SPDX-License-Identifier: GPL-2.0

//! The bystanders of an image that was found: whether they are as it left them,
//! and how they get their own signature back.

#![forbid(unsafe_code)]

use super::super::mounts::{is_of_looking, not_looked_for, Trust, RETRY};
use super::super::open::Refusal;
use super::take_off;
use crate::engine::Engine;
use crate::errno;
use crate::image::filesystem::Uuid;
use crate::image::header::{self, Bystander, Header as ImageHeader, BYSTANDERS_MAX, PATH_BYTES};
use crate::image::superblock::Superblock;
use crate::image::ImageId;
use crate::pipeline::io;
use crate::storage::Space;
use crate::swapmark::{of_bystander, open_device, type_at, Header};
use crate::sys::block::{self, BlockDevice, DevT};
use crate::sys::buf::Buf;
use crate::sys::hibernate::ResumeDevice;
use crate::sys::ioq::IoQueue;
use crate::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

const NO_UUID: [u8; 16] = [0; 16];

/// A device, and the kernel's name of it.
type Named = (DevT, Text<32>);

/// What became of a bystander.
enum Now {
    /// It carries the mark of the image, on this device.
    Marked(DevT),
    /// It was put to use since, on the device where it was.
    Used(Named),
    /// One device has it with the mark of the image, and another one without: a
    /// copy, or a half of a mirror that was left behind.
    Twice { marked: Named, bare: Named },
    /// The same, or what is there is a copy, and it is itself on a device that
    /// could not be read.
    UsedOrCopied { bare: Named, unread: DevT },
    /// Another device than the one where it was has it, without the mark.
    Elsewhere(Named),
    /// It is not there.
    Gone,
}

/// Devices that have an area, the first of each kind.
#[derive(Default)]
struct Seen {
    marked: Option<Named>,
    bare: Option<Named>,
}

impl Seen {
    fn add(&mut self, dev: DevT, name: Text<32>, is_marked: bool) {
        let first = match is_marked {
            true => &mut self.marked,
            false => &mut self.bare,
        };
        first.get_or_insert((dev, name));
    }
}

/// Where a swap area is, and which one.
#[derive(Clone, Copy)]
struct Place {
    uuid: [u8; 16],
    device: (u32, u32),
    block: u64,
}

impl Place {
    fn of(bystander: &Bystander<'_>) -> Place {
        Place {
            uuid: bystander.uuid,
            device: bystander.device,
            block: bystander.block,
        }
    }

    /// Looks for the area on `dev`: the name of the device, and whether it
    /// carries the mark of the image `id`.
    fn look(&self, dev: DevT, id: &ImageId) -> Result<Option<(Text<32>, bool)>> {
        let device = Arc::new(BlockDevice::open(dev, false, false)?, GFP_KERNEL)?;
        match Header::open(device, self.block)? {
            Ok((header, last)) if header.uuid == self.uuid => {
                Ok(Some((header.name(), of_bystander(&last, id) == Some(true))))
            }
            _ => Ok(None),
        }
    }

    /// Looks for the area everywhere: devices can change their numbers from boot
    /// to boot, and be copies of each other. Without a UUID any area looks like
    /// this one, so only its mark tells elsewhere. May sleep.
    ///
    /// # Errors
    ///
    /// `ECANCELED` and `ENOMEM`; the error of the device where it was, when that
    /// is all that is known.
    fn now(&self, id: &ImageId) -> Result<Now> {
        let was_on = DevT::new(self.device.0, self.device.1);
        let mut seen = Seen::default();
        let mut unread = None;
        if let Some(dev) = was_on {
            match self.look(dev, id) {
                Ok(Some((name, is_marked))) => seen.add(dev, name, is_marked),
                Ok(None) => {}
                Err(e) if is_absent(e) => {}
                Err(e) if is_of_looking(e) => return Err(e),
                // It may be there, but the device could not be read.
                Err(e) => unread = Some(e),
            }
        }
        let bare_there = seen.bare.is_some();
        let mut unread_other = None;
        let others = block::devices()?;
        for &dev in others.iter().filter(|&&dev| Some(dev) != was_on) {
            match self.look(dev, id) {
                Ok(Some((name, is_marked))) if is_marked || self.uuid != NO_UUID => {
                    seen.add(dev, name, is_marked);
                }
                Err(e) if is_of_looking(e) => return Err(e),
                Err(e) if !is_absent(e) => unread_other = Some(dev),
                _ => {}
            }
        }
        match (seen.marked, seen.bare, unread) {
            (Some(marked), Some(bare), _) if self.uuid != NO_UUID => {
                Ok(Now::Twice { marked, bare })
            }
            (Some((dev, _)), _, _) => Ok(Now::Marked(dev)),
            (None, Some(bare), _) if bare_there => Ok(match unread_other {
                Some(unread) if self.uuid != NO_UUID => Now::UsedOrCopied { bare, unread },
                _ => Now::Used(bare),
            }),
            (None, _, Some(e)) => Err(e),
            (None, Some(bare), None) => Ok(Now::Elsewhere(bare)),
            (None, None, None) => Ok(Now::Gone),
        }
    }
}

/// Whether there is no device, or nothing in it.
fn is_absent(e: Error) -> bool {
    e == ENXIO || e == ENODEV || e == errno::error(errno::ENOMEDIUM)
}

/// Checks that no bystander of the image that `header` describes was put to use
/// since. `trust` tells of those on devices that the saved system makes itself.
/// May sleep.
///
/// # Errors
///
/// The image is dead when one was. It is kept when one is not there, unless the
/// saved system makes its device itself and no boot went on without the image,
/// when one cannot be read, and when two devices have it and differ: the saved
/// system used either of them. The reason is recorded.
pub(in crate::cycle) fn check(
    engine: &Engine,
    header: &ImageHeader<'_>,
    trust: Trust,
) -> Result<(), Refusal> {
    let id = &header.facts.image_id;
    for was in header.bystanders() {
        let path = Text::<PATH_BYTES>::format_plain(format_args!("{}", was.path));
        let uuid = Uuid(was.uuid);
        let now = Place::of(&was).now(id).map_err(|e| {
            Refusal::Kept(not_looked_for(
                engine,
                e,
                format_args!("swap area {path} (UUID {uuid}) has pages of the saved system and cannot be read; the image is kept"),
            ))
        })?;
        match now {
            Now::Marked(_) => {}
            Now::Used((_, name)) => {
                return Err(Refusal::Dead(engine.fail(
                    errno::error(errno::ESTALE),
                    format_args!("swap area {path} (UUID {uuid}, now {name}), which has pages of the saved system, was put to use after it was saved: the image is given up"),
                )));
            }
            Now::UsedOrCopied { bare, unread } => {
                let name = bare.1;
                return Err(Refusal::Kept(engine.fail(
                    errno::error(errno::ENOTUNIQ),
                    format_args!("swap area {path} (UUID {uuid}), which has pages of the saved system, was put to use on {name} after it was saved, or {name} is a copy and it is on device {unread}, which cannot be read: make that readable, or detach {name} if that is the copy, or erase the image. The image is kept"),
                )));
            }
            Now::Twice { marked, bare } => {
                let (marked, bare) = (marked.1, bare.1);
                return Err(Refusal::Kept(engine.fail(
                    errno::error(errno::ENOTUNIQ),
                    format_args!("swap area {path} (UUID {uuid}), which has pages of the saved system, is there twice: as it was saved on {marked}, and put to use since on {bare}. Detach {bare} if that is a copy; if {marked} is the copy, erase the image. The image is kept"),
                )));
            }
            Now::Elsewhere((_, name)) => {
                return Err(Refusal::Kept(engine.fail(
                    ENXIO,
                    format_args!("swap area {path} (UUID {uuid}), which has pages of the saved system, is not where it was, and {name} is a copy, or was put to use since: attach the disk that was saved, or erase the image. The image is kept"),
                )));
            }
            Now::Gone if was.is_virtual && trust != Trust::Seen => pr_notice!(
                "swap area {} (UUID {}) is not there, so nobody knows whether it was put to use since the image was saved\n",
                path,
                uuid
            ),
            Now::Gone if was.is_virtual => {
                return Err(Refusal::Kept(engine.fail(
                    errno::error(errno::EALREADY),
                    format_args!("a boot went on without this image, and swap area {path} (UUID {uuid}), which has pages of the saved system, cannot be seen now: whether it was put to use since is not known; {RETRY}"),
                )));
            }
            Now::Gone => {
                return Err(Refusal::Kept(engine.fail(
                    ENXIO,
                    format_args!("swap area {path} (UUID {uuid}), which has pages of the saved system, is not there; the image is kept"),
                )));
            }
        }
    }
    Ok(())
}

/// The bystanders of an image that is given up, as far as they are known.
pub(in crate::cycle) struct Listed {
    id: ImageId,
    /// From the header of the image; without one all devices are looked at.
    places: Option<KVec<Place>>,
}

/// Reads the list of `sb`'s image in `space`; `None` when there is no header of
/// that image any more.
fn read_list(space: &Arc<dyn Space>, sb: &Superblock) -> Result<Option<KVec<Place>>> {
    let queue = IoQueue::new(2, header::AREA_BYTES)?;
    let mut area = Buf::new(header::AREA_BYTES)?;
    io::read_all(space, &queue, sb.header_block, &mut area)?;
    let header = match ImageHeader::decode(&area) {
        Ok(header) if header.facts.image_id == sb.image_id => header,
        _ => return Ok(None),
    };
    let mut places = KVec::with_capacity(BYSTANDERS_MAX, GFP_KERNEL)?;
    for bystander in header.bystanders() {
        places.push(Place::of(&bystander), GFP_KERNEL)?;
    }
    Ok(Some(places))
}

impl Listed {
    /// Reads which they are, before the image of `sb` in `space` is touched.
    /// May sleep.
    pub(in crate::cycle) fn of(space: &Arc<dyn Space>, sb: &Superblock) -> Listed {
        Listed {
            id: sb.image_id,
            places: read_list(space, sb).ok().flatten(),
        }
    }

    /// Whether there is certainly none. Any context.
    pub(in crate::cycle) fn is_empty(&self) -> bool {
        self.places.as_ref().is_some_and(|list| list.is_empty())
    }

    /// Gives all of them their own signature back, now that the superblock says
    /// that there is no image. Tries all and returns the first error. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENXIO` when one is not there, `EBUSY` when a device is in use by
    /// somebody else, `ENOMEM`, I/O errors.
    pub(in crate::cycle) fn unmark(&self) -> Result {
        let Some(places) = &self.places else {
            return self.unmark_found();
        };
        let mut result = Ok(());
        for place in places.iter() {
            let uuid = Uuid(place.uuid);
            let unmarked = match place.now(&self.id) {
                Ok(Now::Marked(dev)) => unmark_at(dev, place.block, &self.id),
                Ok(Now::Twice { marked, .. }) => unmark_at(marked.0, place.block, &self.id),
                // Its signature is its own; what is left beside that does no harm.
                Ok(
                    Now::Used((dev, _))
                    | Now::UsedOrCopied { bare: (dev, _), .. }
                    | Now::Elsewhere((dev, _)),
                ) => {
                    let _ = unmark_at(dev, place.block, &self.id);
                    Ok(())
                }
                Ok(Now::Gone) => Err(ENXIO),
                Err(e) => Err(e),
            };
            if let Err(e) = unmarked {
                pr_notice!(
                    "the swap area with UUID {} does not get its signature back yet ({})\n",
                    uuid,
                    e.to_errno()
                );
                result = result.and(unmarked);
            }
        }
        result
    }

    /// The same for those on devices of their own, where nothing else tells of
    /// them. A swap file with a mark is not found.
    fn unmark_found(&self) -> Result {
        let mut result = Ok(());
        for &dev in block::devices()?.iter() {
            if is_marked(dev, &self.id).unwrap_or(false) {
                let unmarked = unmark_at(dev, 0, &self.id);
                result = result.and(unmarked);
            }
        }
        result
    }
}

/// Whether `dev` is a bystander of the image `id`.
fn is_marked(dev: DevT, id: &ImageId) -> Result<bool> {
    let device = Arc::new(BlockDevice::open(dev, false, false)?, GFP_KERNEL)?;
    let header = Header::open(device, 0)?;
    Ok(header.is_ok_and(|(_, last)| of_bystander(&last, id).is_some()))
}

/// Takes the mark of the image `id` off the area in block `block` of `dev`.
fn unmark_at(dev: DevT, block: u64, id: &ImageId) -> Result {
    let device = open_device(dev, type_at(&ResumeDevice { dev, block }))?;
    if let Ok((header, _)) = Header::open(device, block)? {
        if take_off(&header, id)? {
            pr_notice!(
                "swap area {}: the mark of an image that is gone is taken off\n",
                header.name()
            );
        }
    }
    Ok(())
}
