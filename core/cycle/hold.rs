// SPDX-License-Identifier: GPL-2.0

//! Filesystems are held still from before the snapshot to the end.
//!
//! The restored kernel goes on with what it remembers of them. Freezing tasks
//! does not stop all who write: threads of btrfs and the flusher threads run on,
//! and what they write after the snapshot is on the medium but not in the image.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::errno;
use crate::sys::filesystems::{self, Freezing, Frozen, Name};
use kernel::prelude::*;

/// How long a freeze may take without any dirty page being written.
const PATIENCE_MS: u32 = 10_000;
/// How often it is looked at.
const LOOK_MS: u32 = 250;

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
    let freezing = Freezing::start().map_err(|e| {
        engine.fail(
            e,
            format_args!("filesystems could not be frozen: the last attempt still waits for one"),
        )
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

fn wait(engine: &Engine, freezing: &Freezing) -> Result {
    let (mut least, mut idle_ms) = (u64::MAX, 0u32);
    while !freezing.wait(LOOK_MS) {
        engine.go_on()?;
        let dirty = filesystems::dirty_pages();
        if dirty < least {
            (least, idle_ms) = (dirty, 0);
            continue;
        }
        idle_ms = idle_ms.saturating_add(LOOK_MS);
        if idle_ms >= PATIENCE_MS {
            return Err(stuck(engine, freezing));
        }
    }
    Ok(())
}

fn stuck(engine: &Engine, freezing: &Freezing) -> Error {
    let error = errno::error(errno::ETIMEDOUT);
    let seconds = PATIENCE_MS / 1000;
    match freezing.waits_for() {
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
