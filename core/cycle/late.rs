// SPDX-License-Identifier: GPL-2.0

//! Telling a storage that there is no image, when it did not listen in time.
//!
//! A device that stood still may go on in an hour, and do what it was asked to
//! before: then the mark of an image that was given up is on it, while the
//! system runs. So somebody has to stay and take it off, and no other save may
//! begin before that.

#![forbid(unsafe_code)]

use super::marked::Marked;
use super::plan::Plan;
use crate::engine::{self, Engine};
use crate::errno;
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

/// Tries on in the background to take the mark of an image off, which was made by
/// `plan`. Nothing is frozen. May sleep.
pub(super) fn go_on(mut marked: Marked, plan: Option<&Plan>) {
    // The thread runs code of the writer.
    if let Some(plan) = plan {
        plan.stay_loaded();
    }
    TRYING.store(true, Ordering::Release);
    let trying = Thread::spawn(kernel::c_str!("dormouse_unmark"), move || {
        loop {
            match engine::get().and_then(|e| marked.attempt(e)) {
                Ok(_) => {
                    pr_notice!("the mark of the image was taken off the storage after all\n");
                    break;
                }
                // The mark is that of another image by now.
                Err(e) if e == errno::error(errno::ESTALE) => break,
                Err(_) => time::sleep_ms(PAUSE_MS),
            }
        }
        drop(marked);
        TRYING.store(false, Ordering::Release);
    });
    match trying {
        Ok(thread) => thread.leave(),
        Err(_) => TRYING.store(false, Ordering::Release),
    }
}
