// SPDX-License-Identifier: GPL-2.0

//! Disks of a guest: sparse raw files that live as long as the machine.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// A raw disk image.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    /// Where QEMU finds it, when a server stands between.
    url: Option<String>,
}

/// Bytes in `text`, such as `512M` or `1G`; a plain number counts bytes.
///
/// # Errors
///
/// For anything else.
pub fn parse_size(text: &str) -> Result<u64> {
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number
        .parse()
        .with_context(|| format!("'{text}' is not a size"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("{text} is too large"))
}

impl Disk {
    /// Makes an empty disk of `size` bytes in the file `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        file.set_len(size)?;
        Ok(Disk::open(path))
    }

    /// The disk that is in the file `path`.
    pub fn open(path: &Path) -> Self {
        Disk {
            path: path.to_path_buf(),
            url: None,
        }
    }

    /// The disk that a server keeps in the file `path`, and QEMU reaches at `url`.
    pub fn served(path: &Path, url: &str) -> Self {
        Disk {
            path: path.to_path_buf(),
            url: Some(url.to_string()),
        }
    }

    /// Makes swap space of the whole disk.
    ///
    /// # Errors
    ///
    /// When `mkswap` is missing or fails.
    pub fn mkswap(&self) -> Result<()> {
        run(Command::new("busybox").arg("mkswap").arg(&self.path))?;
        Ok(())
    }

    /// Makes an empty ext4 of the whole disk.
    ///
    /// # Errors
    ///
    /// When `mkfs.ext4` is missing or fails.
    pub fn mkfs(&self) -> Result<()> {
        run(Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-F", "-b", "4096"])
            .arg(&self.path))?;
        Ok(())
    }

    /// Block in which file `name` of the ext4 on the disk begins, in units of
    /// 4096 bytes.
    ///
    /// # Errors
    ///
    /// When `debugfs` is missing, or finds no such file.
    pub fn first_block(&self, name: &str) -> Result<u64> {
        let request = format!("bmap {name} 0");
        let text = run(Command::new("/sbin/debugfs")
            .args(["-R", &request])
            .arg(&self.path))?;
        let block = text.trim().parse();
        block.with_context(|| format!("debugfs finds no {name}: {text}"))
    }

    /// The file that holds the disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where QEMU finds the disk.
    pub(crate) fn location(&self) -> String {
        let path = || self.path.display().to_string();
        self.url.clone().unwrap_or_else(path)
    }

    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// When the file is gone.
    pub fn size(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    /// Reads `length` bytes from byte `offset`.
    ///
    /// # Errors
    ///
    /// When they lie outside of the disk.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut data = vec![0; length];
        File::open(&self.path)?.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    /// Writes `data` at byte `offset`, while no guest runs.
    ///
    /// # Errors
    ///
    /// When it would lie outside of the disk.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        if offset + data.len() as u64 > self.size()? {
            bail!("byte {offset} lies outside of {}", self.path.display());
        }
        OpenOptions::new()
            .write(true)
            .open(&self.path)?
            .write_all_at(data, offset)?;
        Ok(())
    }

    /// Inverts bit `bit` (0 to 7) of the byte at `offset`.
    ///
    /// # Errors
    ///
    /// When there is no such byte.
    pub fn flip_bit(&self, offset: u64, bit: u32) -> Result<()> {
        let byte = self.read(offset, 1)?[0];
        self.write(offset, &[byte ^ (1 << (bit % 8))])
    }

    /// Byte offset of the first `pattern` at or after `from`, looking only at
    /// what is not a hole; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the disk cannot be read.
    pub fn find(&self, pattern: &[u8], from: u64) -> Result<Option<u64>> {
        const STEP: usize = 1 << 20;
        let file = File::open(&self.path)?;
        let size = self.size()?;
        let mut buffer = vec![0; STEP + pattern.len()];
        let mut at = from;
        while at < size {
            let want = usize::try_from(size - at).unwrap_or(STEP).min(buffer.len());
            file.read_exact_at(&mut buffer[..want], at)?;
            let found = buffer[..want]
                .windows(pattern.len())
                .position(|part| part == pattern);
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            at += STEP as u64;
        }
        Ok(None)
    }

    /// Copies the disk as it is to `path`, keeping holes.
    ///
    /// # Errors
    ///
    /// When the copy cannot be made.
    pub fn copy_to(&self, path: &Path) -> Result<Disk> {
        let mut command = Command::new("cp");
        let status = command
            .arg("--sparse=always")
            .arg(&self.path)
            .arg(path)
            .status()?;
        if !status.success() {
            bail!("cannot copy {} to {}", self.path.display(), path.display());
        }
        Ok(Disk::open(path))
    }
}

/// Runs a command and returns what it prints.
fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1G").unwrap(), 1 << 30);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        for bad in ["", "G", "1T", "x"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flips_and_finds() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::create(&folder.path().join("disk"), 3 << 20).unwrap();
        disk.write((1 << 20) - 3, b"needle").unwrap();
        assert_eq!(disk.find(b"needle", 0).unwrap(), Some((1 << 20) - 3));
        disk.flip_bit((1 << 20) - 3, 0).unwrap();
        assert_eq!(disk.read((1 << 20) - 3, 6).unwrap(), b"oeedle");
        assert_eq!(disk.find(b"needle", 0).unwrap(), None);
        assert!(disk.write((3 << 20) - 1, b"xx").is_err());
    }
}
