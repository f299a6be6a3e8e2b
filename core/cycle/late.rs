// SPDX-License-Identifier: GPL-2.0

//! Telling a storage that there is no image, when it did not listen in time.
//!
//! A device that stood still may go on in an hour, and do what it was asked to
//! before: then the mark of an image that was given up is on it, while the
//! system runs. So somebody has to stay and take it off, and no other save may
//! begin before that.

#![forbid(unsafe_code)]

use super::plan::Plan;
use super::save::Save;
use crate::engine::{self, Engine};
use crate::sys::thread::Thread;
use crate::sys::time;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;

/// Pause between two attempts.
const PAUSE_MS: u32 = 1000;

/// Somebody is trying.
static TRYING: AtomicBool = AtomicBool::new(false);

/// Whether a save may begin. May sleep.
///
/// # Errors
///
/// `EBUSY` with the reason recorded while the mark of an earlier image is still
/// to be taken off.
pub(super) fn check(engine: &Engine) -> Result {
    match TRYING.load(Ordering::Acquire) {
        false => Ok(()),
        true => Err(engine.fail(
            EBUSY,
            format_args!("the mark of the last image is still on its storage, which stands still: it is taken off when the storage goes on"),
        )),
    }
}

/// Tells the storage of `save`, which was made by `plan`, that there is no image;
/// again in the background, if the storage may have the mark of one and does not
/// listen. Nothing is frozen. May sleep.
pub(super) fn unmark(engine: &Engine, mut save: Save, plan: Option<&Plan>) {
    let Err(e) = save.unmark(engine) else {
        return;
    };
    if !save.is_marked() {
        engine.report.warn(format_args!(
            "the storage could not be told that the save failed; there is no image on it"
        ));
        return;
    }
    pr_crit!("the mark of the image could not be taken off the storage: do not resume from it\n");
    engine.fail(
        e,
        format_args!("the mark of the image could not be taken off the storage: do not resume from it"),
    );
    // The thread runs code of the writer.
    if let Some(plan) = plan {
        plan.stay_loaded();
    }
    TRYING.store(true, Ordering::Release);
    let trying = Thread::spawn(kernel::c_str!("dormouse_unmark"), move || {
        while engine::get().and_then(|e| save.unmark(e)).is_err() {
            time::sleep_ms(PAUSE_MS);
        }
        drop(save);
        TRYING.store(false, Ordering::Release);
    });
    match trying {
        Ok(thread) => thread.leave(),
        Err(_) => TRYING.store(false, Ordering::Release),
    }
}
