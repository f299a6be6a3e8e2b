// SPDX-License-Identifier: GPL-2.0

//! The workers of a job: kernel threads that are made before anything is
//! frozen and wait until their work begins.

#![forbid(unsafe_code)]

use super::Fate;
use crate::patience::TICK_MS;
use crate::sys::thread::{Gate, Thread};
use crate::sys::time;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// How long workers that have nothing to wait for may take to end.
const GRACE_MS: u32 = 1000;
/// Pause between two looks at them.
const PAUSE_MS: u32 = 20;

/// Work that several workers share.
pub trait Work: Send + Sync + 'static {
    /// Does the share of worker number `worker`. Process context, in a kernel
    /// thread that is not frozen.
    fn run(&self, worker: usize);
}

/// What workers wait for.
#[pin_data]
struct Start {
    gate: Gate,
    /// None as long as there is none, and when they are sent home.
    #[pin]
    work: Mutex<Option<Arc<dyn Work>>>,
}

/// Threads that wait for a [`Work`]. Dropping the crew sends those home that
/// still wait and returns when all have ended.
pub struct Crew {
    start: Arc<Start>,
    // Dropped, and so joined, after `drop` has opened the gate.
    threads: KVec<Thread>,
}

impl Crew {
    /// Makes `workers` threads that wait for [`Crew::work`], which needs no more
    /// memory. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what keeps threads from being made.
    pub fn new(workers: usize) -> Result<Crew> {
        let start = Arc::pin_init(
            try_pin_init!(Start {
                gate: Gate::new()?,
                work <- new_mutex!(None, "dormouse::crew"),
            }),
            GFP_KERNEL,
        )?;
        let mut crew = Crew {
            start,
            threads: KVec::with_capacity(workers, GFP_KERNEL)?,
        };
        for number in 0..workers {
            let start = crew.start.clone();
            let thread = Thread::spawn(kernel::c_str!("dormouse"), move || {
                start.gate.wait();
                let work = start.work.lock().clone();
                if let Some(work) = work {
                    work.run(number);
                }
            })?;
            crew.threads.push(thread, GFP_KERNEL)?;
        }
        Ok(crew)
    }

    /// Gives `work` to the workers and returns when all have ended. `check` is asked
    /// several times in a second; when it says that the storage is given up, it
    /// has sealed `fate`. Then this returns when no worker touches a page of the
    /// image any more; one that the storage does not let go ends by itself. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// That of `check`.
    pub fn work(
        self,
        work: Arc<dyn Work>,
        fate: &Fate,
        mut check: impl FnMut() -> Result,
    ) -> Result {
        *self.start.work.lock() = Some(work);
        self.start.gate.open_all();
        let mut crew = self;
        let mut result = Ok(());
        for thread in crew.threads.iter() {
            while result.is_ok() && !thread.has_ended_within(TICK_MS) {
                result = check();
            }
        }
        match result {
            Ok(()) => crew.join(),
            Err(e) => {
                fate.fail(e);
                crew.leave(fate);
            }
        }
        result
    }

    /// Waits until each worker has ended or never touches a page again, and
    /// leaves those that have not ended to themselves.
    fn leave(&mut self, fate: &Fate) {
        let threads = core::mem::take(&mut self.threads);
        let mut waits = GRACE_MS / PAUSE_MS;
        loop {
            let at_work = threads.iter().filter(|t| !t.has_ended_within(0)).count();
            if at_work == 0 {
                return;
            }
            // Most are only about to leave.
            if waits == 0 && fate.count_outside() >= at_work {
                break;
            }
            waits = waits.saturating_sub(1);
            time::sleep_ms(PAUSE_MS);
        }
        pr_warn!("a worker is left behind: the storage does not let it go\n");
        for thread in threads {
            thread.leave();
        }
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
        *self.start.work.lock() = None;
        self.start.gate.open_all();
        self.join();
    }
}
