// SPDX-License-Identifier: GPL-2.0

//! The workers of a job: kernel threads that are made before anything is
//! frozen and wait until their work begins.

#![forbid(unsafe_code)]

use crate::sys::thread::{Gate, Thread};
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Work that several workers share.
pub trait Work: Send + Sync + 'static {
    /// Does the share of worker number `worker`. Process context, in a kernel
    /// thread that is not frozen.
    fn run(&self, worker: usize);
}

struct Start {
    gate: Gate,
    dismissed: AtomicBool,
}

/// The threads that run a [`Work`]. Dropping the crew sends those home that
/// still wait and returns when all have ended.
pub struct Crew {
    start: Arc<Start>,
    // Dropped, and so joined, after `drop` has opened the gate.
    threads: KVec<Thread>,
}

impl Crew {
    /// Makes `workers` threads that wait for [`Crew::work`]. May sleep and
    /// allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what keeps threads from being made.
    pub fn new(workers: usize, work: Arc<dyn Work>) -> Result<Crew> {
        let start = Arc::new(
            Start {
                gate: Gate::new()?,
                dismissed: AtomicBool::new(false),
            },
            GFP_KERNEL,
        )?;
        let mut crew = Crew {
            start,
            threads: KVec::with_capacity(workers, GFP_KERNEL)?,
        };
        for number in 0..workers {
            let start = crew.start.clone();
            let work = work.clone();
            let thread = Thread::spawn(kernel::c_str!("dormouse"), move || {
                start.gate.wait();
                if !start.dismissed.load(Ordering::Acquire) {
                    work.run(number);
                }
            })?;
            crew.threads.push(thread, GFP_KERNEL)?;
        }
        Ok(crew)
    }

    /// Lets the workers begin and returns when all have ended. May sleep.
    pub fn work(self) {
        self.start.gate.open_all();
        let mut crew = self;
        crew.join();
    }

    fn join(&mut self) {
        let threads = core::mem::take(&mut self.threads);
        for thread in threads {
            thread.join();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.start.dismissed.store(true, Ordering::Release);
        self.start.gate.open_all();
        self.join();
    }
}
