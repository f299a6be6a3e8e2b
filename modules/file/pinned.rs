// SPDX-License-Identifier: GPL-2.0

//! The file that is configured: checked, and kept where it is.

#![forbid(unsafe_code)]

use crate::blockmap::codec::{blocks_for, Device};
use crate::blockmap::{BlockMap, MapEntry};
use crate::first::First;
use crate::image::{superblock, ImageId, BLOCK};
use crate::page::{self, Label, Seal};
use crate::plan;
use crate::refusal;
use crate::space::FileSpace;
use core::mem::size_of;
use dormouse::blockspace::{self, BlockSpace, Map};
use dormouse::engine;
use dormouse::errno;
use dormouse::sys::buf::Buf;
use dormouse::sys::file::{Access, File, PinnedFile};
use dormouse::sys::hibernate::{self, ResumeDevice};
use dormouse::sys::random;
use dormouse::sys::table::Table;
use dormouse::target::TARGET_MAX;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// Least size of a file: what is in front of the first page of memory has to
/// have room.
pub(crate) const BYTES_MIN: u64 = 1 << 20;

/// A file that stays where it is until this is dropped.
pub(crate) struct Pinned {
    pub(crate) path: Text<TARGET_MAX>,
    pub(crate) first: First,
    pub(crate) label: Label,
    /// First block and number of blocks, without the first page.
    runs: KVVec<(u64, u32)>,
    // Dropped last: the device is used through it.
    file: PinnedFile,
}

/// A new identity.
pub(crate) fn new_id() -> ImageId {
    let mut id = ImageId([0; 16]);
    random::fill_random(&mut id.0);
    id
}

/// The block of the first page of `file`, and the runs of the others, as first
/// block and number of blocks; the file has `blocks` blocks.
fn runs(path: &str, file: &PinnedFile, blocks: u64) -> Result<(u64, KVVec<(u64, u32)>)> {
    let mut runs = KVVec::new();
    let extents = file.extents()?;
    let layout = plan::runs(extents.iter().copied(), |at, count| {
        runs.push((at, count), GFP_KERNEL)
    })?;
    let next = layout.pages;
    if next != blocks {
        return Err(engine::fail(EINVAL, format_args!(
            "file {path} cannot be used: only {next} of its {blocks} pages are where a device can be told to write"
        )));
    }
    Ok((layout.first, runs))
}

/// Opens `path` and checks what can be seen of it from outside.
fn open_checked(path: &str) -> Result<(File, u64)> {
    let name = CString::try_from_fmt(format_args!("{path}"))?;
    let file = File::open(&name, Access::Read).map_err(|e| refusal::of_open(path, e))?;
    let info = refusal::check(path, &file)?;
    let bytes = info.bytes();
    let mut first = Buf::new(BLOCK)?;
    let got = file.read(0, &mut first)?;
    if got < BLOCK || page::decode_label(&first).is_err() {
        return Err(engine::fail(
            EINVAL,
            format_args!("file {path} was not made for images: write \"{path} SIZE\" to /sys/power/hibernate/modules/file/create, with a path that is not there yet"),
        ));
    }
    if bytes < BYTES_MIN || bytes % BLOCK as u64 != 0 {
        return Err(engine::fail(
            EINVAL,
            format_args!("file {path} has {bytes} bytes: it needs a multiple of {BLOCK}, and {BYTES_MIN} at least"),
        ));
    }
    Ok((file, bytes / BLOCK as u64))
}

impl Pinned {
    /// Checks the file at `path`, and keeps it where it is. May sleep.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, with the reason recorded; `ENOMEM`, I/O errors.
    pub(crate) fn new(path: &str) -> Result<Pinned> {
        let (file, blocks) = open_checked(path)?;
        let fs = Text::<16>::format(format_args!("{}", file.info().fs()));
        let mut file = file
            .pin()
            .map_err(|e| refusal::of_pin(path, fs.as_str(), e))?;
        let (block, runs) = runs(path, &file, blocks)?;
        let device = file.device()?;
        let found = blockspace::filesystem(&device)?;
        let found = found.filter(|found| found.devices == 1).ok_or_else(|| {
            engine::fail(errno::error(errno::EOPNOTSUPP), format_args!(
                "file {path} is on a filesystem that is made of several devices, or whose own device cannot be told"
            ))
        })?;
        let pinned = Pinned {
            path: Text::format(format_args!("{path}")),
            first: First { device, block },
            label: Label {
                file: ImageId([0; 16]),
                uuid: found.uuid,
                block,
                blocks,
            },
            runs,
            file,
        };
        pinned.settle()
    }

    /// Brings the label up to date, and gives an image up that is there: its
    /// filesystem is mounted, so it can never be restored.
    fn settle(mut self) -> Result<Pinned> {
        let (was, state) = self.first.read()?.ok_or_else(|| {
            let path = &self.path;
            engine::fail(
                EIO,
                format_args!("file {path} has something else on the device than in memory"),
            )
        })?;
        self.label.file = was.file;
        if was.block != self.label.block {
            if was.block != 0 {
                pr_notice!(
                    "{}: it was copied or moved, and is a new file now\n",
                    self.path
                );
            }
            self.label.file = new_id();
            let seal = Seal {
                file: self.label.file,
                fingerprint: 0,
            };
            self.first.put_state(&[0; superblock::BYTES], &seal)?;
        } else if self.first.give_up(&was, &state)? {
            pr_warn!(
                "{}: the image in it is given up, as its filesystem is mounted\n",
                self.path
            );
        }
        if was != self.label {
            self.first.put_label(&self.label)?;
        }
        self.file.forget()?;
        Ok(self)
    }

    /// Where the resuming kernel has to look.
    pub(crate) fn at(&self) -> ResumeDevice {
        ResumeDevice {
            dev: self.first.device.dev(),
            block: self.first.block,
        }
    }

    fn blocks(&self) -> u64 {
        self.label.blocks.saturating_sub(1)
    }

    /// Blocks that the space has when the map is stored.
    pub(crate) fn room(&self) -> u64 {
        let map = blocks_for(self.runs.len().saturating_add(1));
        self.blocks().saturating_sub(map as u64)
    }

    /// Bytes of memory that the space takes: its map, and the list of the
    /// blocks that the map is stored in.
    pub(crate) fn memory(&self) -> usize {
        let runs = self.runs.len().saturating_add(1);
        let map = runs.saturating_mul(size_of::<MapEntry>());
        map.saturating_add(blocks_for(runs).saturating_mul(size_of::<u64>()))
    }

    /// Checks that everything is where it was, so that it can be written
    /// behind the filesystem's back. May sleep.
    fn check(&self) -> Result {
        let path = &self.path;
        self.file.verify().map_err(|e| {
            engine::fail(
                e,
                format_args!("file {path} is not where it was when it was configured"),
            )
        })?;
        self.file
            .forget()
            .map_err(|e| engine::fail(e, format_args!("file {path} is being read by somebody")))?;
        self.first.look(&self.label).map(|_| ())
    }

    /// The first `count` blocks behind the first page, and the map of the rest.
    fn split(&self, count: usize) -> Result<(KVVec<u64>, Map)> {
        let mut chain = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut map = BlockMap::new(Table::new(self.runs.len().max(1))?);
        plan::split::<Error>(
            self.runs.iter().copied(),
            count,
            |block| Ok(chain.push(block, GFP_KERNEL)?),
            |block, blocks| Ok(map.append(0, block, blocks)?),
        )?;
        Ok((chain, map))
    }

    /// Says so when the next boot will look for the image somewhere else.
    fn warn_about_resume(&self) {
        let Some(at) = hibernate::resume_device() else {
            return;
        };
        let own = self.at();
        if at.dev != own.dev || at.block != own.block {
            engine::warn(format_args!(
                "resume= names {} (offset {}), where no image will be: it goes to {} (offset {})",
                at.dev,
                at.block,
                self.first.name(),
                own.block
            ));
        }
    }

    /// Makes the space for an image of at least `at_least` blocks, and writes
    /// the block map. May sleep and allocate.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and `ESTALE` with the reason, `ENOMEM`, I/O errors.
    pub(crate) fn reserve(this: Arc<Pinned>, at_least: u64) -> Result<FileSpace> {
        this.check()?;
        this.warn_about_resume();
        let (chain, map) = this.split(blocks_for(this.runs.len().saturating_add(1)))?;
        if map.total() < at_least || map.total() == 0 {
            return Err(engine::fail(
                ENOSPC,
                format_args!(
                    "file {} has {} kB for an image, which may need {} kB",
                    this.path,
                    map.total().saturating_mul(4),
                    at_least.saturating_mul(4)
                ),
            ));
        }
        let id = new_id();
        let device = &this.first.device;
        // A part of the path is of no use, and control characters are not allowed.
        let path = Some(this.path.as_str()).filter(|p| p.len() < 64);
        let entry = Device {
            uuid: this.label.uuid,
            blocks: device.size_bytes() / BLOCK as u64,
            major: device.dev().major(),
            minor: device.dev().minor(),
            signature_block: this.first.block,
            private: 0,
            label: path.unwrap_or(""),
        };
        blockspace::store(device, &chain, &id, &[entry], &map)?;
        let mut devices = KVec::new();
        devices.push(device.clone(), GFP_KERNEL)?;
        Ok(FileSpace {
            space: BlockSpace::new(devices, map),
            first: this.first.clone(),
            label: this.label,
            map: id,
            chain: chain.first().copied().ok_or(EINVAL)?,
            dead: false,
            reserved: true,
            _pinned: Some(this),
        })
    }
}
