// SPDX-License-Identifier: GPL-2.0

//! Attributes that do something, and those that tell how things are.

#![forbid(unsafe_code)]

use super::invalid;
use crate::cycle;
use crate::engine::{AfterSave, Engine, ResumeRequest};
use crate::sys::hibernate;
use crate::sys::sysfs::ShowBuf;
use crate::target::{self, Invalid, Target, TARGET_MAX};
use crate::text::Text;
use core::fmt::{self, Write};
use kernel::prelude::*;

fn print(out: &mut ShowBuf<'_>, args: fmt::Arguments<'_>) -> Result {
    out.write_fmt(args).map_err(|_| E2BIG)
}

fn one(name: &str, value: &str) -> Result {
    match target::parse_bool(value) {
        Ok(true) => Ok(()),
        _ => Err(invalid(name, Invalid::One)),
    }
}

/// Hibernates through Dormouse, enabled or not.
pub(super) fn store_start(engine: &Engine, value: &str) -> Result {
    one("start", value)?;
    engine.configure(|_| ())?;
    engine.requests(|r| r.start = true);
    let result = hibernate::trigger_hibernate();
    engine.requests(|r| r.start = false);
    result
}

/// `1`: resume from where `resume=` or `target` says; `retry`: the same, also
/// an image that was tried before; anything else: a target to look at.
pub(super) fn store_resume(engine: &Engine, value: &str) -> Result {
    let mut request = ResumeRequest {
        target: Text::<TARGET_MAX>::new(),
        retry: false,
    };
    match value {
        "1" => {}
        "retry" => request.retry = true,
        _ => {
            let retried = value.strip_prefix("retry ");
            let target = retried.unwrap_or(value);
            match Target::parse(target) {
                Ok(Target::Auto) | Err(_) => return Err(invalid("resume", Invalid::Resume)),
                Ok(_) => {}
            }
            request.retry = retried.is_some();
            request.target = Text::format(format_args!("{target}"));
        }
    }
    engine.configure(|_| ())?;
    engine.requests(|r| {
        if !request.target.is_empty() {
            r.named = request.target;
        }
        r.resume = Some(request);
    });
    let result = hibernate::trigger_resume();
    engine.requests(|r| r.resume = None);
    result
}

/// Stops the cycle that is under way.
pub(super) fn store_abort(engine: &Engine, value: &str) -> Result {
    one("abort", value)?;
    engine.abort().inspect_err(|&e| {
        if e == EINVAL {
            pr_err!("abort: there is nothing that could be stopped\n");
        }
    })
}

/// How the save under way is to end.
pub(super) fn show_after_save(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let chosen = engine.requests(|r| r.after_save);
    for (number, one) in AfterSave::ALL.into_iter().enumerate() {
        let space = if number == 0 { "" } else { " " };
        match one == chosen {
            true => print(out, format_args!("{space}[{}]", one.as_str()))?,
            false => print(out, format_args!("{space}{}", one.as_str()))?,
        }
    }
    print(out, format_args!("\n"))
}

pub(super) fn store_after_save(engine: &Engine, value: &str) -> Result {
    let mut all = AfterSave::ALL.into_iter();
    let after = all
        .find(|one| one.as_str() == value)
        .ok_or_else(|| invalid("after_save", Invalid::AfterSave))?;
    engine.set_after_save(after)
}

pub(super) fn show_state(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, format_args!("{}\n", engine.progress.step()))
}

pub(super) fn show_progress(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    let (done, total) = engine.progress.pages();
    print(
        out,
        format_args!(
            "{} {done} {total} {} {}\n",
            engine.progress.step(),
            engine.progress.stored(),
            engine.progress.elapsed_ns() / 1_000_000
        ),
    )
}

pub(super) fn show_last_result(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    print(out, format_args!("{}\n", engine.report.last()))
}

pub(super) fn show_image(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    engine.configure(|_| ())?;
    match cycle::with_place(engine, |place| cycle::inspect(place, out)) {
        // There is no place to look at.
        Err(e) if e == ENODEV => print(out, format_args!("none\n")),
        result => result,
    }
}

/// `erase` takes the image off the target and gives the target back.
pub(super) fn store_image(engine: &Engine, value: &str) -> Result {
    if value != "erase" {
        return Err(invalid("image", Invalid::Image));
    }
    engine.configure(|_| ())?;
    cycle::with_place(engine, cycle::erase)
}

pub(super) fn show_stats(engine: &Engine, out: &mut ShowBuf<'_>) -> Result {
    engine.stats.write(out).map_err(|_| E2BIG)
}
