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

use crate::errno;
use crate::progress::Progress;
use core::sync::atomic::{AtomicI32, Ordering};
use kernel::prelude::*;

/// What the workers of a job agree on: the first failure, and that it is time
/// to stop.
pub struct Fate {
    errno: AtomicI32,
    progress: &'static Progress,
}

impl Fate {
    /// Nothing has failed yet; a request to stop is taken from `progress`.
    pub const fn new(progress: &'static Progress) -> Self {
        Fate {
            errno: AtomicI32::new(0),
            progress,
        }
    }

    /// Records `error` unless something failed before. Any context.
    pub fn fail(&self, error: Error) {
        let _ =
            self.errno
                .compare_exchange(0, error.to_errno(), Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether workers are to stop now. Any context.
    pub fn is_sealed(&self) -> bool {
        if self.progress.abort_requested() {
            self.fail(errno::error(errno::ECANCELED));
        }
        self.errno.load(Ordering::Acquire) != 0
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
