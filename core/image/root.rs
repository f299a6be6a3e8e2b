// SPDX-License-Identifier: GPL-2.0

//! The root: the table of chunks, one entry of 16 bytes each.
//!
//! The commit record says where it is and holds its checksum.

#![forbid(unsafe_code)]

use super::wire::{
    Reader,
    Writer, //
};
use super::{
    commit,
    frame,
    header,
    Error,
    Result,
    BLOCK,
    CHUNK_BYTES, //
};

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 16;

/// Most chunks of one image: as many as a root of 4 GiB describes.
pub const CHUNKS_MAX: u64 = 1 << 28;

/// Flag of a chunk: it holds index frames.
pub const FLAG_INDEX: u32 = 1 << 0;

/// One chunk of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// First block, in the linear space.
    pub block: u64,
    /// Bytes that frames take; a multiple of 8, at most [`CHUNK_BYTES`].
    pub used: u32,
    /// [`FLAG_INDEX`] or 0.
    pub flags: u32,
}

impl Chunk {
    /// Returns the blocks that the chunk takes.
    pub const fn blocks(&self) -> u64 {
        (self.used as u64).div_ceil(BLOCK as u64)
    }

    /// Returns whether the chunk holds index frames.
    pub const fn holds_index(&self) -> bool {
        self.flags & FLAG_INDEX != 0
    }

    fn check(&self) -> Result<Range> {
        let used = self.used as usize;
        if !(frame::HEADER_BYTES..=CHUNK_BYTES).contains(&used) || used % 8 != 0 {
            return Err(Error::BadLength);
        }
        if self.flags & !FLAG_INDEX != 0 {
            return Err(Error::UnknownFeature);
        }
        Range::new(self.block, self.blocks())
    }
}

/// A range of blocks, which never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// Makes the range of `blocks` blocks from `start`.
    ///
    /// # Errors
    ///
    /// [`Error::BlockRange`] when it wraps.
    pub fn new(start: u64, blocks: u64) -> Result<Self> {
        let end = start.checked_add(blocks).ok_or(Error::BlockRange)?;
        Ok(Self { start, end })
    }

    /// Returns whether a block belongs to both ranges.
    pub const fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Where in the linear space chunks may lie: anywhere but in the header, the commit record and
/// the root.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    blocks: u64,
    taken: [Range; 3],
}

impl Space {
    /// Describes a space of `blocks` blocks with the parts of an image in it.
    ///
    /// # Errors
    ///
    /// [`Error::BlockRange`] when a part lies outside, [`Error::Overlap`] when two parts share a
    /// block.
    pub fn new(
        blocks: u64,
        header_block: u64,
        commit_block: u64,
        root_block: u64,
        root_len: u64,
    ) -> Result<Self> {
        let header = Range::new(header_block, header::AREA_BLOCKS as u64)?;
        let commit = Range::new(commit_block, 1)?;
        let root = Range::new(root_block, root_len.div_ceil(BLOCK as u64))?;
        let taken = [header, commit, root];
        if taken.iter().any(|part| part.end > blocks) {
            return Err(Error::BlockRange);
        }
        if header.overlaps(&commit) || header.overlaps(&root) || commit.overlaps(&root) {
            return Err(Error::Overlap);
        }
        Ok(Self { blocks, taken })
    }

    /// Describes the space of an image whose commit record was read.
    ///
    /// # Errors
    ///
    /// As [`Space::new`], and [`Error::BadCount`] for an impossible root.
    pub fn of(
        blocks: u64,
        header_block: u64,
        commit_block: u64,
        commit: &commit::Commit,
    ) -> Result<Self> {
        let root_len = commit.root_len()?;
        Self::new(
            blocks,
            header_block,
            commit_block,
            commit.root_block,
            root_len,
        )
    }

    fn check(&self, chunk: &Range) -> Result {
        if chunk.end > self.blocks {
            return Err(Error::BlockRange);
        }
        if self.taken.iter().any(|part| part.overlaps(chunk)) {
            return Err(Error::Overlap);
        }
        Ok(())
    }
}

/// Writes `chunk` as entry `index` of the root in `buf`.
///
/// # Errors
///
/// [`Error::NoRoom`] when `buf` ends before that entry; otherwise as [`chunks`] when the chunk
/// could not be read back.
pub fn put(buf: &mut [u8], index: usize, chunk: &Chunk) -> Result {
    chunk.check()?;
    let at = index.checked_mul(ENTRY_BYTES).ok_or(Error::NoRoom)?;
    let mut w = Writer::at(buf, at)?;
    w.u64(chunk.block)?;
    w.u32(chunk.used)?;
    w.u32(chunk.flags)
}

/// Iterates over the chunks of `root`, which is exactly the bytes of the table.
///
/// The caller has compared the checksum. An item is [`Error::BadLength`], [`Error::BlockRange`],
/// [`Error::UnknownFeature`] or [`Error::Overlap`] when the chunk is not possible in `space`, or
/// [`Error::Truncated`] when `root` does not end with an entry; nothing follows an error.
pub fn chunks<'a>(root: &'a [u8], space: &Space) -> Chunks<'a> {
    Chunks {
        rest: Reader::new(root),
        space: *space,
    }
}

/// Iterator of [`chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    rest: Reader<'a>,
    space: Space,
}

impl Chunks<'_> {
    fn step(&mut self) -> Result<Chunk> {
        let chunk = Chunk {
            block: self.rest.u64()?,
            used: self.rest.u32()?,
            flags: self.rest.u32()?,
        };
        self.space.check(&chunk.check()?)?;
        Ok(chunk)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.rest().is_empty() {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(item)
    }
}

/// Checks that every chunk of `root` is possible in `space` and that no two share a block.
///
/// A root whose chunks ascend, as a save on a fresh space makes it, needs no `scratch`;
/// otherwise it takes one element per chunk.
///
/// # Errors
///
/// As the items of [`chunks`], [`Error::Overlap`], and [`Error::NoRoom`] for `scratch`.
pub fn check_disjoint(root: &[u8], space: &Space, scratch: &mut [Range]) -> Result {
    let mut last_end = 0;
    let mut ascending = true;
    for chunk in chunks(root, space) {
        let range = chunk?.check()?;
        ascending &= last_end <= range.start;
        last_end = range.end;
    }
    if ascending {
        return Ok(());
    }
    let count = root.len() / ENTRY_BYTES;
    let ranges = scratch.get_mut(..count).ok_or(Error::NoRoom)?;
    for (range, chunk) in ranges.iter_mut().zip(chunks(root, space)) {
        *range = chunk?.check()?;
    }
    crate::sort::by_key(ranges, |range| *range);
    let mut last_end = 0;
    for range in ranges.iter() {
        if range.start < last_end {
            return Err(Error::Overlap);
        }
        last_end = range.end;
    }
    Ok(())
}
