// SPDX-License-Identifier: GPL-2.0

//! Taking the mark off, in the order of the kernel: from the first write on there is no image,
//! whatever other areas say.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::{bystanders, Bystander, Disks, Mark, Place};
use crate::device::{Device, Identity, Where};
use crate::fault::{At, Fault, Part};
use crate::file::page::{self, Seal};
use crate::image::superblock::{self, State, Superblock};
use crate::image::BLOCK;
use crate::netblock::mark;
use crate::swapmark::sector::{self, Found, Sector, SECTOR_AT};

fn io(error: std::io::Error) -> Fault {
    Fault::io(Part::Superblock, error)
}

/// Opens `path` so that nobody else uses it.
fn alone(path: &Where) -> Result<Device, Fault> {
    Device::open(path, true).map_err(|error| {
        // EBUSY, EROFS
        let sentence = match error.raw_os_error() {
            Some(16) => format!("{path} is in use: unmount it, or run swapoff on it"),
            _ => format!("{path} cannot be written: {error}"),
        };
        Fault::missing(Part::Superblock, sentence)
    })
}

/// What the last sector of a header was before there was a mark.
fn original(device: &Device, now: &Sector) -> Sector {
    match sector::decode(now) {
        Found::Ours { record, .. } if record.keep != 0 => {
            let kept = device.block(record.keep).ok();
            let kept = kept.and_then(|block| sector::decode_keep(&block, &record.map).ok());
            kept.unwrap_or(sector::plain())
        }
        Found::Ours { .. } => sector::plain(),
        Found::Swap | Found::Other(_) => *now,
    }
}

/// Gives a swap area its own signature back.
fn unmark(device: &Device, from: &Device, block: u64) -> Result<(), Fault> {
    let page = device.block(block).map_err(io)?;
    let Some(now) = sector::of_page(&page) else {
        return Ok(());
    };
    let original = original(from, now);
    device.write(block, SECTOR_AT, &original).map_err(io)
}

impl Place {
    /// Removes the image and gives the place and all bystanders their own signature back. `members`
    /// are more places where a part of it, or a bystander, may be. Returns the bystanders that were
    /// not to be found: they keep their marks until a boot finds them.
    ///
    /// # Errors
    ///
    /// When the place is in use, changed meanwhile, or a part of the image is missing.
    pub fn erase(&self, members: &[PathBuf]) -> Result<Vec<Bystander>, Fault> {
        let mut sb = self.superblock()?.clone();
        let complete = self.has_image();
        // All parts first: an image that is erased by half leaves areas that nobody can use.
        let disks = match self.disks(members) {
            Ok(disks) => Some(disks),
            Err(fault) if complete && fault.error().is_none() => return Err(fault),
            Err(_) => None,
        };
        let mut open = self.open_all(disks.as_ref())?;
        let (marks, missing) = bystanders::of_erased(disks.as_ref(), &sb, members);
        let marks = open.marks(marks)?;
        let Some(device) = open.first() else {
            return Ok(Vec::new());
        };
        let page = device.block(self.block).map_err(io)?;
        if page != self.device.block(self.block).map_err(io)? {
            let path = &self.device.place;
            let sentence = format!("{path} was changed meanwhile: try again");
            return Err(Fault::missing(Part::Superblock, sentence));
        }
        // What tells of the marks of bystanders stays until they are off.
        let kept = !marks.is_empty() || !missing.is_empty();
        if kept && sb.state.may_become(State::Failed) {
            sb.set_failure(0, 0, "");
            sb.advance(State::Failed).at(Part::Superblock)?;
            self.put(&sb, &page, device)?;
            unmark_members(disks.as_ref(), &open)?;
        }
        for &(at, block) in &marks {
            if let Some(bystander) = open.0.get(at) {
                unmark(bystander, bystander, block)?;
            }
        }
        if !missing.is_empty() {
            return Ok(missing);
        }
        sb.advance(State::Empty).at(Part::Superblock)?;
        self.put(&sb, &page, device)?;
        if let Mark::Swap { .. } = self.mark {
            unmark_members(disks.as_ref(), &open)?;
            let kept_on = disks.as_ref().and_then(|disks| disks.devices.first());
            unmark(device, kept_on.unwrap_or(device), self.block)?;
        }
        Ok(missing)
    }

    /// Writes `sb`, which is no image, with the own signature of the place. `page` is what is there.
    fn put(&self, sb: &Superblock, page: &[u8], device: &Device) -> Result<(), Fault> {
        let mut bytes = [0; superblock::BYTES];
        sb.encode(&mut bytes).at(Part::Superblock)?;
        match &self.mark {
            Mark::Swap { record, .. } => {
                let sector = sector::encode(&bytes, record, false).at(Part::Superblock)?;
                device.write(self.block, SECTOR_AT, &sector).map_err(io)
            }
            Mark::File { label } => {
                let state = page.get(page::STATE_AT..).and_then(|s| s.first_chunk());
                let was = state.and_then(|state| page::decode_seal(state).ok());
                let seal = Seal {
                    file: label.file,
                    fingerprint: was.map_or(0, |seal| seal.fingerprint),
                };
                let state = page::encode_state(&bytes, &seal).at(Part::Superblock)?;
                device.write(self.block, page::STATE_AT, &state).map_err(io)
            }
            Mark::Export { size, .. } => {
                let mut first = [0; BLOCK];
                let sector = mark::encode(&bytes, false, *size).at(Part::Superblock)?;
                if let Some(place) = first.get_mut(..sector.len()) {
                    place.copy_from_slice(&sector);
                }
                device.write(self.block, 0, &first).map_err(io)
            }
        }
    }

    /// Opens the place and all members, each device once: one that is in use would be noticed too
    /// late otherwise.
    fn open_all(&self, disks: Option<&Disks>) -> Result<Opened, Fault> {
        let mut open = Opened(Vec::new());
        open.open(&self.device.place)?;
        for (member, _) in disks.iter().flat_map(|disks| disks.members()) {
            open.open(&member.place)?;
        }
        Ok(open)
    }
}

/// What is written: each device once, whatever paths and however many marks lead to it, since the
/// second one that opens a device for itself alone is told that it is in use.
struct Opened(Vec<Device>);

impl Opened {
    /// The one that was opened first.
    fn first(&self) -> Option<&Device> {
        self.0.first()
    }

    /// Opens what is at `place`, unless it is open, and returns which of all it is.
    fn open(&mut self, place: &Where) -> Result<usize, Fault> {
        let same = |identity| self.0.iter().position(|device| device.identity == identity);
        // What is not there is opened, too: that says so.
        if let Some(at) = Identity::of(place).ok().and_then(same) {
            return Ok(at);
        }
        self.0.push(alone(place)?);
        Ok(self.0.len() - 1)
    }

    /// Opens the devices of `marks`, before anything is written: one that is in use would be noticed
    /// too late otherwise. Returns each mark once, with which of all its device is.
    fn marks(&mut self, marks: Vec<(PathBuf, u64)>) -> Result<Vec<(usize, u64)>, Fault> {
        let mut all = Vec::with_capacity(marks.len());
        for (path, block) in marks {
            let mark = (self.open(&Where::Path(path))?, block);
            if !all.contains(&mark) {
                all.push(mark);
            }
        }
        Ok(all)
    }
}

fn unmark_members(disks: Option<&Disks>, open: &Opened) -> Result<(), Fault> {
    for (member, block) in disks.iter().flat_map(|disks| disks.members()) {
        let mut all = open.0.iter();
        if let Some(device) = all.find(|device| device.identity == member.identity) {
            unmark(device, device, block)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_each_device_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("first"), [0; BLOCK]).unwrap();
        std::fs::write(path("second"), [0; BLOCK]).unwrap();
        std::os::unix::fs::symlink("first", path("by-uuid")).unwrap();
        std::fs::hard_link(path("second"), path("by-id")).unwrap();
        let mut open = Opened(Vec::new());
        assert_eq!(open.open(&Where::Path(path("first"))).unwrap(), 0);
        let mark = |name, block| (path(name), block);
        let marks = vec![
            mark("by-uuid", 0),
            mark("second", 0),
            mark("first", 0),
            mark("by-id", 3),
            mark("second", 0),
        ];
        let marks = open.marks(marks).unwrap();
        assert_eq!(marks, [(0, 0), (1, 0), (1, 3)]);
        assert_eq!(open.0.len(), 2);
        let gone = open.open(&Where::Path(path("third"))).unwrap_err();
        assert!(gone.to_string().contains("third cannot be written"));
    }
}
