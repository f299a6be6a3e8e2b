// SPDX-License-Identifier: GPL-2.0

//! Finding an image, reading what describes it, and deciding whether this
//! kernel may have it.

#![forbid(unsafe_code)]

use super::mounts::{self, Trust};
use super::remains::Remains;
use super::seal::{self, Seal};
use super::{bystanders, get_superblock, late, passed, retire};
use crate::engine::Engine;
use crate::errno;
use crate::image::commit::Commit;
use crate::image::header::{self, Header, TransformKind};
use crate::image::root::{self, Chunk};
use crate::image::superblock::{State, Superblock, REASON_BYTES};
use crate::image::{self, wire, BLOCK};
use crate::pipeline::chain::{Ingredient, Recipe};
use crate::pipeline::io;
use crate::pipeline::read::Source;
use crate::pipeline::save;
use crate::registry::{self, Pinned};
use crate::storage::{Place, Signature, Space, Storage};
use crate::sys::buf::Buf;
use crate::sys::hibernate;
use crate::sys::ioq::IoQueue;
use crate::sys::table::Table;
use crate::sys::uts;
use crate::text::Text;
use crate::transform::Kind;
use core::fmt::{self, Write};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Why an image is not taken.
pub(super) enum Refusal {
    /// It is damaged, for good.
    Damaged(image::Error),
    /// It is not for this kernel, or something is missing; it stays as it is.
    /// The reason has been recorded.
    Kept(Error),
    /// What it needs was put to use since: it is given up. The reason has been
    /// recorded.
    Dead(Error),
    /// It could not be read; it stays as it is.
    Unreadable(Error),
}

impl From<image::Error> for Refusal {
    fn from(e: image::Error) -> Self {
        Refusal::Damaged(e)
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Refusal::Unreadable(e)
    }
}

/// What describes an image, checked.
pub(super) struct Described {
    /// How to undo what was done to them.
    pub recipe: Recipe,
    /// Its counts.
    pub commit: Commit,
    /// Whether the machine went down through the platform.
    pub platform: bool,
    /// What the architecture wants to find again.
    pub arch: Buf,
    /// Length of that, in bytes.
    pub arch_len: usize,
}

/// Finds the writer that has an image of ours at `place`. May sleep.
///
/// # Errors
///
/// `ENODEV` when there is none; otherwise what the writer says.
pub(super) fn find(place: Place<'_>) -> Result<(Pinned<dyn Storage>, Arc<dyn Space>)> {
    for writer in registry::get()?.writers.all()? {
        match writer.open(place) {
            Ok(space) => return Ok((writer, space)),
            Err(e) if e == ENODEV || e == EINVAL => {}
            Err(e) => return Err(e),
        }
    }
    Err(ENODEV)
}

/// Whether `facts` describe the very kernel that is running.
fn same_kernel(facts: &header::Facts<'_>) -> bool {
    let same = |a: &str, b: &CStr| a.as_bytes() == b.as_bytes();
    let build_id = uts::build_id();
    same(facts.release, uts::release())
        && same(facts.kversion, uts::version())
        && same(facts.machine, uts::machine())
        && facts.build_id == build_id.as_ref().map_or(&[][..], |id| id.as_slice())
}

fn recipe(engine: &Engine, header: &Header<'_>) -> Result<Recipe, Refusal> {
    let registry = registry::get()?;
    let mut recipe = Recipe::new();
    for t in header.transforms() {
        let (kind, word) = match t.kind {
            TransformKind::Compress => (Kind::Compress, "compress"),
            TransformKind::Encrypt => (Kind::Encrypt, "encrypt"),
        };
        let name = t.name;
        let pinned = registry.transforms(kind).find(name).map_err(|_| {
            Refusal::Kept(engine.fail(
                ENOENT,
                format_args!("the image needs module dormouse_{name} ({word}), which is not loaded; it is kept"),
            ))
        })?;
        recipe.push(Ingredient::recorded(pinned, t.params)?)?;
    }
    Ok(recipe)
}

/// Whether this kernel, on this machine, may have the image.
fn suits(engine: &Engine, header: &Header<'_>) -> Result<(), Refusal> {
    let facts = &header.facts;
    if !same_kernel(facts) {
        return Err(Refusal::Kept(engine.fail(
            errno::error(errno::ESTALE),
            format_args!(
                "the image was made by another kernel ({} {}), not by this one; it is kept",
                facts.release, facts.kversion
            ),
        )));
    }
    if facts.ram_pages != uts::ram_pages() {
        return Err(Refusal::Kept(engine.fail(
            errno::error(errno::ESTALE),
            format_args!(
                "the image was made with {} kB of memory, and now there are {} kB; it is kept",
                facts.ram_pages.saturating_mul(4),
                uts::ram_pages().saturating_mul(4)
            ),
        )));
    }
    if header.may_override() {
        return Err(Refusal::Kept(
            engine.fail(
                errno::error(errno::EOPNOTSUPP),
                format_args!("the image has pages in several versions, which this kernel cannot load yet; it is kept"),
            ),
        ));
    }
    Ok(())
}

/// Reads and checks what describes the image that `sb` announces; `retry` when
/// somebody has asked for it all the same. May sleep.
///
/// # Errors
///
/// Why the image is not taken.
pub(super) fn describe(
    engine: &Engine,
    space: Arc<dyn Space>,
    sb: &Superblock,
    retry: bool,
    queue: &IoQueue,
) -> Result<(Source, Described), Refusal> {
    let mut area = Buf::new(header::AREA_BYTES)?;
    io::read_all(&space, queue, sb.header_block, &mut area).map_err(out_of_space)?;
    let header = Header::decode(&area)?;
    let facts = &header.facts;
    if facts.image_id != sb.image_id {
        return Err(image::Error::OtherImage.into());
    }
    let seal = Seal::of(engine, &header)?;
    // What no tag vouches for yet does not refuse an encrypted image, but for what refuses it in
    // any case and would let it claim far more memory than this machine has.
    let ram_most = uts::ram_pages().saturating_mul(2);
    let claims_more = facts.ram_pages > ram_most || header.may_override();
    if !seal.vouches() || claims_more {
        suits(engine, &header)?;
    }
    let mut block = Buf::new(BLOCK)?;
    io::read_all(&space, queue, sb.commit_block, &mut block).map_err(out_of_space)?;
    let commit = Commit::decode(&block)?;
    if commit.image_id != sb.image_id || commit.header_crc != header.crc {
        return Err(image::Error::OtherImage.into());
    }
    commit.check_claims(facts, space.blocks())?;
    let (table, extent) = read_root(&space, sb, &commit, queue)?;
    seal.check(&area, &table, &commit)?;
    // From here on what was read is what was saved, if it was encrypted.
    if seal.vouches() {
        suits(engine, &header)?;
    }
    let trust = match (retry, passed::by_another_boot(sb)) {
        (true, _) => Trust::All,
        (false, true) => Trust::Seen,
        (false, false) => Trust::Unseen,
    };
    mounts::check(engine, &header, trust).map_err(Refusal::Kept)?;
    bystanders::check(engine, &header, trust)?;
    let root = chunks(&table, &extent)?;
    let recipe = recipe(engine, &header)?;
    let mut arch = Buf::new(header::ARCH_MAX)?;
    arch.get_mut(..facts.arch.len())
        .ok_or(EINVAL)?
        .copy_from_slice(facts.arch);
    let source = Source {
        image_id: sb.image_id,
        root,
        transform_count: header.transform_count(),
        space,
    };
    Ok((
        source,
        Described {
            platform: header.platform_mode(),
            arch_len: facts.arch.len(),
            arch,
            recipe,
            commit,
        },
    ))
}

/// A block address beyond the space is damage; everything else that keeps
/// blocks from being read is not.
fn out_of_space(e: Error) -> Refusal {
    if e == ENXIO {
        Refusal::Damaged(image::Error::BlockRange)
    } else {
        Refusal::Unreadable(e)
    }
}

fn read_root(
    space: &Arc<dyn Space>,
    sb: &Superblock,
    commit: &Commit,
    queue: &IoQueue,
) -> Result<(Buf, root::Space), Refusal> {
    let extent = root::Space::of(space.blocks(), sb.header_block, sb.commit_block, commit)?;
    let len = usize::try_from(commit.root_len()?).map_err(|_| image::Error::BadCount)?;
    let mut table = Buf::new(len)?;
    io::read_all(space, queue, commit.root_block, &mut table).map_err(out_of_space)?;
    if wire::crc(&table) != commit.root_crc {
        return Err(image::Error::BadCrc.into());
    }
    Ok((table, extent))
}

fn chunks(table: &[u8], extent: &root::Space) -> Result<KVVec<Chunk>, Refusal> {
    let count = table.len() / root::ENTRY_BYTES;
    let mut scratch = Table::<root::Range>::new(count.max(1))?;
    root::check_disjoint(table, extent, &mut scratch)?;
    let mut list = KVVec::with_capacity(count, GFP_KERNEL).map_err(Error::from)?;
    for chunk in root::chunks(table, extent) {
        list.push(chunk?, GFP_KERNEL).map_err(Error::from)?;
    }
    Ok(list)
}

/// Calls `f` with the place where an image is to be looked for: the target
/// setting, or else what `resume=` or `/sys/power/resume` named, or else what a
/// resume through our own sysfs named last. May sleep.
///
/// # Errors
///
/// `ENODEV` when there is none of these; otherwise what `f` says.
pub fn with_place<R>(engine: &Engine, f: impl FnOnce(Place<'_>) -> Result<R>) -> Result<R> {
    let target = engine.settings(|s| s.target);
    if target != *"auto" {
        return f(Place::Target(target.as_str()));
    }
    if let Some(dev) = hibernate::resume_device() {
        return f(Place::Resume(dev));
    }
    let named = engine.requests(|r| r.named);
    if named.is_empty() {
        return Err(ENODEV);
    }
    f(Place::Target(named.as_str()))
}

/// Writes what is at `place` for a person to read. May sleep.
///
/// # Errors
///
/// I/O errors; what the writer says.
pub fn inspect(place: Place<'_>, out: &mut dyn Write) -> Result {
    let (writer, space) = match find(place) {
        Ok(found) => found,
        Err(e) if e == ENODEV => return say(out, format_args!("none\n")),
        Err(e) => return Err(e),
    };
    let Some((sb, signature)) = get_superblock(&*space)? else {
        return say(out, format_args!("none\n"));
    };
    say(out, format_args!("state: {}\n", sb.state.name()))?;
    if signature == Signature::Own && sb.state.is_image() {
        say(out, format_args!("discarded: the place is in use again\n"))?;
    }
    say(out, format_args!("saved_at: {}\n", sb.saved_at))?;
    say(out, format_args!("attempts: {}\n", sb.attempts))?;
    if sb.passed_by != 0 {
        say(out, format_args!("passed: a boot went on without it\n"))?;
    }
    if sb.last_errno != 0 {
        let errno = i64::from(sb.last_errno).wrapping_neg();
        let reason = Text::<REASON_BYTES>::format_plain(format_args!("{}", sb.reason()));
        say(out, format_args!("last_failure: {errno} {reason}\n"))?;
    }
    // The blocks of a place that is in use again may be somebody else's.
    if sb.state.is_image() && signature == Signature::Image {
        let queue = IoQueue::new(2, header::AREA_BYTES)?;
        let mut area = Buf::new(header::AREA_BYTES)?;
        io::read_all(&space, &queue, sb.header_block, &mut area)
            .inspect_err(|&e| keep_loaded(&writer, e))?;
        seal::inspect(&area, out).map_err(|_| E2BIG)?;
    }
    Ok(())
}

/// Takes the image at `place` off the medium, gives the place and all
/// bystanders their own signature back, and overwrites what tells how to read the image, with its
/// wrapped key; the key alone while the mark of a bystander cannot be taken off. May sleep.
///
/// # Errors
///
/// `ENODEV` when there is nothing of ours, I/O errors. When only overwriting
/// fails, or what is to be overwritten is not there, in general `EBADMSG`, the
/// image is gone all the same, and the reason is in the log.
pub fn erase(place: Place<'_>) -> Result {
    let (writer, space) = find(place)?;
    let (mut sb, signature) = get_superblock(&*space)?.ok_or(ENODEV)?;
    // Otherwise its blocks may be somebody else's by now.
    let remains = match sb.state.is_image() && signature == Signature::Image {
        true => Remains::of(&space, &sb),
        false => Ok(None),
    };
    let remains = remains.inspect_err(|&e| keep_loaded(&writer, e));
    let id = sb.image_id;
    retire(&space, &mut sb)?;
    late::erased(&id);
    let all_unmarked = sb.state == State::Empty;
    let overwritten = remains.and_then(|remains| match remains {
        None => Ok(()),
        Some(remains) if all_unmarked => remains.overwrite(&space),
        Some(remains) => remains.overwrite_key(&space),
    });
    if all_unmarked {
        space.give_back(save::FIRST_BLOCK);
    }
    overwritten.inspect_err(|&e| {
        keep_loaded(&writer, e);
        pr_err!(
            "the image is erased, but its header could not be overwritten ({})\n",
            e.to_errno()
        );
    })
}

/// Keeps the module of `writer` loaded for ever when its storage has not answered in time: a worker
/// may have been left behind in its code.
fn keep_loaded(writer: &Pinned<dyn Storage>, error: Error) {
    if [errno::ETIMEDOUT, errno::ECANCELED].contains(&error.to_errno().wrapping_neg()) {
        writer.stay_loaded();
    }
}

fn say(out: &mut dyn Write, args: fmt::Arguments<'_>) -> Result {
    out.write_fmt(args).map_err(|_| E2BIG)
}
