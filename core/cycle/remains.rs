// SPDX-License-Identifier: GPL-2.0

//! What tells how to read an image, and how it is overwritten when that is erased.
//!
//! A block map is not authenticated: that of an image which somebody made up may
//! say that blocks of a filesystem are its own. So only blocks are written that
//! hold, read through the map, a part of the very image that the superblock names.
//! Behind the end of the header its area is zeros in any case.

#![forbid(unsafe_code)]

use crate::errno;
use crate::image::commit::Commit;
use crate::image::header::{self, Header};
use crate::image::superblock::Superblock;
use crate::image::{self, BLOCK};
use crate::pipeline::io;
use crate::storage::Space;
use crate::sys::buf::Buf;
use crate::sys::ioq::IoQueue;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Header and commit record of an image, and where they are.
pub(super) struct Remains {
    area: Buf,
    header_block: u64,
    /// Blocks of the header.
    header_blocks: u64,
    /// Block of the commit record, if that belongs to the header.
    commit_block: Option<u64>,
}

impl Remains {
    /// Finds them, before the image of `sb` in `space` is touched; `None` where
    /// the blocks of the image are not known. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`image::Error`], in general `EBADMSG`, when there is no header of
    /// that image; `ENXIO` when the space ends before it, `ENOMEM`, I/O errors.
    pub(super) fn of(space: &Arc<dyn Space>, sb: &Superblock) -> Result<Option<Remains>> {
        if space.blocks() == 0 {
            return Ok(None);
        }
        let queue = IoQueue::new(2, header::AREA_BYTES)?;
        let mut area = Buf::new(header::AREA_BYTES)?;
        io::read_all(space, &queue, sb.header_block, &mut area)?;
        let header = Header::decode(&area)?;
        if header.facts.image_id != sb.image_id {
            return Err(image::Error::OtherImage.into());
        }
        let (len, crc) = (header.total_len, header.crc);
        let mut block = Buf::new(BLOCK)?;
        io::read_all(space, &queue, sb.commit_block, &mut block)?;
        let belongs = |c: Commit| c.image_id == sb.image_id && c.header_crc == crc;
        let belongs = Commit::decode(&block).is_ok_and(belongs);
        Ok(Some(Remains {
            area,
            header_block: sb.header_block,
            header_blocks: io::blocks_of(len),
            commit_block: belongs.then_some(sb.commit_block),
        }))
    }

    /// Overwrites header and commit record. May sleep.
    ///
    /// # Errors
    ///
    /// I/O errors, `ENOMEM`.
    pub(super) fn overwrite(self, space: &Arc<dyn Space>) -> Result {
        clear(space, self.header_block, self.header_blocks)?;
        self.commit_block.map_or(Ok(()), |at| clear(space, at, 1))
    }

    /// Overwrites the wrapped key alone: the header still tells of the marks of
    /// bystanders, and nothing else does. May sleep.
    ///
    /// # Errors
    ///
    /// I/O errors, `ENOMEM`.
    pub(super) fn overwrite_key(mut self, space: &Arc<dyn Space>) -> Result {
        let changed = header::unkey(&mut self.area)?;
        if changed == 0 {
            return Ok(());
        }
        let len = changed.next_multiple_of(BLOCK);
        write(
            space,
            self.header_block,
            self.area.get(..len).ok_or(EINVAL)?,
        )
    }
}

/// Makes zeros of `count` blocks of `space`, no more than a header has.
fn clear(space: &Arc<dyn Space>, block: u64, count: u64) -> Result {
    match space.clear(block, count) {
        Err(e) if e == errno::error(errno::EOPNOTSUPP) => {}
        result => return result,
    }
    let bytes = usize::try_from(count).unwrap_or(0).saturating_mul(BLOCK);
    write(space, block, &Buf::new(bytes)?)
}

fn write(space: &Arc<dyn Space>, block: u64, bytes: &[u8]) -> Result {
    let queue = IoQueue::new(2, header::AREA_BYTES)?;
    io::write_all(space, &queue, block, bytes)?;
    space.flush()
}
