// SPDX-License-Identifier: GPL-2.0

//! Telling a storage that there is no image, when it did not listen in time.
//!
//! A device that stood still may go on in an hour, and do what it was asked to
//! before: then the mark of an image that was given up is on it, while the
//! system runs. So somebody has to stay and take it off, and no other save may
//! begin before that.

#![forbid(unsafe_code)]

use super::marked::{self, Marked};
use super::plan::Plan;
use crate::engine::{self, Engine};
use crate::image::ImageId;
use crate::sys::thread::Thread;
use crate::sys::time;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;

/// Pause between two attempts.
const PAUSE_MS: u32 = 1000;

/// How long to wait for the last attempt when there is no need for another one.
const END_MS: u32 = 3000;

/// Somebody is trying, or there was no memory for it.
static TRYING: AtomicBool = AtomicBool::new(false);
/// There was no memory for it: only who erases the image makes an end.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Whether a save may begin. May sleep.
///
/// # Errors
///
/// `EBUSY` with the reason recorded while the mark of an earlier image is still
/// to be taken off.
pub(super) fn check(engine: &Engine) -> Result {
    if !TRYING.load(Ordering::Acquire) {
        return Ok(());
    }
    if LEFT.load(Ordering::Acquire) {
        return Err(engine.fail(
            EBUSY,
            format_args!("the mark of the last image is still on its storage, and nothing tries to take it off: write \"erase\" to /sys/power/hibernate/image"),
        ));
    }
    Err(engine.fail(
        EBUSY,
        format_args!("the mark of the last image is still on its storage, which stands still: it is taken off when the storage goes on"),
    ))
}

/// Tries on in the background to take the mark of an image off, which was made by
/// `plan`. Nothing is frozen. May sleep.
pub(super) fn go_on(mut marked: Marked, plan: Option<&Plan>) {
    // The thread runs code of the writer.
    if let Some(plan) = plan {
        plan.stay_loaded();
    }
    let id = marked.image_id();
    if let Ok(engine) = engine::get() {
        engine.requests(|r| r.unmark = Some(id));
    }
    TRYING.store(true, Ordering::Release);
    LEFT.store(false, Ordering::Release);
    let trying = Thread::spawn(kernel::c_str!("dormouse_unmark"), move || {
        if let Ok(engine) = engine::get() {
            keep_trying(engine, &mut marked, id);
        }
        drop(marked);
        TRYING.store(false, Ordering::Release);
    });
    match trying {
        Ok(thread) => thread.leave(),
        Err(e) => {
            LEFT.store(true, Ordering::Release);
            if let Ok(engine) = engine::get() {
                engine.report.fail_above_all(
                    e,
                    format_args!("the mark of the image is still on its storage, and there was no memory to try on to take it off: it must not be resumed; write \"erase\" to /sys/power/hibernate/image"),
                );
            }
        }
    }
}

fn keep_trying(engine: &Engine, marked: &mut Marked, id: ImageId) {
    while engine.requests(|r| r.unmark == Some(id)) {
        match engine.report.in_background(|| marked.attempt(engine)) {
            Ok(_) => {
                pr_notice!("the mark of the image was taken off the storage after all\n");
                return;
            }
            // The mark is that of another image by now.
            Err(e) if marked::is_foreign(e) => {
                marked.say_foreign(engine);
                return;
            }
            Err(_) if marked.is_gone() => {
                engine.report.warn(format_args!(
                    "the storage of the image was removed with the mark of the image on it: erase the image when it is back, before any boot that may resume"
                ));
                return;
            }
            Err(_) => time::sleep_ms(PAUSE_MS),
        }
    }
}

/// Somebody has erased the image `id`: there is nothing left to do for who tries to
/// take its mark off. Waits a moment for that. Nothing is frozen. May sleep.
pub(super) fn erased(id: &ImageId) {
    let Ok(engine) = engine::get() else {
        return;
    };
    let ours = engine.requests(|r| {
        let ours = r.unmark == Some(*id);
        r.unmark = r.unmark.filter(|_| !ours);
        ours
    });
    if !ours {
        return;
    }
    if LEFT.swap(false, Ordering::AcqRel) {
        TRYING.store(false, Ordering::Release);
        return;
    }
    let pause = 100;
    for _ in 0..END_MS / pause {
        if !TRYING.load(Ordering::Acquire) {
            return;
        }
        time::sleep_ms(pause);
    }
}
