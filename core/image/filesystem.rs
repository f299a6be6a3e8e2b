// SPDX-License-Identifier: GPL-2.0

//! What the superblock of a filesystem on a device says, without mounting it.
//!
//! An image must not be restored once a filesystem that its system had mounted
//! was mounted again: the restored kernel would go on with a filesystem that is
//! not there any more. So the image keeps a *fingerprint*, of what changes when
//! the filesystem is mounted, or soon after, and does not change any more when
//! tasks are frozen:
//!
//! - ext4: time and number of mounts, and whether the journal has to be
//!   replayed, which are written at once by each mount;
//! - btrfs: the superblock, with the number of the last transaction;
//! - xfs: the first 4 KiB, with the superblock and the heads of the free space
//!   and of the inodes of the first allocation group.

#![forbid(unsafe_code)]

use super::wire::{
    crc,
    Reader,
    Writer, //
};
use super::{
    Result,
    BLOCK, //
};
use core::fmt::{
    self,
    Write, //
};

/// Blocks of the device to look at: the first one, and that at 64 KiB.
pub const PLACES: [u64; 2] = [0, 16];

const EXT4_AT: usize = 1024;
const EXT4_MAGIC: u16 = 0xef53;
/// The journal is not empty, as it is while mounted.
const EXT4_RECOVER: u32 = 4;

/// A UUID as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_char('-')?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// UUID, as `blkid` shows it.
    pub uuid: [u8; 16],
    /// Devices that it is made of.
    pub devices: u64,
    /// Changes when it is mounted.
    pub fingerprint: u32,
}

/// Finds out what is on a device with these two blocks; `None` for nothing
/// that is known here.
pub fn identify(first: &[u8; BLOCK], second: &[u8; BLOCK]) -> Option<Filesystem> {
    // What was made last has overwritten the marks in front of its own.
    let found = xfs(first).or_else(|_| ext4(first));
    found.or_else(|_| btrfs(second)).ok()
}

fn btrfs(block: &[u8; BLOCK]) -> Result<Filesystem> {
    Reader::at(block, 64)?.magic(b"_BHRfS_M")?;
    Ok(Filesystem {
        uuid: Reader::at(block, 32)?.array()?,
        devices: Reader::at(block, 136)?.u64()?,
        fingerprint: crc(block),
    })
}

fn xfs(block: &[u8; BLOCK]) -> Result<Filesystem> {
    Reader::new(block).magic(b"XFSB")?;
    Ok(Filesystem {
        uuid: Reader::at(block, 32)?.array()?,
        devices: 1,
        fingerprint: crc(block),
    })
}

fn ext4(block: &[u8; BLOCK]) -> Result<Filesystem> {
    let field = |at: usize| Reader::at(block, EXT4_AT.saturating_add(at));
    field(56)?.magic(&EXT4_MAGIC.to_le_bytes())?;
    let mut epoch = [0; 26];
    let mut w = Writer::new(&mut epoch);
    let uuid = field(104)?.array()?;
    w.bytes(&uuid)?;
    w.u32(field(44)?.u32()?)?;
    w.u16(field(52)?.u16()?)?;
    w.u32(field(96)?.u32()? & EXT4_RECOVER)?;
    Ok(Filesystem {
        uuid,
        devices: 1,
        fingerprint: crc(&epoch),
    })
}
