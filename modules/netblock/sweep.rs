// SPDX-License-Identifier: GPL-2.0

//! Giving an export's blocks back when nobody wants the image in them any more.
//!
//! It is done in the background, because a system that was just restored has
//! better things to do, over a connection of its own, and its errors are a line
//! in the log. What must never happen is that a request of this kind reaches
//! the blocks of a later image. So
//!
//! - a sweep looks at the superblock first, and does nothing unless that is as
//!   it was left;
//! - it ends before an export is reserved, and none begins while one is;
//! - what it asked for was answered when it ends. Where it was not, because
//!   the connection was lost, the next save reads back what it has written
//!   before it is complete.
//!
//! It also ends when a cycle begins, as no connection outlives a snapshot.

#![forbid(unsafe_code)]

use crate::attempt;
use crate::link::{Deadline, Failure, Link, Nowhere, Server};
use crate::mark::{self, Found};
use crate::proto::pieces::Pieces;
use crate::proto::wire::Command;
use core::sync::atomic::{AtomicBool, Ordering};
use dormouse::errno;
use dormouse::image::superblock::{State, Superblock};
use dormouse::image::{ImageId, BLOCK};
use dormouse::sys::buf::Buf;
use dormouse::sys::thread::Thread;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// Requests under way: enough that a distant server is not waited for each time.
const DEPTH: usize = 4;
/// How long a sweep that has to end waits for answers.
const PATIENCE_MS: u32 = 5000;

/// What is to be given back.
pub(crate) struct Sweep {
    pub(crate) server: Server,
    /// The image that the superblock is of.
    pub(crate) image: ImageId,
    /// First byte, of the part that tells how to read the rest.
    pub(crate) offset: u64,
    /// Bytes of that part, which is overwritten whatever the server offers.
    pub(crate) head: u64,
    /// Bytes of everything.
    pub(crate) len: u64,
}

/// What a sweep and those who end it share.
#[derive(Default)]
struct Flags {
    stop: AtomicBool,
    /// A request was not answered.
    unanswered: AtomicBool,
}

struct Inner {
    thread: Option<Thread>,
    reserved: bool,
}

/// Runs sweeps, one at a time.
#[pin_data]
pub(crate) struct Sweeper {
    flags: Arc<Flags>,
    #[pin]
    inner: Mutex<Inner>,
}

/// An export is reserved for a save: nothing is swept until this is dropped.
pub(crate) struct Reserved(Arc<Sweeper>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.inner.lock().reserved = false;
    }
}

impl Sweeper {
    /// No sweep. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let flags = Arc::new(Flags::default(), GFP_KERNEL)?;
        let idle = Inner {
            thread: None,
            reserved: false,
        };
        let new = pin_init!(Sweeper {
            flags,
            inner <- new_mutex!(idle, "dormouse_netblock::sweep"),
        });
        Arc::pin_init(new, GFP_KERNEL)
    }

    fn end(&self, inner: &mut Inner) {
        self.flags.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = inner.thread.take() {
            thread.join();
        }
        self.flags.stop.store(false, Ordering::Relaxed);
    }

    /// Ends the sweep that is under way. May sleep for some seconds.
    pub(crate) fn rest(&self) {
        self.end(&mut self.inner.lock());
    }

    /// Keeps sweeps away while an export is written to. May sleep as
    /// [`Sweeper::rest`].
    pub(crate) fn reserve(self: &Arc<Self>) -> Reserved {
        let mut inner = self.inner.lock();
        self.end(&mut inner);
        inner.reserved = true;
        Reserved(self.clone())
    }

    /// Remembers that a request was not answered, and so may be carried out at
    /// any time. Any context.
    pub(crate) fn leave_unanswered(&self) {
        self.flags.unanswered.store(true, Ordering::Relaxed);
    }

    /// Whether a request of an earlier sweep or save was not answered, and so may
    /// be carried out at any time. Asked once.
    pub(crate) fn take_unanswered(&self) -> bool {
        self.flags.unanswered.swap(false, Ordering::Relaxed)
    }

    /// Begins a sweep and returns. May sleep as [`Sweeper::rest`], if another
    /// one is under way.
    pub(crate) fn begin(&self, sweep: Sweep) {
        let mut inner = self.inner.lock();
        if inner.reserved {
            return;
        }
        self.end(&mut inner);
        let flags = self.flags.clone();
        let thread = Thread::spawn(kernel::c_str!("dormouse_sweep"), move || sweep.run(&flags));
        match thread {
            Ok(thread) => inner.thread = Some(thread),
            Err(e) => pr_notice!(
                "the blocks of the image are not given back ({})\n",
                e.to_errno()
            ),
        }
    }
}

impl Sweep {
    fn run(self, flags: &Flags) {
        let server = &self.server;
        match self.sweep(flags) {
            Ok(0) => {}
            Ok(bytes) => pr_info!("{}: {} kB given back\n", server, bytes / 1024),
            Err(failure) => match attempt::reason(server, failure) {
                (_, Some(why)) => {
                    pr_notice!("{}; not all blocks of the image are given back\n", why)
                }
                (e, None) => pr_notice!(
                    "{}: not all blocks of the image are given back ({})\n",
                    server,
                    e.to_errno()
                ),
            },
        }
    }

    /// Nobody waits for it, so it is not over with the cycle.
    fn deadline(&self) -> Deadline {
        Deadline::in_ms(self.server.timeout_ms)
    }

    /// Returns how many bytes were given back.
    fn sweep(&self, flags: &Flags) -> Result<u64, Failure> {
        let mut link = Link::open(&self.server, self.deadline())?;
        self.check(&mut link)?;
        let head = link.wipe(self.offset, self.head, self.deadline());
        let trimmed = match head {
            Ok(()) => self.trim(&mut link, flags),
            Err(failure) => Err(failure),
        };
        if link.in_flight() > 0 {
            flags.unanswered.store(true, Ordering::Relaxed);
        } else {
            link.close();
        }
        trimmed
    }

    /// Makes sure that the image is still the one that nobody wants.
    fn check(&self, link: &mut Link) -> Result<(), Failure> {
        let mut block = Buf::new(BLOCK).map_err(Failure::Here)?;
        link.read(0, &mut block, self.deadline())?;
        let found = mark::superblock(&block)
            .and_then(|bytes| Superblock::decode(bytes).ok())
            .flatten();
        let dead = |sb: &Superblock| {
            let state = matches!(sb.state, State::Empty | State::Consumed | State::Failed);
            state && sb.image_id == self.image
        };
        let ours = matches!(mark::decode(&block), Found::Ours { image: false, .. });
        match ours && found.as_ref().is_some_and(dead) {
            true => Ok(()),
            false => Err(Failure::Here(errno::error(errno::ESTALE))),
        }
    }

    fn trim(&self, link: &mut Link, flags: &Flags) -> Result<u64, Failure> {
        if !link.terms.trim() {
            return Ok(0);
        }
        let most = link.terms.piece().map_err(|_| Failure::Here(EINVAL))?;
        let mut pieces = Pieces::new(self.offset, self.len, most);
        let mut bytes = 0u64;
        let mut refused = None;
        loop {
            let stop = flags.stop.load(Ordering::Relaxed) || refused.is_some();
            while link.in_flight() < DEPTH && !stop {
                let Some((at, len)) = pieces.next() else {
                    break;
                };
                let deadline = self.deadline();
                link.send(Command::Trim, 0, at, len as usize, &[], deadline)?;
                bytes = bytes.saturating_add(u64::from(len));
            }
            if link.in_flight() == 0 {
                return refused.map_or(Ok(bytes), Err);
            }
            match self.answer(link, flags) {
                Err(Failure::Server(error)) => refused = Some(Failure::Server(error)),
                result => result?,
            }
        }
    }

    /// Waits for the answer to one of the requests.
    fn answer(&self, link: &mut Link, flags: &Flags) -> Result<(), Failure> {
        let deadline = self.deadline();
        let mut hurry = None;
        loop {
            if let Some((_, result)) = link.step(&mut Nowhere)? {
                return result;
            }
            if flags.stop.load(Ordering::Relaxed) {
                hurry.get_or_insert_with(|| Deadline::in_ms(PATIENCE_MS));
            }
            deadline.check()?;
            hurry.map_or(Ok(()), Deadline::check)?;
        }
    }
}
