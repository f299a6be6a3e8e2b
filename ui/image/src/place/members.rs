// SPDX-License-Identifier: GPL-2.0

//! The other swap areas of an image.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use crate::blockmap::codec;
use crate::device::{self, Device};
use crate::fault::{Fault, Part};
use crate::image::ImageId;
use crate::swapmark::sector::{self, Found, Role};

/// One device of a block map, as it was when the map was written.
pub(super) struct Recorded {
    pub(super) uuid: [u8; 16],
    pub(super) block: u64,
    number: (u32, u32),
    label: String,
}

impl Recorded {
    pub(super) fn of(device: &codec::Device<'_>) -> Recorded {
        Recorded {
            uuid: device.uuid,
            block: device.signature_block,
            number: (device.major, device.minor),
            label: device.label.to_string(),
        }
    }
}

/// What is at a path turned out to be.
enum Is {
    /// Something that cannot be read, or is not there.
    Unreadable(io::Error),
    /// Another area, or none.
    Other,
    /// The one that is looked for, without its mark.
    Unmarked,
    /// A part of the image.
    Part(Device),
}

fn examine(path: &Path, wanted: &Recorded, map: &ImageId) -> Is {
    let opened = Device::open(&path.into(), false);
    let read = opened.and_then(|device| {
        let is_inside = wanted.block < device.blocks;
        let page = is_inside.then(|| device.block(wanted.block)).transpose()?;
        Ok(page.map(|page| (device, page)))
    });
    let (device, page) = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Is::Other,
        Err(error) => return Is::Unreadable(error),
    };
    match (sector::header(&page), sector::of_page(&page)) {
        (Ok(header), Some(last)) if header.uuid == wanted.uuid => match sector::decode(last) {
            Found::Ours {
                record,
                image: true,
            } if record.role == Role::Member && record.map == *map => Is::Part(device),
            _ => Is::Unmarked,
        },
        _ => Is::Other,
    }
}

/// Finds the area that `wanted` describes: where somebody says, where it was, or anywhere.
pub(super) fn find(
    wanted: &Recorded,
    list: &[Recorded],
    named: &[PathBuf],
    map: &ImageId,
) -> Result<Device, Fault> {
    let by_number = |recorded: &Recorded| device::by_number(recorded.number.0, recorded.number.1);
    let mut paths = named.to_vec();
    paths.push(by_number(wanted));
    paths.extend(list.iter().map(by_number));
    paths.extend(device::all());
    let mut used = false;
    let mut unreadable = None;
    for (at, path) in paths.into_iter().enumerate() {
        match examine(&path, wanted, map) {
            Is::Part(device) => return Ok(device),
            Is::Unmarked => used = true,
            // What somebody named is to be there, and what is where the area was to be readable.
            Is::Unreadable(error)
                if at < named.len() || at == named.len() && !device::is_absent(&error) =>
            {
                unreadable.get_or_insert((path, error));
            }
            Is::Unreadable(_) | Is::Other => {}
        }
    }
    let Recorded { label, number, .. } = wanted;
    let (major, minor) = number;
    let sentence = match (used, unreadable) {
        (true, _) => format!("swap area {label}, which holds a part of the image, was put to use after it was saved"),
        (false, Some((path, error))) => format!("swap area {label} ({major}:{minor} when it was saved), which holds a part of the image, is not to be found, and {} cannot be read: {error}. Make it readable, or name the area or a copy of it with --member", path.display()),
        (false, None) => format!("swap area {label} ({major}:{minor} when it was saved), which holds a part of the image, is not there: attach it, or name it or a copy of it with --member"),
    };
    Err(Fault::missing(Part::Map, sentence))
}
