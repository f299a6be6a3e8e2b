// SPDX-License-Identifier: GPL-2.0

//! The mark of an image that could not be taken off while tasks were frozen.
//!
//! The machine goes on, and with every write to its disks the image becomes more
//! dangerous. What the disk or the network of the image needs to work may be
//! frozen (the hub of a USB disk, whoever holds a link or a lease), so there is a
//! second attempt when all is thawed.

#![forbid(unsafe_code)]

use super::late;
use super::plan::Plan;
use super::save::Save;
use crate::engine::Engine;
use crate::errno;
use crate::image::superblock::Figures;
use crate::image::ImageId;
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
/// Pause between two attempts.
const PAUSE_MS: u32 = 1000;
/// How long filesystems are held for it, and with them whoever writes: a machine
/// whose storage stands still goes on within 5 s of `io_timeout`, all in all.
const HELD_NS: u64 = 2_000_000_000;

/// What to do about an image whose mark stays.
const STALE: &str = "the image is older than the system by now and must not be resumed: that is tried on, and no save begins before it has worked. Or write \"erase\" to /sys/power/hibernate/image; until then boot with noresume, and there write its place to target first";

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

impl Marked {
    /// Whether the mark of an image may be on the storage.
    fn is_marked(&self) -> bool {
        match self {
            Marked::Undone(save) => save.is_marked(),
            Marked::Restored(_) => true,
        }
    }

    /// Tries once to take the mark off; returns what the restored kernel is told.
    /// May sleep.
    pub(super) fn attempt(&mut self, engine: &Engine) -> Result<Option<Figures>> {
        match self {
            Marked::Undone(save) => save.unmark(engine).map(|()| None),
            Marked::Restored(save) => save.consume(engine).map(Some),
        }
    }

    /// Tries until it works, an error `is_final`, or `most_ns` are over.
    fn patiently(
        &mut self,
        engine: &Engine,
        most_ns: u64,
        is_final: fn(Error) -> bool,
    ) -> Result<Option<Figures>> {
        let begin = time::monotonic_ns();
        loop {
            let result = engine.report.aside(|| self.attempt(engine));
            let waited = time::monotonic_ns().saturating_sub(begin);
            match result {
                Err(e) if self.is_marked() && !is_final(e) && waited < most_ns => {
                    time::sleep_ms(PAUSE_MS);
                }
                result => return result,
            }
        }
    }

    /// Tries for a moment to take the mark of a complete image off, while
    /// filesystems are still held: a power cut after they were written to would
    /// leave an image that the next boot resumes by itself. Returns what is left
    /// to do. Tasks run; may sleep.
    pub(super) fn before_thaw(mut self, engine: &Engine) -> Option<Marked> {
        // The image of a restored kernel is refused without a retry by hand.
        if matches!(self, Marked::Restored(_)) || !self.is_marked() {
            return Some(self);
        }
        // No single request is waited for as long as the settings allow.
        engine.progress.stall();
        match self.patiently(engine, HELD_NS, is_foreign) {
            Ok(_) => {
                pr_notice!("the mark of the image was taken off the storage after all\n");
                None
            }
            Err(_) => Some(self),
        }
    }

    /// Takes the mark of the image off after all: what disks and networks need
    /// to work runs again. Waits for them for some seconds, and goes on in the
    /// background for a storage that stands still. Nothing is frozen; may sleep.
    pub(super) fn take_off(mut self, engine: &Engine, plan: Option<&Plan>) {
        let e = match self.patiently(engine, PATIENCE_NS, is_final) {
            Ok(figures) => {
                if let Some(figures) = figures {
                    back(engine, &figures);
                }
                if self.is_marked() {
                    pr_notice!("the mark of the image was taken off the storage after all\n");
                }
                return;
            }
            Err(e) => e,
        };
        if !self.is_marked() {
            engine.report.warn(format_args!(
                "the storage could not be told that the save failed; there is no image on it"
            ));
            return;
        }
        if is_foreign(e) {
            return self.say_foreign(engine);
        }
        let what = match self {
            Marked::Undone(_) => "the save was undone, but",
            Marked::Restored(_) => "the system is back, but",
        };
        engine.report.fail_above_all(
            e,
            format_args!(
                "{what} the mark of the image could not be taken off the storage: {STALE}"
            ),
        );
        late::go_on(self, plan);
    }

    /// Says that the place of the image belongs to something else. May sleep.
    pub(super) fn say_foreign(&self, engine: &Engine) {
        match self {
            Marked::Undone(_) => engine.report.warn(format_args!(
                "the place of the image belongs to something else by now: there is no image of this system there, and nothing to do about it"
            )),
            Marked::Restored(_) => engine.report.succeed(
                Step::Resumed,
                format_args!(
                    "the system is back; the place of its image belongs to something else by now, and there is nothing to do about that"
                ),
            ),
        }
    }

    fn save(&self) -> &Save {
        match self {
            Marked::Undone(save) | Marked::Restored(save) => save,
        }
    }

    /// Which image it is.
    pub(super) fn image_id(&self) -> ImageId {
        self.save().image_id()
    }

    /// Whether the storage was removed, so that this cannot work any more. Any
    /// context.
    pub(super) fn is_gone(&self) -> bool {
        self.save().space().is_gone()
    }
}

/// Whether another image is there by now, and no mark of ours.
pub(super) fn is_foreign(e: Error) -> bool {
    e == errno::error(errno::ESTALE)
}

/// Whether waiting for some seconds is of no use: that, or the storage stands
/// still.
fn is_final(e: Error) -> bool {
    is_foreign(e) || e == errno::error(errno::ETIMEDOUT)
}
