// SPDX-License-Identifier: GPL-2.0

//! Watching whether the storage of a job still answers.

#![forbid(unsafe_code)]

use crate::engine;
use crate::patience::Patience;
use crate::storage::Space;
use crate::sys::ioq::IoQueue;
use kernel::prelude::*;

/// Watches the requests of one queue: when some are under way and none comes to
/// an end, the [`Patience`] does.
pub struct Watch<'a> {
    space: &'a dyn Space,
    queue: &'a IoQueue,
    /// Requests that were over when something came for the last time.
    over: u64,
    patience: Patience,
}

impl<'a> Watch<'a> {
    /// Watches `queue`, whose requests go to `space`. Any context.
    pub fn new(space: &'a dyn Space, queue: &'a IoQueue) -> Self {
        Watch {
            space,
            queue,
            over: queue.counts().1,
            patience: Patience::new(),
        }
    }

    /// Whether to go on waiting, asked several times in a second. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Patience::check`], with the reason recorded; then the queue is
    /// given up, and so is the storage of the cycle.
    pub fn check(&mut self) -> Result {
        let (under_way, over) = self.queue.counts();
        if under_way == 0 || over != self.over {
            self.over = over;
            self.patience.moved();
        }
        self.patience.check().map_err(|e| self.give_up(e))
    }

    fn give_up(&self, error: Error) -> Error {
        let who = self.space.waits_for();
        let who = match who.is_empty() {
            true => "the storage",
            false => who.as_str(),
        };
        let error = self.patience.blame(error, format_args!("{who}"));
        self.queue.give_up();
        if let Ok(engine) = engine::get() {
            engine.progress.stall();
        }
        error
    }
}
