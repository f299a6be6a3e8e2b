// SPDX-License-Identifier: GPL-2.0

//! One hibernate or one resume is a cycle; this is the only place that knows
//! the order of its steps.
//!
//! The kernel's hibernation code keeps the choreography of tasks, devices and
//! CPUs and calls a hook for everything that concerns the image. Saving:
//!
//! 1. `begin`: nothing is frozen; settings are resolved and pinned.
//! 2. `prepare`: user tasks are frozen; memory is freed and reserved, storage
//!    is reserved, the superblock says that a save is under way. In the end
//!    filesystems are frozen.
//! 3. `frozen`: kernel threads are frozen too; what is on the devices of
//!    filesystems is noted; the last chance to stop cheaply.
//! 4. `snapshot`: one CPU, interrupts off; the pages are copied.
//! 5. `write`: devices work again; the image is written and committed.
//! 6. `end`, after the machine did not go down, or in the restored kernel:
//!    filesystems are thawed.
//!
//! `discard` takes everything back: after a failure of any later step, after
//! the power-down came back, and in the restored kernel. Loading: `check`,
//! `read`, and `close` when the restore did not happen.

#![forbid(unsafe_code)]

mod bystanders;
mod hold;
mod late;
mod lookout;
mod marked;
mod mounts;
mod open;
mod passed;
mod plan;
mod recorded;
mod remains;
mod resume;
mod room;
mod save;
mod seal;

use crate::engine::{self, AfterSave, Engine};
use crate::errno;
use crate::image::superblock::{self, Superblock};
use crate::progress::Step;
use crate::registry;
use crate::storage::{Signature, Space};
use crate::sys::filesystems::Frozen;
use crate::sys::hibernate::{self, Hooks};
use crate::sys::trycell::{Restored, TryCell};
use bystanders::Listed;
use kernel::prelude::*;
use kernel::sync::Arc;
use lookout::Lookout;
use marked::Marked;
use plan::Plan;
use resume::Resume;
use save::Save;

pub use open::{erase, inspect, with_place};

/// What the steps of a cycle hand on to each other.
struct State {
    plan: Option<Plan>,
    /// While tasks are frozen.
    lookout: Option<Lookout>,
    save: Option<Save>,
    /// Filesystems that hold still until the end.
    held: Option<Frozen>,
    /// A save that is over but for the mark of its image.
    marked: Option<Marked>,
    resume: Option<Resume>,
}

static STATE: TryCell<State> = TryCell::new(State {
    plan: None,
    lookout: None,
    save: None,
    held: None,
    marked: None,
    resume: None,
});

/// The hooks, to register with the kernel's hibernation code.
pub struct Cycle;

/// An instance to register.
pub static CYCLE: Cycle = Cycle;

/// Writes `sb` to the medium with what `space` wants to find again in it. May
/// sleep.
fn put_superblock(space: &dyn Space, sb: &mut Superblock, signature: Signature) -> Result {
    let private = space.private();
    let [word0, word1] = private.words;
    sb.storage_word0 = word0;
    sb.storage_word1 = word1;
    sb.storage_private = private.bytes;
    let mut bytes = [0; superblock::BYTES];
    sb.encode(&mut bytes)?;
    space.write_superblock(&bytes, signature)
}

/// Reads the superblock and the signature beside it; `None` when there is no
/// superblock of ours. May sleep.
fn get_superblock(space: &dyn Space) -> Result<Option<(Superblock, Signature)>> {
    let mut bytes = [0; superblock::BYTES];
    let signature = space.read_superblock(&mut bytes)?;
    Ok(Superblock::decode(&bytes)?.map(|sb| (sb, signature)))
}

/// Takes the image of `sb`, or what is left of it, off `space`, for good: the
/// place and all bystanders get their own signature back. What tells of the
/// marks of bystanders stays until they are off. May sleep.
///
/// # Errors
///
/// I/O errors of the space. One that keeps a bystander from being unmarked is
/// in the log, and the superblock says *failed* until that is mended.
fn retire(space: &Arc<dyn Space>, sb: &mut Superblock) -> Result {
    use superblock::State;
    let bystanders = Listed::of(space, sb);
    if sb.state.is_image() && !bystanders.is_empty() {
        sb.set_failure(0, 0, "");
        sb.advance(State::Failed)?;
        put_superblock(&**space, sb, Signature::Own)?;
    }
    if bystanders.unmark().is_ok() {
        sb.advance(State::Empty)?;
    } else if sb.state.may_become(State::Failed) {
        sb.set_failure(0, 0, "");
        sb.advance(State::Failed)?;
    }
    put_superblock(&**space, sb, Signature::Own)
}

/// Ends what storages do in the background, before `step`. May sleep.
///
/// # Errors
///
/// `ENOMEM`; the reason is recorded, also where no cycle is under way.
fn settle(engine: &Engine, step: Step) -> Result {
    engine.report.beside(|| {
        let writers = registry::get()?.writers.all().inspect_err(|&e| {
            let before = engine.progress.step();
            engine.progress.enter(step);
            engine.fail(
                e,
                format_args!("there was no memory to end what writers do in the background"),
            );
            engine.progress.enter(before);
        })?;
        writers.iter().for_each(|writer| writer.settle());
        Ok(())
    })
}

/// Begins to look for tasks that do not freeze. May sleep.
fn look_out(engine: &Engine) -> Option<Lookout> {
    let lookout = Lookout::begin();
    lookout
        .inspect_err(|e| {
            engine.report.warn(format_args!(
                "a task that does not freeze could not be named ({})",
                e.to_errno()
            ))
        })
        .ok()
}

/// Says which tasks did not freeze, if the kernel gave up with `error` for that;
/// `end` tells what became of the image. Another reason that is told after this
/// does not count. May sleep.
fn say_unfrozen(engine: &Engine, error: Error, lookout: Option<&Lookout>, end: &str) {
    let seen = lookout.map(Lookout::seen).unwrap_or_default();
    if error == EBUSY && !seen.is_empty() {
        engine.fail(error, format_args!("{seen}{end}"));
    }
}

/// Says why a save ended with `error` for which no hook has a reason. May sleep.
fn say_why(engine: &Engine, error: Error, lookout: Option<&Lookout>) {
    say_unfrozen(engine, error, lookout, "");
    let step = engine.progress.step();
    // Between the two hooks the kernel does nothing but freeze its own threads.
    if error == EBUSY && step == Step::Prepare {
        engine.fail(
            error,
            format_args!("the kernel's own work does not freeze, or a wakeup event came: the kernel log lists what is not finished after \"Showing freezable workqueues\""),
        );
        return;
    }
    engine.fail(
        error,
        format_args!(
            "the kernel gave up in step {step}: a driver or task refused, or a wakeup event came"
        ),
    );
}

/// Says what there was in a cycle in which nothing was saved and nothing failed.
fn tested(engine: &Engine) {
    let step = engine.progress.step();
    match hibernate::pm_test() {
        Some(level) => engine.report.succeed(
            step,
            format_args!(
                "a test run with pm_test at {level}: nothing was saved, and all goes on as before"
            ),
        ),
        None => engine.report.succeed(
            step,
            format_args!("nothing was saved, and all goes on as before"),
        ),
    }
}

impl Hooks for Cycle {
    fn begin(&self) -> Result {
        let engine = engine::get()?;
        // Also for a save by swsusp, which has as little use for it.
        settle(engine, Step::Begin)?;
        let asked = engine.requests(|r| core::mem::take(&mut r.start));
        if !asked && !engine.settings(|s| s.enabled) {
            // A boot with the same setting would not look for an image of swsusp.
            if seal::wanted(engine).is_some() {
                engine.report.clear();
                return Err(engine.fail(
                    EPERM,
                    format_args!("encryptor is set and enabled is 0: swsusp would save in clear; set enabled to 1, or encryptor to none"),
                ));
            }
            return Err(ENODEV);
        }
        engine.progress.clear_abort();
        engine.report.clear();
        late::check(engine)?;
        // Before the kernel's own sync, which waits for the same device.
        hold::check(engine)?;
        engine.progress.enter(Step::Begin);
        let plan = Plan::new(engine).and_then(|plan| {
            let mut state = STATE.try_borrow().ok_or(EBUSY)?;
            state.plan = Some(plan);
            state.lookout = look_out(engine);
            Ok(())
        });
        plan.map_err(|e| {
            engine.fail(e, format_args!("the save could not be planned"));
            engine.progress.enter(Step::Idle);
            // `ENODEV` would hand this transition to swsusp behind the
            // user's back.
            if e == ENODEV {
                ENXIO
            } else {
                e
            }
        })
    }

    fn prepare(&self) -> Result {
        let engine = engine::get()?;
        engine.progress.enter(Step::Prepare);
        engine.go_on()?;
        // The kernel has asked before tasks were frozen. Secret memory that came
        // since would be in the image, in clear.
        if !hibernate::hibernation_available() {
            return Err(engine.fail(
                EPERM,
                format_args!("hibernation is not allowed any more: a process has made secret memory, or the kernel was locked down, while tasks were being frozen"),
            ));
        }
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        if let Some(lookout) = &state.lookout {
            lookout.user_is_frozen();
        }
        let plan = state.plan.as_ref().ok_or(EINVAL)?;
        let freeze = plan.freeze_filesystems;
        let save = Save::prepare(engine, plan)
            .map_err(|e| engine.fail(e, format_args!("the save could not be prepared")))?;
        if !freeze {
            engine.report.warn(format_args!(
                "filesystems are not frozen: the setting freeze_filesystems is 0"
            ));
            state.save = Some(save);
            return Ok(());
        }
        // Last, as to allocate memory may need a filesystem.
        match hold::freeze(engine) {
            Ok(held) => {
                state.held = Some(held);
                state.save = Some(save);
                Ok(())
            }
            Err(e) => {
                state.marked = save.give_up(engine);
                Err(e)
            }
        }
    }

    fn frozen(&self) -> Result {
        let engine = engine::get()?;
        engine.progress.enter(Step::Snapshot);
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        // All that were to freeze have done so.
        state.lookout = None;
        let save = state.save.as_mut().ok_or(EINVAL)?;
        save.look_at_mounts(engine)?;
        engine.go_on()?;
        save.probe(engine)
    }

    fn snapshot(&self) -> Result {
        // In the restored kernel this borrow never ends; `discard` reclaims it.
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        let save = state.save.as_mut().ok_or(EINVAL)?;
        save.take_snapshot()
    }

    fn write(&self, platform_mode: bool) -> Result {
        let engine = engine::get()?;
        engine.progress.enter(Step::Write);
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        let save = state.save.as_mut().ok_or(EINVAL)?;
        let written = save.write(engine, platform_mode);
        if let (true, Some(plan)) = (engine.progress.has_stalled(), &state.plan) {
            plan.stay_loaded();
        }
        if written == Err(errno::error(errno::ETIMEDOUT)) {
            // The writer has waited itself: nobody waits as long again.
            engine.progress.stall();
        }
        written.map_err(|e| engine.fail(e, format_args!("the image could not be written")))?;
        engine.progress.enter(Step::PowerDown);
        // From here on nobody can say otherwise, but somebody may have done so a
        // moment ago.
        engine.go_on()?;
        match engine.requests(|r| r.after_save) {
            AfterSave::Mode => Ok(()),
            AfterSave::PowerOff => hibernate::power_off(),
            AfterSave::Reboot => hibernate::reboot(),
        }
    }

    fn discard(&self, restored: Option<&Restored>) {
        if let Some(proof) = restored {
            STATE.reclaim(proof);
        }
        let (Ok(engine), Some(mut state)) = (engine::get(), STATE.try_borrow()) else {
            return;
        };
        if restored.is_some() {
            engine.progress.enter(Step::Resumed);
        }
        if let Some(save) = state.save.take() {
            state.marked = match restored {
                Some(_) => save.resumed(engine),
                None => save.undo(engine),
            };
        }
    }

    fn end(&self, errno: i32) {
        let Ok(engine) = engine::get() else {
            return;
        };
        let lookout = STATE
            .try_borrow()
            .and_then(|mut state| state.lookout.take());
        if errno != 0 {
            say_why(engine, Error::from_errno(errno), lookout.as_ref());
        }
        if let Some(mut state) = STATE.try_borrow() {
            let marked = state.marked.take();
            state.marked = marked.and_then(|marked| marked.before_thaw(engine));
            // Whatever comes after it may need them.
            if let Some(held) = state.held.take() {
                hold::thaw(engine, held);
            }
            if let Some(marked) = state.marked.take() {
                marked.take_off(engine, state.plan.as_ref());
            }
            state.save = None;
            state.plan = None;
        }
        if engine.report.last().sentence.is_empty() {
            tested(engine);
        }
        // That was for this save.
        engine.requests(|r| r.after_save = AfterSave::Mode);
        engine.progress.enter(Step::Idle);
    }

    fn check(&self, resume_file: &CStr, _reset: bool) -> Result {
        let engine = engine::get()?;
        settle(engine, Step::Check)?;
        let before = engine.progress.step();
        engine.progress.clear_abort();
        engine.progress.enter(Step::Check);
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        let own = state.save.as_ref().map(|save| save.space());
        let asked = engine.requests(|r| r.resume.is_some());
        match Resume::check(engine, resume_file, own) {
            Ok(resume) => {
                state.resume = Some(resume);
                // Where an image is tested all is frozen.
                if state.save.is_none() {
                    state.lookout = look_out(engine);
                }
                Ok(())
            }
            Err(e) => {
                engine.progress.enter(before);
                // With `ENODEV` the kernel looks for one of swsusp next.
                if e == ENODEV && !asked && seal::wanted(engine).is_some() {
                    pr_info!("there is no image, and none of swsusp is looked for: the setting encryptor forbids it\n");
                    return Err(EPERM);
                }
                Err(e)
            }
        }
    }

    fn read(&self) -> Result<bool> {
        let engine = engine::get()?;
        engine.progress.enter(Step::Load);
        let mut state = STATE.try_borrow().ok_or(EBUSY)?;
        // All that were to freeze have done so.
        state.lookout = None;
        let resume = state.resume.as_mut().ok_or(EINVAL)?;
        let loaded = resume.load(engine);
        if engine.progress.has_stalled() {
            resume.stay_loaded();
        }
        let platform = loaded?;
        engine.progress.enter(Step::Restore);
        Ok(platform)
    }

    fn close(&self, errno: i32) {
        let (Ok(engine), Some(mut state)) = (engine::get(), STATE.try_borrow()) else {
            return;
        };
        let lookout = state.lookout.take();
        let error = Error::from_errno(errno);
        say_unfrozen(engine, error, lookout.as_ref(), "; the image is kept");
        if let Some(resume) = state.resume.take() {
            resume.close(engine, errno);
        }
        let next = if state.save.is_some() {
            Step::PowerDown
        } else {
            Step::Idle
        };
        engine.progress.enter(next);
    }

    fn announced(&self, restore: bool) -> Result {
        let engine = engine::get()?;
        let ours = STATE.try_borrow().is_some_and(|state| match restore {
            false => state.plan.is_some(),
            true => state.resume.is_some(),
        });
        if ours || seal::wanted(engine).is_none() {
            return Ok(());
        }
        engine.report.clear();
        let what = if restore { "restored" } else { "saved" };
        Err(engine.fail(
            EPERM,
            format_args!("an image in clear was about to be {what} without Dormouse, through /dev/snapshot for example: the setting encryptor forbids it, and none allows it"),
        ))
    }
}
