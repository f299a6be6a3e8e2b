// SPDX-License-Identifier: GPL-2.0

//! The pipeline between memory and storage, in both directions.
//!
//! Saving: every worker takes spans of page records from one shared cursor,
//! gathers frames, sends them through its own chain of transforms straight
//! into a chunk buffer of its own, and hands full chunks to the storage.
//! Loading: chunks are read ahead into a bounded set of buffers; a worker
//! takes whichever has arrived, checks its frames and undoes the transforms
//! into the destination pages.
//!
//! Workers share three counters and, once per chunk of half a megabyte, a
//! lock. The bound on memory is the number of buffers of the
//! [`IoQueue`](crate::sys::ioq::IoQueue): who finds none waits for the storage.

#![forbid(unsafe_code)]

pub mod chain;
pub mod crew;
pub mod io;
pub mod load;
pub mod read;
pub mod save;
pub mod watch;

use crate::errno;
use crate::progress::Progress;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use kernel::prelude::*;

/// What the workers of a job agree on: the first failure, and that it is time
/// to stop.
///
/// A storage that stands still may hold a worker for ever. So workers say when
/// they are [`outside`](Fate::outside), where they wait for the storage and touch
/// no page of the image; and who is outside when the job is sealed never comes
/// in again. The pages may go then, though the worker is still there.
pub struct Fate {
    errno: AtomicI32,
    outside: AtomicUsize,
    progress: &'static Progress,
}

impl Fate {
    /// Nothing has failed yet; a request to stop is taken from `progress`.
    pub const fn new(progress: &'static Progress) -> Self {
        Fate {
            errno: AtomicI32::new(0),
            outside: AtomicUsize::new(0),
            progress,
        }
    }

    /// Records `error` unless something failed before. Any context.
    pub fn fail(&self, error: Error) {
        let _ =
            self.errno
                .compare_exchange(0, error.to_errno(), Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Runs `f`, which may wait for the storage and touches no page of the image.
    ///
    /// # Errors
    ///
    /// That of [`Fate::result`]: the pages of the image may be gone.
    pub fn outside<R>(&self, f: impl FnOnce() -> R) -> Result<R> {
        self.outside.fetch_add(1, Ordering::SeqCst);
        let result = f();
        // In this order: who counts the workers outside has sealed the job
        // before.
        self.outside.fetch_sub(1, Ordering::SeqCst);
        match self.is_sealed() {
            false => Ok(result),
            true => Err(self.result().err().unwrap_or(EINVAL)),
        }
    }

    /// How many workers are outside. Once the job is sealed, none of them comes
    /// in again. Any context.
    pub fn count_outside(&self) -> usize {
        self.outside.load(Ordering::SeqCst)
    }

    /// Whether workers are to stop now. Any context.
    pub fn is_sealed(&self) -> bool {
        if self.progress.abort_requested() {
            self.fail(errno::error(errno::ECANCELED));
        }
        self.errno.load(Ordering::SeqCst) != 0
    }

    /// The first failure. Any context.
    ///
    /// # Errors
    ///
    /// That failure; `ECANCELED` after a request to stop.
    pub fn result(&self) -> Result {
        match self.errno.load(Ordering::Acquire) {
            0 => Ok(()),
            n => Err(Error::from_errno(n)),
        }
    }
}
