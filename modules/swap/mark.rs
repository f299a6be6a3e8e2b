// SPDX-License-Identifier: GPL-2.0

//! One swap area with the mark of an image in its header.
//!
//! Nothing here trusts what it remembers: in the restored kernel memory is as
//! old as the snapshot, and only the medium knows what happened since. Every
//! change begins with a look at the header.

#![forbid(unsafe_code)]

use crate::image::{superblock, ImageId, BLOCK};
use crate::sector::{self, Found, Record, Role, Sector};
use dormouse::blockspace;
use dormouse::engine;
use dormouse::errno;
use dormouse::sys::block::BlockDevice;
use dormouse::sys::buf::Buf;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The header of a swap area.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) device: Arc<BlockDevice>,
    /// Block of the device where the header is.
    pub(crate) block: u64,
    pub(crate) uuid: [u8; 16],
}

impl Header {
    /// Reads the header in block `block` of `device`; returns what its last
    /// sector is, too. May sleep.
    ///
    /// # Errors
    ///
    /// The inner error says why it is not a header that can carry a mark.
    /// `ENXIO` beyond the end of the device, `ENOMEM`, I/O errors.
    pub(crate) fn open(
        device: Arc<BlockDevice>,
        block: u64,
    ) -> Result<Result<(Header, Sector), sector::Refusal>> {
        let mut page = Buf::new(BLOCK)?;
        device.read(blockspace::offset(block)?, &mut page)?;
        let last = *sector::of_page(&page).ok_or(EINVAL)?;
        let found = match sector::header(&page) {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let header = Header {
            device,
            block,
            uuid: found.uuid,
        };
        Ok(Ok((header, last)))
    }

    pub(crate) fn name(&self) -> Text<32> {
        self.device.name()
    }

    /// Reads the last sector again, and makes sure that the header is still
    /// that of the same area. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when it is not, `ENOMEM`, I/O errors.
    pub(crate) fn look(&self) -> Result<Sector> {
        match Header::open(self.device.clone(), self.block)? {
            Ok((now, last)) if now.uuid == self.uuid => Ok(last),
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
    pub(crate) fn original(&self, now: &Sector) -> Result<Sector> {
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
    pub(crate) fn write_keep(&self, block: u64, map: &ImageId, original: &Sector) -> Result {
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
    pub(crate) fn put(&self, sector: &Sector) -> Result {
        let at = blockspace::offset(self.block)?.saturating_add(sector::SECTOR_AT as u64);
        let place = blockspace::Sector::new(self.device.clone(), at);
        place.write(sector, "the swap header")
    }
}

/// A swap area that is part of a space.
pub(crate) struct Part {
    pub(crate) header: Header,
    /// Goes into the header while there is a mark.
    pub(crate) record: Record,
}

impl Part {
    /// Writes the mark of the primary area. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the area carries the mark of something else, otherwise
    /// as [`Header::look`] and [`Header::put`].
    pub(crate) fn write_primary(
        &self,
        superblock: &[u8; superblock::BYTES],
        image: bool,
    ) -> Result {
        self.check_not_foreign()?;
        self.header
            .put(&sector::encode(superblock, &self.record, image)?)
    }

    fn check_not_foreign(&self) -> Result<Sector> {
        let now = self.header.look()?;
        if let Found::Other(_) = sector::decode(&now) {
            let name = self.header.name();
            return Err(engine::fail(
                errno::error(errno::ESTALE),
                format_args!("{name} carries the mark of something else by now"),
            ));
        }
        Ok(now)
    }

    /// Whether `now`, the last sector, says that this member is part of a
    /// complete image.
    pub(crate) fn is_marked(&self, now: &Sector) -> bool {
        self.mark_of(now) == Some(true)
    }

    /// The signature beside the record of this member, if that is there:
    /// whether it is that of an image.
    fn mark_of(&self, now: &Sector) -> Option<bool> {
        match sector::decode(now) {
            Found::Ours { record, image }
                if record.role == Role::Member && record.map == self.record.map =>
            {
                Some(image)
            }
            _ => None,
        }
    }

    /// Writes the mark of a member, unless it is there. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Part::write_primary`].
    pub(crate) fn mark_member(&self) -> Result {
        let now = self.check_not_foreign()?;
        if self.is_marked(&now) {
            return Ok(());
        }
        let sector = sector::encode(&[0; superblock::BYTES], &self.record, true)?;
        self.header.put(&sector)
    }

    /// Takes the mark off a member if there is one of this image, also one
    /// whose signature somebody has replaced by the area's own. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Header::look`] and [`Header::put`].
    pub(crate) fn unmark_member(&self) -> Result {
        let now = self.header.look()?;
        if self.mark_of(&now).is_none() {
            return Ok(());
        }
        self.header.put(&self.header.original(&now)?)
    }

    /// Takes the record off the primary, signature and all. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Header::look`] and [`Header::put`].
    pub(crate) fn clear_primary(&self) -> Result {
        let now = self.header.look()?;
        match sector::decode(&now) {
            Found::Ours { .. } => self.header.put(&self.header.original(&now)?),
            _ => Ok(()),
        }
    }
}
