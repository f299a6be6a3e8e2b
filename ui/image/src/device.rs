// SPDX-License-Identifier: GPL-2.0

//! Block devices, and files in their place.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::image::BLOCK;

/// `O_EXCL`: for a block device, that nobody else uses it.
const EXCLUSIVE: i32 = 0o200;

/// A device or file, in blocks.
pub struct Device {
    file: File,
    /// Where it is.
    pub path: PathBuf,
    /// Whole blocks that it has.
    pub blocks: u64,
    /// Number of the device, or of the one that the file is on.
    number: (u32, u32),
    /// Whether it is a device.
    pub is_block: bool,
}

// As `makedev()` of Linux packs them.
fn number(dev: u64) -> (u32, u32) {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & 0xffff_f000);
    let minor = (dev & 0xff) | (dev >> 12 & 0xffff_ff00);
    (major as u32, minor as u32)
}

fn offset(block: u64) -> io::Result<u64> {
    let at = block.checked_mul(BLOCK as u64);
    at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Device {
    /// Opens `path` for reading, and for writing if nobody else uses it, when `write` is set.
    ///
    /// # Errors
    ///
    /// When it is not there, in use, or neither device nor file.
    pub fn open(path: &Path, write: bool) -> io::Result<Device> {
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
            file,
            path: path.to_path_buf(),
            blocks: size / BLOCK as u64,
            number: number(if is_block { meta.rdev() } else { meta.dev() }),
            is_block,
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
        self.file.read_exact_at(out, offset(block)?)
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
        self.file.write_all_at(bytes, at)?;
        self.file.sync_all()
    }
}

/// The path of the block device with this number, whatever its name is.
pub fn by_number(major: u32, minor: u32) -> PathBuf {
    let uevent = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent"));
    let name = uevent.ok().and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix("DEVNAME=")?.to_string()))
    });
    match name {
        Some(name) => Path::new("/dev").join(name),
        None => PathBuf::from(format!("/dev/block/{major}:{minor}")),
    }
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
