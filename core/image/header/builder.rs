// SPDX-License-Identifier: GPL-2.0

//! Writing a header.

#![forbid(unsafe_code)]

use super::{
    Bystander,
    Facts,
    Mounted,
    Transform,
    ARCH_MAX,
    AREA_BYTES,
    BUILD_ID_MAX,
    BYSTANDERS_HEAD_BYTES,
    BYSTANDERS_MAX,
    CRC_AT,
    FLAGS_AT,
    FLAGS_FACTS,
    FLAG_BYSTANDERS,
    FLAG_MOUNTED,
    KVERSION_BYTES,
    MACHINE_BYTES,
    MAGIC,
    MOUNTED_HEAD_BYTES,
    MOUNTED_MAX,
    PARAMS_MAX,
    RELEASE_BYTES,
    TOTAL_LEN_AT, //
};
use crate::image::wire::{
    align8,
    seal,
    Writer, //
};
use crate::image::{
    is_module_name,
    Error,
    Result,
    NAME_BYTES,
    PAGE,
    TRANSFORMS_MAX,
    VERSION, //
};

// Offset of the number of transforms, which is known last.
const TRANSFORM_COUNT_AT: usize = 52;

/// Writes a header into a buffer.
#[derive(Debug)]
pub struct HeaderBuilder<'a> {
    buf: &'a mut [u8],
    end: usize,
    transforms: u32,
    flags: u32,
    // Of the list of filesystems, when there is one: where it begins, and how many it has.
    mounted: Option<(usize, u32)>,
    // The same of the list of bystanders.
    bystanders: Option<(usize, u32)>,
}

impl<'a> HeaderBuilder<'a> {
    /// Starts a header that states `facts`, in `buf`, which is normally [`AREA_BYTES`] long.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] for the buffer, [`Error::TooLong`] and [`Error::BadText`] for a fact,
    /// [`Error::UnknownFeature`] for a flag.
    pub fn new(buf: &'a mut [u8], facts: &Facts<'_>) -> Result<Self> {
        if facts.flags & !FLAGS_FACTS != 0 {
            return Err(Error::UnknownFeature);
        }
        if facts.arch.len() > ARCH_MAX || facts.build_id.len() > BUILD_ID_MAX {
            return Err(Error::TooLong);
        }
        if !is_module_name(facts.snapshot) || !is_module_name(facts.writer) {
            return Err(Error::BadText);
        }
        let mut w = Writer::new(buf);
        w.bytes(&MAGIC)?;
        w.u32(VERSION)?;
        w.u32(0)?;
        w.u32(0)?;
        w.u32(facts.flags)?;
        w.id(&facts.image_id)?;
        w.u32(PAGE as u32)?;
        w.u32(facts.arch.len() as u32)?;
        w.u32(facts.build_id.len() as u32)?;
        w.u32(0)?;
        w.text(facts.release, RELEASE_BYTES)?;
        w.text(facts.kversion, KVERSION_BYTES)?;
        w.text(facts.machine, MACHINE_BYTES)?;
        w.bytes(facts.build_id)?;
        w.zeros(BUILD_ID_MAX.saturating_sub(facts.build_id.len()))?;
        w.text(facts.snapshot, NAME_BYTES)?;
        w.text(facts.writer, NAME_BYTES)?;
        w.u64(facts.ram_pages)?;
        w.bytes(facts.arch)?;
        let end = align8(w.position());
        w.zeros_to(end)?;
        Ok(Self {
            buf,
            end,
            transforms: 0,
            flags: facts.flags,
            mounted: None,
            bystanders: None,
        })
    }

    /// Adds a transform; in the order in which a save applies them.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] for the ninth, [`Error::TooLong`] for its parameters,
    /// [`Error::BadText`] for its name, [`Error::NoRoom`] for the buffer, [`Error::BadOrder`]
    /// behind a list. The header is unchanged then.
    pub fn transform(&mut self, transform: &Transform<'_>) -> Result {
        if self.mounted.is_some() || self.bystanders.is_some() {
            return Err(Error::BadOrder);
        }
        if self.transforms as usize >= TRANSFORMS_MAX {
            return Err(Error::BadCount);
        }
        if transform.params.len() > PARAMS_MAX {
            return Err(Error::TooLong);
        }
        if !is_module_name(transform.name) {
            return Err(Error::BadText);
        }
        let mut w = Writer::at(self.buf, self.end)?;
        w.u32(transform.kind as u32)?;
        w.u32(transform.params.len() as u32)?;
        w.text(transform.name, NAME_BYTES)?;
        w.bytes(transform.params)?;
        let end = align8(w.position());
        w.zeros_to(end)?;
        self.end = end;
        self.transforms = self.transforms.saturating_add(1);
        Ok(())
    }

    /// Adds a filesystem that is mounted, behind all transforms.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] for more than [`MOUNTED_MAX`], [`Error::TooLong`] and
    /// [`Error::BadText`] for the name of its device, [`Error::NoRoom`] for the buffer,
    /// [`Error::BadOrder`] behind the bystanders. The header is unchanged then.
    pub fn mounted(&mut self, mounted: &Mounted<'_>) -> Result {
        if self.bystanders.is_some() {
            return Err(Error::BadOrder);
        }
        let (at, count) = self.mounted.unwrap_or((self.end, 0));
        if count as usize >= MOUNTED_MAX {
            return Err(Error::BadCount);
        }
        let begin = match count {
            0 => self.end.saturating_add(MOUNTED_HEAD_BYTES),
            _ => self.end,
        };
        let mut w = Writer::at(self.buf, begin)?;
        mounted.encode(&mut w)?;
        self.end = w.position();
        self.mounted = Some((at, count.saturating_add(1)));
        Ok(())
    }

    /// Adds a bystander, behind all filesystems.
    ///
    /// # Errors
    ///
    /// [`Error::BadCount`] for more than [`BYSTANDERS_MAX`], [`Error::TooLong`] and
    /// [`Error::BadText`] for a text, [`Error::NoRoom`] for the buffer. The header is unchanged
    /// then.
    pub fn bystander(&mut self, bystander: &Bystander<'_>) -> Result {
        let (at, count) = self.bystanders.unwrap_or((self.end, 0));
        if count as usize >= BYSTANDERS_MAX {
            return Err(Error::BadCount);
        }
        let begin = match count {
            0 => self.end.saturating_add(BYSTANDERS_HEAD_BYTES),
            _ => self.end,
        };
        let mut w = Writer::at(self.buf, begin)?;
        bystander.encode(&mut w)?;
        self.end = w.position();
        self.bystanders = Some((at, count.saturating_add(1)));
        Ok(())
    }

    /// Seals the header and clears the rest of the buffer.
    ///
    /// Returns the seal, which the commit record repeats.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] when the header is longer than [`AREA_BYTES`].
    pub fn finish(self) -> Result<u32> {
        let Self {
            buf,
            end,
            transforms,
            flags,
            mounted,
            bystanders,
        } = self;
        if end > AREA_BYTES {
            return Err(Error::NoRoom);
        }
        let lists = [(mounted, FLAG_MOUNTED), (bystanders, FLAG_BYSTANDERS)];
        let mut flags = flags;
        for (list, flag) in lists {
            if let Some((at, count)) = list {
                flags |= flag;
                let mut w = Writer::at(buf, at)?;
                w.u32(count)?;
                w.u32(0)?;
            }
        }
        Writer::at(buf, FLAGS_AT)?.u32(flags)?;
        Writer::at(buf, TOTAL_LEN_AT)?.u32(end as u32)?;
        Writer::at(buf, TRANSFORM_COUNT_AT)?.u32(transforms)?;
        buf.get_mut(end..).ok_or(Error::NoRoom)?.fill(0);
        seal(buf.get_mut(..end).ok_or(Error::NoRoom)?, CRC_AT)
    }
}
