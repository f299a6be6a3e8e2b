// SPDX-License-Identifier: GPL-2.0

//! One swap area of a space, with the mark of an image in its header.

#![forbid(unsafe_code)]

use crate::image::superblock;
use dormouse::engine;
use dormouse::errno;
use dormouse::swapmark::sector::{self, Found, Record, Role, Sector};
use dormouse::swapmark::Header;
use kernel::prelude::*;

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
