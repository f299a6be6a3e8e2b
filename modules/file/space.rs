// SPDX-License-Identifier: GPL-2.0

//! A space made of the blocks of a file.
//!
//! The first page of the file is not part of it: it carries the superblock, and
//! a single write of its last sector is what makes an image exist or not.

#![forbid(unsafe_code)]

use crate::first::First;
use crate::image::superblock::{self, Superblock};
use crate::image::ImageId;
use crate::page::{self, Label, Seal};
use crate::pinned::Pinned;
use dormouse::blockspace::{self, BlockSpace};
use dormouse::errno;
use dormouse::storage::{Op, Private, Signature, Space, WHO};
use dormouse::sys::ioq::IoBuf;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A space made of the blocks of a file.
pub(crate) struct FileSpace {
    // Field order matters: the devices go before the file that pins them.
    pub(crate) space: BlockSpace,
    pub(crate) first: First,
    pub(crate) label: Label,
    /// Identity of the block map.
    pub(crate) map: ImageId,
    /// First map block.
    pub(crate) chain: u64,
    /// The image must not be restored, whatever its superblock says.
    pub(crate) dead: bool,
    /// This kernel saves to it.
    pub(crate) reserved: bool,
    /// The file, when it is configured: its blocks stay where they are.
    pub(crate) _pinned: Option<Arc<Pinned>>,
}

impl FileSpace {
    /// What goes behind a superblock that is written now: an image belongs to
    /// the filesystem as it is when the image is complete.
    fn seal(&self, signature: Signature) -> Result<Seal> {
        let state = self.first.look(&self.label)?;
        let file = self.label.file;
        if self.reserved && signature == Signature::Image {
            let found = blockspace::filesystem(&self.first.device)?;
            let fingerprint = found.ok_or(ENODEV)?.fingerprint;
            return Ok(Seal { file, fingerprint });
        }
        match page::decode_seal(&state) {
            Ok(seal) if seal.file == file => Ok(seal),
            _ => Ok(Seal {
                file,
                fingerprint: 0,
            }),
        }
    }
}

impl Space for FileSpace {
    fn blocks(&self) -> u64 {
        self.space.blocks()
    }

    fn submit(&self, op: Op, block: u64, buf: IoBuf) {
        self.space.submit(op, block, buf);
    }

    fn waits_for(&self) -> Text<WHO> {
        self.space.waits_for()
    }

    fn probe(&self, ms: u32) -> Result {
        self.space.probe(ms)
    }

    fn is_gone(&self) -> bool {
        self.first.device.is_gone()
    }

    fn flush(&self) -> Result {
        self.space.flush()
    }

    fn read_superblock(&self, out: &mut [u8; superblock::BYTES]) -> Result<Signature> {
        let state = self.first.look(&self.label)?;
        *out = *page::superblock(&state).ok_or(EINVAL)?;
        if self.dead {
            return Ok(Signature::Own);
        }
        // Nobody but us writes this page, so the state says all.
        match Superblock::decode(out) {
            Ok(Some(sb)) if !sb.state.is_image() => Ok(Signature::Own),
            _ => Ok(Signature::Image),
        }
    }

    fn write_superblock(&self, bytes: &[u8; superblock::BYTES], signature: Signature) -> Result {
        if signature == Signature::Image && self.dead {
            return Err(errno::error(errno::ESTALE));
        }
        self.first.put_state(bytes, &self.seal(signature)?)
    }

    fn private(&self) -> Private {
        let mut bytes = [0; superblock::PRIVATE_BYTES];
        let ids = [self.map.0, self.label.file.0];
        for (to, from) in bytes.iter_mut().zip(ids.into_iter().flatten()) {
            *to = from;
        }
        Private {
            words: [self.chain, 0],
            bytes,
        }
    }
}
