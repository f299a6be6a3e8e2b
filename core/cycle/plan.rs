// SPDX-License-Identifier: GPL-2.0

//! The first step of a save: the settings, resolved and pinned for as long as
//! the cycle lasts.

#![forbid(unsafe_code)]

use crate::engine::{Choice, Engine, Settings, MOST_WORKERS, USUAL_WRITER};
use crate::freezer::{Freezer, Kept};
use crate::image::PAGE;
use crate::pipeline::chain::{Ingredient, Recipe};
use crate::registry::{self, Pinned, Table};
use crate::snapshot::Snapshot;
use crate::storage::{Place, Storage};
use crate::sys::thread;
use crate::target::TARGET_MAX;
use crate::text::Text;
use kernel::prelude::*;

/// What a save will be made with. Dropping it thaws what the freezer did.
pub(super) struct Plan {
    /// Transforms with their parameters.
    pub recipe: Recipe,
    /// Writer.
    pub writer: Pinned<dyn Storage>,
    /// Snapshot method.
    pub snapshot: Pinned<dyn Snapshot>,
    /// Workers.
    pub workers: usize,
    /// Most pages in the image; zero for no limit.
    pub limit: usize,
    /// Whether filesystems are frozen.
    pub freeze_filesystems: bool,
    target: Text<TARGET_MAX>,
    // Undone by its own drop, last.
    stopped: Stopped,
}

/// The freezer at work. Dropping it ends that.
pub(super) struct Stopped {
    freezer: Pinned<dyn Freezer>,
    kept: Kept,
}

impl Stopped {
    fn begin(engine: &Engine, freezer: Pinned<dyn Freezer>, kept: Kept) -> Result<Stopped> {
        freezer.begin(&kept).map_err(|e| {
            engine.fail(
                e,
                format_args!("freezer \"{}\" cannot be used", freezer.name()),
            )
        })?;
        Ok(Stopped { freezer, kept })
    }

    /// Begins with the freezer and the tasks to keep of the settings. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a module that is not there, or what the freezer says;
    /// the reason is recorded.
    pub(super) fn of_settings(engine: &Engine) -> Result<Stopped> {
        let chosen = engine.settings(Chosen::of);
        let freezer = find(engine, &registry::get()?.freezers, &chosen.freezer)?;
        Stopped::begin(engine, freezer, chosen.kept)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.freezer.end(&self.kept);
    }
}

/// Names and numbers of the settings, so that modules can be asked for while
/// the settings are not locked.
struct Chosen {
    compressor: Option<Text<32>>,
    encryptor: Option<Text<32>>,
    writer: Text<32>,
    /// The writer is only known by its name.
    writer_named: bool,
    freezer: Text<32>,
    snapshot: Text<32>,
    target: Text<TARGET_MAX>,
    threads: usize,
    limit: u64,
    kept: Kept,
    freeze_filesystems: bool,
}

fn name<T: ?Sized>(choice: &Choice<T>) -> Option<Text<32>> {
    let name = choice.name();
    name.map(|name| Text::format(format_args!("{name}")))
}

fn name_or<T: ?Sized>(choice: &Choice<T>, default: &str) -> Text<32> {
    name(choice).unwrap_or_else(|| Text::format(format_args!("{default}")))
}

impl Chosen {
    fn of(s: &Settings) -> Self {
        Chosen {
            compressor: name(&s.compressor),
            encryptor: name(&s.encryptor),
            writer: name_or(&s.writer, USUAL_WRITER),
            writer_named: matches!(s.writer, Choice::Named(_)),
            freezer: name_or(&s.freezer, "pm"),
            snapshot: name_or(&s.snapshot, "atomic"),
            target: s.target,
            threads: s.threads,
            limit: s.image_size_limit,
            kept: s.kept,
            freeze_filesystems: s.freeze_filesystems,
        }
    }
}

fn find<T: ?Sized + Send + Sync>(
    engine: &Engine,
    table: &Table<T>,
    name: &Text<32>,
) -> Result<Pinned<T>> {
    let kind = table.kind();
    table.find(name.as_str()).map_err(|e| {
        engine.fail(
            e,
            format_args!("{kind} \"{name}\" is not there: load module dormouse_{name}"),
        )
    })
}

/// Lets a writer that the command line has named get ready for the target, and
/// makes it the choice, as a write to `writer` does.
fn adopt(engine: &Engine, writer: Pinned<dyn Storage>) -> Result {
    engine.adjust(|s| {
        writer.configure(Some(s.target.as_str()))?;
        s.writer = Choice::Pinned(writer);
        Ok(())
    })
}

/// Number of workers for a setting of `threads`.
pub(super) fn workers(threads: usize) -> usize {
    match threads {
        0 => thread::online_cpus(),
        n => n,
    }
    .clamp(1, MOST_WORKERS)
}

impl Plan {
    /// Resolves the settings of `engine`. May sleep; nothing is frozen yet.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a module that is not there, `ENOSPC` when the writer has
    /// no room at all, or what a module says; the reason is recorded.
    pub(super) fn new(engine: &Engine) -> Result<Plan> {
        let chosen = engine.settings(Chosen::of);
        let registry = registry::get()?;
        let mut recipe = Recipe::new();
        if let Some(name) = &chosen.compressor {
            recipe.push(Ingredient::new(find(engine, &registry.compressors, name)?)?)?;
        }
        if let Some(name) = &chosen.encryptor {
            let ingredient = Ingredient::new(find(engine, &registry.encryptors, name)?);
            recipe.push(ingredient.map_err(|e| {
                engine.fail(e, format_args!("encryptor \"{name}\" cannot be used"))
            })?)?;
        }
        let writer = find(engine, &registry.writers, &chosen.writer)?;
        if chosen.writer_named {
            adopt(engine, find(engine, &registry.writers, &chosen.writer)?)?;
        }
        let snapshot = find(engine, &registry.snapshots, &chosen.snapshot)?;
        let freezer = find(engine, &registry.freezers, &chosen.freezer)?;

        let room = writer
            .room(Place::Target(chosen.target.as_str()))
            .map_err(|e| {
                let target = &chosen.target;
                engine.fail(
                    e,
                    format_args!("writer \"{}\" cannot use target {target}", writer.name()),
                )
            })?;
        if room.blocks() == 0 {
            return Err(engine.fail(
                ENOSPC,
                format_args!("no space for an image: {room} (is a swap area active?)"),
            ));
        }
        let stopped = Stopped::begin(engine, freezer, chosen.kept)?;
        Ok(Plan {
            recipe,
            writer,
            snapshot,
            workers: workers(chosen.threads),
            limit: usize::try_from(chosen.limit)
                .unwrap_or(usize::MAX)
                .div_ceil(PAGE),
            freeze_filesystems: chosen.freeze_filesystems,
            target: chosen.target,
            stopped,
        })
    }

    /// The tasks that are kept running.
    pub(super) fn kept(&self) -> Kept {
        self.stopped.kept
    }

    /// Keeps all modules from being unloaded for ever: a worker may have been
    /// left behind in one of them.
    pub(super) fn stay_loaded(&self) {
        self.writer.stay_loaded();
        self.recipe.stay_loaded();
    }

    /// Where the image is to go.
    pub(super) fn place(&self) -> Place<'_> {
        Place::Target(self.target.as_str())
    }
}
