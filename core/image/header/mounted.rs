// SPDX-License-Identifier: GPL-2.0

//! The list of filesystems that were mounted when the image was saved, behind the transforms.

#![forbid(unsafe_code)]

use crate::image::wire::{
    Reader,
    Writer, //
};
use crate::image::{
    Error,
    Result, //
};

/// Most filesystems in a header.
pub const MOUNTED_MAX: usize = 64;

/// Bytes of one of them.
pub const MOUNTED_BYTES: usize = 64;

/// Bytes of the fields in front of the list.
pub const MOUNTED_HEAD_BYTES: usize = 8;

/// Width of the field for the name of a device.
const DEVICE_BYTES: usize = 32;

/// A filesystem that was mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted<'a> {
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Numbers of its device, major and minor. They may mean another one after a boot.
    pub device: (u32, u32),
    /// What changes when it is mounted, see [`filesystem`](crate::image::filesystem).
    pub fingerprint: u32,
    /// The kernel's name of its device.
    pub name: &'a str,
}

impl<'a> Mounted<'a> {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result {
        w.bytes(&self.uuid)?;
        w.u32(self.device.0)?;
        w.u32(self.device.1)?;
        w.u32(self.fingerprint)?;
        w.u32(0)?;
        w.text(self.name, DEVICE_BYTES)
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self> {
        let uuid = r.array()?;
        let device = (r.u32()?, r.u32()?);
        let fingerprint = r.u32()?;
        r.zeros(4)?;
        Ok(Mounted {
            uuid,
            device,
            fingerprint,
            name: r.text(DEVICE_BYTES)?,
        })
    }
}

/// Iterates over the filesystems of a header.
#[derive(Clone, Copy, Debug)]
pub struct MountedList<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> MountedList<'a> {
    /// A list of none.
    pub(super) const NONE: Self = MountedList { left: 0, rest: &[] };

    /// Checks that `bytes` begin with a list; returns what follows it, too.
    pub(super) fn check(bytes: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let mut r = Reader::new(bytes);
        let left = r.u32()?;
        r.zeros(4)?;
        if left == 0 || left as usize > MOUNTED_MAX {
            return Err(Error::BadCount);
        }
        let list = MountedList {
            left,
            rest: r.rest(),
        };
        let mut rest = list;
        while rest.left != 0 {
            rest.step()?;
        }
        Ok((list, rest.rest))
    }

    fn step(&mut self) -> Result<Mounted<'a>> {
        let mut r = Reader::new(self.rest);
        let found = Mounted::decode(&mut r)?;
        self.rest = r.rest();
        self.left = self.left.saturating_sub(1);
        Ok(found)
    }
}

impl<'a> Iterator for MountedList<'a> {
    type Item = Mounted<'a>;

    fn next(&mut self) -> Option<Mounted<'a>> {
        if self.left == 0 {
            return None;
        }
        // Never an error: `check` went through all of them.
        self.step().ok()
    }
}
