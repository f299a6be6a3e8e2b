// SPDX-License-Identifier: GPL-2.0

//! The other swap areas of an image.

#![forbid(unsafe_code)]

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

/// What an area turned out to be.
enum Is {
    /// It is not there, or another one.
    Other,
    /// The one that is looked for, without its mark.
    Unmarked,
    /// A part of the image.
    Part(Device),
}

fn examine(path: &Path, wanted: &Recorded, map: &ImageId) -> Is {
    let Ok(device) = Device::open(&path.into(), false) else {
        return Is::Other;
    };
    let Ok(page) = device.block(wanted.block) else {
        return Is::Other;
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
    for path in paths {
        match examine(&path, wanted, map) {
            Is::Part(device) => return Ok(device),
            Is::Unmarked => used = true,
            Is::Other => {}
        }
    }
    let Recorded { label, number, .. } = wanted;
    let (major, minor) = number;
    let sentence = match used {
        true => format!("swap area {label}, which holds a part of the image, was put to use after it was saved"),
        false => format!("swap area {label} ({major}:{minor} when it was saved), which holds a part of the image, is not there: attach it, or name it or a copy of it with --member"),
    };
    Err(Fault::missing(Part::Map, sentence))
}
