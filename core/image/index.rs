// SPDX-License-Identifier: GPL-2.0

//! The index: which frame holds a page, or which word fills it.
//!
//! Entries travel as the payload of index frames. Several index frames together make the index;
//! none of them depends on another.

#![forbid(unsafe_code)]

use core::ops::DerefMut;

use super::wire::{
    Reader,
    Writer, //
};
use super::{
    page_range_end,
    Error,
    Result,
    FRAME_RAW_MAX,
    PAGES_PER_FRAME, //
};

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 24;

/// Most entries of one index frame.
pub const ENTRIES_MAX: usize = FRAME_RAW_MAX / ENTRY_BYTES;

/// Number that stands for [`Source::Frame`].
pub const KIND_DATA: u32 = 0;

/// Number that stands for [`Source::Fill`].
pub const KIND_FILL: u32 = 1;

/// Where the contents of a page come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the data frame with this number.
    Frame(u64),
    /// From repeating this word, whose bytes are little-endian.
    Fill(u64),
}

/// One entry of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First page frame number.
    pub pfn: u64,
    /// Pages.
    pub count: u32,
    /// Where all of them come from.
    pub source: Source,
}

impl Entry {
    fn check(&self) -> Result<u64> {
        let end = page_range_end(self.pfn, self.count)?;
        if matches!(self.source, Source::Frame(_)) && self.count as usize > PAGES_PER_FRAME {
            return Err(Error::PageRange);
        }
        Ok(end)
    }

    // Returns this entry with `next` joined to it, when one entry can say both.
    fn joined(&self, next: &Entry) -> Option<Entry> {
        let adjacent = page_range_end(self.pfn, self.count) == Ok(next.pfn);
        let both = Entry {
            count: self.count.checked_add(next.count)?,
            ..*self
        };
        (adjacent && self.source == next.source && both.check().is_ok()).then_some(both)
    }
}

/// Collects entries into the payload of an index frame.
///
/// `B` is the buffer, `&mut [u8]` or anything that owns one; at most [`FRAME_RAW_MAX`] of it are
/// used.
#[derive(Debug)]
pub struct IndexWriter<B> {
    buf: B,
    used: usize,
    last: Option<Entry>,
}

impl<B: DerefMut<Target = [u8]>> IndexWriter<B> {
    /// Starts with no entries.
    pub const fn new(buf: B) -> Self {
        Self {
            buf,
            used: 0,
            last: None,
        }
    }

    /// Adds an entry; it is joined to the last one when one entry can say both.
    ///
    /// # Errors
    ///
    /// [`Error::PageRange`] for the pages; [`Error::NoRoom`] when the frame is full: write it
    /// out, [`clear`](Self::clear), and push again.
    pub fn push(&mut self, entry: Entry) -> Result {
        entry.check()?;
        let joined = self.last.and_then(|last| last.joined(&entry));
        let (at, entry) = match joined {
            Some(both) => (self.used.saturating_sub(ENTRY_BYTES), both),
            None => (self.used, entry),
        };
        let end = at.saturating_add(ENTRY_BYTES);
        if end > FRAME_RAW_MAX {
            return Err(Error::NoRoom);
        }
        let place = self.buf.get_mut(at..end).ok_or(Error::NoRoom)?;
        let (kind, value) = match entry.source {
            Source::Frame(frame_no) => (KIND_DATA, frame_no),
            Source::Fill(word) => (KIND_FILL, word),
        };
        let mut w = Writer::new(place);
        w.u64(entry.pfn)?;
        w.u32(entry.count)?;
        w.u32(kind)?;
        w.u64(value)?;
        self.used = end;
        self.last = Some(entry);
        Ok(())
    }

    /// Returns the payload so far.
    pub fn payload(&self) -> &[u8] {
        self.buf.get(..self.used).unwrap_or_default()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.used = 0;
        self.last = None;
    }
}

/// Iterates over the entries of `payload`, the raw payload of an index frame, in an image of
/// `frames` frames.
///
/// An item is [`Error::PageRange`], [`Error::BadFrameNo`], [`Error::UnknownFeature`] or
/// [`Error::Truncated`] when the entry is not possible; nothing follows it.
pub const fn entries(payload: &[u8], frames: u64) -> Entries<'_> {
    Entries {
        rest: Reader::new(payload),
        frames,
    }
}

/// Iterator of [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: Reader<'a>,
    frames: u64,
}

impl Entries<'_> {
    fn step(&mut self) -> Result<Entry> {
        let pfn = self.rest.u64()?;
        let count = self.rest.u32()?;
        let kind = self.rest.u32()?;
        let value = self.rest.u64()?;
        let source = match kind {
            KIND_DATA if value >= self.frames => return Err(Error::BadFrameNo),
            KIND_DATA => Source::Frame(value),
            KIND_FILL => Source::Fill(value),
            _ => return Err(Error::UnknownFeature),
        };
        let entry = Entry { pfn, count, source };
        entry.check()?;
        Ok(entry)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

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
