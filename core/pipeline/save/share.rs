// SPDX-License-Identifier: GPL-2.0

//! One worker's share of a save: gathering pages into frames, frames into
//! chunks.

#![forbid(unsafe_code)]

use super::{SaveJob, Worker};
use crate::image::frame::{FrameWriter, Kind};
use crate::image::index::{Entry, Source};
use crate::image::root::{self, Chunk};
use crate::image::{self, BLOCK, CHUNK_BYTES, PAGE};
use crate::pipeline::io::{self, blocks_of};
use crate::snapshot::{Content, Record};
use crate::storage::Op;
use crate::sys::ioq::IoBuf;
use crate::transform::Place;
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// Pages that will share a frame.
struct Batch {
    pfns: [u64; image::PAGES_PER_FRAME],
    places: [usize; image::PAGES_PER_FRAME],
    len: usize,
}

impl Batch {
    const fn new() -> Self {
        Batch {
            pfns: [0; image::PAGES_PER_FRAME],
            places: [0; image::PAGES_PER_FRAME],
            len: 0,
        }
    }

    /// Adds a page; true when the batch is full then.
    fn push(&mut self, pfn: u64, place: usize) -> bool {
        if let (Some(p), Some(q)) = (self.pfns.get_mut(self.len), self.places.get_mut(self.len)) {
            *p = pfn;
            *q = place;
            self.len = self.len.saturating_add(1);
        }
        self.len >= image::PAGES_PER_FRAME
    }

    fn pfns(&self) -> impl Iterator<Item = u64> + '_ {
        self.pfns.iter().copied().take(self.len)
    }

    fn places(&self) -> &[usize] {
        self.places.get(..self.len).unwrap_or(&[])
    }

    fn consecutive(&self) -> bool {
        self.places()
            .windows(2)
            .all(|w| matches!(w, [a, b] if a.checked_add(1) == Some(*b)))
    }
}

/// Collects frames in a chunk buffer and sends it off when it is full.
struct Packer<'a> {
    job: &'a SaveJob,
    flags: u32,
    buf: Option<IoBuf>,
    used: usize,
}

impl<'a> Packer<'a> {
    fn new(job: &'a SaveJob, flags: u32) -> Self {
        Packer {
            job,
            flags,
            buf: None,
            used: 0,
        }
    }

    /// Room for the largest frame.
    fn room(&mut self) -> Result<&mut [u8]> {
        let left = CHUNK_BYTES.saturating_sub(self.used);
        if self.buf.is_some() && left < self.job.worst_frame {
            self.submit()?;
        }
        if self.buf.is_none() {
            let buf = self.job.fate.outside(|| self.job.queue.get())?;
            let buf = buf.ok_or(EINVAL)?;
            if buf.had_request() {
                buf.result()?;
            }
            self.buf = Some(buf);
            self.used = 0;
        }
        let buf = self.buf.as_mut().ok_or(EINVAL)?;
        buf.bytes_mut().get_mut(self.used..).ok_or(EINVAL)
    }

    fn submit(&mut self) -> Result {
        let Some(mut buf) = self.buf.take() else {
            return Ok(());
        };
        let used = core::mem::take(&mut self.used);
        if used == 0 {
            return Ok(());
        }
        let blocks = blocks_of(used);
        let len = used.next_multiple_of(BLOCK);
        buf.bytes_mut().get_mut(used..len).ok_or(EINVAL)?.fill(0);
        buf.set_len(len);
        let block = self.job.next_block.fetch_add(blocks, Ordering::AcqRel);
        if block.saturating_add(blocks) > self.job.limit {
            return Err(ENOSPC);
        }
        self.job.add_chunk(&Chunk {
            block,
            used: u32::try_from(used).map_err(|_| EINVAL)?,
            flags: self.flags,
        })?;
        self.job.progress.add_stored(len as u64);
        let space = &*self.job.space;
        self.job
            .fate
            .outside(|| io::submit(space, Op::Write, block, buf))
    }
}

/// One worker at work.
pub(super) struct Share<'a> {
    job: &'a SaveJob,
    worker: &'a mut Worker,
    data: Packer<'a>,
    index: Packer<'a>,
    batch: Batch,
}

impl<'a> Share<'a> {
    /// A share of nothing yet.
    pub(super) fn new(job: &'a SaveJob, worker: &'a mut Worker) -> Self {
        Share {
            job,
            worker,
            data: Packer::new(job, 0),
            index: Packer::new(job, root::FLAG_INDEX),
            batch: Batch::new(),
        }
    }

    /// Takes one page. Process context; waits for the storage when all
    /// buffers are under way.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the space is full, what a transform says, or that of an
    /// earlier transfer.
    pub(super) fn add(&mut self, record: &Record) -> Result {
        match record.content {
            Content::Fill(word) => {
                self.job.fill_pages.fetch_add(1, Ordering::Relaxed);
                self.add_entry(Entry {
                    pfn: record.pfn,
                    count: 1,
                    source: Source::Fill(u64::from_le(word)),
                })
            }
            Content::Held(place) => {
                if self.batch.push(record.pfn, place) {
                    return self.write_batch();
                }
                Ok(())
            }
        }
    }

    fn add_entry(&mut self, entry: Entry) -> Result {
        match self.worker.index.push(entry) {
            Err(image::Error::NoRoom) => {
                self.write_index()?;
                Ok(self.worker.index.push(entry)?)
            }
            result => Ok(result?),
        }
    }

    fn write_batch(&mut self) -> Result {
        let batch = core::mem::replace(&mut self.batch, Batch::new());
        if batch.len == 0 {
            return Ok(());
        }
        let raw = batch.len.saturating_mul(PAGE);
        let first = batch.places().first().copied().unwrap_or(0);
        let image_id = self.job.image_id;
        let frame_no = self.job.frames.fetch_add(1, Ordering::Relaxed);
        // The only wait: what comes after it uses the pages.
        let room = self.data.room()?;
        let whole = if batch.consecutive() {
            self.job.pages.contiguous(first, batch.len)
        } else {
            None
        };
        let src = match whole {
            Some(bytes) => bytes,
            None => {
                for (to, &place) in self.worker.gather.chunks_mut(PAGE).zip(batch.places()) {
                    to.copy_from_slice(self.job.pages.page(place).ok_or(EFAULT)?);
                }
                self.worker.gather.get(..raw).ok_or(EINVAL)?
            }
        };
        let mut writer = FrameWriter::begin(room, Kind::Data, frame_no, &image_id)?;
        for pfn in batch.pfns() {
            writer.add_page(pfn)?;
        }
        let (extents, payload) = writer.split();
        let place = Place {
            image_id,
            frame_no,
            kind: Kind::Data,
            applied: 0,
            raw_len: raw as u32,
            extents,
        };
        let stored = self.worker.chain.forward(&place, src, payload)?;
        let len = writer.finish(stored.applied, raw as u32, stored.len as u32)?;
        self.data.used = self.data.used.saturating_add(len);
        self.job
            .data_pages
            .fetch_add(batch.len as u64, Ordering::Relaxed);
        for pfn in batch.pfns() {
            self.add_entry(Entry {
                pfn,
                count: 1,
                source: Source::Frame(frame_no),
            })?;
        }
        Ok(())
    }

    fn write_index(&mut self) -> Result {
        let payload = self.worker.index.payload();
        if payload.is_empty() {
            return Ok(());
        }
        let place = Place {
            image_id: self.job.image_id,
            frame_no: self.job.frames.fetch_add(1, Ordering::Relaxed),
            kind: Kind::Index,
            applied: 0,
            raw_len: payload.len() as u32,
            extents: &[],
        };
        let room = self.index.room()?;
        let mut writer = FrameWriter::begin(room, Kind::Index, place.frame_no, &place.image_id)?;
        let stored = self
            .worker
            .chain
            .forward(&place, payload, writer.payload_mut())?;
        let len = writer.finish(stored.applied, payload.len() as u32, stored.len as u32)?;
        self.index.used = self.index.used.saturating_add(len);
        self.job.index_frames.fetch_add(1, Ordering::Relaxed);
        self.worker.index.clear();
        Ok(())
    }

    /// Sends off what is not full yet. Process context.
    ///
    /// # Errors
    ///
    /// As [`Share::add`].
    pub(super) fn finish(mut self) -> Result {
        self.write_batch()?;
        self.write_index()?;
        self.data.submit()?;
        self.index.submit()
    }
}
