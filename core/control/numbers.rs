// SPDX-License-Identifier: GPL-2.0

//! Attributes that are numbers.

#![forbid(unsafe_code)]

use super::invalid;
use crate::engine::{Engine, MOST_WORKERS};
use crate::freezer::MOST_KEPT;
use crate::patience;
use crate::sys::sysfs::ShowBuf;
use crate::target::{self, Invalid};
use core::fmt::{self, Write};
use kernel::prelude::*;

fn print(out: &mut ShowBuf<'_>, value: impl fmt::Display) -> Result {
    writeln!(out, "{value}").map_err(|_| E2BIG)
}

pub(super) fn show_enabled(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, u8::from(engine.settings(|s| s.enabled)))
}

pub(super) fn store_enabled(engine: &Engine, value: &str) -> Result {
    let enabled = target::parse_bool(value).map_err(|why| invalid("enabled", why))?;
    engine.configure(|s| s.enabled = enabled)
}

pub(super) fn show_allow_abort(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, u8::from(engine.settings(|s| s.allow_abort)))
}

pub(super) fn store_allow_abort(engine: &Engine, value: &str) -> Result {
    let allowed = target::parse_bool(value).map_err(|why| invalid("allow_abort", why))?;
    engine.configure(|s| s.allow_abort = allowed)
}

pub(super) fn show_freeze(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, u8::from(engine.settings(|s| s.freeze_filesystems)))
}

pub(super) fn store_freeze(engine: &Engine, value: &str) -> Result {
    let freeze = target::parse_bool(value).map_err(|why| invalid("freeze_filesystems", why))?;
    engine.configure(|s| s.freeze_filesystems = freeze)
}

pub(super) fn show_threads(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, engine.settings(|s| s.threads))
}

pub(super) fn store_threads(engine: &Engine, value: &str) -> Result {
    let threads = target::parse_unsigned(value).map_err(|why| invalid("threads", why))?;
    let threads = usize::try_from(threads).map_err(|_| EINVAL)?;
    if threads > MOST_WORKERS {
        pr_err!("threads: at most {}, or 0 for one per CPU\n", MOST_WORKERS);
        return Err(EINVAL);
    }
    engine.configure(|s| s.threads = threads)
}

pub(super) fn show_limit(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, engine.settings(|s| s.image_size_limit))
}

pub(super) fn store_limit(engine: &Engine, value: &str) -> Result {
    let limit = target::parse_unsigned(value).map_err(|why| invalid("image_size_limit", why))?;
    engine.configure(|s| s.image_size_limit = limit)
}

pub(super) fn show_io_timeout(_: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, patience::limit_s())
}

pub(super) fn store_io_timeout(engine: &Engine, value: &str) -> Result {
    let seconds = target::parse_unsigned(value).map_err(|why| invalid("io_timeout", why))?;
    let Some(seconds) = patience::seconds(seconds) else {
        pr_err!("io_timeout: {}\n", patience::RANGE);
        return Err(EINVAL);
    };
    engine.configure(|_| patience::set_limit(seconds))
}

pub(super) fn show_kept(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let kept = engine.settings(|s| s.kept);
    let mut first = true;
    for pid in kept.iter().filter(|&&pid| pid != 0) {
        let space = if first { "" } else { " " };
        first = false;
        write!(out, "{space}{pid}").map_err(|_| E2BIG)?;
    }
    out.write_str("\n").map_err(|_| E2BIG)
}

/// Takes process ids separated by spaces; an empty value clears the list.
pub(super) fn store_kept(engine: &Engine, value: &str) -> Result {
    let mut kept = [0i32; MOST_KEPT];
    let mut slots = kept.iter_mut();
    for word in value.split_ascii_whitespace() {
        let pid: i32 = word
            .parse()
            .map_err(|_| invalid("keep_running", Invalid::Pids))?;
        let Some(slot) = slots.next() else {
            pr_err!("keep_running: at most {} tasks\n", MOST_KEPT);
            return Err(EINVAL);
        };
        // Everything descends from init.
        if pid <= 1 {
            return Err(invalid("keep_running", Invalid::Pids));
        }
        *slot = pid;
    }
    engine.configure(|s| s.kept = kept)
}
