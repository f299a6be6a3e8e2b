// SPDX-License-Identifier: GPL-2.0

//! Filesystems are held still from before the snapshot to the end.
//!
//! The restored kernel goes on with what it remembers of them. Freezing tasks
//! does not stop all who write: threads of btrfs and the flusher threads run on,
//! and what they write after the snapshot is on the medium but not in the image.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::errno;
use crate::patience;
use crate::sys::filesystems::{self, Freezing, Frozen, Name, Progress};
use crate::sys::trycell::TryCell;
use kernel::prelude::*;

/// How long a freeze may take without anything being written, or another
/// filesystem being frozen: longer than a disk that has to spin up.
const PATIENCE_MS: u32 = 20_000;
/// How long it may take at all. Tasks are frozen.
const MOST_MS: u32 = 300_000;
/// How often it is looked at.
const LOOK_MS: u32 = 250;
/// How long to wait for a filesystem that does not thaw.
const THAW_MS: u32 = 10_000;
/// How long when a disk was given up already, which may be that of the filesystem: the
/// machine goes on within 5 s of `io_timeout`, all in all.
const STALLED_THAW_MS: u32 = 2000;

/// The filesystem that a freeze or a thaw was given up for, for the next save.
static STUCK: TryCell<Option<Name>> = TryCell::new(None);

/// Freezes all filesystems on block devices, which writes all that is dirty.
/// User tasks are frozen, kernel threads run; may sleep and allocate. After it
/// this thread must not allocate what may wait for a filesystem.
///
/// # Errors
///
/// `ETIMEDOUT` when a filesystem does not come to rest, `EIO` when one cannot be
/// frozen, `EBUSY` while an earlier attempt still waits, `ECANCELED`, `ENOMEM`;
/// the reason is recorded.
pub(super) fn freeze(engine: &Engine) -> Result<Frozen> {
    let freezing = Freezing::start().map_err(|e| match e {
        e if e == EBUSY => busy(engine),
        e => engine.fail(e, format_args!("filesystems could not be frozen")),
    })?;
    wait(engine, &freezing)?;
    if let Some(Name { kind, name }) = freezing.left_out() {
        return Err(engine.fail(
            EIO,
            format_args!("the {kind} filesystem on {name} could not be frozen, so it would change behind the image: look for its errors in the kernel log"),
        ));
    }
    Ok(freezing.finish())
}

/// Makes sure that no earlier freeze or thaw is under way: it would meddle with
/// this save. May sleep.
///
/// # Errors
///
/// `EBUSY`, with the reason recorded.
pub(super) fn check(engine: &Engine) -> Result {
    match filesystems::is_busy() {
        true => Err(busy(engine)),
        false => Ok(()),
    }
}

fn busy(engine: &Engine) -> Error {
    match STUCK.try_borrow().and_then(|stuck| *stuck) {
        Some(Name { kind, name }) => engine.fail(
            EBUSY,
            format_args!("filesystems could not be frozen: the last attempt still waits for the {kind} filesystem on {name}"),
        ),
        None => engine.fail(
            EBUSY,
            format_args!("filesystems could not be frozen: the last attempt still waits for one"),
        ),
    }
}

/// Remembers what the next save will have to wait for, or that it is not known.
fn remember(stuck: Option<Name>) {
    if let Some(mut cell) = STUCK.try_borrow() {
        *cell = stuck;
    }
}

/// Thaws what is frozen, and says so if a filesystem remains frozen. Tasks are
/// thawed; may sleep.
pub(super) fn thaw(engine: &Engine, held: Frozen) {
    let most_ms = match engine.progress.has_stalled() {
        true => STALLED_THAW_MS,
        false => THAW_MS,
    };
    let left = held.thaw(most_ms);
    remember(left);
    if let Some(Name { kind, name }) = left {
        engine.report.warn(format_args!(
            "the {kind} filesystem on {name} is still frozen, as its device does not answer: whoever writes there waits, and goes on when it does"
        ));
    }
}

fn wait(engine: &Engine, freezing: &Freezing) -> Result {
    let most_ms = patience::at_most_ms(PATIENCE_MS);
    let mut last = Progress::default();
    let mut least = u64::MAX;
    let (mut idle_ms, mut all_ms) = (0u32, 0u32);
    while !freezing.wait(LOOK_MS) {
        engine
            .go_on()
            .inspect_err(|_| remember(freezing.waits_for()))?;
        let now = freezing.progress();
        all_ms = all_ms.saturating_add(LOOK_MS);
        idle_ms = idle_ms.saturating_add(LOOK_MS);
        if now.frozen > last.frozen || now.written != last.written || now.dirty < least {
            idle_ms = 0;
        }
        (last, least) = (now, least.min(now.dirty));
        if idle_ms >= most_ms {
            return Err(stuck(engine, freezing, Some(idle_ms)));
        }
        if all_ms >= MOST_MS {
            return Err(stuck(engine, freezing, None));
        }
    }
    Ok(())
}

/// Says which filesystem does not come to rest: nothing was written for so many
/// milliseconds, or all took too long.
fn stuck(engine: &Engine, freezing: &Freezing, idle_ms: Option<u32>) -> Error {
    let error = errno::error(errno::ETIMEDOUT);
    let seconds = idle_ms.unwrap_or(0) / 1000;
    let awaited = freezing.waits_for();
    remember(awaited);
    if idle_ms.is_some() {
        // It may be the disk of the image as well.
        engine.progress.stall();
    }
    match awaited {
        Some(Name { kind, name }) if idle_ms.is_none() => engine.fail(
            error,
            format_args!("the {kind} filesystem on {name} does not come to rest: its device is too slow for what is still to be written; run sync, then hibernate again"),
        ),
        Some(Name { kind, name }) => engine.fail(
            error,
            format_args!("the {kind} filesystem on {name} does not come to rest: nothing was written for {seconds} s; its device does not answer, or a task was frozen while it wrote there"),
        ),
        None => engine.fail(
            error,
            format_args!("filesystems do not come to rest: one is being mounted, or does not answer"),
        ),
    }
}
