// SPDX-License-Identifier: GPL-2.0

//! How long to wait for a storage.
//!
//! A device can stand still without a word: a disk that died, a server that is
//! gone, or a thread below it that is frozen like everything else. Nothing may
//! wait for it for ever while tasks are frozen. So every wait asks a
//! [`Patience`] now and then, which ends when nothing has come for as long as
//! the setting `io_timeout` says; sooner when somebody wants the cycle to stop,
//! or when the storage of the cycle has been given up already.

#![forbid(unsafe_code)]

use crate::engine;
use crate::errno;
use crate::progress::Step;
use crate::sys::time;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;

/// Seconds that nothing may come, unless the setting says otherwise.
pub const DEFAULT_S: u32 = 60;
/// Most seconds that the setting takes.
pub const MOST_S: u32 = 3600;
/// How long one wait may take before its patience is asked again.
pub const TICK_MS: u32 = 200;
/// How long nothing may come for a cycle that is to stop.
const HASTE_MS: u32 = 2000;
/// How long after its storage was given up, which is asked once more.
const STALLED_MS: u32 = 1000;

static LIMIT_MS: AtomicU32 = AtomicU32::new(DEFAULT_S * 1000);

/// Sets how long nothing may come, in seconds. Any context.
pub fn set_limit(seconds: u32) {
    LIMIT_MS.store(seconds.saturating_mul(1000), Ordering::Relaxed);
}

/// What the setting takes, for messages.
pub const RANGE: &str = "1 to 3600 seconds";

/// The number as a value of the setting, if it is one. Any context.
pub fn seconds(number: u64) -> Option<u32> {
    let seconds = u32::try_from(number).ok()?;
    (1..=MOST_S).contains(&seconds).then_some(seconds)
}

/// How long nothing may come, in seconds. Any context.
pub fn limit_s() -> u32 {
    LIMIT_MS.load(Ordering::Relaxed) / 1000
}

/// How long a save waits for what is otherwise given `ms` milliseconds: no longer
/// than the setting says. A boot that looks at an image waits for all of them, as
/// it must not overlook a disk that is slow to start. Any context.
pub fn at_most_ms(ms: u32) -> u32 {
    match loads() {
        true => ms,
        false => ms.min(LIMIT_MS.load(Ordering::Relaxed)),
    }
}

/// Notes that something which a save needs stands still: it will not come to a good
/// end, and tasks are frozen. A boot may do without. Any context.
pub fn stalled() {
    if let Ok(engine) = engine::get() {
        if engine.progress.step() != Step::Idle && !loads() {
            engine.progress.stall();
        }
    }
}

/// Whether an image is looked at or loaded.
fn loads() -> bool {
    let loading = |step| matches!(step, Step::Check | Step::Load | Step::Restore);
    engine::get().is_ok_and(|e| loading(e.progress.step()))
}

/// Whether the cycle under way is to stop.
fn in_haste() -> bool {
    engine::get().is_ok_and(|e| e.progress.step() != Step::Idle && e.progress.is_to_stop())
}

fn ms_since(ns: u64) -> u64 {
    time::monotonic_ns().saturating_sub(ns) / 1_000_000
}

/// The patience of one wait.
pub struct Patience {
    limit_ms: u32,
    /// When something came for the last time.
    moved_at: u64,
    /// When it was seen that the cycle is to stop.
    hasty_at: Option<u64>,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

impl Patience {
    /// As much as the setting says, from now on. Any context.
    pub fn new() -> Self {
        Self::of_ms(LIMIT_MS.load(Ordering::Relaxed))
    }

    /// So many milliseconds from now on. Any context.
    pub fn of_ms(limit_ms: u32) -> Self {
        Patience {
            limit_ms,
            moved_at: time::monotonic_ns(),
            hasty_at: None,
        }
    }

    /// Something came. Any context.
    pub fn moved(&mut self) {
        self.moved_at = time::monotonic_ns();
        self.hasty_at = None;
    }

    /// Whole seconds since something came. Any context.
    pub fn seconds(&self) -> u64 {
        ms_since(self.moved_at) / 1000
    }

    /// Whether to go on waiting. Process context.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when nothing came since the cycle was asked to stop,
    /// `ETIMEDOUT` when nothing came for too long; see [`Patience::blame`].
    pub fn check(&mut self) -> Result {
        if ms_since(self.moved_at) > u64::from(self.limit_ms) {
            return Err(errno::error(errno::ETIMEDOUT));
        }
        if !in_haste() {
            return Ok(());
        }
        let hasty_at = *self.hasty_at.get_or_insert_with(time::monotonic_ns);
        let (stalled, aborted) = engine::get().map_or((false, false), |e| {
            (e.progress.has_stalled(), e.progress.abort_requested())
        });
        let most_ms = if stalled { STALLED_MS } else { HASTE_MS };
        match ms_since(hasty_at) > u64::from(most_ms) {
            false => Ok(()),
            true if aborted => Err(errno::error(errno::ECANCELED)),
            true => Err(errno::error(errno::ETIMEDOUT)),
        }
    }

    /// Records why waiting for `who` came to an end with `error`, when that is of
    /// [`Patience::check`]; other errors are left to the caller. Returns `error`.
    /// May sleep.
    pub fn blame(&self, error: Error, who: fmt::Arguments<'_>) -> Error {
        let kept = kept();
        if error == errno::error(errno::ETIMEDOUT) {
            let seconds = self.seconds();
            // A cycle that is to stop waits less.
            let setting = match seconds >= u64::from(limit_s()) {
                true => " (io_timeout)",
                false => "",
            };
            return engine::fail(
                error,
                format_args!("{who} stands still: nothing that was asked of it was done within {seconds} s{setting}{kept}"),
            );
        }
        if error == errno::error(errno::ECANCELED) {
            return stopped(who);
        }
        error
    }
}

/// What a sentence says of the image while one is loaded.
fn kept() -> &'static str {
    match loads() {
        true => "; the image is kept",
        false => "",
    }
}

/// Records that the user stopped the cycle while it waited for `who`, and returns
/// `ECANCELED`. May sleep.
pub(crate) fn stopped(who: fmt::Arguments<'_>) -> Error {
    let kept = kept();
    engine::fail(
        errno::error(errno::ECANCELED),
        format_args!("stopped on request, without waiting for {who}, which stands still{kept}"),
    )
}
