// SPDX-License-Identifier: GPL-2.0

//! Writing a frame in place.

#![forbid(unsafe_code)]

use super::{
    check_lengths,
    size,
    Extent,
    Kind,
    CRC_AT,
    HEADER_BYTES,
    MAGIC,
    SUM_AT, //
};
use crate::image::wire::{
    align8,
    payload_sum,
    seal,
    Writer, //
};
use crate::image::{
    page_range_end,
    Error,
    ImageId,
    Result,
    PAGES_PER_FRAME, //
};

/// Writes one frame in place.
///
/// First the extents, then the payload, then [`FrameWriter::finish`]. A frame that is not
/// finished leaves nothing valid behind.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    buf: &'a mut [u8],
    kind: Kind,
    extents: usize,
    pages: u32,
    last: Option<Extent>,
    // No extent may follow once the payload has its place.
    closed: bool,
}

impl<'a> FrameWriter<'a> {
    /// Starts a frame at the start of `buf`, the free tail of a chunk.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] when not even the header fits.
    pub fn begin(buf: &'a mut [u8], kind: Kind, frame_no: u64, image_id: &ImageId) -> Result<Self> {
        let mut w = Writer::new(buf);
        w.bytes(&MAGIC)?;
        w.u32(0)?;
        w.u8(kind as u8)?;
        w.zeros(15)?;
        w.u64(frame_no)?;
        w.id(image_id)?;
        w.zeros_to(HEADER_BYTES)?;
        Ok(Self {
            buf,
            kind,
            extents: 0,
            pages: 0,
            last: None,
            closed: false,
        })
    }

    /// Adds one page.
    ///
    /// # Errors
    ///
    /// As [`FrameWriter::add_extent`].
    pub fn add_page(&mut self, pfn: u64) -> Result {
        self.add_extent(pfn, 1)
    }

    /// Adds `count` pages from `pfn`; they extend the last extent when they follow it.
    ///
    /// # Errors
    ///
    /// [`Error::PageRange`] for the pages, [`Error::BadCount`] when the frame would hold more
    /// than [`PAGES_PER_FRAME`], is an index frame, or has its payload; [`Error::NoRoom`] for
    /// the buffer. The frame is unchanged then.
    pub fn add_extent(&mut self, pfn: u64, count: u32) -> Result {
        page_range_end(pfn, count)?;
        let pages = self.pages.saturating_add(count);
        if self.closed || self.kind == Kind::Index || pages as usize > PAGES_PER_FRAME {
            return Err(Error::BadCount);
        }
        let (extent, number) = match self.last {
            Some(last) if page_range_end(last.pfn, last.count) == Ok(pfn) => (
                Extent {
                    pfn: last.pfn,
                    count: last.count.saturating_add(count),
                },
                self.extents,
            ),
            _ => (Extent { pfn, count }, self.extents.saturating_add(1)),
        };
        let at = size(number.saturating_sub(1), 0);
        let mut w = Writer::at(self.buf, at)?;
        w.u64(extent.pfn)?;
        w.u32(extent.count)?;
        w.u32(0)?;
        self.extents = number;
        self.pages = pages;
        self.last = Some(extent);
        Ok(())
    }

    /// Returns the pages added so far.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns the place of the payload: all of the buffer behind the extents.
    ///
    /// No extent can be added afterwards.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.closed = true;
        let at = size(self.extents, 0);
        self.buf.get_mut(at..).unwrap_or_default()
    }

    /// As [`FrameWriter::payload_mut`], and the extents as they are stored in front of it.
    pub fn split(&mut self) -> (&[u8], &mut [u8]) {
        self.closed = true;
        let at = size(self.extents, 0).min(self.buf.len());
        let (head, payload) = self.buf.split_at_mut(at);
        (head.get(HEADER_BYTES..).unwrap_or_default(), payload)
    }

    /// Seals the frame and returns the bytes it takes, a multiple of 8.
    ///
    /// `applied` has a bit for each transform that changed the payload, `raw_len` and
    /// `stored_len` are the bytes of the payload before and after them.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] or [`Error::BadCount`] when the frame could not be read back,
    /// [`Error::NoRoom`] when the payload does not fit.
    pub fn finish(self, applied: u8, raw_len: u32, stored_len: u32) -> Result<usize> {
        check_lengths(
            self.kind,
            applied,
            self.extents,
            self.pages,
            raw_len,
            stored_len,
        )?;
        let payload_at = size(self.extents, 0);
        let payload_end = payload_at.saturating_add(stored_len as usize);
        let end = align8(payload_end);
        let frame = self.buf.get_mut(..end).ok_or(Error::NoRoom)?;
        let payload = frame.get(payload_at..payload_end).ok_or(Error::NoRoom)?;
        let sum = payload_sum(payload);
        let mut w = Writer::at(frame, 9)?;
        w.u8(applied)?;
        w.u16(self.extents as u16)?;
        w.u32(raw_len)?;
        w.u32(stored_len)?;
        Writer::at(frame, SUM_AT)?.u64(sum)?;
        Writer::at(frame, payload_end)?.zeros_to(end)?;
        let sealed = frame.get_mut(..payload_at).ok_or(Error::NoRoom)?;
        seal(sealed, CRC_AT)?;
        Ok(end)
    }
}
