// SPDX-License-Identifier: GPL-2.0

//! Storage: where an image is kept.
//!
//! A writer module implements [`Storage`] for a kind of place and [`Space`]
//! for one reserved or opened place, and registers the storage with
//! [`register_storage`](crate::registry::register_storage).
//!
//! A space is a line of [`BLOCK`](crate::image::BLOCK)-sized blocks, however
//! many devices it is made of, plus one superblock outside of that line.

#![forbid(unsafe_code)]

use crate::errno;
use crate::image::superblock;
use crate::sys::block::DevT;
use crate::sys::hibernate::ResumeDevice;
use crate::sys::ioq::IoBuf;
use crate::text::Text;
use core::fmt;
use kernel::prelude::*;
use kernel::sync::Arc;

pub use crate::sys::block::Op;

/// Which signature the place shall carry for the rest of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// Its own, as if Dormouse had never been there.
    Own,
    /// That of an image, so that nobody uses the place for anything else.
    Image,
}

/// What the superblock keeps for the storage, opaque to the engine.
#[derive(Clone, Copy)]
pub struct Private {
    /// Kept in the superblock's two storage words.
    pub words: [u64; 2],
    /// Kept in the superblock's storage area.
    pub bytes: [u8; 64],
}

/// Which place is meant.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// What the `target` setting says; `auto` leaves it to the storage.
    Target(&'a str),
    /// What `resume=` or `/sys/power/resume` named.
    Resume(ResumeDevice),
}

/// One source of room, for messages.
#[derive(Clone, Copy)]
pub struct RoomItem {
    /// Name of the device or file, NUL-padded.
    pub name: [u8; 32],
    /// Blocks that it could give now.
    pub blocks: u64,
}

/// How much a storage can hold now, and from what.
pub struct Room {
    items: [RoomItem; Room::ITEMS],
    used: usize,
    blocks: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// Most sources that are listed by name; the sum counts all.
    pub const ITEMS: usize = 16;

    /// No room.
    pub const fn new() -> Self {
        Room {
            items: [RoomItem {
                name: [0; 32],
                blocks: 0,
            }; Room::ITEMS],
            used: 0,
            blocks: 0,
        }
    }

    /// Adds a source of `blocks` blocks.
    pub fn add(&mut self, name: &str, blocks: u64) {
        self.blocks = self.blocks.saturating_add(blocks);
        if let Some(item) = self.items.get_mut(self.used) {
            for (to, from) in item.name.iter_mut().zip(name.bytes()) {
                *to = from;
            }
            item.blocks = blocks;
            self.used = self.used.saturating_add(1);
        }
    }

    /// Sum of all sources, in blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.used == 0 {
            return f.write_str("no place found");
        }
        for (i, item) in self.items.iter().take(self.used).enumerate() {
            let end = item.name.iter().position(|&b| b == 0).unwrap_or(32);
            let name = item.name.get(..end).unwrap_or(&[]);
            let name = core::str::from_utf8(name).unwrap_or("?");
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {} kB", item.blocks.saturating_mul(4))?;
        }
        Ok(())
    }
}

/// Longest [`Space::waits_for`], in bytes.
pub const WHO: usize = 96;

/// A kind of place that can keep images.
pub trait Storage: Send + Sync {
    /// Name as chosen in sysfs and recorded in the image header, at most 31
    /// of `[a-z0-9_-]`.
    fn name(&self) -> &'static CStr;

    /// About how many bytes of memory a space of `blocks` blocks of `place`
    /// takes while it is reserved. They are counted into the memory plan. Tasks
    /// are frozen; may sleep.
    fn memory(&self, place: Place<'_>, blocks: u64) -> usize {
        let (_, _) = (place, blocks);
        0
    }

    /// Gets ready for `target`, which becomes the setting while this storage
    /// is the chosen writer, or lets go of what it got ready, with `None`.
    /// Whatever else `target` means for others must not be an error: a target
    /// and its writer are chosen one after the other. May sleep.
    ///
    /// # Errors
    ///
    /// Any refuses the setting, with the reason recorded; what was ready
    /// before stays so.
    fn configure(&self, target: Option<&str>) -> Result {
        let _ = target;
        Ok(())
    }

    /// How much `place` could hold now. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a place that this storage cannot use, `ENODEV` when it is
    /// not there.
    fn room(&self, place: Place<'_>) -> Result<Room>;

    /// Takes `want` blocks of `place` for an image, or as many as there are
    /// but no fewer than `at_least`, so that nobody else can use them until
    /// the space is dropped. Tasks are frozen; may sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there is less than `at_least`, otherwise as
    /// [`Storage::room`].
    fn reserve(&self, place: Place<'_>, want: u64, at_least: u64) -> Result<Arc<dyn Space>>;

    /// Opens `place` to load or inspect what it holds. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` when `place` holds nothing of ours, `EBADMSG` when what it
    /// holds is damaged, or an I/O error.
    fn open(&self, place: Place<'_>) -> Result<Arc<dyn Space>>;

    /// Opens nothing but the superblock of what `place` holds, after
    /// [`Storage::open`] has refused it; the space need have no blocks. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` when `place` holds nothing of ours, or where the superblock
    /// alone is of no use; I/O errors.
    fn open_mark(&self, place: Place<'_>) -> Result<Arc<dyn Space>> {
        let _ = place;
        Err(ENODEV)
    }

    /// Ends what goes on in the background: a cycle begins, and nothing may be
    /// under way when the snapshot is taken or a restore begins. May sleep for
    /// some seconds.
    fn settle(&self) {}
}

/// A place reserved for, or opened with, one image. Dropping it gives back
/// what [`Storage::reserve`] took, in memory; the medium is left as it is.
pub trait Space: Send + Sync {
    /// Length of the line of blocks.
    fn blocks(&self) -> u64;

    /// Starts a transfer of `buf.len()` bytes, a multiple of the block size,
    /// at `block`, and calls `buf.complete()` when it is over, from any
    /// context. Several transfers may be under way; their order is free.
    /// Process context; may sleep for memory from reserves only.
    fn submit(&self, op: Op, block: u64, buf: IoBuf);

    /// Name of what the transfers under way wait for, such as a device; empty
    /// when that is not known. Any context.
    fn waits_for(&self) -> Text<WHO> {
        Text::new()
    }

    /// Finds out, within about `ms` milliseconds, whether the place answers: what
    /// serves it may be frozen by now. Tasks and kernel threads are frozen,
    /// devices are live. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` and `ECANCELED` with the reason recorded, I/O errors.
    fn probe(&self, ms: u32) -> Result {
        let _ = ms;
        Ok(())
    }

    /// Whether the place was removed: nothing reaches it any more through this
    /// space, even if it comes back. Any context.
    fn is_gone(&self) -> bool {
        false
    }

    /// Returns when all completed writes are on the medium. May sleep, as all
    /// that follows, for no longer than a [`Patience`](crate::patience::Patience).
    ///
    /// # Errors
    ///
    /// `EIO` when the medium cannot promise it.
    fn flush(&self) -> Result;

    /// Reads the superblock and returns the signature that the place carries.
    /// An image counts only together with [`Signature::Image`]: `swapon`, for
    /// one, puts the own signature back and uses the place. May sleep.
    ///
    /// # Errors
    ///
    /// I/O errors.
    fn read_superblock(&self, out: &mut [u8; superblock::BYTES]) -> Result<Signature>;

    /// Writes the superblock and sets the signature. The change of the
    /// superblock is atomic and on the medium when the call returns. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// I/O errors.
    fn write_superblock(&self, bytes: &[u8; superblock::BYTES], signature: Signature) -> Result;

    /// Overwrites `count` blocks from `block` on with zeros, so that nothing is
    /// left of what was there. They are on the medium when the call returns.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when there is no better way than to write them; `ENXIO`
    /// beyond the end; I/O errors.
    fn clear(&self, block: u64, count: u64) -> Result {
        let (_, _) = (block, count);
        Err(errno::error(errno::EOPNOTSUPP))
    }

    /// Nobody wants the image any more, and the superblock on the medium says
    /// so: the storage may give the blocks back to whoever keeps them. The
    /// first `head` of them tell how to read the others, with the wrapped key
    /// of an encrypted image, and are better overwritten. Nothing that fails
    /// here is an error of the cycle. Nothing is submitted to the space after
    /// this. Tasks may be frozen; may sleep, but what takes long is left to the
    /// background, until [`Storage::settle`].
    fn give_back(&self, head: u64) {
        let _ = head;
    }

    /// Whether the swap area whose header is in block `block` of `dev` is a
    /// part of the space: then the space marks it, otherwise the engine does.
    /// Any context.
    fn has_area(&self, dev: DevT, block: u64) -> bool {
        let (_, _) = (dev, block);
        false
    }

    /// What the storage wants to find in the superblock when it opens the
    /// place again. Any context.
    fn private(&self) -> Private;
}
