// SPDX-License-Identifier: GPL-2.0

//! Keeps images in the free space of swap areas: partitions and files, one or
//! several together.
//!
//! Read in this order: [`areas`] chooses among the active areas, [`reserve`]
//! takes their slots, [`space`] is what the engine then writes to, [`mark`] and
//! [`dormouse::swapmark`] are what is seen of it in the swap headers, and
//! [`open`] finds it again.

#![forbid(unsafe_code)]

mod areas;
mod mark;
mod open;
mod plan;
mod reserve;
mod space;

// The pure files name these as they do on the host.
use dormouse::{blockmap, image};

use dormouse::control;
use dormouse::registry::{self, Registration};
use dormouse::storage::{Place, Room, Space, Storage};
use dormouse::sys::sysfs::{Attribute, Directory, ShowBuf};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Module,
    name: "dormouse_swap",
    author: "The Dormouse developers",
    description: "Swap space as storage of Dormouse",
    license: "GPL",
    alias: ["dormouse-writer-swap"],
}

struct Module {
    // Field order matters: nobody finds us any more when the rest goes.
    _folder: Directory,
    _registration: Registration,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let folder = control::module_folder(c_str!("swap"))?;
        folder.add_shared(Arc::new(Areas, GFP_KERNEL)?)?;
        Ok(Module {
            _folder: folder,
            _registration: registry::register_storage(Arc::new(Swap, GFP_KERNEL)?, module)?,
        })
    }
}

struct Swap;

impl Storage for Swap {
    fn name(&self) -> &'static CStr {
        c_str!("swap")
    }

    fn memory(&self, _place: Place<'_>, blocks: u64) -> usize {
        reserve::memory(blocks)
    }

    fn configure(&self, target: Option<&str>) -> Result {
        target.map_or(Ok(()), areas::check)
    }

    fn room(&self, place: Place<'_>) -> Result<Room> {
        Ok(reserve::room(&areas::choose(place, false)?))
    }

    fn reserve(&self, place: Place<'_>, want: u64, at_least: u64) -> Result<Arc<dyn Space>> {
        let chosen = areas::choose(place, true)?;
        areas::warn_about_resume(&chosen);
        Ok(Arc::new(
            reserve::reserve(&chosen, want, at_least)?,
            GFP_KERNEL,
        )?)
    }

    fn open(&self, place: Place<'_>) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(open::open(place)?, GFP_KERNEL)?)
    }

    fn open_mark(&self, place: Place<'_>) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(open::open_mark(place)?, GFP_KERNEL)?)
    }
}

/// `areas`: which active swap areas can take an image, and why others cannot.
struct Areas;

impl Attribute for Areas {
    fn name(&self) -> &'static CStr {
        c_str!("areas")
    }

    fn mode(&self) -> u16 {
        0o400
    }

    fn show(&self, out: &mut ShowBuf<'_>) -> Result {
        areas::list(out)
    }

    fn store(&self, _value: &[u8]) -> Result {
        Err(EPERM)
    }
}
