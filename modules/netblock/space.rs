// SPDX-License-Identifier: GPL-2.0

//! An export as a space for one image.

#![forbid(unsafe_code)]

use crate::lane::Lane;
use crate::link::{Deadline, Failure};
use crate::mark::{self, Found, FIRST_BLOCK};
use crate::order::Job;
use crate::session::Session;
use crate::sweep::{Reserved, Sweep, Sweeper};
use core::sync::atomic::{AtomicBool, Ordering};
use dormouse::engine;
use dormouse::errno;
use dormouse::image::superblock::{self, Superblock};
use dormouse::image::{ImageId, BLOCK};
use dormouse::storage::{Op, Private, Signature, Space, WHO};
use dormouse::sys::buf::Buf;
use dormouse::sys::ioq::IoBuf;
use dormouse::sys::thread::Thread;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// Memory that is kept for the network until the image is written: what is
/// under way in sockets and network cards, which could not be had once the
/// copies of all pages fill the memory.
const RESERVE_BYTES: usize = 4 << 20;
/// How long a server that stands still is asked once more to take a mark off.
const STALLED_MS: u32 = 1000;
/// Memory of a space for a save: the reserve, a buffer, and threads.
pub(crate) const MEMORY_BYTES: usize = RESERVE_BYTES + (1 << 20);

/// An export as a space.
pub(crate) struct NetSpace {
    session: Arc<Session>,
    // Dropped, and so joined, after `drop` has stopped them.
    threads: KVec<Thread>,
    blocks: u64,
    /// Bytes of the export.
    size: u64,
    sweeper: Arc<Sweeper>,
    inner: Pin<KBox<Inner>>,
}

#[pin_data]
struct Inner {
    /// The image that the superblock on the export was of, when this space
    /// saw or wrote it last.
    #[pin]
    known: Mutex<Option<ImageId>>,
    #[pin]
    scratch: Mutex<Buf>,
    #[pin]
    reserve: Mutex<Option<Buf>>,
    /// Keeps the blocks from being given back while an image is written.
    #[pin]
    reserved: Mutex<Option<Reserved>>,
    /// The mark of the image that is saved here may be on the export.
    marked: AtomicBool,
}

/// First byte of block `block` of an image.
fn offset(block: u64) -> u64 {
    block
        .saturating_add(FIRST_BLOCK)
        .saturating_mul(BLOCK as u64)
}

impl NetSpace {
    /// A space of `blocks` blocks, with the threads of `lanes` lanes. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what keeps threads from being made.
    pub(crate) fn new(
        session: Arc<Session>,
        lanes: usize,
        blocks: u64,
        size: u64,
        known: Option<ImageId>,
        scratch: Buf,
        sweeper: Arc<Sweeper>,
    ) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                known <- new_mutex!(known, "dormouse_netblock::known"),
                scratch <- new_mutex!(scratch, "dormouse_netblock::scratch"),
                reserve <- new_mutex!(None, "dormouse_netblock::reserve"),
                reserved <- new_mutex!(None, "dormouse_netblock::reserved"),
                marked: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        );
        // From here on an error stops the threads that are there.
        let mut space = NetSpace {
            session,
            threads: KVec::with_capacity(lanes, GFP_KERNEL)?,
            blocks,
            size,
            sweeper,
            inner: inner?,
        };
        for number in 0..lanes {
            let session = space.session.clone();
            let thread = Thread::spawn(kernel::c_str!("dormouse_nbd"), move || {
                Lane::new(&session, number).run()
            });
            space.threads.push(thread?, GFP_KERNEL)?;
        }
        Ok(space)
    }

    /// Makes it a space for a save: sets memory for the network aside, which
    /// the first transfer gives back, and keeps what `reserved` stands for. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn keep(&self, reserved: Reserved) -> Result {
        *self.inner.reserve.lock() = Some(Buf::new(RESERVE_BYTES)?);
        *self.inner.reserved.lock() = Some(reserved);
        if self.sweeper.take_unanswered() {
            self.session.doubt();
        }
        Ok(())
    }

    /// How long writing the superblock may take, with the mark of an image or
    /// without it. A mark that the save has made has to come off, also when
    /// somebody is in a hurry.
    fn deadline(&self, image: bool) -> Deadline {
        let server = &self.session.server;
        if self.inner.marked.load(Ordering::Relaxed) {
            // One that stands still is asked again when tasks are thawed.
            return match engine::has_stalled() {
                true => Deadline::in_ms(STALLED_MS.min(server.timeout_ms)),
                false => Deadline::in_ms(server.timeout_ms),
            };
        }
        let saves = self.inner.reserved.lock().is_some();
        self.inner.marked.store(image && saves, Ordering::Relaxed);
        server.deadline()
    }

    fn change_of(&self, block: &[u8]) -> Option<ImageId> {
        let bytes = mark::superblock(block)?;
        Some(Superblock::decode(bytes).ok().flatten()?.image_id)
    }
}

impl Space for NetSpace {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn submit(&self, op: Op, block: u64, buf: IoBuf) {
        let len = buf.len();
        if len == 0 || len % BLOCK != 0 || len > buf.capacity() {
            return buf.complete(Err(EINVAL));
        }
        let end = block.checked_add((len / BLOCK) as u64);
        if !end.is_some_and(|end| end <= self.blocks) {
            return buf.complete(Err(ENXIO));
        }
        drop(self.inner.reserve.lock().take());
        self.session.submit(Job {
            op,
            offset: offset(block),
            done: 0,
            buf: Some(buf),
        });
    }

    fn waits_for(&self) -> Text<WHO> {
        Text::format(format_args!("{}", self.session.server))
    }

    fn probe(&self, ms: u32) -> Result {
        let mut block = Buf::new(BLOCK)?;
        let deadline = self.session.server.deadline().within_ms(ms);
        self.session.alone(deadline, |link, deadline| {
            link.read(0, &mut block, deadline)
        })
    }

    fn flush(&self) -> Result {
        self.session.flush(&mut self.inner.scratch.lock())
    }

    fn read_superblock(&self, out: &mut [u8; superblock::BYTES]) -> Result<Signature> {
        let mut block = Buf::new(BLOCK)?;
        let deadline = self.session.server.deadline();
        self.session.alone(deadline, |link, deadline| {
            link.read(0, &mut block, deadline)
        })?;
        let Found::Ours { image, .. } = mark::decode(&block) else {
            return Err(errno::error(errno::EBADMSG));
        };
        *out = *mark::superblock(&block).ok_or(EINVAL)?;
        *self.inner.known.lock() = self.change_of(&block);
        Ok(match image {
            true => Signature::Image,
            false => Signature::Own,
        })
    }

    fn write_superblock(&self, bytes: &[u8; superblock::BYTES], signature: Signature) -> Result {
        let image = signature == Signature::Image;
        let sector = mark::encode(bytes, image, self.size)?;
        let mut block = Buf::new(BLOCK)?;
        let next = Superblock::decode(bytes)?.map(|sb| sb.image_id);
        let known = *self.inner.known.lock();
        let deadline = self.deadline(image);
        self.session.alone(deadline, |link, deadline| {
            link.read(0, &mut block, deadline)?;
            let there = self.change_of(&block);
            // A write whose reply was lost may have been done.
            if there.is_some() && there != known && there != next {
                let server = &self.session.server;
                return Err(Failure::Here(engine::fail(
                    errno::error(errno::ESTALE),
                    format_args!("{server}: another machine has written to the export meanwhile: every machine needs one of its own"),
                )));
            }
            block.fill(0);
            let to = block.get_mut(..mark::SECTOR).ok_or(Failure::Here(EINVAL))?;
            to.copy_from_slice(&sector);
            link.write_durably(0, &block, deadline)
        })?;
        *self.inner.known.lock() = next;
        Ok(())
    }

    fn clear(&self, block: u64, count: u64) -> Result {
        if !block
            .checked_add(count)
            .is_some_and(|end| end <= self.blocks)
        {
            return Err(ENXIO);
        }
        let (offset, len) = (offset(block), count.saturating_mul(BLOCK as u64));
        let deadline = self.session.server.deadline();
        let wiped = self
            .session
            .alone(deadline, |link, deadline| link.wipe(offset, len, deadline));
        wiped.inspect_err(|_| self.sweeper.leave_unanswered())
    }

    fn give_back(&self, head: u64) {
        let Some(image) = *self.inner.known.lock() else {
            return;
        };
        drop(self.inner.reserved.lock().take());
        // Many servers admit one client at a time.
        self.session.rest();
        self.sweeper.begin(Sweep {
            server: self.session.server.clone(),
            image,
            offset: offset(0),
            head: head.min(self.blocks).saturating_mul(BLOCK as u64),
            len: self.blocks.saturating_mul(BLOCK as u64),
        });
    }

    fn private(&self) -> Private {
        Private {
            words: [0; 2],
            bytes: [0; 64],
        }
    }
}

impl Drop for NetSpace {
    fn drop(&mut self) {
        self.session.stop();
        let threads = core::mem::take(&mut self.threads);
        for thread in threads {
            thread.join();
        }
        if self.session.has_unanswered() {
            self.sweeper.leave_unanswered();
        }
    }
}
