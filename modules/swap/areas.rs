// SPDX-License-Identifier: GPL-2.0

//! Which of the active swap areas take part.

#![forbid(unsafe_code)]

use core::cmp::Reverse;
use core::fmt::Write;
use dormouse::engine;
use dormouse::storage::Place;
use dormouse::swapmark::sector::{self, Found, Sector};
use dormouse::swapmark::Header;
use dormouse::sys::block::{self, BlockDevice, DevT};
use dormouse::sys::hibernate::{self, ResumeDevice};
use dormouse::sys::stack::{self, Reason};
use dormouse::sys::swap::{self, SwapArea};
use dormouse::target::Target;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// An active swap area that can take part of an image.
pub(crate) struct Candidate {
    pub(crate) area: SwapArea,
    pub(crate) header: Header,
    /// The last sector of the header, as it is without a mark.
    pub(crate) original: Sector,
    /// The area carries the mark of an image, though it is in use: it could
    /// not be taken off when that image was given up.
    pub(crate) marked: bool,
}

/// The path of an area, for messages.
pub(crate) fn path(area: &SwapArea) -> &str {
    core::str::from_utf8(area.name()).unwrap_or("?")
}

/// What a place asks for.
enum Wanted<'a> {
    All,
    Device(DevT),
    At(ResumeDevice),
    File(&'a str),
    Uuid([u8; 16]),
}

fn wanted(place: Place<'_>) -> Result<Wanted<'_>> {
    let text = match place {
        Place::Resume(at) => return Ok(Wanted::At(at)),
        Place::Target(text) => text,
    };
    let target =
        Target::parse(text).map_err(|e| engine::fail(EINVAL, format_args!("{}", e.sentence())))?;
    Ok(match target {
        Target::Auto => Wanted::All,
        Target::Device(path) => {
            let path = CString::try_from_fmt(format_args!("{path}"))?;
            Wanted::Device(
                block::lookup(&path).map_err(|e| {
                    engine::fail(e, format_args!("there is no block device {text}"))
                })?,
            )
        }
        Target::Number {
            major,
            minor,
            offset,
        } => Wanted::At(ResumeDevice::numbered(major, minor, offset)?),
        Target::File(path) => Wanted::File(path),
        Target::Uuid(uuid) => Wanted::Uuid(uuid),
        Target::UuidOffset { .. } => {
            return Err(engine::fail(
                EINVAL,
                format_args!("target {text} is not a swap area: choose writer file"),
            ));
        }
        Target::Nbd(_) => {
            return Err(engine::fail(
                EINVAL,
                format_args!("target {text} is not a swap area: choose writer netblock"),
            ));
        }
    })
}

fn is_at(area: &SwapArea, at: &ResumeDevice) -> bool {
    area.dev() == at.dev && area.header_block() == at.block
}

impl Wanted<'_> {
    /// Whether `area` is meant, as far as its header need not be read.
    fn may_mean(&self, area: &SwapArea) -> bool {
        match self {
            Wanted::All | Wanted::Uuid(_) => true,
            Wanted::Device(dev) => area.dev() == *dev && !area.is_file(),
            Wanted::At(at) => is_at(area, at),
            Wanted::File(path) => area.is_file() && area.name() == path.as_bytes(),
        }
    }

    fn means(&self, header: &Header) -> bool {
        match self {
            Wanted::Uuid(uuid) => header.uuid == *uuid,
            _ => true,
        }
    }
}

/// Returns the area as a candidate, or why it is none.
fn examine(area: SwapArea) -> Result<Result<Candidate, Reason>> {
    let no = |why: &str| Ok(Err(Reason::format(format_args!("{why}"))));
    if let Some(reason) = stack::unfit(area.dev())? {
        return Ok(Err(reason));
    }
    let device = Arc::new(BlockDevice::of_swap(area.type_no)?, GFP_KERNEL)?;
    if device.is_read_only() {
        return no("cannot be written");
    }
    let (header, last) = match Header::open(device, area.header_block())? {
        Ok(read) => read,
        Err(refusal) => return no(refusal.sentence()),
    };
    let original = match header.original(&last) {
        Ok(original) => original,
        Err(e) if e == EINVAL => return no("carries the mark of something else"),
        Err(e) => return Err(e),
    };
    Ok(Ok(Candidate {
        area,
        header,
        original,
        marked: matches!(sector::decode(&last), Found::Ours { image: true, .. }),
    }))
}

fn active() -> Result<KVec<SwapArea>> {
    let mut list = KVec::new();
    let mut result = Ok(());
    swap::areas(&mut |area| {
        let copy = SwapArea::get(area.type_no);
        // One that was given up in between is none.
        if let (Ok(copy), Ok(())) = (copy, result) {
            result = list.push(copy, GFP_KERNEL).map_err(Error::from);
        }
    });
    result?;
    Ok(list)
}

/// Chooses the areas that `place` means, the primary first, then by priority;
/// logs why others are left out when `tell`. May sleep.
///
/// # Errors
///
/// `EINVAL` for a place that is no swap area or an area that cannot take an
/// image, `ENODEV` for one that is not active; the reason is recorded. I/O
/// errors.
pub(crate) fn choose(place: Place<'_>, tell: bool) -> Result<KVec<Candidate>> {
    let wanted = wanted(place)?;
    let mut chosen = KVec::new();
    let mut refused: Option<(KVec<u8>, Reason)> = None;
    for area in active()? {
        if !wanted.may_mean(&area) {
            continue;
        }
        let mut name = KVec::new();
        name.extend_from_slice(area.name(), GFP_KERNEL)?;
        let candidate = examine(area).map_err(|e| {
            let name = core::str::from_utf8(&name).unwrap_or("?");
            engine::fail(
                e,
                format_args!("the header of swap area {name} could not be read"),
            )
        })?;
        match candidate {
            Ok(c) if wanted.means(&c.header) => chosen.push(c, GFP_KERNEL)?,
            Ok(_) => {}
            Err(why) => {
                if tell {
                    let name = core::str::from_utf8(&name).unwrap_or("?");
                    pr_info!("swap area {} is left out: it {}\n", name, why);
                }
                refused = Some((name, why));
            }
        }
    }
    if chosen.is_empty() {
        return none(&wanted, refused);
    }
    chosen.sort_unstable_by_key(|c: &Candidate| (Reverse(c.area.priority()), c.area.type_no));
    if let Some(at) = hibernate::resume_device() {
        // The one that the next boot will look at first.
        let found = chosen.iter().position(|c| is_at(&c.area, &at));
        if let Some(before) = found.and_then(|i| chosen.get_mut(..=i)) {
            before.rotate_right(1);
        }
    }
    Ok(chosen)
}

/// The device that target `text` means, active or not, if that can be known.
fn device_of(text: &str) -> Result<Option<DevT>> {
    let wanted = match Target::parse(text) {
        Ok(Target::Device(path)) => {
            let path = CString::try_from_fmt(format_args!("{path}"))?;
            return Ok(block::lookup(&path).ok());
        }
        Ok(Target::Number { major, minor, .. }) => return Ok(DevT::new(major, minor)),
        Ok(Target::File(path)) => Wanted::File(path),
        Ok(Target::Uuid(uuid)) => Wanted::Uuid(uuid),
        _ => return Ok(None),
    };
    for area in active()? {
        if !wanted.may_mean(&area) {
            continue;
        }
        let device = Arc::new(BlockDevice::of_swap(area.type_no)?, GFP_KERNEL)?;
        let header = Header::open(device, area.header_block());
        if matches!(header, Ok(Ok((header, _))) if wanted.means(&header)) {
            return Ok(Some(area.dev()));
        }
    }
    Ok(None)
}

/// Refuses a target on a device that can never take an image. May sleep.
///
/// # Errors
///
/// `EINVAL` with the reason recorded; `ENOMEM`.
pub(crate) fn check(text: &str) -> Result {
    let Some(dev) = device_of(text)? else {
        return Ok(());
    };
    match stack::unfit(dev) {
        Ok(Some(why)) => Err(engine::fail(
            EINVAL,
            format_args!("target {text} cannot take an image: it {why}"),
        )),
        Ok(None) => Ok(()),
        // Not there yet.
        Err(e) if e == ENODEV => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes a line about each active area: its path, with blanks as in
/// /proc/swaps, and that it can take an image, or why it cannot. May sleep.
///
/// # Errors
///
/// `E2BIG` when they do not fit; `ENOMEM`.
pub(crate) fn list(out: &mut dyn Write) -> Result {
    for area in active()? {
        for c in path(&area).chars() {
            let written = match c {
                ' ' | '\t' | '\n' | '\\' => write!(out, "\\{:03o}", u32::from(c)),
                _ => out.write_char(c),
            };
            written.map_err(|_| E2BIG)?;
        }
        let written = match examine(area) {
            Ok(Ok(_)) => out.write_str(" can take an image\n"),
            Ok(Err(why)) => writeln!(out, " {why}"),
            Err(e) => writeln!(
                out,
                " has a header that could not be read ({})",
                e.to_errno()
            ),
        };
        written.map_err(|_| E2BIG)?;
    }
    Ok(())
}

fn none(wanted: &Wanted<'_>, refused: Option<(KVec<u8>, Reason)>) -> Result<KVec<Candidate>> {
    if let Some((name, why)) = refused {
        let name = core::str::from_utf8(&name).unwrap_or("?");
        return Err(engine::fail(
            EINVAL,
            format_args!("no swap area can take an image: {name} {why}"),
        ));
    }
    if let Wanted::All = wanted {
        return Ok(KVec::new());
    }
    Err(engine::fail(
        ENODEV,
        format_args!("the target is not an active swap area"),
    ))
}

/// Says so when the next boot will look for the image somewhere else.
pub(crate) fn warn_about_resume(chosen: &[Candidate]) {
    let (Some(at), Some(primary)) = (hibernate::resume_device(), chosen.first()) else {
        return;
    };
    if !is_at(&primary.area, &at) {
        engine::warn(format_args!(
            "resume= names {} (offset {}), where no image will be: it goes to {} (offset {})",
            at.dev,
            at.block,
            primary.header.name(),
            primary.header.block
        ));
    }
}

/// Where the header of the area is that `place` means, active or not; `None`
/// when that cannot be known. May sleep.
///
/// # Errors
///
/// `EINVAL` for a place that is no swap area, `ENOMEM`.
pub(crate) fn locate(place: Place<'_>) -> Result<Option<ResumeDevice>> {
    let text = match place {
        Place::Resume(at) => return Ok(Some(at)),
        Place::Target(text) => text,
    };
    match Target::parse(text).map_err(|_| EINVAL)? {
        Target::Auto if hibernate::resume_device().is_some() => {
            return Ok(hibernate::resume_device());
        }
        Target::Device(path) => {
            let path = CString::try_from_fmt(format_args!("{path}"))?;
            let dev = block::lookup(&path).ok();
            return Ok(dev.map(|dev| ResumeDevice { dev, block: 0 }));
        }
        Target::Number {
            major,
            minor,
            offset,
        } => return ResumeDevice::numbered(major, minor, offset).map(Some),
        Target::Nbd(_) | Target::UuidOffset { .. } => return Ok(None),
        Target::Auto | Target::File(_) | Target::Uuid(_) => {}
    }
    // Only while the area is active is it known where its header is.
    let wanted = wanted(place)?;
    let mut first = None;
    for area in active()? {
        if !wanted.may_mean(&area) {
            continue;
        }
        if let Ok(Ok(c)) = examine(area) {
            let priority = c.area.priority();
            if wanted.means(&c.header) && first.as_ref().map_or(true, |(p, _)| *p < priority) {
                let at = ResumeDevice {
                    dev: c.area.dev(),
                    block: c.area.header_block(),
                };
                first = Some((priority, at));
            }
        }
    }
    Ok(first.map(|(_, at)| at))
}
