// SPDX-License-Identifier: GPL-2.0

//! Frames: the unit in which pages travel through transforms to the storage.
//!
//! A frame says of itself which pages it holds and how it was transformed, so frames may lie in
//! any order and workers never wait for each other. [`FrameWriter`] lets a transform put its
//! output straight into the chunk; [`frames`] walks over a chunk that was read back.

#![forbid(unsafe_code)]

use super::wire::{
    align8,
    check_seal,
    payload_sum,
    Reader, //
};
use super::{
    index,
    page_range_end,
    Error,
    ImageId,
    Result,
    CHUNK_BYTES,
    FRAME_RAW_MAX,
    PAGE,
    PAGES_PER_FRAME, //
};

mod writer;

pub use self::writer::FrameWriter;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"DMFR";

/// Offset of the seal.
pub const CRC_AT: usize = 4;

/// Offset of the sum of the payload.
pub const SUM_AT: usize = 48;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;

/// Bytes of one extent behind the header.
pub const EXTENT_BYTES: usize = 16;

/// Most extents of one frame: every page on its own.
pub const EXTENTS_MAX: usize = PAGES_PER_FRAME;

/// Most bytes of the payload as stored.
pub const STORED_MAX: usize = CHUNK_BYTES - HEADER_BYTES - EXTENTS_MAX * EXTENT_BYTES;

/// Returns the bytes of a frame with so many extents and so many stored bytes.
pub const fn size(extents: usize, stored: usize) -> usize {
    let extents = extents.saturating_mul(EXTENT_BYTES);
    align8(HEADER_BYTES.saturating_add(extents).saturating_add(stored))
}

/// Returns the most bytes a frame takes whose payload is at most `stored` bytes.
pub const fn worst_case(stored: usize) -> usize {
    size(EXTENTS_MAX, stored)
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The contents of pages, which its extents name.
    Data = 0,
    /// Entries of the index.
    Index = 1,
}

/// A run of pages in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First page frame number.
    pub pfn: u64,
    /// Pages.
    pub count: u32,
}

// What holds for the lengths of every frame, written or read.
fn check_lengths(
    kind: Kind,
    applied: u8,
    extents: usize,
    pages: u32,
    raw_len: u32,
    stored_len: u32,
) -> Result {
    let raw_len = raw_len as usize;
    let stored_len = stored_len as usize;
    if raw_len == 0 || raw_len > FRAME_RAW_MAX || stored_len == 0 || stored_len > STORED_MAX {
        return Err(Error::BadLength);
    }
    if applied == 0 && raw_len != stored_len {
        return Err(Error::BadLength);
    }
    match kind {
        Kind::Data => {
            let pages = pages as usize;
            if pages == 0 || pages > PAGES_PER_FRAME {
                return Err(Error::BadCount);
            }
            if raw_len != pages.saturating_mul(PAGE) {
                return Err(Error::BadLength);
            }
        }
        Kind::Index => {
            if extents != 0 {
                return Err(Error::BadCount);
            }
            if raw_len % index::ENTRY_BYTES != 0 {
                return Err(Error::BadLength);
            }
        }
    }
    Ok(())
}

/// A checked frame, borrowed from its chunk.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Bit i: transform i of the header was applied.
    pub applied: u8,
    /// Number of the frame in the image.
    pub frame_no: u64,
    /// Bytes of the payload with all transforms undone.
    pub raw_len: u32,
    /// Pages of a data frame; 0 for an index frame.
    pub pages: u32,
    /// The payload as stored.
    pub payload: &'a [u8],
    // Invariant: decodes without errors.
    extents: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`; returns it with the bytes it takes.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::BadMagic`] or [`Error::BadCrc`] before anything else is
    /// looked at; [`Error::OtherImage`], [`Error::UnknownFeature`], [`Error::BadTransform`],
    /// [`Error::NotZero`], [`Error::BadLength`], [`Error::BadCount`], [`Error::PageRange`] or
    /// [`Error::Overlap`] for a field.
    pub fn decode(
        bytes: &'a [u8],
        image_id: &ImageId,
        transform_count: usize,
    ) -> Result<(Frame<'a>, usize)> {
        let mut r = Reader::new(bytes);
        r.magic(&MAGIC)?;
        r.u32()?;
        let kind = r.u8()?;
        let applied = r.u8()?;
        let extent_count = usize::from(r.u16()?);
        let raw_len = r.u32()?;
        let stored_len = r.u32()?;
        let payload_at = size(extent_count, 0);
        let sealed = bytes.get(..payload_at).ok_or(Error::Truncated)?;
        check_seal(sealed, CRC_AT)?;

        r.zeros(4)?;
        let frame_no = r.u64()?;
        if r.id()? != *image_id {
            return Err(Error::OtherImage);
        }
        let sum = r.u64()?;
        r.zeros(8)?;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Index,
            _ => return Err(Error::UnknownFeature),
        };
        let transforms_used = u8::BITS.saturating_sub(applied.leading_zeros());
        if transforms_used as usize > transform_count {
            return Err(Error::BadTransform);
        }
        let extents = r.bytes(extent_count.saturating_mul(EXTENT_BYTES))?;
        let payload = r.bytes(stored_len as usize)?;
        if payload_sum(payload) != sum {
            return Err(Error::BadCrc);
        }
        let end = payload_at.saturating_add(stored_len as usize);
        let len = align8(end);
        r.zeros(len.saturating_sub(end))?;
        let frame = Frame {
            kind,
            applied,
            frame_no,
            raw_len,
            pages: Extents::check(extents, extent_count)?,
            payload,
            extents,
        };
        check_lengths(
            kind,
            applied,
            extent_count,
            frame.pages,
            raw_len,
            stored_len,
        )?;
        Ok((frame, len))
    }

    /// Returns the extents as they are stored.
    pub const fn extent_bytes(&self) -> &'a [u8] {
        self.extents
    }

    /// Returns the runs of pages, in the order of the payload.
    pub fn extents(&self) -> Extents<'a> {
        Extents {
            rest: Reader::new(self.extents),
        }
    }
}

/// Iterates over the extents of a frame.
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    rest: Reader<'a>,
}

impl<'a> Extents<'a> {
    fn step(&mut self) -> Result<Extent> {
        let extent = Extent {
            pfn: self.rest.u64()?,
            count: self.rest.u32()?,
        };
        self.rest.zeros(4)?;
        Ok(extent)
    }

    // Returns the pages of all extents, which do not overlap.
    fn check(bytes: &'a [u8], count: usize) -> Result<u32> {
        if count > EXTENTS_MAX {
            return Err(Error::BadCount);
        }
        let mut pages = 0u32;
        let mut all = Extents {
            rest: Reader::new(bytes),
        };
        for number in 0..count {
            let extent = all.step()?;
            let end = page_range_end(extent.pfn, extent.count)?;
            let earlier = Extents {
                rest: Reader::new(bytes),
            };
            let clash = earlier.take(number).any(|other| {
                let other_end = other.pfn.saturating_add(u64::from(other.count));
                extent.pfn < other_end && other.pfn < end
            });
            if clash {
                return Err(Error::Overlap);
            }
            pages = pages.saturating_add(extent.count);
        }
        Ok(pages)
    }
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        // Ends with `Truncated`; `Frame::decode` saw to everything else.
        self.step().ok()
    }
}

/// Iterates over the frames of `chunk`, which is exactly the used bytes of it.
///
/// An item is an error as of [`Frame::decode`]; nothing follows it.
pub fn frames<'a>(chunk: &'a [u8], image_id: &ImageId, transform_count: usize) -> Frames<'a> {
    Frames {
        rest: chunk,
        image_id: *image_id,
        transform_count,
    }
}

/// Iterator of [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    image_id: ImageId,
    transform_count: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = Frame::decode(self.rest, &self.image_id, self.transform_count);
        let len = item.as_ref().map_or(self.rest.len(), |&(_, len)| len);
        self.rest = self.rest.get(len..).unwrap_or_default();
        Some(item.map(|(frame, _)| frame))
    }
}
