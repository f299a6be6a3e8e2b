// SPDX-License-Identifier: GPL-2.0

//! Saving: from the pages of a snapshot to chunks on the storage.

#![forbid(unsafe_code)]

mod share;

use super::chain::{Chain, Recipe};
use super::crew::{Crew, Work};
use super::io::{self, blocks_of};
use super::watch::Watch;
use super::Fate;
use crate::image::commit::Commit;
use crate::image::frame;
use crate::image::index::IndexWriter;
use crate::image::root::{self, Chunk};
use crate::image::{self, header, ImageId, CHUNK_BYTES, FRAME_RAW_MAX};
use crate::progress::Progress;
use crate::snapshot::{Content, Pages, Record};
use crate::storage::Space;
use crate::sys::buf::Buf;
use crate::sys::ioq::IoQueue;
use crate::sys::thread::thread_bytes;
use crate::sys::trycell::TryCell;
use crate::transform::Direction;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use share::Share;

/// Block of the header in every space.
pub const HEADER_BLOCK: u64 = 0;
/// Block of the commit record.
pub const COMMIT_BLOCK: u64 = header::AREA_BLOCKS as u64;
/// First block that chunks may take.
pub const FIRST_BLOCK: u64 = COMMIT_BLOCK + 1;

/// Records that a worker takes from the cursor at a time.
const SPAN: usize = 64;
/// Chunk buffers beyond those that workers are filling: transfers that can be
/// under way while all workers go on.
const IN_FLIGHT: usize = 6;

/// Buffers of the queue for so many workers: each fills one with data and one
/// with index frames.
pub fn buffers(workers: usize) -> usize {
    workers.saturating_mul(2).saturating_add(IN_FLIGHT)
}

/// Most chunks that an image of `pages` pages can have: every chunk but the
/// last two of each worker is so full that one more frame might not fit.
fn most_chunks(pages: usize, workers: usize, worst_frame: usize) -> usize {
    let full = CHUNK_BYTES.saturating_sub(worst_frame).max(1);
    let data = pages.saturating_mul(worst_frame.div_ceil(image::PAGES_PER_FRAME));
    let index = pages.saturating_mul(image::index::ENTRY_BYTES);
    data.saturating_add(index)
        .div_ceil(full)
        .saturating_add(workers.saturating_mul(4))
}

struct Root {
    table: Buf,
    count: usize,
    stored: u64,
}

impl Root {
    /// The part of the table that is in use.
    fn written(&self) -> Result<&[u8]> {
        let bytes = self.count.saturating_mul(root::ENTRY_BYTES);
        self.table.get(..bytes).ok_or(EINVAL)
    }
}

/// What one worker owns.
struct Worker {
    chain: Chain,
    gather: Buf,
    index: IndexWriter<Buf>,
}

/// One image on its way to the storage.
#[pin_data]
pub struct SaveJob {
    pages: Arc<dyn Pages>,
    space: Arc<dyn Space>,
    queue: Arc<IoQueue>,
    workers: KVec<TryCell<Worker>>,
    image_id: ImageId,
    worst_frame: usize,
    /// First block behind those that chunks may take.
    limit: u64,
    progress: &'static Progress,
    fate: Fate,
    cursor: AtomicUsize,
    next_block: AtomicU64,
    frames: AtomicU64,
    index_frames: AtomicU64,
    data_pages: AtomicU64,
    fill_pages: AtomicU64,
    #[pin]
    root: Mutex<Root>,
}

impl SaveJob {
    /// Bytes of memory that a job takes besides the snapshot: `pages` pages
    /// through `recipe` with `workers` workers.
    pub fn memory(recipe: &Recipe, pages: usize, workers: usize) -> usize {
        let worst_frame = frame::worst_case(recipe.worst_case(FRAME_RAW_MAX));
        let worker = recipe
            .chain_memory()
            .saturating_add(FRAME_RAW_MAX.saturating_mul(2))
            .saturating_add(thread_bytes());
        most_chunks(pages, workers, worst_frame)
            .saturating_mul(root::ENTRY_BYTES)
            .saturating_add(workers.saturating_mul(worker))
            .saturating_add(buffers(workers).saturating_mul(CHUNK_BYTES))
    }

    /// Blocks that `pages` pages may take besides their own `percent` of
    /// their size: frame headers, index, root, header, commit record.
    pub fn overhead_blocks(recipe: &Recipe, pages: usize, workers: usize) -> u64 {
        let worst_frame = frame::worst_case(recipe.worst_case(FRAME_RAW_MAX));
        let frames = pages.div_ceil(image::PAGES_PER_FRAME);
        let heads = frames.saturating_mul(worst_frame.saturating_sub(FRAME_RAW_MAX));
        let chunks = most_chunks(pages, workers, worst_frame);
        let index = pages.saturating_mul(image::index::ENTRY_BYTES);
        // A chunk ends with up to a block of padding.
        blocks_of(heads.saturating_add(index))
            .saturating_add(chunks as u64)
            .saturating_add(blocks_of(chunks.saturating_mul(root::ENTRY_BYTES)))
            .saturating_add(FIRST_BLOCK)
    }

    /// Reserves everything for a save of up to `most_pages` pages. May sleep
    /// and allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` when `space` cannot even hold an empty image, or
    /// what a transform says.
    pub fn new(
        pages: Arc<dyn Pages>,
        most_pages: usize,
        space: Arc<dyn Space>,
        recipe: &Recipe,
        workers: usize,
        image_id: ImageId,
        progress: &'static Progress,
    ) -> Result<Arc<SaveJob>> {
        let worst_frame = frame::worst_case(recipe.worst_case(FRAME_RAW_MAX));
        if worst_frame > CHUNK_BYTES {
            return Err(E2BIG);
        }
        let root_bytes =
            most_chunks(most_pages, workers, worst_frame).saturating_mul(root::ENTRY_BYTES);
        let limit = space.blocks().saturating_sub(blocks_of(root_bytes));
        if limit <= FIRST_BLOCK {
            return Err(ENOSPC);
        }
        let mut crew = KVec::with_capacity(workers, GFP_KERNEL)?;
        for _ in 0..workers {
            crew.push(
                TryCell::new(Worker {
                    chain: recipe.chain(Direction::Save)?,
                    gather: Buf::new(FRAME_RAW_MAX)?,
                    index: IndexWriter::new(Buf::new(FRAME_RAW_MAX)?),
                }),
                GFP_KERNEL,
            )?;
        }
        let table = Buf::new(root_bytes)?;
        let queue = IoQueue::new(buffers(workers), CHUNK_BYTES)?;
        Arc::pin_init(
            pin_init!(SaveJob {
                pages,
                space,
                queue,
                workers: crew,
                image_id,
                worst_frame,
                limit,
                progress,
                fate: Fate::new(progress),
                cursor: AtomicUsize::new(0),
                next_block: AtomicU64::new(FIRST_BLOCK),
                frames: AtomicU64::new(0),
                index_frames: AtomicU64::new(0),
                data_pages: AtomicU64::new(0),
                fill_pages: AtomicU64::new(0),
                root <- new_mutex!(Root { table, count: 0, stored: 0 }, "dormouse::root"),
            }),
            GFP_KERNEL,
        )
    }

    /// The pages being saved.
    pub fn pages(&self) -> &dyn Pages {
        &*self.pages
    }

    /// Buffers for parts of the image that are not chunks.
    pub fn queue(&self) -> &IoQueue {
        &self.queue
    }

    /// Gives `f` the root, of which [`SaveJob::finish`] wrote all. May sleep.
    ///
    /// # Errors
    ///
    /// That of `f`.
    pub fn with_root<R>(&self, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        f(self.root.lock().written()?)
    }

    /// Lets `crew`, which has as many workers as `job`, do it. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `ECANCELED` when the storage stands still and was given up,
    /// with the reason recorded: a worker may be left behind, which touches no
    /// page of the image. What else fails, [`SaveJob::finish`] says.
    pub fn work(job: &Arc<SaveJob>, crew: Crew) -> Result {
        let mut watch = Watch::new(&*job.space, &job.queue);
        crew.work(job.clone(), &job.fate, || watch.check())
    }

    /// Writes the root, after all workers have ended, and returns what the
    /// commit record says of the image. May sleep.
    ///
    /// # Errors
    ///
    /// The first failure of any worker or transfer.
    pub fn finish(&self) -> Result<Commit> {
        let mut watch = Watch::new(&*self.space, &self.queue);
        let drained = io::drain(&self.queue, &mut watch);
        self.fate.result()?;
        drained?;
        let root = self.root.lock();
        let table = root.written()?;
        let root_block = self.next_block.load(Ordering::Acquire);
        io::write_all(&self.space, &self.queue, root_block, table)?;
        let data_pages = self.data_pages.load(Ordering::Acquire);
        let fill_pages = self.fill_pages.load(Ordering::Acquire);
        Ok(Commit {
            image_id: self.image_id,
            image_pages: data_pages.saturating_add(fill_pages),
            data_pages,
            fill_pages,
            frames: self.frames.load(Ordering::Acquire),
            index_frames: self.index_frames.load(Ordering::Acquire),
            chunks: root.count as u64,
            root_block,
            root_crc: image::wire::crc(table),
            stored_bytes: root.stored,
            ..Commit::default()
        })
    }

    fn add_chunk(&self, chunk: &Chunk) -> Result {
        let mut root = self.root.lock();
        let count = root.count;
        root::put(&mut root.table, count, chunk)?;
        root.count = count.saturating_add(1);
        root.stored = root.stored.saturating_add(u64::from(chunk.used));
        Ok(())
    }

    fn save(&self, worker: &mut Worker) -> Result {
        let mut share = Share::new(self, worker);
        let mut records = [Record {
            pfn: 0,
            content: Content::Fill(0),
        }; SPAN];
        while !self.fate.is_sealed() {
            let first = self.cursor.fetch_add(SPAN, Ordering::Relaxed);
            let n = self.pages.records(first, &mut records);
            if n == 0 {
                return share.finish();
            }
            for record in records.iter().take(n) {
                share.add(record)?;
            }
            self.progress.advance(n as u64);
        }
        Ok(())
    }
}

impl Work for SaveJob {
    fn run(&self, worker: usize) {
        let cell = self.workers.get(worker).and_then(TryCell::try_borrow);
        let result = match cell {
            Some(mut worker) => self.save(&mut worker),
            None => Err(EINVAL),
        };
        if let Err(e) = result {
            self.fate.fail(e);
        }
    }
}
