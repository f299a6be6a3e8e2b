// SPDX-License-Identifier: GPL-2.0

//! A sample of a module that does not come with the kernel: it counts the
//! frames that pass through it.
//!
//! Choose it with `echo count > /sys/power/hibernate/compressor`, and read the
//! counts in `/sys/power/dormouse_count/`. Frames come out as they go in, so
//! this is also the smallest transform that does something. Build it with
//! `make -C samples KDIR=<tree of the kernel> O=<its output>`.
//!
//! The counts are in memory, so a resume takes them back to the snapshot with
//! everything else: what is counted after it shows in a save that is given up,
//! or to a task that keeps running while the others are frozen.

#![forbid(unsafe_code)]

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use dormouse::errno;
use dormouse::registry::{self, Registration};
use dormouse::sys::sysfs::{Attribute, Directory, ShowBuf};
use dormouse::transform::{Direction, Kind, Place, Stage, Transform};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Module,
    name: "dormouse_count",
    author: "The Dormouse developers",
    description: "Counts the frames of images",
    license: "GPL",
    alias: ["dormouse-compress-count"],
}

/// A number, and the file that shows it.
struct Counter {
    name: &'static CStr,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static CStr) -> Self {
        Counter {
            name,
            value: AtomicU64::new(0),
        }
    }

    fn add(&self, n: usize) {
        self.value.fetch_add(n as u64, Ordering::Relaxed);
    }
}

impl Attribute for Counter {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn mode(&self) -> u16 {
        0o444
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        writeln!(out, "{}", self.value.load(Ordering::Relaxed)).map_err(|_| E2BIG)
    }

    fn store(&self, _value: &[u8]) -> Result {
        Err(EPERM)
    }
}

static FRAMES_SAVED: Counter = Counter::new(c_str!("frames_saved"));
static BYTES_SAVED: Counter = Counter::new(c_str!("bytes_saved"));
static FRAMES_LOADED: Counter = Counter::new(c_str!("frames_loaded"));
static BYTES_LOADED: Counter = Counter::new(c_str!("bytes_loaded"));

/// Copies `src` to the beginning of `dst` and returns its length.
fn copy(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    dst.get_mut(..src.len())?.copy_from_slice(src);
    Some(src.len())
}

/// Both the transform and its only stage: the counters are shared anyway.
struct Count;

impl Transform for Count {
    fn name(&self) -> &'static CStr {
        c_str!("count")
    }

    fn kind(&self) -> Kind {
        Kind::Compress
    }

    fn worst_case(&self, len: usize) -> usize {
        len
    }

    fn expected_percent(&self) -> u32 {
        100
    }

    fn stage_memory(&self) -> usize {
        0
    }

    fn stage(&self, _direction: Direction, parameters: &[u8]) -> Result<Arc<dyn Stage>> {
        if !parameters.is_empty() {
            return Err(EINVAL);
        }
        Ok(Arc::new(Count, GFP_KERNEL)?)
    }
}

impl Stage for Count {
    fn forward(&self, _place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>> {
        let len = copy(src, dst).ok_or(E2BIG)?;
        FRAMES_SAVED.add(1);
        BYTES_SAVED.add(len);
        Ok(Some(len))
    }

    fn backward(&self, _place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        // What comes from storage may have any length.
        if src.len() != dst.len() {
            return Err(errno::error(errno::EBADMSG));
        }
        let len = copy(src, dst).ok_or(E2BIG)?;
        FRAMES_LOADED.add(1);
        BYTES_LOADED.add(len);
        Ok(len)
    }
}

struct Module {
    // Unregistered first: then nobody counts any more.
    _registration: Registration,
    _folder: Directory,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let folder = Directory::under_power(c_str!("dormouse_count"))?;
        folder.add(&FRAMES_SAVED)?;
        folder.add(&BYTES_SAVED)?;
        folder.add(&FRAMES_LOADED)?;
        folder.add(&BYTES_LOADED)?;
        let registration = registry::register_transform(Arc::new(Count, GFP_KERNEL)?, module)?;
        // Those of the self-test do not count.
        for counter in [&FRAMES_SAVED, &BYTES_SAVED, &FRAMES_LOADED, &BYTES_LOADED] {
            counter.value.store(0, Ordering::Relaxed);
        }
        Ok(Module {
            _registration: registration,
            _folder: folder,
        })
    }
}
