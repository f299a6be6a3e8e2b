// SPDX-License-Identifier: GPL-2.0

//! The list of bystanders, behind the filesystems: swap areas with memory of the saved system that
//! hold no part of the image.

#![forbid(unsafe_code)]

use crate::image::wire::{
    Reader,
    Writer, //
};
use crate::image::{
    Error,
    Result, //
};

/// Most bystanders in a header: more than Linux has swap areas.
pub const BYSTANDERS_MAX: usize = 32;

/// Bytes of one of them.
pub const BYSTANDER_BYTES: usize = 120;

/// Bytes of the fields in front of the list.
pub const BYSTANDERS_HEAD_BYTES: usize = 8;

/// Width of the field for the label, as in a swap header.
pub const LABEL_BYTES: usize = 16;

/// Width of the field for the path.
pub const PATH_BYTES: usize = 64;

/// Flag: the device is made by the system itself, of others.
const FLAG_VIRTUAL: u32 = 1 << 0;

/// A swap area with memory of the saved system, which holds no part of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bystander<'a> {
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Block of its device with the swap header.
    pub block: u64,
    /// Numbers of its device, major and minor. They may mean another one after a boot.
    pub device: (u32, u32),
    /// Whether the saved system makes the device itself, of others (dm, md): it goes on with it
    /// also when another system does not have it.
    pub is_virtual: bool,
    /// Its label; empty when it has none.
    pub label: &'a str,
    /// Path of the device node or file, for people; may be cut off.
    pub path: &'a str,
}

impl<'a> Bystander<'a> {
    /// Writes its [`BYSTANDER_BYTES`].
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`]; [`Error::TooLong`] and [`Error::BadText`] for the label or path.
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result {
        w.bytes(&self.uuid)?;
        w.u64(self.block)?;
        w.u32(self.device.0)?;
        w.u32(self.device.1)?;
        w.u32(if self.is_virtual { FLAG_VIRTUAL } else { 0 })?;
        w.u32(0)?;
        w.text(self.label, LABEL_BYTES)?;
        w.text(self.path, PATH_BYTES)
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self> {
        let uuid = r.array()?;
        let block = r.u64()?;
        let device = (r.u32()?, r.u32()?);
        let flags = r.u32()?;
        if flags & !FLAG_VIRTUAL != 0 {
            return Err(Error::UnknownFeature);
        }
        r.zeros(4)?;
        Ok(Bystander {
            uuid,
            block,
            device,
            is_virtual: flags & FLAG_VIRTUAL != 0,
            label: r.text(LABEL_BYTES)?,
            path: r.text(PATH_BYTES)?,
        })
    }
}

/// Iterates over the bystanders of a header.
#[derive(Clone, Copy, Debug)]
pub struct Bystanders<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Bystanders<'a> {
    /// A list of none.
    pub(super) const NONE: Self = Bystanders { left: 0, rest: &[] };

    /// Checks that `bytes` are a list, and nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let left = r.u32()?;
        r.zeros(4)?;
        if left == 0 || left as usize > BYSTANDERS_MAX {
            return Err(Error::BadCount);
        }
        let list = Bystanders {
            left,
            rest: r.rest(),
        };
        let mut rest = list;
        while rest.left != 0 {
            rest.step()?;
        }
        if !rest.rest.is_empty() {
            return Err(Error::BadLength);
        }
        Ok(list)
    }

    fn step(&mut self) -> Result<Bystander<'a>> {
        let mut r = Reader::new(self.rest);
        let found = Bystander::decode(&mut r)?;
        self.rest = r.rest();
        self.left = self.left.saturating_sub(1);
        Ok(found)
    }
}

impl<'a> Iterator for Bystanders<'a> {
    type Item = Bystander<'a>;

    fn next(&mut self) -> Option<Bystander<'a>> {
        if self.left == 0 {
            return None;
        }
        // Never an error: `check` went through all of them.
        self.step().ok()
    }
}
