// SPDX-License-Identifier: GPL-2.0

//! Swap areas with pages of the saved system that hold no part of its image.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use super::{uuid_text, Disks};
use crate::device::{self, Device};
use crate::image::header;
use crate::image::superblock::Superblock;
use crate::image::{ImageId, BLOCK};
use crate::open::Space;
use crate::swapmark::sector::{self, Found, Role};

/// What became of an area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It carries the mark of the image, and is at this path.
    Waits(PathBuf),
    /// It was put to use since, at this path: the image is of no use any more.
    Used(PathBuf),
    /// The first path has it with the mark of the image, the second one without: one of them is a
    /// copy, or a half of a mirror that was left behind.
    Twice(PathBuf, PathBuf),
    /// It is not where it was, and without the mark at this path, which may be a copy.
    Elsewhere(PathBuf),
    /// It is not to be found, and what is at this path, where it may be, cannot be read, for this
    /// reason.
    Unreadable(PathBuf, String),
    /// It is not to be found.
    Missing,
}

/// A swap area that the header of an image lists.
#[derive(Clone, Debug)]
pub struct Bystander {
    /// Path of its device node or file in the saved system.
    pub path: String,
    /// Its UUID.
    pub uuid: String,
    /// Its label.
    pub label: String,
    /// Whether an image that misses it is kept.
    pub needed: bool,
    /// What became of it.
    pub condition: Condition,
    block: u64,
}

/// What block `block` at `path` has of the area with this UUID: whether that carries the mark of
/// the image `id`.
fn look(path: &Path, block: u64, uuid: &[u8; 16], id: &ImageId) -> io::Result<Option<bool>> {
    let device = Device::open(&path.into(), false)?;
    if block >= device.blocks {
        return Ok(None);
    }
    let page = device.block(block)?;
    let found = sector::header(&page).ok().zip(sector::of_page(&page));
    let found = found.filter(|(header, _)| header.uuid == *uuid);
    Ok(found.map(|(_, last)| is_marked(last, id) == Some(true)))
}

/// Whether a sector carries the mark of a bystander of `id`: whether the signature is that of an
/// image.
fn is_marked(last: &sector::Sector, id: &ImageId) -> Option<bool> {
    match sector::decode(last) {
        Found::Ours { record, image } if record.role == Role::Bystander && record.map == *id => {
            Some(image)
        }
        _ => None,
    }
}

/// Paths that have an area, the first with the mark of the image and the first without it, and the
/// first that could not be read.
#[derive(Default)]
struct Seen {
    marked: Option<PathBuf>,
    bare: Option<PathBuf>,
    unreadable: Option<(PathBuf, io::Error)>,
}

impl Seen {
    fn look(&mut self, path: PathBuf, was: &header::Bystander<'_>, id: &ImageId, bare_too: bool) {
        match look(&path, was.block, &was.uuid, id) {
            Ok(Some(true)) => drop(self.marked.get_or_insert(path)),
            Ok(Some(false)) if bare_too => drop(self.bare.get_or_insert(path)),
            Ok(_) => {}
            Err(error) => drop(self.unreadable.get_or_insert((path, error))),
        }
    }
}

/// What became of the area `was`: as somebody says who has named a path where it is, or else as the
/// kernel judges.
fn find(was: &header::Bystander<'_>, id: &ImageId, named: &[PathBuf]) -> Condition {
    // Without a UUID any area looks like this one, so only its mark tells elsewhere.
    let is_known = was.uuid != [0; 16];
    let mut seen = Seen::default();
    for path in named {
        seen.look(path.clone(), was, id, is_known);
    }
    match (seen.marked.take(), seen.bare.take()) {
        (Some(path), _) => return Condition::Waits(path),
        (None, Some(path)) => return Condition::Used(path),
        (None, None) => {}
    }
    let mut unreadable = seen.unreadable.take();
    seen.look(device::by_number(was.device.0, was.device.1), was, id, true);
    let bare_there = seen.bare.is_some();
    // Of all others nobody says that they have anything to do with the image.
    let there = seen.unreadable.take();
    unreadable = unreadable.or(there.filter(|(_, error)| !device::is_absent(error)));
    for path in device::all() {
        seen.look(path, was, id, is_known);
    }
    match (seen.marked, seen.bare) {
        (Some(marked), Some(bare)) if is_known => Condition::Twice(marked, bare),
        (Some(marked), _) => Condition::Waits(marked),
        (None, Some(bare)) if bare_there => Condition::Used(bare),
        (None, Some(bare)) => Condition::Elsewhere(bare),
        (None, None) => match unreadable {
            Some((path, error)) => Condition::Unreadable(path, error.to_string()),
            None => Condition::Missing,
        },
    }
}

/// Looks for all areas that `header` lists: at `named` paths, where they were, and on all devices.
pub(super) fn list(header: &header::Header<'_>, named: &[PathBuf]) -> Vec<Bystander> {
    let id = header.facts.image_id;
    let bystander = |was: header::Bystander<'_>| Bystander {
        path: was.path.to_string(),
        uuid: uuid_text(&was.uuid),
        label: was.label.to_string(),
        needed: !was.is_virtual,
        condition: find(&was, &id, named),
        block: was.block,
    };
    header.bystanders().map(bystander).collect()
}

/// Those of the image of `sb`, complete or not, as far as its header on `disks` is still there.
fn listed(disks: &Disks, sb: &Superblock, named: &[PathBuf]) -> Option<Vec<Bystander>> {
    let end = sb.header_block.checked_add(header::AREA_BLOCKS as u64)?;
    if end > disks.blocks() {
        return None;
    }
    let mut area = vec![0; header::AREA_BLOCKS * BLOCK];
    disks.read(sb.header_block, &mut area).ok()?;
    let header = header::Header::decode(&area).ok()?;
    (header.facts.image_id == sb.image_id).then(|| list(&header, named))
}

/// Finds what an erased image of `sb` leaves: the marks of its areas, and areas that are not there.
pub(super) fn of_erased(
    disks: Option<&Disks>,
    sb: &Superblock,
    named: &[PathBuf],
) -> (Vec<(PathBuf, u64)>, Vec<Bystander>) {
    let Some(all) = disks.and_then(|disks| listed(disks, sb, named)) else {
        return (search(&sb.image_id, named), Vec::new());
    };
    let marks = all.iter().filter_map(Bystander::mark).collect();
    let is_missing = |area: &Bystander| {
        matches!(
            area.condition,
            Condition::Missing | Condition::Unreadable(..)
        )
    };
    (marks, all.into_iter().filter(is_missing).collect())
}

/// Areas with the mark of the image `id`, where nothing else tells of them: at `named` paths and on
/// devices of their own.
fn search(id: &ImageId, named: &[PathBuf]) -> Vec<(PathBuf, u64)> {
    let mut paths = named.to_vec();
    paths.extend(device::all());
    let marked = |path: &PathBuf| {
        let device = Device::open(&path.as_path().into(), false).ok()?;
        let page = device.block(0).ok()?;
        is_marked(sector::of_page(&page)?, id)
    };
    paths.retain(|path| marked(path).is_some());
    paths.dedup();
    paths.into_iter().map(|path| (path, 0)).collect()
}

impl Bystander {
    /// Where its mark is, if it carries one.
    fn mark(&self) -> Option<(PathBuf, u64)> {
        match &self.condition {
            Condition::Waits(path) | Condition::Twice(path, _) => Some((path.clone(), self.block)),
            Condition::Used(_)
            | Condition::Elsewhere(_)
            | Condition::Unreadable(..)
            | Condition::Missing => None,
        }
    }
}
