// SPDX-License-Identifier: GPL-2.0

//! Telling somebody what happens in a cycle, while it happens.
//!
//! There is at most one observer. It is told in the threads that do the work,
//! so it may neither wait nor fail: what it cannot pass on at once is lost.

#![forbid(unsafe_code)]

use crate::pace::Pace;
use crate::progress::Step;
use crate::report::Outcome;
use crate::sys::slot::{Filled, Slot};
use crate::sys::time;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How often pages are told of at most: five times a second.
const INTERVAL_NS: u64 = 200_000_000;

/// What happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A step has begun.
    Step(Step),
    /// Pages were written or loaded.
    Progress,
    /// There is a new result.
    Result(&'a Outcome),
    /// Something is not as it should be, and does not stop the cycle.
    Warning(Step, &'a str),
}

/// Whoever wants to know.
pub trait Observer: Send + Sync {
    /// Something happened.
    ///
    /// Called in process context, also while tasks are frozen, by several
    /// threads at once, and never in the atomic section. Must not wait for
    /// anything: neither for a lock that is held for long, nor for memory, nor
    /// for a process.
    fn notice(&self, event: Event<'_>);
}

/// Where the observer is to be found.
pub struct Observers {
    slot: Slot<Arc<dyn Observer>>,
    pace: Pace,
}

/// Keeps an observer. When it is dropped, the observer is not told anything
/// more, and nobody is inside of it. May sleep.
pub type Observation = Filled<Arc<dyn Observer>>;

impl Observers {
    /// Nobody, so far.
    pub const fn new() -> Self {
        Observers {
            slot: Slot::new(),
            pace: Pace::every(INTERVAL_NS),
        }
    }

    /// Tells `observer` everything from now on. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is one already, `ENOMEM`.
    pub fn observe(&'static self, observer: Arc<dyn Observer>) -> Result<Observation> {
        self.slot.fill(observer)
    }

    /// Tells of `event`, whatever it is. Process context, but not the atomic
    /// section.
    pub fn tell(&self, event: Event<'_>) {
        self.slot.with(|observer| observer.notice(event));
    }

    /// Tells that pages were written or loaded, unless that was told a moment
    /// ago. As [`Observers::tell`].
    pub fn tell_progress(&self) {
        if !self.slot.is_empty() && self.pace.is_due(time::monotonic_ns()) {
            self.tell(Event::Progress);
        }
    }

    /// Tells how far things are, at the beginning or at the end. As
    /// [`Observers::tell`].
    pub fn tell_now(&self) {
        if !self.slot.is_empty() {
            self.pace.restart(time::monotonic_ns());
            self.tell(Event::Progress);
        }
    }
}

impl Default for Observers {
    fn default() -> Self {
        Self::new()
    }
}
