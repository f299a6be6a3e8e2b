// SPDX-License-Identifier: GPL-2.0

//! What a cycle is doing and how far it is: numbers that workers count up and
//! everybody may read at any time.

#![forbid(unsafe_code)]

use crate::observer::{Event, Observation, Observer, Observers};
use crate::sys::time;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;

/// The step a cycle is in. The numbers are part of the image format (the
/// superblock's `last_step`) and never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Step {
    /// No cycle is under way.
    Idle = 0,
    /// Settings are being checked; nothing is frozen yet.
    Begin = 1,
    /// Memory and storage are being reserved; user tasks are frozen.
    Prepare = 2,
    /// Devices are being stopped and the pages copied.
    Snapshot = 3,
    /// The image is being written.
    Write = 4,
    /// The image is complete; the machine is going down.
    PowerDown = 5,
    /// A place is being looked at for an image.
    Check = 6,
    /// The image is being loaded.
    Load = 7,
    /// The loaded image is about to take over.
    Restore = 8,
    /// The restored kernel is tidying up.
    Resumed = 9,
}

impl Step {
    /// The word for it in sysfs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Idle => "idle",
            Step::Begin => "begin",
            Step::Prepare => "prepare",
            Step::Snapshot => "snapshot",
            Step::Write => "write",
            Step::PowerDown => "power-down",
            Step::Check => "check",
            Step::Load => "load",
            Step::Restore => "restore",
            Step::Resumed => "resumed",
        }
    }

    /// The step with this number, `Idle` for one that is not known.
    pub const fn from_number(n: u32) -> Step {
        match n {
            1 => Step::Begin,
            2 => Step::Prepare,
            3 => Step::Snapshot,
            4 => Step::Write,
            5 => Step::PowerDown,
            6 => Step::Check,
            7 => Step::Load,
            8 => Step::Restore,
            9 => Step::Resumed,
            _ => Step::Idle,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counters of the cycle under way, or of the last one.
pub struct Progress {
    step: AtomicU32,
    abort: AtomicBool,
    /// The storage of the cycle has been given up.
    stalled: AtomicBool,
    /// Pages to save or load, and how many are done.
    total: AtomicU64,
    done: AtomicU64,
    started_ns: AtomicU64,
    /// Zero while time is counted.
    took_ns: AtomicU64,
    tenths: AtomicU64,
    /// Bytes that went to or came from the storage.
    stored: AtomicU64,
    observers: Observers,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Nothing has happened yet.
    pub const fn new() -> Self {
        Progress {
            step: AtomicU32::new(0),
            abort: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            started_ns: AtomicU64::new(0),
            took_ns: AtomicU64::new(0),
            tenths: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            observers: Observers::new(),
        }
    }

    /// Tells `observer` from now on what happens. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is an observer already, `ENOMEM`.
    pub fn observe(&'static self, observer: Arc<dyn Observer>) -> Result<Observation> {
        self.observers.observe(observer)
    }

    /// Tells the observer of `event`. Process context, but not the atomic
    /// section.
    pub fn tell(&self, event: Event<'_>) {
        self.observers.tell(event);
    }

    /// Enters `step`. Process context, but not the atomic section.
    pub fn enter(&self, step: Step) {
        self.step.store(step as u32, Ordering::Release);
        self.tell(Event::Step(step));
    }

    /// The step under way. Any context.
    pub fn step(&self) -> Step {
        Step::from_number(self.step.load(Ordering::Acquire))
    }

    /// Asks the cycle to stop. Any context.
    pub fn request_abort(&self) {
        self.abort.store(true, Ordering::Release);
    }

    /// Asks the cycle to stop, if it can be. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is nothing that could be stopped.
    pub fn abort(&self) -> Result {
        self.can_abort()?;
        pr_info!("{}: asked to stop\n", self.step());
        self.request_abort();
        Ok(())
    }

    /// Whether there is something that can be stopped. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is not.
    pub fn can_abort(&self) -> Result {
        match self.step() {
            Step::Idle | Step::PowerDown | Step::Restore | Step::Resumed => Err(EINVAL),
            _ => Ok(()),
        }
    }

    /// Whether somebody asked the cycle to stop. Any context.
    pub fn abort_requested(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// Forgets a request to stop: a new cycle begins. Any context.
    pub fn clear_abort(&self) {
        self.abort.store(false, Ordering::Release);
        self.stalled.store(false, Ordering::Release);
    }

    /// Notes that the storage of the cycle stands still and is given up, with
    /// what may still be under way. Any context.
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::Release);
    }

    /// Whether the storage of the cycle was given up. Any context.
    pub fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Whether the cycle is to stop, for one reason or another. Any context.
    pub fn is_to_stop(&self) -> bool {
        self.abort_requested() || self.has_stalled()
    }

    /// Starts counting towards `total` pages. Process context, but not the
    /// atomic section.
    pub fn start(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.stored.store(0, Ordering::Relaxed);
        self.tenths.store(0, Ordering::Relaxed);
        self.took_ns.store(0, Ordering::Relaxed);
        self.started_ns
            .store(time::monotonic_ns(), Ordering::Relaxed);
        self.observers.tell_now();
    }

    /// Counts `pages` as done and prints a line for every tenth that is full.
    /// Process context.
    pub fn advance(&self, pages: u64) {
        let done = self
            .done
            .fetch_add(pages, Ordering::Relaxed)
            .saturating_add(pages);
        let total = self.total.load(Ordering::Relaxed);
        let tenth = done.saturating_mul(10).checked_div(total).unwrap_or(0);
        if self.tenths.fetch_max(tenth, Ordering::Relaxed) < tenth {
            pr_info!("{}: {}%\n", self.step(), tenth.saturating_mul(10).min(100));
        }
        self.observers.tell_progress();
    }

    /// Counts `bytes` as transferred. Any context.
    pub fn add_stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes transferred so far. Any context.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Pages done and pages in all. Any context.
    pub fn pages(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    /// Nanoseconds from [`Progress::start`] to now, or to the end of the
    /// counting. Any context where time is kept.
    pub fn elapsed_ns(&self) -> u64 {
        match self.took_ns.load(Ordering::Relaxed) {
            0 if self.started_ns.load(Ordering::Relaxed) != 0 => self.since_start(),
            took => took,
        }
    }

    /// Stops counting time. Process context, but not the atomic section.
    pub fn stop(&self) {
        self.took_ns.store(self.since_start(), Ordering::Relaxed);
        self.observers.tell_now();
    }

    fn since_start(&self) -> u64 {
        time::monotonic_ns().saturating_sub(self.started_ns.load(Ordering::Relaxed))
    }
}
