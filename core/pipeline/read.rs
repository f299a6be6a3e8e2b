// SPDX-License-Identifier: GPL-2.0

//! Reading the chunks of an image ahead, with all workers, into a sink.

#![forbid(unsafe_code)]

use super::chain::{Chain, Recipe};
use super::crew::{Crew, Work};
use super::io;
use super::watch::Watch;
use super::Fate;
use crate::image::frame::{self, Frame};
use crate::image::root::{self, Chunk};
use crate::image::{ImageId, BLOCK, CHUNK_BYTES, FRAME_RAW_MAX};
use crate::patience::TICK_MS;
use crate::progress::Progress;
use crate::storage::{Op, Space};
use crate::sys::buf::Buf;
use crate::sys::ioq::{IoBuf, IoQueue};
use crate::sys::trycell::TryCell;
use crate::transform::{Direction, Place};
use core::sync::atomic::{AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// Buffers for so many workers: one in each worker's hands, and reads under
/// way while all of them are busy.
pub fn buffers(workers: usize) -> usize {
    workers.saturating_add(6)
}

/// What one worker undoes transforms with.
pub struct Tools {
    chain: Chain,
    /// Room for one frame.
    pub scratch: Buf,
}

impl Tools {
    /// Undoes the transforms of `frame` into `dst`. Process context.
    ///
    /// # Errors
    ///
    /// `EBADMSG` or what a transform says of a damaged frame.
    pub fn undo(&mut self, image_id: ImageId, frame: &Frame<'_>, dst: &mut [u8]) -> Result {
        undo(&mut self.chain, image_id, frame, dst)
    }

    /// As [`Tools::undo`], into the scratch room, of which it returns the
    /// part that is filled.
    ///
    /// # Errors
    ///
    /// As [`Tools::undo`].
    pub fn undo_to_scratch(&mut self, image_id: ImageId, frame: &Frame<'_>) -> Result<&[u8]> {
        let dst = self
            .scratch
            .get_mut(..frame.raw_len as usize)
            .ok_or(EINVAL)?;
        undo(&mut self.chain, image_id, frame, dst)?;
        Ok(dst)
    }
}

fn undo(chain: &mut Chain, image_id: ImageId, frame: &Frame<'_>, dst: &mut [u8]) -> Result {
    chain.backward(&Place::of(image_id, frame), frame.payload, dst)
}

/// Where the frames of an image go.
pub trait Sink: Send + Sync + 'static {
    /// Takes one checked frame; frames come in any order. Returns how many
    /// pages were loaded. Process context.
    ///
    /// # Errors
    ///
    /// Any error ends the load.
    fn frame(&self, frame: &Frame<'_>, tools: &mut Tools) -> Result<u64>;
}

/// An image that is open for reading.
pub struct Source {
    /// Where it is.
    pub space: Arc<dyn Space>,
    /// Its identity.
    pub image_id: ImageId,
    /// Its table of chunks, checked.
    pub root: KVVec<Chunk>,
    /// How many transforms its header names.
    pub transform_count: usize,
}

#[pin_data]
struct ReadJob {
    source: Arc<Source>,
    sink: Arc<dyn Sink>,
    queue: Arc<IoQueue>,
    flags: u32,
    workers: KVec<TryCell<Tools>>,
    next: AtomicUsize,
    left: AtomicUsize,
    #[pin]
    retired: Mutex<KVec<IoBuf>>,
    fate: Fate,
    progress: &'static Progress,
}

/// Who reads: threads that wait, each with its tools.
pub struct Readers {
    crew: Crew,
    tools: KVec<TryCell<Tools>>,
}

impl Readers {
    /// Makes `workers` of them, who undo what `recipe` says. What they need is
    /// allocated here. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what keeps threads or transforms from being made.
    pub fn new(recipe: &Recipe, workers: usize) -> Result<Readers> {
        let mut tools = KVec::with_capacity(workers, GFP_KERNEL)?;
        for _ in 0..workers {
            tools.push(
                TryCell::new(Tools {
                    chain: recipe.chain(Direction::Load)?,
                    scratch: Buf::new(FRAME_RAW_MAX)?,
                }),
                GFP_KERNEL,
            )?;
        }
        Ok(Readers {
            crew: Crew::new(workers)?,
            tools,
        })
    }
}

/// Lets `readers` read all chunks with `flags` and give their frames to `sink`.
/// May sleep and allocate.
///
/// # Errors
///
/// The first failure of a read, a check, a transform or the sink. Those of
/// [`Watch::check`] when the storage stands still and was given up: a worker may
/// be left behind, which does not touch the sink any more.
pub fn read(
    source: Arc<Source>,
    flags: u32,
    readers: Readers,
    queue: Arc<IoQueue>,
    sink: Arc<dyn Sink>,
    progress: &'static Progress,
) -> Result {
    let wanted = source.root.iter().filter(|c| c.flags == flags).count();
    if wanted == 0 {
        return Ok(());
    }
    let Readers { crew, tools } = readers;
    let retired = KVec::with_capacity(queue.buffers(), GFP_KERNEL)?;
    let job = Arc::pin_init(
        pin_init!(ReadJob {
            source,
            sink,
            queue,
            flags,
            workers: tools,
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(wanted),
            retired <- new_mutex!(retired, "dormouse::retired"),
            fate: Fate::new(progress),
            progress,
        }),
        GFP_KERNEL,
    )?;
    let mut watch = Watch::new(&*job.source.space, &job.queue);
    crew.work(job.clone(), &job.fate, || watch.check())?;
    drop(core::mem::take(&mut *job.retired.lock()));
    while !job.queue.wait_all_idle(TICK_MS) {
        watch.check()?;
    }
    job.fate.result()?;
    if job.left.load(Ordering::Acquire) != 0 {
        return Err(EIO);
    }
    Ok(())
}

impl ReadJob {
    fn is_over(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0 || self.fate.is_sealed()
    }

    /// The next chunk to read, with its number.
    fn next_chunk(&self) -> Option<(usize, &Chunk)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let chunk = self.source.root.get(number)?;
            if chunk.flags == self.flags {
                return Some((number, chunk));
            }
        }
    }

    /// Sends `buf` off for the next chunk, or keeps it when there is none.
    fn refill(&self, mut buf: IoBuf) -> Result {
        let Some((number, chunk)) = self.next_chunk() else {
            self.retired.lock().push(buf, GFP_KERNEL)?;
            return Ok(());
        };
        buf.set_tag(number as u64);
        buf.set_len((chunk.used as usize).next_multiple_of(BLOCK));
        let space = &*self.source.space;
        self.fate
            .outside(|| io::submit(space, Op::Read, chunk.block, buf))
    }

    fn take_in(&self, buf: &IoBuf, tools: &mut Tools) -> Result {
        buf.result()?;
        let number = usize::try_from(buf.tag()).map_err(|_| EINVAL)?;
        let chunk = self.source.root.get(number).ok_or(EINVAL)?;
        let bytes = buf.bytes().get(..chunk.used as usize).ok_or(EINVAL)?;
        let id = &self.source.image_id;
        for frame in frame::frames(bytes, id, self.source.transform_count) {
            let pages = self.sink.frame(&frame?, tools)?;
            if pages != 0 {
                self.progress.advance(pages);
            }
        }
        self.progress.add_stored(buf.len() as u64);
        Ok(())
    }

    // A worker that waits in `get` is always woken: either a read under way
    // comes back, or who finds the job over drops the buffer it holds, which
    // wakes the next one.
    fn work(&self, tools: &mut Tools) -> Result {
        while !self.is_over() {
            // Otherwise the queue was given up.
            let Some(buf) = self.fate.outside(|| self.queue.get())? else {
                break;
            };
            if self.is_over() {
                break;
            }
            if buf.had_request() {
                self.take_in(&buf, tools)?;
                if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    break;
                }
            }
            self.refill(buf)?;
        }
        Ok(())
    }
}

impl Work for ReadJob {
    fn run(&self, worker: usize) {
        let cell = self.workers.get(worker).and_then(TryCell::try_borrow);
        let result = match cell {
            Some(mut tools) => self.work(&mut tools),
            None => Err(EINVAL),
        };
        if let Err(e) = result {
            self.fate.fail(e);
        }
        if self.fate.is_sealed() {
            // Buffers put aside would leave the others waiting.
            drop(core::mem::take(&mut *self.retired.lock()));
        }
    }
}

const _: () = assert!(FRAME_RAW_MAX <= CHUNK_BYTES && root::FLAG_INDEX != 0);
