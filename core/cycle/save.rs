// SPDX-License-Identifier: GPL-2.0

//! A save, from the reservation of everything it needs to the commit.

#![forbid(unsafe_code)]

use super::bystanders::Bystanders;
use super::marked::{self, Marked};
use super::plan::Plan;
use super::recorded::Recorded;
use super::{get_superblock, put_superblock, room};
use crate::engine::Engine;
use crate::errno;
use crate::image::commit::Commit;
use crate::image::header::{self, Facts, HeaderBuilder};
use crate::image::superblock::{Figures, State, Superblock};
use crate::image::{ImageId, BLOCK};
use crate::patience;
use crate::pipeline::crew::Crew;
use crate::pipeline::io;
use crate::pipeline::save::{SaveJob, COMMIT_BLOCK, FIRST_BLOCK, HEADER_BLOCK};
use crate::progress::Step;
use crate::snapshot::Counts;
use crate::storage::{Signature, Space};
use crate::sys::buf::Buf;
use crate::sys::pages::{CopyPages, Use};
use crate::sys::{hibernate, random, time, uts};
use crate::transform::{Authenticator, Kind};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Pages that are kept for the time in which the image is written, when nothing
/// can be freed: for the block layer and for what storages need.
pub(super) const WRITE_PAGES: usize = 512;
/// Bytes of the buffers that every save has.
pub(super) const FIXED_BYTES: usize = header::AREA_BYTES + header::ARCH_MAX + BLOCK;
/// How long a device may take to answer before the snapshot. It was written to a
/// moment ago, so it need not wake up.
const PROBE_MS: u32 = 10_000;

/// One save. Dropping it gives all memory and storage back; it does not
/// touch the medium.
pub(super) struct Save {
    // Field order matters: the threads go before what they use.
    crew: Option<Crew>,
    job: Option<Arc<SaveJob>>,
    // Holds a key, and so goes when its work is done.
    authenticator: Option<Arc<dyn Authenticator>>,
    header: Buf,
    header_len: usize,
    arch: Buf,
    commit: Buf,
    /// Until the image is written.
    reserve: Option<CopyPages>,
    facts: Recorded,
    bystanders: Bystanders,
    space: Arc<dyn Space>,
    superblock: Superblock,
    counts: Counts,
    atomic_ns: u64,
    /// The mark of the image may be on the storage.
    marked: bool,
}

impl Save {
    /// Frees and reserves memory, reserves storage, and records on it that a
    /// save is under way. User tasks are frozen, kernel threads run.
    ///
    /// # Errors
    ///
    /// `ENOMEM` and `ENOSPC` with an itemised reason, `ECANCELED`, I/O
    /// errors. Nothing is left behind but the record on the storage.
    pub(super) fn prepare(engine: &Engine, plan: &Plan) -> Result<Save> {
        engine.stats.clear();
        let planned = room::make(engine, plan)?;
        let most = planned.most;
        let space = room::reserve_storage(engine, plan, most)?;
        engine.go_on()?;

        let mut id = ImageId([0; 16]);
        random::fill_random(&mut id.0);
        let mut superblock = Superblock::new();
        superblock.advance(State::Writing)?;
        superblock.image_id = id;
        superblock.header_block = HEADER_BLOCK;
        superblock.commit_block = COMMIT_BLOCK;
        superblock.saved_at = time::realtime_s();

        let facts = Recorded::of(engine, plan)?;
        let bystanders = Bystanders::find(engine, &*space, id)?;
        let pages = plan.snapshot.prepare(most)?;
        let job = SaveJob::new(
            pages.clone(),
            most,
            space.clone(),
            &plan.recipe,
            plan.workers,
            id,
            engine.progress,
        )?;
        let authenticator = plan.recipe.authenticator()?;
        let crew = Crew::new(plan.workers)?;
        engine.stats.workers.set(plan.workers as u64);
        let reserve = CopyPages::new(WRITE_PAGES, Use::Reserve)?;
        reserve.reserve(WRITE_PAGES)?;
        let mut save = Save {
            crew: Some(crew),
            job: Some(job),
            authenticator,
            header: Buf::new(header::AREA_BYTES)?,
            header_len: 0,
            arch: Buf::new(header::ARCH_MAX)?,
            commit: Buf::new(BLOCK)?,
            reserve: Some(reserve),
            facts,
            bystanders,
            space,
            superblock,
            counts: Counts::default(),
            atomic_ns: 0,
            marked: false,
        };
        // Last, for they take what is left.
        let copies = room::settle(engine, plan, planned)?;
        pages.reserve(copies).map_err(|e| {
            let kb = copies.saturating_mul(4);
            engine.fail(
                e,
                format_args!("the snapshot could not reserve {kb} kB of memory"),
            )
        })?;
        save.record(Signature::Own)
            .map_err(|e| engine.fail(e, format_args!("the superblock could not be written")))?;
        Ok(save)
    }

    /// Which image it makes.
    pub(super) fn image_id(&self) -> ImageId {
        self.superblock.image_id
    }

    /// The storage of this save.
    pub(super) fn space(&self) -> Arc<dyn Space> {
        self.space.clone()
    }

    /// Looks at the filesystems, which hold still from now on. Kernel threads
    /// are frozen too, devices are live. May sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` for a device that does not answer; the reason is recorded.
    pub(super) fn look_at_mounts(&mut self, engine: &Engine) -> Result {
        self.facts.mounts.look(engine)
    }

    /// Makes sure that the storage answers while kernel threads are frozen. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when it does not, I/O errors; the reason is recorded.
    pub(super) fn probe(&self, engine: &Engine) -> Result {
        let most_ms = patience::at_most_ms(PROBE_MS);
        self.space.probe(most_ms).map_err(|e| {
            if e == errno::error(errno::ETIMEDOUT) {
                engine.progress.stall();
            }
            let who = self.space.waits_for();
            let who = match who.is_empty() {
                true => "the storage",
                false => who.as_str(),
            };
            engine.fail(
                e,
                format_args!("{who} does not answer now that all is frozen: what serves it may be frozen, too; choose another target"),
            )
        })
    }

    /// Copies the pages. One CPU, interrupts off; see
    /// [`Pages::take`](crate::snapshot::Pages::take).
    pub(super) fn take_snapshot(&mut self) -> Result {
        let job = self.job.as_ref().ok_or(EINVAL)?;
        pr_info!("snapshot: copying pages\n");
        let before = time::sched_ns();
        let counts = job.pages().take()?;
        self.atomic_ns = time::sched_ns().saturating_sub(before);
        self.facts.mounts.note_written();
        self.counts = counts;
        pr_info!(
            "snapshot: {} pages, {} of them filled with one word\n",
            counts.pages,
            counts.fill
        );
        Ok(())
    }

    fn record(&mut self, signature: Signature) -> Result {
        put_superblock(&*self.space, &mut self.superblock, signature)
    }

    /// Moves to `next`, which is no image.
    fn advance(&mut self, next: State) -> Result {
        self.superblock.advance(next)?;
        self.record(Signature::Own)
    }

    /// Gives all bystanders their own signature back; says whether that worked.
    fn unmark_bystanders(&self, engine: &Engine) -> bool {
        let result = self.bystanders.unmark();
        if result.is_err() {
            engine.report.warn(format_args!(
                "a swap area that has no part of the image still carries a mark: the next boot takes it off"
            ));
        }
        result.is_ok()
    }

    /// Writes and commits the image. Devices work, tasks are frozen.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `ECANCELED`, I/O errors. The image is not committed then.
    pub(super) fn write(&mut self, engine: &Engine, platform: bool) -> Result {
        engine.go_on()?;
        // Free memory, for whoever needs some now.
        self.reserve = None;
        self.bystanders.note();
        let job = self.job.take().ok_or(EINVAL)?;
        engine.progress.start(self.counts.pages);
        engine.stats.atomic_ns.set(self.atomic_ns);
        let result = self.write_image(engine, &job, platform);
        // The kernel frees the copies right after this step, whatever came
        // of it.
        job.pages().release();
        result
    }

    fn write_image(&mut self, engine: &Engine, job: &Arc<SaveJob>, platform: bool) -> Result {
        SaveJob::work(job, self.crew.take().ok_or(EINVAL)?)?;
        let mut commit = job.finish().map_err(|e| self.blame(engine, e))?;
        if commit.image_pages != self.counts.pages || commit.fill_pages != self.counts.fill {
            return Err(engine.fail(
                EFAULT,
                format_args!(
                    "the image has {} pages instead of {}",
                    commit.image_pages, self.counts.pages
                ),
            ));
        }
        commit.header_crc = self.encode_header(engine, platform)?;
        self.seal(engine, job, &commit)
            .map_err(|e| self.blame(engine, e))?;
        engine.progress.stop();
        let ns = engine.progress.elapsed_ns();
        engine.stats.recall(&self.superblock.figures);
        engine.stats.write_ns.set(ns);
        let kb = commit.image_pages.saturating_mul(4);
        let ms = ns / 1_000_000;
        engine.report.succeed(
            Step::Write,
            format_args!(
                "saved {kb} kB of memory in {ms} ms ({} kB/s), {} kB stored",
                kb.saturating_mul(1000).checked_div(ms).unwrap_or(kb),
                commit.stored_bytes / 1024
            ),
        );
        Ok(())
    }

    fn blame(&self, engine: &Engine, error: Error) -> Error {
        let why = match error.to_errno().wrapping_neg() {
            errno::ECANCELED => "stopped on request while the image was written",
            28 => "the storage was full before the image was complete: it compressed worse than expected",
            _ => "the image could not be written to the storage",
        };
        engine.fail(error, format_args!("{why}"))
    }

    fn encode_header(&mut self, engine: &Engine, platform: bool) -> Result<u32> {
        let arch_len = hibernate::arch_header_save(&mut self.arch)?;
        let build_id = uts::build_id();
        let text = |s: &'static CStr| s.to_str().map_err(|_| EINVAL);
        let facts = Facts {
            image_id: self.superblock.image_id,
            flags: if platform { header::FLAG_PLATFORM } else { 0 },
            arch: self.arch.get(..arch_len).ok_or(EINVAL)?,
            release: text(uts::release())?,
            kversion: text(uts::version())?,
            machine: text(uts::machine())?,
            build_id: build_id.as_ref().map_or(&[], |id| id.as_slice()),
            snapshot: text(self.facts.snapshot)?,
            writer: text(self.facts.writer)?,
            ram_pages: uts::ram_pages(),
        };
        let mut builder = HeaderBuilder::new(&mut self.header, &facts)?;
        for (kind, name, parameters, len) in self.facts.transforms.iter() {
            builder.transform(&header::Transform {
                kind: match kind {
                    Kind::Compress => header::TransformKind::Compress,
                    Kind::Encrypt => header::TransformKind::Encrypt,
                },
                name: name.to_str().map_err(|_| EINVAL)?,
                params: parameters.get(..*len).ok_or(EINVAL)?,
            })?;
        }
        self.facts.mounts.record(&mut builder)?;
        self.bystanders.note();
        self.bystanders.record(engine, &mut builder)?;
        let crc = builder.finish()?;
        self.header_len = header::AREA_BYTES;
        Ok(crc)
    }

    /// Header, flush, commit record, flush, marks of bystanders, superblock:
    /// after the last of them, and not before, there is an image.
    fn seal(&mut self, engine: &Engine, job: &SaveJob, commit: &Commit) -> Result {
        let header = self.header.get(..self.header_len).ok_or(EINVAL)?;
        io::write_all(&self.space, job.queue(), HEADER_BLOCK, header)?;
        self.space.flush()?;
        let bytes: &mut [u8; BLOCK] = self
            .commit
            .get_mut(..BLOCK)
            .and_then(|b| b.try_into().ok())
            .ok_or(EINVAL)?;
        let mut commit = commit.clone();
        if let Some(authenticator) = self.authenticator.take() {
            commit.encode_untagged(bytes)?;
            job.with_root(|root| authenticator.tag(&[header, root, bytes], &mut commit.tag))?;
        }
        commit.encode(bytes)?;
        io::write_all(&self.space, job.queue(), COMMIT_BLOCK, &self.commit)?;
        self.space.flush()?;
        self.superblock.figures = Figures {
            image_pages: commit.image_pages,
            fill_pages: commit.fill_pages,
            frames: commit.frames,
            stored_bytes: commit.stored_bytes,
            atomic_ns: self.atomic_ns,
            write_ns: engine.progress.elapsed_ns(),
            ..Figures::default()
        };
        self.facts.mounts.unchanged(engine, &self.facts.kept)?;
        self.bystanders.mark(engine)?;
        self.superblock.advance(State::Committed)?;
        self.record(Signature::Image)
    }

    /// Takes the save back: the machine stays up. Tasks are frozen. Returns what
    /// is left to do once they are thawed, if the mark of the image could not be
    /// taken off.
    pub(super) fn undo(mut self, engine: &Engine) -> Option<Marked> {
        self.release();
        self.take_back(engine)
    }

    /// As [`Save::undo`], before there was a snapshot: the memory for the copies
    /// is still ours, and can be freed in the hook `prepare` alone. User tasks
    /// are frozen, kernel threads run.
    pub(super) fn give_up(mut self, engine: &Engine) -> Option<Marked> {
        // What is left of the save may outlive the hook.
        self.crew = None;
        self.job = None;
        self.authenticator = None;
        self.reserve = None;
        self.take_back(engine)
    }

    fn take_back(mut self, engine: &Engine) -> Option<Marked> {
        let last = engine.report.last();
        let next = if last.errno == 0 {
            State::Empty
        } else {
            let errno = last.errno.unsigned_abs();
            self.superblock
                .set_failure(errno, last.step as u32, last.sentence.as_str());
            State::Failed
        };
        self.marked = self.superblock.state.is_image();
        // What tells of the marks of bystanders stays until they are off.
        let first = match next {
            State::Empty if self.bystanders.any() => State::Failed,
            _ => next,
        };
        let told = self.superblock.advance(first).map_err(Error::from);
        let told = told.and_then(|()| match engine.progress.has_stalled() {
            // It would only be waited for again, and tasks are frozen.
            true => Err(errno::error(errno::ETIMEDOUT)),
            false => engine.report.aside(|| self.record(Signature::Own)),
        });
        if let Err(e) = told {
            if self.marked {
                marked::later(engine, e);
            }
            return Some(Marked::Undone(self));
        }
        if self.unmark_bystanders(engine) {
            if first != next {
                let _ = self.advance(next);
            }
            self.space.give_back(FIRST_BLOCK);
        }
        None
    }

    /// Tells the storage that there is no image, where that failed before: the
    /// network and the disks are back as far as they come back. Nothing is
    /// frozen. May sleep.
    ///
    /// # Errors
    ///
    /// I/O errors, `ETIMEDOUT`; it can be tried again.
    pub(super) fn unmark(&mut self, engine: &Engine) -> Result {
        let told = self.record(Signature::Own);
        // Without them the image is refused, whoever tries.
        let all_off = self.unmark_bystanders(engine);
        told?;
        if all_off {
            self.space.give_back(FIRST_BLOCK);
        }
        Ok(())
    }

    /// Whether the mark of an image may be on the storage.
    pub(super) fn is_marked(&self) -> bool {
        self.marked
    }

    /// Tidies up in the restored kernel. Tasks are frozen. Returns what is left
    /// to do once they are thawed, if the mark of the image could not be taken
    /// off.
    ///
    /// What this object knows is as old as the snapshot; only the identity of
    /// the image and the places of things are to be believed.
    pub(super) fn resumed(mut self, engine: &Engine) -> Option<Marked> {
        self.release();
        match engine.report.aside(|| self.consume(engine)) {
            Ok(figures) => marked::back(engine, &figures),
            Err(e) => {
                marked::later(engine, e);
                return Some(Marked::Restored(self));
            }
        }
        None
    }

    /// Takes the mark off, in the restored kernel, and returns what the kernels
    /// that wrote and loaded the image left for this one. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when there is the mark of another image; I/O errors; what the
    /// storage says.
    pub(super) fn consume(&mut self, engine: &Engine) -> Result<Figures> {
        // Somebody may have erased it, as last_result advises, where the
        // bystanders cannot be seen.
        let Some((mut sb, _)) = get_superblock(&*self.space)? else {
            self.unmark_bystanders(engine);
            return Ok(Figures::default());
        };
        if sb.image_id != self.superblock.image_id {
            return Err(errno::error(errno::ESTALE));
        }
        if matches!(sb.state, State::Empty | State::Failed) {
            self.unmark_bystanders(engine);
            return Ok(sb.figures);
        }
        sb.advance(State::Consumed)?;
        put_superblock(&*self.space, &mut sb, Signature::Own)?;
        if self.unmark_bystanders(engine) {
            self.space.give_back(FIRST_BLOCK);
        }
        Ok(sb.figures)
    }

    /// Lets go of the copies, which the kernel has freed by now, and of the
    /// workers.
    fn release(&mut self) {
        if let Some(job) = self.job.take() {
            job.pages().release();
        }
        if let Some(reserve) = self.reserve.take() {
            reserve.forget();
        }
        self.crew = None;
        self.authenticator = None;
    }
}
