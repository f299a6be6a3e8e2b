// SPDX-License-Identifier: GPL-2.0

//! The mark of an image in the header of a swap area.
//!
//! [`sector`] is what the mark looks like; here it is read and written. Nothing
//! here trusts what it remembers: in the restored kernel memory is as old as
//! the snapshot, and only the medium knows what happened since. Every change
//! begins with a look at the header.

#![forbid(unsafe_code)]

pub mod sector;

use self::sector::{Found, Record, Role, Sector};
use crate::blockspace;
use crate::engine;
use crate::errno;
use crate::image::{ImageId, BLOCK};
use crate::sys::block::{BlockDevice, DevT};
use crate::sys::buf::Buf;
use crate::sys::hibernate::ResumeDevice;
use crate::sys::swap;
use crate::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Number of the active area whose header is at `at`. May sleep.
pub fn type_at(at: &ResumeDevice) -> Option<u32> {
    let mut found = None;
    swap::areas(&mut |area| {
        if area.dev() == at.dev && area.header_block() == at.block {
            found = Some(area.type_no);
        }
    });
    found
}

/// Opens the device with the header at `at`, through the active area number
/// `active` if there is one. May sleep.
///
/// Nobody else gets a device that was opened: it is neither mounted nor
/// swapped to. One that somebody has already can only be read; resuming from
/// it would pull the memory of a mounted filesystem from under it.
///
/// # Errors
///
/// `ENXIO` or `ENODEV` when there is no such device, `ENOENT` when the area is
/// not active any more, `ENOMEM`.
pub fn open_device(dev: DevT, active: Option<u32>) -> Result<Arc<BlockDevice>> {
    let device = match active {
        Some(type_no) => BlockDevice::of_swap(type_no),
        None => match BlockDevice::open(dev, true, true) {
            Err(e) if e == EBUSY || e == EROFS || e == EACCES => {
                BlockDevice::open(dev, false, false)
            }
            result => result,
        },
    };
    Ok(Arc::new(device?, GFP_KERNEL)?)
}

/// The header of a swap area.
#[derive(Clone)]
pub struct Header {
    /// The device it is on.
    pub device: Arc<BlockDevice>,
    /// Block of the device where the header is.
    pub block: u64,
    /// UUID of the area.
    pub uuid: [u8; 16],
    /// Its label, padded with NULs.
    pub label: [u8; 16],
}

impl Header {
    /// Reads the header in block `block` of `device`; returns what its last
    /// sector is, too. May sleep.
    ///
    /// # Errors
    ///
    /// The inner error says why it is not a header that can carry a mark.
    /// `ENXIO` beyond the end of the device, `ETIMEDOUT` for one that says
    /// nothing, `ENOMEM`, I/O errors.
    pub fn open(
        device: Arc<BlockDevice>,
        block: u64,
    ) -> Result<Result<(Header, Sector), sector::Refusal>> {
        let mut page = Buf::new(BLOCK)?;
        let offset = blockspace::offset(block)?;
        device.read_within(offset, &mut page, blockspace::PATIENCE_MS)?;
        let last = *sector::of_page(&page).ok_or(EINVAL)?;
        let found = match sector::header(&page) {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let header = Header {
            device,
            block,
            uuid: found.uuid,
            label: found.label,
        };
        Ok(Ok((header, last)))
    }

    /// The kernel's name of the device. Any context.
    pub fn name(&self) -> Text<32> {
        self.device.name()
    }

    /// Reads the last sector again, and makes sure that the header is still
    /// that of the same area. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when it is not, `ENOMEM`, those of [`BlockDevice::read`].
    pub fn look(&self) -> Result<Sector> {
        let mut page = Buf::new(BLOCK)?;
        self.device
            .read(blockspace::offset(self.block)?, &mut page)?;
        match (sector::header(&page), sector::of_page(&page)) {
            (Ok(now), Some(last)) if now.uuid == self.uuid => Ok(*last),
            _ => Err(engine::fail(
                errno::error(errno::ESTALE),
                format_args!("the swap header on {} was replaced meanwhile", self.name()),
            )),
        }
    }

    /// Returns what `now`, the last sector, was before there was a mark. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the area carries the mark of something else; `ENOMEM`.
    pub fn original(&self, now: &Sector) -> Result<Sector> {
        match sector::decode(now) {
            Found::Swap => Ok(*now),
            Found::Ours { record, .. } if record.keep == 0 => Ok(sector::plain()),
            Found::Ours { record, .. } => match self.read_keep(&record) {
                Ok(kept) => Ok(kept),
                Err(e) => {
                    pr_notice!(
                        "{}: the padding of the swap header is lost ({}), zeros take its place\n",
                        self.name(),
                        e.to_errno()
                    );
                    Ok(sector::plain())
                }
            },
            Found::Other(_) => Err(EINVAL),
        }
    }

    fn read_keep(&self, record: &Record) -> Result<Sector> {
        let mut block = Buf::new(BLOCK)?;
        self.device
            .read(blockspace::offset(record.keep)?, &mut block)?;
        Ok(sector::decode_keep(&block, &record.map)?)
    }

    /// Writes `original` to `block` of the area's device, so that
    /// [`Header::original`] finds it there. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, I/O errors.
    pub fn write_keep(&self, block: u64, map: &ImageId, original: &Sector) -> Result {
        let mut buf = Buf::new(BLOCK)?;
        let out = buf.first_chunk_mut().ok_or(EINVAL)?;
        sector::encode_keep(out, map, original)?;
        self.device.write(blockspace::offset(block)?, &buf, true)
    }

    /// Writes the last sector. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` with the reason when somebody else uses the device, `ENOMEM`,
    /// I/O errors.
    pub fn put(&self, sector: &Sector) -> Result {
        let at = blockspace::offset(self.block)?.saturating_add(sector::SECTOR_AT as u64);
        let place = blockspace::Sector::new(self.device.clone(), at);
        place.write(sector, "the swap header")
    }
}

/// Whether `sector` carries the mark of a bystander of the image `id`: whether
/// the signature beside it is that of an image. Any context.
pub fn of_bystander(sector: &Sector, id: &ImageId) -> Option<bool> {
    match sector::decode(sector) {
        Found::Ours { record, image } if record.role == Role::Bystander && record.map == *id => {
            Some(image)
        }
        _ => None,
    }
}
