// SPDX-License-Identifier: GPL-2.0

//! Block devices, and files and exports in their place.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::export::{Export, Link};
use crate::image::BLOCK;

/// `O_EXCL`: for a block device, that nobody else uses it.
const EXCLUSIVE: i32 = 0o200;

/// Where a device, file or export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// At a path.
    Path(PathBuf),
    /// On an NBD server.
    Export(Export),
}

impl From<&Path> for Where {
    fn from(path: &Path) -> Where {
        Where::Path(path.to_path_buf())
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Where::Path(path) => path.display().fmt(f),
            Where::Export(export) => export.fmt(f),
        }
    }
}

/// What two paths have in common that lead to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The number of a block device.
    Device(u64),
    /// The number of the device that a file is on, and of its inode there.
    File(u64, u64),
    /// An export has no more than its name.
    Export(Export),
}

impl Identity {
    /// That of what is at `place` now.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(crate) fn of(place: &Where) -> io::Result<Identity> {
        match place {
            Where::Path(path) => Ok(Identity::of_metadata(&std::fs::metadata(path)?)),
            Where::Export(export) => Ok(Identity::Export(export.clone())),
        }
    }

    fn of_metadata(meta: &Metadata) -> Identity {
        match meta.file_type().is_block_device() {
            true => Identity::Device(meta.rdev()),
            false => Identity::File(meta.dev(), meta.ino()),
        }
    }
}

enum Medium {
    File(File),
    Export(Box<RefCell<Link>>),
}

/// A device, file or export, in blocks.
pub struct Device {
    medium: Medium,
    /// Where it is.
    pub place: Where,
    /// Whole blocks that it has.
    pub blocks: u64,
    /// Number of the device, or of the one that the file is on; zeros where there is none.
    number: (u32, u32),
    /// Whether it is a whole device, and no file on one.
    pub is_device: bool,
    /// What it has in common with no other.
    pub(crate) identity: Identity,
}

// As `makedev()` of Linux packs them.
fn number(dev: u64) -> (u32, u32) {
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & 0xffff_f000);
    let minor = (dev & 0xff) | ((dev >> 12) & 0xffff_ff00);
    (major as u32, minor as u32)
}

/// Whether an error means that nothing is at a path.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    const ENXIO: i32 = 6;
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(ENODEV | ENXIO))
}

fn offset(block: u64) -> io::Result<u64> {
    let at = block.checked_mul(BLOCK as u64);
    at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Device {
    /// Opens what is at `place` for reading, and for writing when `write` is set. A block device
    /// that is written must not be in use by anybody else.
    ///
    /// # Errors
    ///
    /// When it is not there, in use, or neither device nor file nor export.
    pub fn open(place: &Where, write: bool) -> io::Result<Device> {
        match place {
            Where::Path(path) => Device::at_path(path, write),
            Where::Export(export) => {
                let link = Link::open(export)?;
                Ok(Device {
                    blocks: link.terms.size / BLOCK as u64,
                    medium: Medium::Export(Box::new(RefCell::new(link))),
                    place: place.clone(),
                    number: (0, 0),
                    is_device: true,
                    identity: Identity::Export(export.clone()),
                })
            }
        }
    }

    fn at_path(path: &Path, write: bool) -> io::Result<Device> {
        let meta = std::fs::metadata(path)?;
        let is_block = meta.file_type().is_block_device();
        if !is_block && !meta.is_file() {
            let why = "it is neither a block device nor a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let flags = if write && is_block { EXCLUSIVE } else { 0 };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(write).custom_flags(flags);
        let mut file = options.open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Device {
            medium: Medium::File(file),
            place: path.into(),
            blocks: size / BLOCK as u64,
            number: number(if is_block { meta.rdev() } else { meta.dev() }),
            is_device: is_block,
            identity: Identity::of_metadata(&meta),
        })
    }

    /// The device that this file is on; nothing where its filesystem has none of its own.
    pub fn below(&self) -> Option<PathBuf> {
        match self.number {
            (0, _) => None,
            (major, minor) => Some(by_number(major, minor)),
        }
    }

    /// Fills `out` from block `block` on.
    ///
    /// # Errors
    ///
    /// I/O errors, also beyond the end.
    pub fn read(&self, block: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset(block)?;
        match &self.medium {
            Medium::File(file) => file.read_exact_at(out, at),
            Medium::Export(link) => link.borrow_mut().read(at, out),
        }
    }

    /// Block `block`.
    ///
    /// # Errors
    ///
    /// As [`Device::read`].
    pub fn block(&self, block: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; BLOCK];
        self.read(block, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes `bytes` at byte `at` of block `block`, and waits until they are on the medium.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn write(&self, block: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        let at = offset(block)?.saturating_add(at as u64);
        match &self.medium {
            Medium::File(file) => {
                file.write_all_at(bytes, at)?;
                file.sync_all()
            }
            Medium::Export(link) => link.borrow_mut().write(at, bytes),
        }
    }
}

/// The path of the block device with this number in the system below `root`, if it has one.
pub fn named(root: &Path, major: u64, minor: u64) -> Option<PathBuf> {
    let uevent = root.join(format!("sys/dev/block/{major}:{minor}/uevent"));
    let text = std::fs::read_to_string(uevent).ok()?;
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(root.join("dev").join(name))
}

/// The path of the block device with this number, whether it is there or not.
pub fn by_number(major: u32, minor: u32) -> PathBuf {
    let path = named(Path::new("/"), major.into(), minor.into());
    path.unwrap_or_else(|| PathBuf::from(format!("/dev/block/{major}:{minor}")))
}

/// All block devices of the system.
pub fn all() -> Vec<PathBuf> {
    let folder = std::fs::read_dir("/sys/class/block");
    let names = folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let mut all: Vec<_> = names.map(|name| Path::new("/dev").join(name)).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(0xfe01), (254, 1));
        assert_eq!(number(0x1231_0345), (259, 0x12345));
    }
}
