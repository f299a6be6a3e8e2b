// SPDX-License-Identifier: GPL-2.0

//! Where an image is: what marks it, where its blocks are, and how it is erased.

#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use crate::device::{Device, Where};
use crate::fault::{At, Fault, Part};
use crate::file::page::{self, Label};
use crate::image::superblock::{self, State, Superblock};
use crate::image::{Error, ImageId};
use crate::netblock::mark;
use crate::open::Opened;
use crate::swapmark::sector::{self, Found as Sector, Record, Role};

mod bystanders;
mod disks;
mod erase;
mod members;

pub use self::bystanders::{Bystander, Condition};
pub use self::disks::Disks;

/// What marks an image.
enum Mark {
    /// The header of a swap area.
    Swap {
        uuid: [u8; 16],
        record: Record,
        /// The signature is that of an image.
        image: bool,
    },
    /// The first page of a file.
    File { label: Label },
    /// The first block of an export.
    Export { image: bool, size: u64 },
}

/// A place with the mark of an image.
pub struct Place {
    device: Device,
    /// Block of the device with the mark.
    block: u64,
    mark: Mark,
    /// What the mark says, or what is wrong with it.
    pub superblock: Result<Superblock, Error>,
}

/// What is at a place.
pub enum Found {
    /// A mark of Dormouse.
    Place(Box<Place>),
    /// Nothing of ours: what it is instead, as the end of a sentence.
    Nothing(String),
}

/// Two small digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID as others write it.
fn uuid_text(bytes: &[u8]) -> String {
    let digits = hex(bytes);
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    let groups: Vec<&str> = groups.into_iter().filter_map(|g| digits.get(g)).collect();
    groups.join("-")
}

/// The swap areas with pages of the saved system that `opened` lists. `named` are more places where
/// one may be.
///
/// # Errors
///
/// None in practice: the header was read before.
pub fn bystanders(opened: &Opened<'_>, named: &[PathBuf]) -> Result<Vec<Bystander>, Fault> {
    Ok(bystanders::list(&opened.header()?, named))
}

impl Place {
    /// Looks at block `block` of the device, file or export at `place`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn find(place: &Where, block: u64) -> io::Result<Found> {
        let device = Device::open(place, false)?;
        if block >= device.blocks {
            return Ok(Found::Nothing("ends before that".to_string()));
        }
        let page = device.block(block)?;
        let found = |mark, bytes: Option<&[u8; superblock::BYTES]>| {
            let superblock = Superblock::decode(bytes.map_or(&[], |bytes| bytes));
            Ok(Found::Place(Box::new(Place {
                superblock: superblock.and_then(|sb| sb.ok_or(Error::BadMagic)),
                device,
                block,
                mark,
            })))
        };
        let nothing = |what: &str| Ok(Found::Nothing(what.to_string()));
        if let Ok(label) = page::decode_label(&page) {
            if label.block == 0 {
                return nothing("is a file for images that has none yet");
            }
            let state = page.get(page::STATE_AT..).and_then(|s| s.first_chunk());
            return found(Mark::File { label }, state.and_then(page::superblock));
        }
        if let mark::Found::Ours { image, size } = mark::decode(&page) {
            return found(Mark::Export { image, size }, mark::superblock(&page));
        }
        let header = sector::header(&page);
        let Some(last) = sector::of_page(&page) else {
            return nothing("is too small");
        };
        match (sector::decode(last), header) {
            (Sector::Ours { record, image }, Ok(header)) => {
                let (major, minor) = record.primary;
                match record.role {
                    Role::Primary => {}
                    Role::Member => return Ok(Found::Nothing(format!(
                        "only holds a part of an image, which began on {major}:{minor} when it was saved: name that swap area"
                    ))),
                    Role::Bystander if image => return nothing(
                        "only has pages of a saved system, whose image is somewhere else: name that place. If it does not exist any more, make this a swap area again with mkswap"
                    ),
                    Role::Bystander => return nothing("is a swap area without an image"),
                }
                let uuid = header.uuid;
                let mark = Mark::Swap { uuid, record, image };
                found(mark, sector::superblock(last))
            }
            (Sector::Swap, _) => nothing("is a swap area without an image"),
            (Sector::Other(signature), _) if signature == *b"S1SUSPEND\0" => {
                nothing("has an image of swsusp, not of Dormouse")
            }
            (Sector::Other(sector::IMAGE), _) => {
                nothing("has the signature of an image, and a damaged mark: make it a swap area again with mkswap")
            }
            _ => nothing("has no mark of Dormouse"),
        }
    }

    /// Where the device, file or export is.
    pub fn place(&self) -> &Where {
        &self.device.place
    }

    /// What carries the mark.
    pub fn kind(&self) -> &'static str {
        match self.mark {
            Mark::Swap { .. } => "swap area",
            Mark::File { .. } => "file",
            Mark::Export { .. } => "export",
        }
    }

    /// Identity of the swap area, or of the filesystem that the file is on.
    pub fn uuid(&self) -> Option<String> {
        let bytes = match &self.mark {
            Mark::Swap { uuid, .. } => uuid,
            Mark::File { label } => &label.uuid,
            Mark::Export { .. } => return None,
        };
        Some(uuid_text(bytes))
    }

    /// Why the image is of no use any more although its superblock says that it is complete.
    pub fn discarded(&self) -> Option<&'static str> {
        match self.mark {
            Mark::Swap { image: false, .. } => {
                Some("its swap area was put to use since, which swapon does")
            }
            Mark::Export { image: false, .. } => Some("its mark was taken off"),
            _ => None,
        }
    }

    /// The superblock, if it can be believed.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn superblock(&self) -> Result<&Superblock, Fault> {
        let superblock = self.superblock.as_ref().map_err(|error| *error);
        superblock.at(Part::Superblock)
    }

    /// Whether there is an image that could be resumed.
    pub fn has_image(&self) -> bool {
        let state = self.superblock.as_ref().map(|sb| sb.state);
        state.is_ok_and(State::is_image) && self.discarded().is_none()
    }

    /// Identity of the block map, by the mark and by the superblock.
    fn map_id(&self, sb: &Superblock) -> Option<ImageId> {
        let private = &sb.storage_private;
        let map = ImageId(*private.first_chunk()?);
        let same = match &self.mark {
            Mark::Swap { record, .. } => record.map == map,
            Mark::File { label } => private.get(16..32)? == label.file.0,
            Mark::Export { .. } => false,
        };
        same.then_some(map)
    }

    /// All blocks of the image. `members` are more places where a part of it may be.
    ///
    /// # Errors
    ///
    /// When a part is missing or the block map is damaged.
    pub fn disks(&self, members: &[PathBuf]) -> Result<Disks, Fault> {
        Disks::open(self, members)
    }
}
