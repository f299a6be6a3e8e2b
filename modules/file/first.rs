// SPDX-License-Identifier: GPL-2.0

//! The first page of a file on its block device.
//!
//! Nothing here trusts what it remembers: in the restored kernel memory is as
//! old as the snapshot, and only the medium knows what happened since. Every
//! change begins with a look at the label.

#![forbid(unsafe_code)]

use crate::image::superblock::{self, State, Superblock};
use crate::image::BLOCK;
use crate::page::{self, Label, Seal, Sector};
use dormouse::blockspace;
use dormouse::engine;
use dormouse::errno;
use dormouse::sys::block::BlockDevice;
use dormouse::sys::buf::Buf;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The first page of a file.
#[derive(Clone)]
pub(crate) struct First {
    pub(crate) device: Arc<BlockDevice>,
    /// Block of the device where it is.
    pub(crate) block: u64,
}

impl First {
    pub(crate) fn name(&self) -> Text<32> {
        self.device.name()
    }

    /// Reads the page, and the label in it; `None` when it is not the first
    /// page of a file of ours that is here. May sleep.
    ///
    /// # Errors
    ///
    /// `ENXIO` beyond the end of the device, `ENOMEM`, I/O errors.
    pub(crate) fn read(&self) -> Result<Option<(Label, Sector)>> {
        let mut buf = Buf::new(BLOCK)?;
        self.device
            .read(blockspace::offset(self.block)?, &mut buf)?;
        let Ok(label) = page::decode_label(&buf) else {
            return Ok(None);
        };
        let state = buf.get(page::STATE_AT..).and_then(|s| s.first_chunk());
        Ok(Some((label, *state.ok_or(EINVAL)?)))
    }

    /// Reads the sector with the superblock of file `label`, which has to be
    /// here still. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` with the reason when it is not, `ENOMEM`, I/O errors.
    pub(crate) fn look(&self, label: &Label) -> Result<Sector> {
        match self.read()? {
            Some((now, state)) if now == *label => Ok(state),
            _ => Err(engine::fail(
                errno::error(errno::ESTALE),
                format_args!("the file on {} was replaced meanwhile", self.name()),
            )),
        }
    }

    fn put(&self, at: usize, sector: &Sector) -> Result {
        let at = blockspace::offset(self.block)?.saturating_add(at as u64);
        let place = blockspace::Sector::new(self.device.clone(), at);
        place.write(sector, "the first page of the file")
    }

    /// Writes the label. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` with the reason when somebody else uses the device, `ENOMEM`,
    /// I/O errors.
    pub(crate) fn put_label(&self, label: &Label) -> Result {
        self.put(0, &page::encode_label(label)?)
    }

    /// Writes the superblock and what is behind it. May sleep.
    ///
    /// # Errors
    ///
    /// As [`First::put_label`].
    pub(crate) fn put_state(&self, superblock: &[u8; superblock::BYTES], seal: &Seal) -> Result {
        self.put(page::STATE_AT, &page::encode_state(superblock, seal)?)
    }

    /// Marks an image in `state`, if there is one, as given up; returns
    /// whether there was one. May sleep.
    ///
    /// # Errors
    ///
    /// As [`First::put_label`].
    pub(crate) fn give_up(&self, label: &Label, state: &Sector) -> Result<bool> {
        let bytes = page::superblock(state).ok_or(EINVAL)?;
        let Ok(Some(mut sb)) = Superblock::decode(bytes) else {
            return Ok(false);
        };
        if !sb.state.is_image() {
            return Ok(false);
        }
        sb.advance(State::Empty)?;
        let mut bytes = [0; superblock::BYTES];
        sb.encode(&mut bytes)?;
        let seal = Seal {
            file: label.file,
            fingerprint: 0,
        };
        self.put_state(&bytes, &seal)?;
        Ok(true)
    }
}
