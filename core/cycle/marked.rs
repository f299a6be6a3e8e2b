// SPDX-License-Identifier: GPL-2.0

//! The mark of an image that could not be taken off while tasks were frozen.
//!
//! The machine goes on, and with every write to its disks the image becomes more
//! dangerous. What the disk or the network of the image needs to work may be
//! frozen (the hub of a USB disk, whoever holds a link or a lease), so there is a
//! second attempt when all is thawed.

#![forbid(unsafe_code)]

use super::save::Save;
use crate::engine::Engine;
use crate::errno;
use crate::image::superblock::Figures;
use crate::progress::Step;
use crate::sys::time;
use kernel::prelude::*;

/// A save that is over, but for the mark of its image: that could not be taken
/// off with tasks frozen. The blocks stay reserved with it.
pub(super) enum Marked {
    /// The machine stayed up, or was woken again.
    Undone(Save),
    /// This is the restored kernel.
    Restored(Save),
}

/// How long a disk or a network may take to come back with its tasks.
const PATIENCE_NS: u64 = 15_000_000_000;

/// What to do about an image whose mark stays.
const STALE: &str = "the image is older than the system by now and must not be resumed: write \"erase\" to /sys/power/hibernate/image, and boot with noresume until that has worked";

/// Says that this is the restored kernel, and what the kernels that saved and
/// loaded it left for it. May sleep.
pub(super) fn back(engine: &Engine, figures: &Figures) {
    engine.stats.recall(figures);
    engine.report.succeed(
        Step::Resumed,
        format_args!(
            "the system is back: saved {} kB in {} ms, {} kB stored, loaded in {} ms",
            figures.image_pages.saturating_mul(4),
            figures.write_ns / 1_000_000,
            figures.stored_bytes / 1024,
            figures.load_ns / 1_000_000
        ),
    );
}

/// Says that there will be a second attempt. May sleep.
pub(super) fn later(engine: &Engine, e: Error) {
    let errno = e.to_errno();
    engine.report.warn(format_args!(
        "the mark of the image could not be taken off the storage ({errno}): that is tried again when all is thawed"
    ));
}

/// Runs `f` until it succeeds, or nothing more is to be expected of waiting.
fn patiently<R>(engine: &Engine, mut f: impl FnMut() -> Result<R>) -> Result<R> {
    let begin = time::monotonic_ns();
    loop {
        let result = engine.report.aside(&mut f);
        let waited = time::monotonic_ns().saturating_sub(begin);
        match result {
            // Somebody else's image is there by now, and no mark of ours.
            Err(e) if e == errno::error(errno::ESTALE) => return Err(e),
            Err(_) if waited < PATIENCE_NS => time::sleep_ms(1000),
            result => return result,
        }
    }
}

impl Marked {
    /// Takes the mark of the image off after all: what disks and networks need
    /// to work runs again. Waits for them for some seconds. Nothing is frozen;
    /// may sleep.
    pub(super) fn take_off(self, engine: &Engine) {
        let (result, what) = match self {
            Marked::Undone(mut save) => {
                let result = patiently(engine, || save.unmark(engine).map(|_| ()));
                (result, "the save was undone, but")
            }
            Marked::Restored(mut save) => {
                let result = patiently(engine, || save.consume(engine));
                let result = result.map(|figures| back(engine, &figures));
                (result, "the system is back, but")
            }
        };
        match result {
            Ok(()) => pr_notice!("the mark of the image was taken off the storage after all\n"),
            Err(e) => {
                engine.report.fail_above_all(
                    e,
                    format_args!(
                        "{what} the mark of the image could not be taken off the storage: {STALE}"
                    ),
                );
            }
        }
    }
}
