// SPDX-License-Identifier: GPL-2.0

//! The commit record: the last block of an image, written after everything else is on the disk.

#![forbid(unsafe_code)]

use super::wire::{
    check_seal,
    seal,
    Reader,
    Writer, //
};
use super::{
    frame,
    header,
    root,
    Error,
    ImageId,
    Result,
    BLOCK,
    PAGES_PER_FRAME,
    VERSION, //
};

/// First bytes of every commit record.
pub const MAGIC: [u8; 8] = *b"DMCOMMIT";

/// Offset of the seal.
pub const CRC_AT: usize = 12;

/// Bytes of the authentication tag.
pub const TAG_BYTES: usize = 64;

/// The contents of a commit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Identity of the image.
    pub image_id: ImageId,
    /// Different pages in the image.
    pub image_pages: u64,
    /// Pages in data frames, those that later frames override included.
    pub data_pages: u64,
    /// Pages that are described by one word.
    pub fill_pages: u64,
    /// Frames of both kinds; their numbers are below this.
    pub frames: u64,
    /// Index frames among them.
    pub index_frames: u64,
    /// Entries of the root.
    pub chunks: u64,
    /// First block of the root, in the linear space.
    pub root_block: u64,
    /// Checksum of the root.
    pub root_crc: u32,
    /// Seal of the header.
    pub header_crc: u32,
    /// Bytes of all chunks together.
    pub stored_bytes: u64,
    /// Authenticates the image; zero without encryption.
    pub tag: [u8; TAG_BYTES],
}

impl Default for Commit {
    fn default() -> Self {
        Self {
            image_id: ImageId::default(),
            image_pages: 0,
            data_pages: 0,
            fill_pages: 0,
            frames: 0,
            index_frames: 0,
            chunks: 0,
            root_block: 0,
            root_crc: 0,
            header_crc: 0,
            stored_bytes: 0,
            tag: [0; TAG_BYTES],
        }
    }
}

impl Commit {
    /// Returns the bytes of the root.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] when the root cannot be that long.
    pub fn root_len(&self) -> Result<u64> {
        if self.chunks > root::CHUNKS_MAX {
            return Err(Error::BadCount);
        }
        Ok(self.chunks.saturating_mul(root::ENTRY_BYTES as u64))
    }

    /// Checks that what the record counts can be there at all: in a machine with the memory that
    /// `facts` state, and in a space of `blocks` blocks. Neither the root nor anything else is read,
    /// nor room made for it, before that: the tag that vouches for the record covers the root, too.
    ///
    /// Where no frame may override another, the root has at most two entries for each page of
    /// memory then.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`].
    pub fn check_claims(&self, facts: &header::Facts<'_>, blocks: u64) -> Result {
        let bytes = blocks.saturating_mul(BLOCK as u64);
        // Every frame has a header, and at least a page or an entry of the index.
        let frames_most = self.stored_bytes / frame::HEADER_BYTES as u64;
        let data_frames = self.frames.saturating_sub(self.index_frames);
        let data_most = data_frames.saturating_mul(PAGES_PER_FRAME as u64);
        let overrides = facts.flags & header::FLAG_MAY_OVERRIDE != 0;
        // Every chunk begins in a block of its own.
        let fits = self.stored_bytes <= bytes && self.chunks <= blocks;
        let can_be = self.image_pages <= facts.ram_pages
            && (overrides || self.data_pages <= facts.ram_pages)
            && self.data_pages <= data_most
            && data_frames <= self.data_pages
            && self.index_frames <= self.image_pages
            && self.frames <= frames_most;
        (fits && can_be).then_some(()).ok_or(Error::BadCount)
    }

    // The counts that must hold for any snapshot method.
    fn check(&self) -> Result {
        let described = self.data_pages.checked_add(self.fill_pages);
        let counts_agree = described.is_some_and(|pages| self.image_pages <= pages)
            && self.index_frames <= self.frames
            && self.chunks <= self.frames
            && (self.frames == 0) == (self.chunks == 0);
        if !counts_agree {
            return Err(Error::BadCount);
        }
        Ok(())
    }

    /// Writes the record as the tag authenticates it: with zeros for tag and seal.
    ///
    /// # Errors
    ///
    /// As [`Commit::encode`].
    pub fn encode_untagged(&self, out: &mut [u8; BLOCK]) -> Result {
        let untagged = Commit {
            tag: [0; TAG_BYTES],
            ..self.clone()
        };
        untagged.fields(out)
    }

    /// Writes the record into its block.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] when the counts contradict each other.
    pub fn encode(&self, out: &mut [u8; BLOCK]) -> Result {
        self.fields(out)?;
        seal(out, CRC_AT)?;
        Ok(())
    }

    fn fields(&self, out: &mut [u8; BLOCK]) -> Result {
        self.check()?;
        let mut w = Writer::new(out);
        w.bytes(&MAGIC)?;
        w.u32(VERSION)?;
        w.u32(0)?;
        w.id(&self.image_id)?;
        w.u64(self.image_pages)?;
        w.u64(self.data_pages)?;
        w.u64(self.fill_pages)?;
        w.u64(self.frames)?;
        w.u64(self.index_frames)?;
        w.u64(self.chunks)?;
        w.u64(self.root_block)?;
        w.u64(self.root_len()?)?;
        w.u32(self.root_crc)?;
        w.u32(self.header_crc)?;
        w.u64(self.stored_bytes)?;
        w.bytes(&self.tag)?;
        w.zeros_to(BLOCK)
    }

    /// Reads the record in the first block of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::BadMagic`], [`Error::UnknownVersion`] or
    /// [`Error::BadCrc`] before anything else is looked at; [`Error::BadCount`],
    /// [`Error::BadLength`] or [`Error::NotZero`] for a field.
    pub fn decode(bytes: &[u8]) -> Result<Commit> {
        let bytes = bytes.get(..BLOCK).ok_or(Error::Truncated)?;
        let mut r = Reader::new(bytes);
        r.magic(&MAGIC)?;
        if r.u32()? != VERSION {
            return Err(Error::UnknownVersion);
        }
        check_seal(bytes, CRC_AT)?;
        r.u32()?;
        let image_id = r.id()?;
        let image_pages = r.u64()?;
        let data_pages = r.u64()?;
        let fill_pages = r.u64()?;
        let frames = r.u64()?;
        let index_frames = r.u64()?;
        let chunks = r.u64()?;
        let root_block = r.u64()?;
        let root_len = r.u64()?;
        let commit = Commit {
            image_id,
            image_pages,
            data_pages,
            fill_pages,
            frames,
            index_frames,
            chunks,
            root_block,
            root_crc: r.u32()?,
            header_crc: r.u32()?,
            stored_bytes: r.u64()?,
            tag: r.array()?,
        };
        r.zeros(r.rest().len())?;
        commit.check()?;
        if root_len != commit.root_len()? {
            return Err(Error::BadLength);
        }
        Ok(commit)
    }
}
