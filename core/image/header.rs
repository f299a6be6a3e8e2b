// SPDX-License-Identifier: GPL-2.0

//! The header: which kernel and which modules made the image.
//!
//! It is written once, at the start of a save, into an area of [`AREA_BLOCKS`] blocks. What lies
//! behind [`Header::total_len`] in that area is zero and not looked at.

#![forbid(unsafe_code)]

use super::wire::{
    align8,
    check_seal,
    Reader, //
};
use super::{
    is_module_name,
    Error,
    ImageId,
    Result,
    BLOCK,
    NAME_BYTES,
    PAGE,
    TRANSFORMS_MAX,
    VERSION, //
};

mod builder;
mod bystander;
mod mounted;
mod unkeyed;

pub use self::builder::HeaderBuilder;
pub use self::bystander::{
    Bystander,
    Bystanders,
    BYSTANDERS_HEAD_BYTES,
    BYSTANDERS_MAX,
    BYSTANDER_BYTES,
    LABEL_BYTES,
    PATH_BYTES, //
};
pub use self::mounted::{
    Mounted,
    MountedList,
    MOUNTED_BYTES,
    MOUNTED_HEAD_BYTES,
    MOUNTED_MAX, //
};
pub use self::unkeyed::unkey;

/// First bytes of every header.
pub const MAGIC: [u8; 8] = *b"DMHEADER";

/// Offset of the seal.
pub const CRC_AT: usize = 12;

/// Blocks of the area that is kept for the header.
pub const AREA_BLOCKS: usize = 16;

/// Bytes of that area.
pub const AREA_BYTES: usize = AREA_BLOCKS * BLOCK;

/// Bytes of the fixed fields; the architecture's blob follows them.
pub const FIXED_BYTES: usize = 384;

/// Most bytes of the architecture's blob.
pub const ARCH_MAX: usize = 4096;

/// Most bytes of a build identity.
pub const BUILD_ID_MAX: usize = 32;

/// Bytes of the fields in front of a transform's parameters.
pub const TRANSFORM_BYTES: usize = 40;

/// Most bytes of parameters of one transform.
pub const PARAMS_MAX: usize = 1024;

/// Width of the field for the kernel's release.
pub const RELEASE_BYTES: usize = 64;

/// Width of the field for the kernel's version.
pub const KVERSION_BYTES: usize = 128;

/// Width of the field for the machine's name.
pub const MACHINE_BYTES: usize = 32;

/// Flag: the machine went down through the platform (ACPI S4).
pub const FLAG_PLATFORM: u32 = 1 << 0;

/// Flag: a page may be in several frames, of which the one with the highest number counts.
pub const FLAG_MAY_OVERRIDE: u32 = 1 << 1;

/// Flag: a list of filesystems follows the transforms. The builder sets it.
pub const FLAG_MOUNTED: u32 = 1 << 2;

/// Flag: a list of bystanders follows the transforms and the filesystems. The builder sets it.
pub const FLAG_BYSTANDERS: u32 = 1 << 3;

/// Flags that are facts; the others say what the header has.
const FLAGS_FACTS: u32 = FLAG_PLATFORM | FLAG_MAY_OVERRIDE;
const FLAGS_KNOWN: u32 = FLAGS_FACTS | FLAG_MOUNTED | FLAG_BYSTANDERS;

// Offset of the length of the whole, which the builder patches last and the decoder reads first.
const TOTAL_LEN_AT: usize = 16;
// Offset of the flags, some of which the builder knows last.
const FLAGS_AT: usize = 20;

/// The facts that a header states, except for the transforms and the lists behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Identity of the image.
    pub image_id: ImageId,
    /// Any of [`FLAG_PLATFORM`] and [`FLAG_MAY_OVERRIDE`].
    pub flags: u32,
    /// What the architecture wants to find again.
    pub arch: &'a [u8],
    /// `uname -r`.
    pub release: &'a str,
    /// `uname -v`.
    pub kversion: &'a str,
    /// `uname -m`.
    pub machine: &'a str,
    /// Build identity of the kernel; empty when it has none.
    pub build_id: &'a [u8],
    /// Name of the snapshot method.
    pub snapshot: &'a str,
    /// Name of the storage.
    pub writer: &'a str,
    /// Pages of memory of the machine.
    pub ram_pages: u64,
}

/// What a transform does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TransformKind {
    /// Makes frames smaller.
    Compress = 1,
    /// Makes frames unreadable and unforgeable.
    Encrypt = 2,
}

/// A transform that the image was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// What it does.
    pub kind: TransformKind,
    /// Name of the module.
    pub name: &'a str,
    /// What it needs to undo its work.
    pub params: &'a [u8],
}

/// A checked header, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// What the header states.
    pub facts: Facts<'a>,
    /// The seal, to compare with the commit record.
    pub crc: u32,
    /// Bytes of the header.
    pub total_len: usize,
    // Invariant: all decode without errors.
    transforms: Transforms<'a>,
    mounted: MountedList<'a>,
    bystanders: Bystanders<'a>,
}

impl<'a> Header<'a> {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::BadMagic`], [`Error::UnknownVersion`], [`Error::BadLength`],
    /// [`Error::Truncated`] or [`Error::BadCrc`] before anything else is looked at;
    /// [`Error::PageSize`], [`Error::UnknownFeature`], [`Error::BadCount`], [`Error::BadText`]
    /// or [`Error::NotZero`] for a field.
    pub fn decode(bytes: &'a [u8]) -> Result<Header<'a>> {
        let mut r = Reader::new(bytes);
        r.magic(&MAGIC)?;
        if r.u32()? != VERSION {
            return Err(Error::UnknownVersion);
        }
        r.u32()?;
        let total_len = r.u32()? as usize;
        if !(FIXED_BYTES..=AREA_BYTES).contains(&total_len) {
            return Err(Error::BadLength);
        }
        let bytes = bytes.get(..total_len).ok_or(Error::Truncated)?;
        let crc = check_seal(bytes, CRC_AT)?;

        let mut r = Reader::at(bytes, TOTAL_LEN_AT)?;
        r.u32()?;
        let (facts, flags, transform_count) = Self::facts(&mut r)?;
        let transforms = Transforms {
            left: transform_count,
            rest: r.rest(),
        };
        let rest = transforms.check()?;
        let (mounted, rest) = match flags & FLAG_MOUNTED {
            0 => (MountedList::NONE, rest),
            _ => MountedList::check(rest)?,
        };
        let bystanders = match flags & FLAG_BYSTANDERS {
            0 if rest.is_empty() => Bystanders::NONE,
            0 => return Err(Error::BadLength),
            _ => Bystanders::check(rest)?,
        };
        Ok(Header {
            facts,
            crc,
            total_len,
            transforms,
            mounted,
            bystanders,
        })
    }

    fn facts(r: &mut Reader<'a>) -> Result<(Facts<'a>, u32, u32)> {
        let flags = r.u32()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(Error::UnknownFeature);
        }
        let image_id = r.id()?;
        if r.u32()? as usize != PAGE {
            return Err(Error::PageSize);
        }
        let arch_len = r.u32()? as usize;
        let build_id_len = r.u32()? as usize;
        if arch_len > ARCH_MAX || build_id_len > BUILD_ID_MAX {
            return Err(Error::BadLength);
        }
        let transform_count = r.u32()?;
        if transform_count as usize > TRANSFORMS_MAX {
            return Err(Error::BadCount);
        }
        let release = r.text(RELEASE_BYTES)?;
        let kversion = r.text(KVERSION_BYTES)?;
        let machine = r.text(MACHINE_BYTES)?;
        let build_id = r.bytes(build_id_len)?;
        r.zeros(BUILD_ID_MAX.saturating_sub(build_id_len))?;
        let snapshot = name(r)?;
        let writer = name(r)?;
        let ram_pages = r.u64()?;
        let arch = r.bytes(arch_len)?;
        r.zeros(align8(arch_len).saturating_sub(arch_len))?;
        let facts = Facts {
            image_id,
            flags: flags & FLAGS_FACTS,
            arch,
            release,
            kversion,
            machine,
            build_id,
            snapshot,
            writer,
            ram_pages,
        };
        Ok((facts, flags, transform_count))
    }

    /// Returns whether the machine went down through the platform.
    pub const fn platform_mode(&self) -> bool {
        self.facts.flags & FLAG_PLATFORM != 0
    }

    /// Returns whether a later frame may override an earlier one.
    pub const fn may_override(&self) -> bool {
        self.facts.flags & FLAG_MAY_OVERRIDE != 0
    }

    /// Returns how many transforms the image was made with.
    pub const fn transform_count(&self) -> usize {
        self.transforms.left as usize
    }

    /// Returns the transforms, in the order in which the save applied them.
    pub const fn transforms(&self) -> Transforms<'a> {
        self.transforms
    }

    /// Returns the filesystems that were mounted when the image was saved.
    pub const fn mounted(&self) -> MountedList<'a> {
        self.mounted
    }

    /// Returns the swap areas with memory of the saved system that hold no part of the image.
    pub const fn bystanders(&self) -> Bystanders<'a> {
        self.bystanders
    }
}

fn name<'a>(r: &mut Reader<'a>) -> Result<&'a str> {
    let name = r.text(NAME_BYTES)?;
    if !is_module_name(name) {
        return Err(Error::BadText);
    }
    Ok(name)
}

/// Iterates over the transforms of a header.
#[derive(Clone, Copy, Debug)]
pub struct Transforms<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Transforms<'a> {
    /// Goes through all of them, and returns what follows.
    fn check(mut self) -> Result<&'a [u8]> {
        while self.left != 0 {
            self.step()?;
        }
        Ok(self.rest)
    }

    fn step(&mut self) -> Result<Transform<'a>> {
        let mut r = Reader::new(self.rest);
        let kind = match r.u32()? {
            1 => TransformKind::Compress,
            2 => TransformKind::Encrypt,
            _ => return Err(Error::UnknownFeature),
        };
        let param_len = r.u32()? as usize;
        if param_len > PARAMS_MAX {
            return Err(Error::BadLength);
        }
        let name = name(&mut r)?;
        let params = r.bytes(param_len)?;
        r.zeros(align8(param_len).saturating_sub(param_len))?;
        self.rest = r.rest();
        self.left = self.left.saturating_sub(1);
        Ok(Transform { kind, name, params })
    }
}

impl<'a> Iterator for Transforms<'a> {
    type Item = Transform<'a>;

    fn next(&mut self) -> Option<Transform<'a>> {
        if self.left == 0 {
            return None;
        }
        // Never an error: `Header::decode` went through all of them.
        self.step().ok()
    }
}
