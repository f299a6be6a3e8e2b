// SPDX-License-Identifier: GPL-2.0

//! Swap areas with pages of the saved system that hold no part of its image.
//!
//! The restored system reads its pages back from them, and what it reads is
//! somebody else's once another system swapped to them. So each carries a mark
//! while the image waits, whatever writer made that, and the header lists them.
//!
//! An area that cannot carry a mark keeps the system from being saved while it
//! has pages: to refuse loses nothing, and to go on could lose everything
//! without a word. A swap file is different: who swaps to it mounts its
//! filesystem first, which the image knows by itself, see
//! [`mounts`](super::mounts). That is true of a loop device as well, which
//! could not be written to while kernel threads are frozen.
//!
//! The order of writes is that of the swap module: first the marks, then the
//! primary; and the other way round to take them off. So what a power cut
//! leaves is a mark in vain, which [`Listed::unmark`] takes off in the next boot
//! that looks at the storage.

#![forbid(unsafe_code)]

mod listed;

pub(super) use self::listed::{check, Listed};

use crate::engine::Engine;
use crate::errno;
use crate::image::header::{Bystander, HeaderBuilder, BYSTANDERS_MAX, LABEL_BYTES, PATH_BYTES};
use crate::image::{superblock, ImageId};
use crate::stack::Unfit;
use crate::storage::Space;
use crate::swapmark::sector::{self, Record, Role};
use crate::swapmark::{of_bystander, Header};
use crate::sys::block::BlockDevice;
use crate::sys::stack::{Reason, Stack};
use crate::sys::swap::{self, SwapArea, SwapSlots};
use crate::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What the mark of an area needs.
struct Mark {
    header: Header,
    record: Record,
    // Keeps the original sector, where that is not as mkswap makes it.
    _keep: Option<SwapSlots>,
}

/// An active swap area that is no part of the space.
struct Area {
    type_no: u32,
    path: Text<PATH_BYTES>,
    label: Text<LABEL_BYTES>,
    is_virtual: bool,
    /// It has pages, or had some when that was looked at before.
    has_pages: bool,
    /// Or why it cannot carry one.
    mark: Result<Mark, Reason>,
}

/// The swap areas that hold no part of the image of a save.
pub(super) struct Bystanders {
    id: ImageId,
    areas: KVec<Area>,
}

/// `bytes` as text for the header, or none if it is no text for people.
fn text<const N: usize>(bytes: &[u8]) -> Text<N> {
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = bytes.get(..len).and_then(|b| core::str::from_utf8(b).ok());
    match text.filter(|t| !t.chars().any(char::is_control)) {
        Some(text) => Text::format(format_args!("{text}")),
        None => Text::new(),
    }
}

/// Gets ready to mark `area` for the image `id`, or says why that cannot be. A
/// device that must not take an image is not fit for a mark, either: both are
/// written after the snapshot.
fn make_mark(area: &SwapArea, stack: &Stack, id: ImageId) -> Result<Result<Mark, Reason>> {
    let no = |why: &str| Ok(Err(Reason::format(format_args!("{why}"))));
    if let Some(unfit) = stack.unfit() {
        return Ok(Err(Reason::format(format_args!("{unfit}"))));
    }
    let device = Arc::new(BlockDevice::of_swap(area.type_no)?, GFP_KERNEL)?;
    if device.is_read_only() {
        return no("cannot be written");
    }
    let (header, last) = match Header::open(device, area.header_block()) {
        Ok(Ok(read)) => read,
        Ok(Err(refusal)) => return no(refusal.sentence()),
        Err(e) if e == ENOMEM => return Err(e),
        Err(_) => return no("cannot be read"),
    };
    let original = match header.original(&last) {
        Ok(original) => original,
        Err(e) if e == EINVAL => return no("carries the mark of something else"),
        Err(e) => return Err(e),
    };
    let mut record = Record {
        role: Role::Bystander,
        map: id,
        keep: 0,
        primary: (0, 0),
    };
    let mut keep = None;
    if original != sector::plain() {
        let slots = SwapSlots::reserve(area.type_no, header.device.clone(), 1, || Ok(()))?;
        let Some((block, _)) = slots.extents().next() else {
            return no("has no free page to keep the end of its header in");
        };
        header.write_keep(block, &id, &original)?;
        record.keep = block;
        keep = Some(slots);
    }
    Ok(Ok(Mark {
        header,
        record,
        _keep: keep,
    }))
}

impl Bystanders {
    /// Finds the active areas that are no part of `space`, and gets ready to
    /// mark them for the image `id`. User tasks are frozen. May sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for an area with pages that cannot carry a mark, `E2BIG`
    /// for more than [`BYSTANDERS_MAX`] areas, I/O errors, all with the reason
    /// recorded; `ENOMEM`.
    pub(super) fn find(engine: &Engine, space: &dyn Space, id: ImageId) -> Result<Bystanders> {
        let mut found = Bystanders {
            id,
            areas: KVec::with_capacity(BYSTANDERS_MAX, GFP_KERNEL)?,
        };
        let mut result = Ok(());
        swap::areas(&mut |area| {
            if result.is_ok() && !space.has_area(area.dev(), area.header_block()) {
                result = found.add(engine, area);
            }
        });
        result.map(|()| found)
    }

    fn add(&mut self, engine: &Engine, area: &SwapArea) -> Result {
        let path = text(area.name());
        let failed = |e| engine.fail(e, format_args!("swap area {path} could not be marked"));
        let stack = Stack::of(area.dev()).map_err(failed)?;
        match stack.unfit() {
            Some(Unfit::Lost(_)) => return Ok(()),
            Some(why) if why.is_still() => {
                pr_notice!("swap area {path} is not marked: it {why}\n");
                return Ok(());
            }
            _ => {}
        }
        if self.areas.len() >= BYSTANDERS_MAX {
            return Err(engine.fail(
                E2BIG,
                format_args!("more than {BYSTANDERS_MAX} swap areas are active"),
            ));
        }
        let mark = make_mark(area, &stack, self.id).map_err(failed)?;
        if let Err(why) = &mark {
            if area.is_file() {
                pr_notice!("swap area {path} is not marked: it {why}\n");
                return Ok(());
            }
        }
        let area = Area {
            type_no: area.type_no,
            path,
            label: mark.as_ref().map_or(Text::new(), |m| text(&m.header.label)),
            is_virtual: area.is_virtual(),
            has_pages: area.used_pages() != 0,
            mark,
        };
        if area.has_pages {
            area.check(engine)?;
        }
        self.areas.push(area, GFP_KERNEL)?;
        Ok(())
    }

    /// Looks again which areas have pages. The snapshot was taken since, and
    /// one that had some when that happened counts. May sleep.
    pub(super) fn note(&mut self) {
        for area in self.areas.iter_mut() {
            let now = SwapArea::get(area.type_no);
            area.has_pages |= now.map_or(true, |now| now.used_pages() != 0);
        }
    }

    /// The areas that are to be marked.
    fn with_pages(&self) -> impl Iterator<Item = &Area> {
        self.areas.iter().filter(|area| area.has_pages)
    }

    /// Whether any has to be marked. Any context.
    pub(super) fn any(&self) -> bool {
        self.with_pages().next().is_some()
    }

    /// Writes into a header which they are. May sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for an area that got pages and cannot carry a mark, with the
    /// reason recorded; `ENOSPC` when the header is full.
    pub(super) fn record(&self, engine: &Engine, builder: &mut HeaderBuilder<'_>) -> Result {
        for area in self.with_pages() {
            let header = &area.check(engine)?.header;
            let dev = header.device.dev();
            builder.bystander(&Bystander {
                uuid: header.uuid,
                block: header.block,
                device: (dev.major(), dev.minor()),
                is_virtual: area.is_virtual,
                label: area.label.as_str(),
                path: area.path.as_str(),
            })?;
        }
        Ok(())
    }

    /// Marks all that have pages; when one cannot be marked, none is. They are
    /// on the media when this returns. Tasks are frozen; may sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when a header was replaced, `ETIMEDOUT` for a device that says
    /// nothing, I/O errors; the reason is recorded.
    pub(super) fn mark(&self, engine: &Engine) -> Result {
        for area in self.with_pages() {
            if let Err(e) = area.write_mark(engine) {
                let e = engine.fail(
                    e,
                    format_args!("swap area {} could not be marked", area.path),
                );
                let _ = self.unmark();
                return Err(e);
            }
        }
        Ok(())
    }

    /// Takes the marks of this image off all of them; in the restored kernel
    /// also off those that got pages after the list was made. Tries all and
    /// returns the first error. May sleep.
    ///
    /// # Errors
    ///
    /// `ESTALE` when a header was replaced, `ETIMEDOUT`, I/O errors.
    pub(super) fn unmark(&self) -> Result {
        let mut result = Ok(());
        for area in self.areas.iter() {
            let Ok(mark) = &area.mark else { continue };
            if let Err(e) = take_off(&mark.header, &self.id) {
                let path = area.path;
                pr_err!(
                    "swap area {path} still carries the mark of an image ({})\n",
                    e.to_errno()
                );
                result = result.and(Err(e));
            }
        }
        result
    }
}

impl Area {
    /// What its mark needs.
    fn check(&self, engine: &Engine) -> Result<&Mark> {
        self.mark.as_ref().map_err(|why| {
            let path = &self.path;
            engine.fail(
                errno::error(errno::EOPNOTSUPP),
                format_args!("swap area {path} has pages of this system and cannot be marked: it {why}; run swapoff on it"),
            )
        })
    }

    fn write_mark(&self, engine: &Engine) -> Result {
        let mark = self.check(engine)?;
        let now = mark.header.look()?;
        // What is there was read before; something else is not ours to change.
        mark.header.original(&now)?;
        let zeros = [0; superblock::BYTES];
        mark.header
            .put(&sector::encode(&zeros, &mark.record, true)?)
    }
}

/// Takes the mark of a bystander of the image `id` off, also one beside which
/// somebody has put the area's own signature; says whether there was one.
fn take_off(header: &Header, id: &ImageId) -> Result<bool> {
    let now = header.look()?;
    if of_bystander(&now, id).is_none() {
        return Ok(false);
    }
    header.put(&header.original(&now)?)?;
    Ok(true)
}
