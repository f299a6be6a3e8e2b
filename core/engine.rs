// SPDX-License-Identifier: GPL-2.0

//! The engine: settings, what happened last, and how far things are.

#![forbid(unsafe_code)]

use crate::errno;
use crate::freezer::{Freezer, Kept, MOST_KEPT};
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
use crate::image::ImageId;
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
use crate::keyslot::{Configured, KEY_MAX};
use crate::progress::{Progress, Step};
use crate::registry::{self, Pinned};
use crate::report::Report;
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::storage::Storage;
use crate::sys::once::Once;
use crate::target::TARGET_MAX;
use crate::text::Text;
use crate::transform::Transform;
use core::fmt;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

/// Most workers, whatever the number of CPUs.
pub const MOST_WORKERS: usize = 64;

/// The writer while none is chosen.
pub const USUAL_WRITER: &str = "swap";

/// A module that the user chose.
pub enum Choice<T: ?Sized + 'static> {
    /// None, or the one that is usual.
    Default,
    /// One that the kernel's command line names, whether it is there or not.
    Named(Text<32>),
    /// This one.
    Pinned(Pinned<T>),
}

impl<T: ?Sized> Choice<T> {
    /// The module of this name.
    pub fn named(name: &str) -> Self {
        Choice::Named(Text::format(format_args!("{name}")))
    }

    /// The name, if there was a choice.
    pub fn name(&self) -> Option<&str> {
        match self {
            Choice::Default => None,
            Choice::Named(name) => Some(name.as_str()),
            Choice::Pinned(pinned) => Some(pinned.name()),
        }
    }
}

impl<T: ?Sized> From<Option<Pinned<T>>> for Choice<T> {
    fn from(chosen: Option<Pinned<T>>) -> Self {
        chosen.map_or(Choice::Default, Choice::Pinned)
    }
}

/// Says of a load that the user has stopped it.
pub(crate) const LOAD_STOPPED: &str = "loading was stopped on request; the image is kept";

/// What the user chose.
pub struct Settings {
    /// Whether the kernel's own triggers use Dormouse.
    pub enabled: bool,
    /// Compressor, if any.
    pub compressor: Choice<dyn Transform>,
    /// Encryptor, if any.
    pub encryptor: Choice<dyn Transform>,
    /// The key that the encryptor is to use.
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    pub key: Option<Configured>,
    /// The key that the kernel's command line names, which is looked for when
    /// it is needed; empty for none.
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    pub key_named: Text<KEY_MAX>,
    /// Writer; without a choice, `swap` is asked for when it is needed.
    pub writer: Choice<dyn Storage>,
    /// Freezer; without a choice, `pm`.
    pub freezer: Choice<dyn Freezer>,
    /// Snapshot method; without a choice, `atomic`.
    pub snapshot: Choice<dyn Snapshot>,
    /// Target, as written.
    pub target: Text<TARGET_MAX>,
    /// Workers; zero for one per online CPU.
    pub threads: usize,
    /// Most bytes of memory in an image; zero for no limit.
    pub image_size_limit: u64,
    /// Tasks that the freezer leaves alone.
    pub kept: Kept,
    /// Whether somebody may stop a cycle.
    pub allow_abort: bool,
    /// Whether filesystems are frozen before the snapshot.
    pub freeze_filesystems: bool,
}

/// What is to become of the machine when an image is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterSave {
    /// What `/sys/power/disk` says.
    Mode,
    /// It is powered off.
    PowerOff,
    /// It is rebooted.
    Reboot,
}

impl AfterSave {
    /// All of them, in the order in which they are shown.
    pub const ALL: [AfterSave; 3] = [AfterSave::Mode, AfterSave::PowerOff, AfterSave::Reboot];

    /// The word for it in sysfs.
    pub const fn as_str(self) -> &'static str {
        match self {
            AfterSave::Mode => "mode",
            AfterSave::PowerOff => "power-off",
            AfterSave::Reboot => "reboot",
        }
    }
}

/// A resume that somebody asked for through sysfs.
#[derive(Clone, Copy)]
pub struct ResumeRequest {
    /// Where to look; empty for what `resume=` or the target setting says.
    pub target: Text<TARGET_MAX>,
    /// Whether to try again an image whose restore was begun before.
    pub retry: bool,
}

/// What somebody asked for and a hook is to find.
pub struct Requests {
    /// A save is to happen even though Dormouse is not enabled.
    pub start: bool,
    /// A resume through sysfs.
    pub resume: Option<ResumeRequest>,
    /// The place that a resume through sysfs named last, so that whoever is
    /// told to try again or to erase what is there need not name it again.
    pub named: Text<TARGET_MAX>,
    /// How the save under way, or the next one, is to end.
    pub after_save: AfterSave,
    /// The image whose mark is being taken off in the background.
    #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
    pub(crate) unmark: Option<ImageId>,
}

/// The engine.
#[pin_data]
pub struct Engine {
    #[pin]
    settings: Mutex<Settings>,
    #[pin]
    requests: Mutex<Requests>,
    /// The last result.
    #[pin]
    pub report: Report,
    /// What is happening now.
    pub progress: &'static Progress,
    /// Numbers of the last cycle.
    pub stats: Stats,
}

static PROGRESS: Progress = Progress::new();
static ENGINE: Once<Engine> = Once::new();

impl Engine {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            settings <- new_mutex!(Settings {
                enabled: false,
                compressor: Choice::Default,
                encryptor: Choice::Default,
                #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
                key: None,
                #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
                key_named: Text::new(),
                writer: Choice::Default,
                freezer: Choice::Default,
                snapshot: Choice::Default,
                target: Text::format(format_args!("auto")),
                threads: 0,
                image_size_limit: 0,
                kept: [0; MOST_KEPT],
                allow_abort: true,
                freeze_filesystems: true,
            }, "dormouse::settings"),
            requests <- new_mutex!(Requests {
                start: false,
                resume: None,
                named: Text::new(),
                after_save: AfterSave::Mode,
                #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
                unmark: None,
            }, "dormouse::requests"),
            report <- Report::new(&PROGRESS),
            progress: &PROGRESS,
            stats: Stats::new(),
        })
    }

    /// Reads settings. May sleep.
    pub fn settings<R>(&self, read: impl FnOnce(&Settings) -> R) -> R {
        read(&self.settings.lock())
    }

    /// Changes settings. What `change` returns is dropped after the settings
    /// are unlocked, so a module that is let go of can unregister. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a cycle is under way, and then nothing changes.
    pub fn configure<R>(&self, change: impl FnOnce(&mut Settings) -> R) -> Result<R> {
        if self.progress.step() != Step::Idle {
            return Err(EBUSY);
        }
        Ok(change(&mut self.settings.lock()))
    }

    /// Changes settings for the cycle that is under way, or before there is
    /// any. What `change` returns is dropped after they are unlocked. May
    /// sleep.
    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut Settings) -> R) -> R {
        change(&mut self.settings.lock())
    }

    /// Lets go of the key, also while a cycle is under way. May sleep.
    #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
    pub fn forget_key(&self) {
        let key = self.settings.lock().key.take();
        drop(key);
    }

    /// Looks at or leaves a request. May sleep.
    pub fn requests<R>(&self, f: impl FnOnce(&mut Requests) -> R) -> R {
        f(&mut self.requests.lock())
    }

    /// Stops the cycle under way for somebody who asks, if that is allowed. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is nothing that could be stopped, `EPERM` when the
    /// setting `allow_abort` forbids it; the cycle goes on then.
    pub fn abort(&self) -> Result {
        self.progress.can_abort()?;
        if !self.settings(|s| s.allow_abort) {
            self.report.warn(format_args!(
                "a request to stop was refused: the setting allow_abort is 0"
            ));
            return Err(EPERM);
        }
        self.progress.abort()
    }

    /// Says how the save under way, or the next one, is to end. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when it is too late for that.
    pub fn set_after_save(&self, after: AfterSave) -> Result {
        self.requests(|r| match self.progress.step() {
            Step::PowerDown => Err(EBUSY),
            _ => {
                r.after_save = after;
                Ok(())
            }
        })
    }

    /// Whether the cycle may go on. May sleep.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when somebody asked it to stop; the reason is recorded.
    /// `ETIMEDOUT` when its storage was given up.
    pub fn go_on(&self) -> Result {
        if self.progress.abort_requested() {
            let why = match self.progress.step() {
                Step::Load => LOAD_STOPPED,
                _ => "stopped on request",
            };
            return Err(self.fail(errno::error(errno::ECANCELED), format_args!("{why}")));
        }
        match self.progress.has_stalled() {
            false => Ok(()),
            true => Err(errno::error(errno::ETIMEDOUT)),
        }
    }

    /// Records why the cycle fails and returns `error`. May sleep.
    pub fn fail(&self, error: Error, why: fmt::Arguments<'_>) -> Error {
        self.report.fail(error, why)
    }
}

/// Sets the engine up, once. May sleep.
///
/// # Errors
///
/// `ENOMEM`; `EBUSY` when it is there already.
pub fn init() -> Result {
    registry::init()?;
    let engine = KBox::pin_init(Engine::new(), GFP_KERNEL)?;
    ENGINE.set(engine).map(|_| ())
}

/// The engine. Any context.
///
/// # Errors
///
/// `ENODEV` before [`init`] has succeeded.
pub fn get() -> Result<&'static Engine> {
    ENGINE.get().ok_or(ENODEV)
}

/// Says why something failed, for modules: the first sentence of a cycle
/// becomes `last_result`. Returns `error`. May sleep.
pub fn fail(error: Error, why: fmt::Arguments<'_>) -> Error {
    match get() {
        Ok(engine) => engine.fail(error, why),
        Err(_) => error,
    }
}

/// Whether the cycle may go on, for modules at work that takes long: they ask
/// several times in a second. Also without a cycle. May sleep.
///
/// # Errors
///
/// `ECANCELED` when the user asked the cycle to stop; `ETIMEDOUT` when its storage
/// was given up. The reason is recorded.
pub fn go_on() -> Result {
    // What was asked of the last cycle is forgotten when the next one begins.
    match get() {
        Ok(engine) if engine.progress.step() != Step::Idle => engine.go_on(),
        _ => Ok(()),
    }
}

/// Whether the storage of the cycle under way was given up, as it stands still.
/// Any context.
pub fn has_stalled() -> bool {
    get().is_ok_and(|e| e.progress.step() != Step::Idle && e.progress.has_stalled())
}

/// Says that something is not as it should be, and does not stop the cycle,
/// for modules. May sleep.
pub fn warn(what: fmt::Arguments<'_>) {
    if let Ok(engine) = get() {
        engine.report.warn(what);
    }
}
