// SPDX-License-Identifier: GPL-2.0

//! A resume, from the search for an image to the moment before the restore.

#![forbid(unsafe_code)]

use super::open::{self, Described, Refusal};
use super::{bystanders, get_superblock, passed, plan, put_superblock, retire, room};
use crate::engine::{Engine, ResumeRequest, LOAD_STOPPED};
use crate::errno;
use crate::image::superblock::{State, Superblock};
use crate::image::CHUNK_BYTES;
use crate::pipeline::load::{Contents, Reader};
use crate::pipeline::read::{self, Readers};
use crate::progress::Step;
use crate::registry::Pinned;
use crate::storage::{Place, Signature, Space, Storage};
use crate::sys::gfp::Scope;
use crate::sys::hibernate;
use crate::sys::ioq::IoQueue;
use crate::sys::restore::Destinations;
use crate::target::{Target, TARGET_MAX};
use crate::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// One resume. Dropping it closes the storage; the medium is left as it is.
pub(super) struct Resume {
    reader: Reader,
    described: Described,
    superblock: Superblock,
    begun: bool,
    // Kept until the restore or the close: the restore list points into it.
    destinations: Option<Arc<Destinations>>,
    // Dropped last: its module holds the code of the space.
    _writer: Option<Pinned<dyn Storage>>,
    // A save that is to be tested has its own.
    stopped: Option<plan::Stopped>,
}

/// As [`open::find`]; what cannot be opened this boot goes on without.
fn find(place: Place<'_>) -> Result<(Pinned<dyn Storage>, Arc<dyn Space>)> {
    open::find(place).inspect_err(|&e| {
        if e != ENODEV {
            passed::record_at(place);
        }
    })
}

/// Opens the place that was asked for, or the one that settings and command
/// line name. `resume=` may name what is no device to the kernel.
fn search(
    engine: &Engine,
    request: Option<&ResumeRequest>,
    resume_file: &CStr,
) -> Result<(Pinned<dyn Storage>, Arc<dyn Space>)> {
    if let Some(r) = request.filter(|r| !r.target.is_empty()) {
        return find(Place::Target(r.target.as_str()));
    }
    let result = open::with_place(engine, find);
    match named(resume_file) {
        Some(named) if is_nothing(&result) => find(Place::Target(named.as_str())),
        _ => result,
    }
}

/// The place that `resume=` names and the kernel does not know: an export, or
/// with `resume_offset=` a file on the filesystem with a UUID.
fn named(resume_file: &CStr) -> Option<Text<TARGET_MAX>> {
    let text = resume_file.to_str().ok()?;
    match Target::parse(text).ok()? {
        Target::Nbd(_) => Some(Text::format(format_args!("{text}"))),
        Target::Uuid(_) => {
            let offset = hibernate::resume_offset();
            Some(Text::format(format_args!("{text}:{offset}"))).filter(|_| offset != 0)
        }
        _ => None,
    }
}

fn is_nothing<T>(result: &Result<T>) -> bool {
    matches!(result, Err(e) if *e == ENODEV)
}

/// How often a load may be cut off, by a power cut or a crash, before the image
/// is left alone. A load changes nothing, so it may be tried again; but a
/// machine that crashes whenever it loads has to come up in the end.
const MOST_LOADS: u32 = 3;

/// Refuses an image that could be resumed, but not without being asked.
fn kept(engine: &Engine, why: core::fmt::Arguments<'_>) -> Error {
    engine.fail(
        errno::error(errno::EALREADY),
        format_args!(
            "{why}; it is kept: write \"retry\" to /sys/power/hibernate/resume to try again, or \"erase\" to /sys/power/hibernate/image"
        ),
    )
}

/// Whether the state of the superblock allows a resume now.
fn may_resume(engine: &Engine, space: &Arc<dyn Space>, sb: &mut Superblock, retry: bool) -> Result {
    match sb.state {
        State::Empty => Err(ENODEV),
        State::Consumed => {
            // The power may have gone when not all marks were off yet.
            let _ = bystanders::Listed::of(space, sb).unmark();
            Err(ENODEV)
        }
        State::Writing => {
            // The machine stopped in the middle of a save. Nothing is lost
            // but the image, and the next boot is to say so only once.
            let why =
                "the last save did not finish: the machine stopped before the image was complete";
            engine.fail(EINTR, format_args!("{why}"));
            sb.set_failure(4, Step::Write as u32, why);
            // Told once.
            retire(space, sb)?;
            Err(ENODEV)
        }
        State::Failed => {
            let errno = i32::try_from(sb.last_errno).unwrap_or(0);
            if errno != 0 {
                let step = Step::from_number(sb.last_step);
                engine.fail(
                    errno::error(errno),
                    format_args!("before the last boot, in step {step}: {}", sb.reason()),
                );
            }
            // Told once.
            retire(space, sb)?;
            Err(ENODEV)
        }
        State::Resuming if !retry => Err(engine.fail(
            errno::error(errno::EALREADY),
            format_args!(
                "a restore of this image was begun before, and how it ended is not known; it is kept: write \"erase\" to /sys/power/hibernate/image, unless you are certain that the machine did not come up from it and run since; only then write \"retry\" to /sys/power/hibernate/resume"
            ),
        )),
        State::Committed if sb.attempts >= MOST_LOADS && !retry => {
            let times = sb.attempts;
            Err(kept(
                engine,
                format_args!("loading this image was cut off {times} times"),
            ))
        }
        State::Committed | State::Resuming => Ok(()),
    }
}

impl Resume {
    /// Looks for an image and decides whether it may be restored. `own` is
    /// the storage of a save in this boot that is to be tested. May sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is no image of ours; `EALREADY`, `ESTALE`,
    /// `ENOENT` for one that is kept, `EBADMSG` for one that is damaged, with
    /// the reason recorded; I/O errors.
    pub(super) fn check(
        engine: &Engine,
        resume_file: &CStr,
        own: Option<Arc<dyn Space>>,
    ) -> Result<Resume> {
        let request = engine.requests(|r| r.resume.take());
        let tested = own.is_some();
        if !tested {
            engine.report.clear();
        }
        let (writer, space) = match own {
            Some(space) => (None, space),
            None => search(engine, request.as_ref(), resume_file)
                .map(|(writer, space)| (Some(writer), space))
                .inspect_err(|&e| not_found(engine, request.as_ref(), resume_file, e))?,
        };
        let (mut sb, signature) = match get_superblock(&*space) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(unreadable(engine, errno::error(errno::EBADMSG))),
            Err(e) => {
                let e = unreadable(engine, e);
                engine.report.say_kept();
                return Err(e);
            }
        };
        if signature == Signature::Own && sb.state.is_image() {
            return Err(forget(engine, &space, &mut sb));
        }
        let retry = request.is_some_and(|r| r.retry);
        match Resume::take(engine, &space, &mut sb, retry, tested) {
            Ok(resume) => Ok(Resume {
                _writer: writer,
                ..resume
            }),
            Err(e) => {
                if sb.state.is_image() {
                    engine.fail(e, format_args!("the image could not be read; it is kept"));
                }
                // A worker may have been left behind in its code.
                if let Some(writer) = writer.filter(|_| engine.progress.has_stalled()) {
                    writer.stay_loaded();
                }
                if !tested {
                    passed::record(&*space, &mut sb);
                }
                Err(e)
            }
        }
    }

    /// Decides whether the image that `sb` announces on `space` may be restored;
    /// `tested` when it is that of a save in this boot.
    fn take(
        engine: &Engine,
        space: &Arc<dyn Space>,
        sb: &mut Superblock,
        retry: bool,
        tested: bool,
    ) -> Result<Resume> {
        may_resume(engine, space, sb, retry)?;
        let workers = plan::workers(engine.settings(|s| s.threads));
        let queue = IoQueue::new(read::buffers(workers), CHUNK_BYTES)?;
        let (source, described) = open::describe(engine, space.clone(), sb, retry, &queue)
            .map_err(|refusal| refuse(engine, space, sb, refusal))?;
        // Everything is frozen already where the image of this boot is tested.
        if !tested {
            room::make_for_load(described.commit.image_pages, workers);
        }
        Ok(Resume {
            stopped: match tested {
                true => None,
                false => Some(plan::Stopped::of_settings(engine)?),
            },
            reader: Reader {
                source: Arc::new(source, GFP_KERNEL)?,
                queue,
                workers,
                progress: engine.progress,
            },
            described,
            superblock: sb.clone(),
            begun: false,
            destinations: None,
            _writer: None,
        })
    }
}

/// Says why no image could be looked for, unless there is none.
fn not_found(engine: &Engine, request: Option<&ResumeRequest>, resume_file: &CStr, e: Error) {
    if e == ENODEV {
        return;
    }
    let asked = request
        .map(|r| r.target)
        .filter(|target| !target.is_empty());
    match (&asked, hibernate::resume_device()) {
        (Some(target), _) => no_look(engine, e, format_args!("{target}")),
        // It was written to /sys/power/resume.
        (None, Some(device)) if resume_file.is_empty() => {
            no_look(engine, e, format_args!("{}", device.dev))
        }
        (None, _) => no_look(engine, e, format_args!("{resume_file}")),
    };
    // One that is damaged, or older than what is there, is not.
    let gone = [errno::EBADMSG, errno::ESTALE];
    if !gone.contains(&e.to_errno().wrapping_neg()) {
        engine.report.say_kept();
    }
}

fn no_look(engine: &Engine, e: Error, place: core::fmt::Arguments<'_>) -> Error {
    let why = match e == errno::error(errno::ETIMEDOUT) {
        true => ", which does not answer",
        false => "",
    };
    engine.fail(
        e,
        format_args!("no image could be looked for on \"{place}\"{why}"),
    )
}

/// The storage found the mark of an image, and what it says makes no sense.
fn unreadable(engine: &Engine, e: Error) -> Error {
    engine.fail(
        e,
        format_args!(
            "the superblock of the image is damaged or cannot be read; nothing was changed"
        ),
    )
}

/// Somebody has given the place its own signature back, as `swapon` does, so
/// it has been used since: what is there is no image any more.
fn forget(engine: &Engine, space: &Arc<dyn Space>, sb: &mut Superblock) -> Error {
    engine.fail(
        errno::error(errno::ESTALE),
        format_args!("the image was given up: its place was used for something else since (swapon does that)"),
    );
    if retire(space, sb).is_err() {
        pr_err!("the superblock of the image could not be cleared\n");
    }
    ENODEV
}

fn refuse(engine: &Engine, space: &Arc<dyn Space>, sb: &mut Superblock, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Kept(e) => e,
        Refusal::Dead(e) => {
            if retire(space, sb).is_err() {
                pr_err!("the superblock of the image could not be cleared\n");
            }
            e
        }
        Refusal::Unreadable(e) => {
            engine.fail(e, format_args!("the image could not be read; it is kept"))
        }
        Refusal::Damaged(why) if why.errno() == errno::EOPNOTSUPP => engine.fail(
            errno::error(why.errno()),
            format_args!("the image cannot be read by this kernel: {why}; it is kept"),
        ),
        Refusal::Damaged(why) => {
            let e = engine.fail(
                errno::error(why.errno()),
                format_args!("the image is damaged: {why}; it is not restored"),
            );
            condemn(engine, space, sb);
            e
        }
    }
}

/// Marks the image as proven bad and gives the storage its signature back.
fn condemn(engine: &Engine, space: &Arc<dyn Space>, sb: &mut Superblock) {
    let bystanders = bystanders::Listed::of(space, sb);
    let last = engine.report.last();
    sb.set_failure(
        last.errno.unsigned_abs(),
        last.step as u32,
        last.sentence.as_str(),
    );
    let result = sb
        .advance(State::Failed)
        .map_err(Error::from)
        .and_then(|()| put_superblock(&**space, sb, Signature::Own));
    if result.is_err() {
        pr_err!("the damaged image could not be marked as such\n");
        return;
    }
    // What is left of their marks the next boot takes off.
    let _ = bystanders.unmark();
}

impl Resume {
    /// Keeps all modules from being unloaded for ever: a worker may have been
    /// left behind in one of them.
    pub(super) fn stay_loaded(&self) {
        if let Some(writer) = &self._writer {
            writer.stay_loaded();
        }
        self.described.recipe.stay_loaded();
    }

    fn space(&self) -> Arc<dyn Space> {
        self.reader.source.space.clone()
    }

    /// Loads the image and records that its restore begins. Tasks and kernel
    /// threads are frozen. Returns whether the platform is to be told.
    ///
    /// # Errors
    ///
    /// `EBADMSG` for an image that is damaged, `ENOMEM`, `ECANCELED`, I/O
    /// errors; the reason is recorded.
    pub(super) fn load(&mut self, engine: &Engine) -> Result<bool> {
        engine.go_on()?;
        self.begin(engine)?;
        engine.progress.start(self.described.commit.image_pages);
        let ready = self.make_room().map_err(|e| self.failed(engine, e))?;
        // The page frames for the image may have taken all memory.
        let _scope = Scope::reserves();
        let loaded = self.load_pages(ready).and_then(|()| engine.go_on());
        loaded.map_err(|e| self.failed(engine, e))?;
        engine.progress.stop();
        let ns = engine.progress.elapsed_ns();
        engine.stats.load_ns.set(ns);
        let in_place = self.destinations.as_ref().map_or(0, |d| d.in_place());
        engine.stats.in_place_pages.set(in_place as u64);
        let kb = self.described.commit.image_pages.saturating_mul(4);
        let ms = ns / 1_000_000;
        self.hand_over(engine).map_err(|e| self.failed(engine, e))?;
        #[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
        if self.stopped.is_some() {
            // Nor shall the restored system find it in memory that it takes
            // for free. One that only tests an image goes on with its key.
            engine.forget_key();
        }
        pr_info!(
            "loaded {} kB of memory in {} ms ({} kB/s)\n",
            kb,
            ms,
            kb.saturating_mul(1000).checked_div(ms).unwrap_or(kb)
        );
        Ok(self.described.platform)
    }

    /// Records that a load begins, so that one that is cut off counts. The state
    /// stays: an image whose restore was begun before needs a retry by hand for
    /// ever.
    fn begin(&mut self, engine: &Engine) -> Result {
        self.superblock.attempts = self.superblock.attempts.saturating_add(1);
        self.record_again().map_err(|e| {
            self.superblock.attempts = self.superblock.attempts.saturating_sub(1);
            engine.fail(
                e,
                format_args!("the attempt could not be recorded; the image is kept"),
            )
        })?;
        self.begun = true;
        Ok(())
    }

    /// Writes the superblock in the state that it has.
    fn record_again(&mut self) -> Result {
        self.superblock.advance(self.superblock.state)?;
        let space = self.space();
        put_superblock(&*space, &mut self.superblock, Signature::Image)
    }

    /// Leaves word for the restored kernel, gives the pages to the architecture,
    /// and records that the restore begins: from then on a machine that stops
    /// without a word will not try this image again by itself. That record is
    /// the last thing that can fail, and only then the state is changed here, so
    /// an attempt that ends before it leaves the state as it was, and one that is
    /// stopped meanwhile writes that over the record.
    fn hand_over(&mut self, engine: &Engine) -> Result {
        let (load_ns, in_place) = (&engine.stats.load_ns, &engine.stats.in_place_pages);
        self.superblock.figures.load_ns = load_ns.get();
        self.superblock.figures.in_place_pages = in_place.get();
        self.destinations.as_ref().ok_or(EINVAL)?.arm()?;
        let mut begun = self.superblock.clone();
        begun.advance(State::Resuming)?;
        put_superblock(&*self.space(), &mut begun, Signature::Image)?;
        if let Err(stopped) = engine.go_on() {
            self.superblock.generation = begun.generation;
            return Err(stopped);
        }
        self.superblock = begun;
        Ok(())
    }

    /// Reads what is in the image, and gets page frames for it: last, for they may
    /// leave nothing for those who are to read it.
    fn make_room(&mut self) -> Result<(Contents, Readers)> {
        let recipe = &self.described.recipe;
        let contents = self.reader.contents(recipe, &self.described.commit)?;
        let readers = self.reader.readers(recipe)?;
        let total = usize::try_from(contents.table.total()).map_err(|_| EINVAL)?;
        let runs = contents.table.extents().iter().map(|e| (e.pfn, e.count));
        let destinations = Destinations::allocate(runs, total)?;
        self.destinations = Some(Arc::new(destinations, GFP_KERNEL)?);
        Ok((contents, readers))
    }

    fn load_pages(&mut self, (contents, readers): (Contents, Readers)) -> Result {
        let destinations = self.destinations.clone().ok_or(EINVAL)?;
        let contents = Arc::new(contents, GFP_KERNEL)?;
        self.reader.pages(readers, contents, destinations)?;
        let arch = &self.described.arch;
        hibernate::arch_header_restore(arch.get(..self.described.arch_len).ok_or(EINVAL)?)
    }

    /// Says why the load failed, and records that it was no attempt, or that
    /// the image is bad.
    fn failed(&mut self, engine: &Engine, error: Error) -> Error {
        self.begun = false;
        // There may be no other memory to record that with.
        self.destinations = None;
        let why = match error.to_errno().wrapping_neg() {
            errno::EBADMSG => {
                engine.fail(
                    error,
                    format_args!(
                        "the image is damaged: a part of it fails its check; it is not restored"
                    ),
                );
                condemn(engine, &self.space(), &mut self.superblock);
                return error;
            }
            errno::ECANCELED => LOAD_STOPPED,
            _ => "the image could not be loaded; it is kept",
        };
        engine.fail(error, format_args!("{why}"));
        self.superblock.attempts = self.superblock.attempts.saturating_sub(1);
        self.note_passed();
        if self.record_again().is_err() {
            pr_err!("the end of the attempt could not be recorded\n");
        }
        error
    }

    /// Notes in the superblock, which is written next, that this boot goes on
    /// without the image. One that only tests its own image does not.
    fn note_passed(&mut self) {
        if self.stopped.is_some() {
            passed::note(&mut self.superblock);
        }
    }

    /// Called when the restore did not happen. Tasks may be frozen.
    pub(super) fn close(mut self, engine: &Engine, errno: i32) {
        let error = Error::from_errno(errno);
        if !self.begun {
            if engine.report.last().errno == 0 {
                engine.fail(
                    error,
                    format_args!("the kernel gave the resume up before the image was loaded: a task or driver refused; the image is kept"),
                );
            }
            if self.stopped.is_some() {
                passed::record(&*self.space(), &mut self.superblock);
            }
            return;
        }
        engine.fail(
            error,
            format_args!(
                "the loaded image could not take over: a device refused to stop; it is kept"
            ),
        );
        let last = engine.report.last();
        self.superblock.set_failure(
            last.errno.unsigned_abs(),
            Step::Restore as u32,
            last.sentence.as_str(),
        );
        self.note_passed();
        if self.record_again().is_err() {
            pr_err!("the failed attempt could not be recorded\n");
        }
    }
}
