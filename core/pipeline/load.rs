// SPDX-License-Identifier: GPL-2.0

//! Loading: from the chunks of an image to the destinations of its pages.
//!
//! First the index is read, which says which pages there are, so that every
//! page gets a destination that no other page of the image will be restored
//! to; then the data, in whatever order it arrives.

#![forbid(unsafe_code)]

use super::chain::Recipe;
use super::read::{self, Readers, Sink, Source, Tools};
use crate::errno;
use crate::extent::{Extent, ExtentList, ExtentTable, Overlaps};
use crate::image::commit::Commit;
use crate::image::frame::{self, Frame, Kind};
use crate::image::{self, index, root, ImageId, PAGE};
use crate::progress::Progress;
use crate::sys::ioq::IoQueue;
use crate::sys::table::Table;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// Pages that one word fills.
#[derive(Clone, Copy)]
pub struct FillRun {
    /// First page frame number.
    pub pfn: u64,
    /// Pages.
    pub count: u32,
    /// The word; its bytes are little-endian.
    pub word: u64,
}

struct Collected {
    extents: Option<ExtentList<Table<Extent>>>,
    fills: KVVec<FillRun>,
    data_pages: u64,
    fill_pages: u64,
}

#[pin_data]
struct IndexSink {
    image_id: ImageId,
    frames: u64,
    #[pin]
    collected: Mutex<Collected>,
}

impl Sink for IndexSink {
    fn frame(&self, frame: &Frame<'_>, tools: &mut Tools) -> Result<u64> {
        if frame.kind != Kind::Index || frame.frame_no >= self.frames {
            return Err(errno::error(errno::EBADMSG));
        }
        let payload = tools.undo_to_scratch(self.image_id, frame)?;
        let mut collected = self.collected.lock();
        for entry in index::entries(payload, self.frames) {
            collected.add(&entry?)?;
        }
        Ok(0)
    }
}

impl Collected {
    fn add(&mut self, entry: &index::Entry) -> Result {
        let count = u64::from(entry.count);
        let extents = self.extents.as_mut().ok_or(EINVAL)?;
        extents.push(entry.pfn, count)?;
        match entry.source {
            index::Source::Frame(_) => {
                self.data_pages = self.data_pages.saturating_add(count);
            }
            index::Source::Fill(word) => {
                self.fill_pages = self.fill_pages.saturating_add(count);
                self.fills.push(
                    FillRun {
                        pfn: entry.pfn,
                        count: entry.count,
                        word,
                    },
                    GFP_KERNEL,
                )?;
            }
        }
        Ok(())
    }
}

/// Which pages an image holds.
pub struct Contents {
    /// All pages; each has a slot.
    pub table: ExtentTable<Table<Extent>>,
    /// Those that one word fills.
    pub fills: KVVec<FillRun>,
}

/// How an image is read.
#[derive(Clone)]
pub struct Reader {
    /// The image.
    pub source: Arc<Source>,
    /// Buffers.
    pub queue: Arc<IoQueue>,
    /// Workers.
    pub workers: usize,
    /// Where progress is counted.
    pub progress: &'static Progress,
}

impl Reader {
    /// Reads the index. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `EBADMSG` when the index is damaged or contradicts `commit`, `ENOMEM`,
    /// I/O errors, `ECANCELED`.
    pub fn contents(&self, recipe: &Recipe, commit: &Commit) -> Result<Contents> {
        let bad = errno::error(errno::EBADMSG);
        let entries = commit
            .index_frames
            .saturating_mul(index::ENTRIES_MAX as u64)
            .min(commit.image_pages);
        let store = Table::new(usize::try_from(entries).map_err(|_| bad)?)?;
        let sink = Arc::pin_init(
            pin_init!(IndexSink {
                image_id: self.source.image_id,
                frames: commit.frames,
                collected <- new_mutex!(Collected {
                    extents: Some(ExtentList::new(store)),
                    fills: KVVec::new(),
                    data_pages: 0,
                    fill_pages: 0,
                }, "dormouse::index"),
            }),
            GFP_KERNEL,
        )?;
        self.read(root::FLAG_INDEX, self.readers(recipe)?, sink.clone())?;
        let mut collected = sink.collected.lock();
        if collected.data_pages != commit.data_pages || collected.fill_pages != commit.fill_pages {
            return Err(bad);
        }
        let list = collected.extents.take().ok_or(EINVAL)?;
        let table = list.seal(Overlaps::Refuse)?;
        if table.total() != commit.image_pages {
            return Err(bad);
        }
        let fills = core::mem::replace(&mut collected.fills, KVVec::new());
        Ok(Contents { table, fills })
    }

    /// Makes those who read. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// Those of [`Readers::new`].
    pub fn readers(&self, recipe: &Recipe) -> Result<Readers> {
        Readers::new(recipe, self.workers)
    }

    fn read(&self, flags: u32, readers: Readers, sink: Arc<dyn Sink>) -> Result {
        read::read(
            self.source.clone(),
            flags,
            readers,
            self.queue.clone(),
            sink,
            self.progress,
        )
    }
}

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
mod pages {
    use super::*;
    use crate::sys::restore::{Claim, Destinations};

    struct PageSink {
        image_id: ImageId,
        contents: Arc<Contents>,
        destinations: Arc<Destinations>,
    }

    impl PageSink {
        fn claim(&self, pfn: u64, count: u64) -> Result<Claim<'_>> {
            let bad = errno::error(errno::EBADMSG);
            let (slot, left) = self.contents.table.find(pfn).ok_or(bad)?;
            if left < count {
                return Err(bad);
            }
            self.destinations
                .claim(slot as usize, count as usize)
                .ok_or(bad)
        }

        fn scatter(&self, frame: &Frame<'_>, mut bytes: &[u8]) -> Result {
            for extent in frame.extents() {
                let mut claim = self.claim(extent.pfn, u64::from(extent.count))?;
                for page in 0..extent.count as usize {
                    let (first, rest) = bytes.split_first_chunk::<PAGE>().ok_or(EINVAL)?;
                    claim.store(page, first)?;
                    bytes = rest;
                }
            }
            Ok(())
        }
    }

    impl Sink for PageSink {
        fn frame(&self, frame: &Frame<'_>, tools: &mut Tools) -> Result<u64> {
            if frame.kind != Kind::Data {
                return Err(errno::error(errno::EBADMSG));
            }
            let mut extents = frame.extents();
            if let (Some(extent), None) = (extents.next(), extents.next()) {
                let mut claim = self.claim(extent.pfn, u64::from(extent.count))?;
                if let Some(dst) = claim.contiguous() {
                    tools.undo(self.image_id, frame, dst)?;
                    return Ok(u64::from(frame.pages));
                }
                let bytes = tools.undo_to_scratch(self.image_id, frame)?;
                for (page, bytes) in bytes.chunks(PAGE).enumerate() {
                    claim.store(page, bytes)?;
                }
            } else {
                let bytes = tools.undo_to_scratch(self.image_id, frame)?;
                self.scatter(frame, bytes)?;
            }
            Ok(u64::from(frame.pages))
        }
    }

    impl Reader {
        /// Lets `readers` load every page to its destination. May sleep and
        /// allocate.
        ///
        /// # Errors
        ///
        /// `EBADMSG` when the image is damaged, in particular when a page is
        /// missing or there twice; I/O errors; `ECANCELED`.
        pub fn pages(
            &self,
            readers: Readers,
            contents: Arc<Contents>,
            destinations: Arc<Destinations>,
        ) -> Result {
            let sink = Arc::new(
                PageSink {
                    image_id: self.source.image_id,
                    contents,
                    destinations,
                },
                GFP_KERNEL,
            )?;
            for fill in sink.contents.fills.iter() {
                let mut claim = sink.claim(fill.pfn, u64::from(fill.count))?;
                claim.fill(u64::to_le(fill.word));
                self.progress.advance(u64::from(fill.count));
            }
            self.read(0, readers, sink.clone())?;
            if sink.destinations.unclaimed() != 0 {
                return Err(errno::error(errno::EBADMSG));
            }
            Ok(())
        }
    }
}

const _: () =
    assert!(image::FRAME_RAW_MAX == image::PAGES_PER_FRAME * PAGE && frame::HEADER_BYTES == 64);
