// SPDX-License-Identifier: GPL-2.0

//! Keeps images on an export of an NBD server.
//!
//! Read in this order: [`proto`] is the protocol without any input or output,
//! [`link`] one connection that speaks it, [`session`] what is to be done over
//! several of them and [`lane`] the thread of each, [`mark`] what an export
//! looks like, [`place`] which one is meant and whether it may be used,
//! [`space`] what the engine writes to, and [`sweep`] what becomes of it when
//! nobody wants it any more.
//!
//! No connection outlives a change of the superblock. So none exists when the
//! snapshot is taken, when a restore begins, or when the machine goes down:
//! there is nothing that a restored kernel could take for a connection of its
//! own, and no server waits for a client that is gone.

#![forbid(unsafe_code)]

mod attempt;
mod lane;
mod link;
pub mod mark;
mod order;
mod place;
pub mod proto;
mod ring;
mod session;
mod settings;
mod space;
mod sweep;

// The pure files name these as they do on the host.
use dormouse::image;

use dormouse::registry::{self, Registration};
use dormouse::storage::{Place, Room, Space, Storage};
use dormouse::sys::sysfs::Directory;
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;
use sweep::Sweeper;

module! {
    type: Module,
    name: "dormouse_netblock",
    author: "The Dormouse developers",
    description: "Network block devices as storage of Dormouse",
    license: "GPL",
    alias: ["dormouse-writer-netblock"],
}

struct Module {
    _registration: Registration,
    _settings: Directory,
    sweeper: Arc<Sweeper>,
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nobody uses the module any more who could begin another one.
        self.sweeper.rest();
    }
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let sweeper = Sweeper::new()?;
        let storage = Netblock {
            sweeper: sweeper.clone(),
        };
        Ok(Module {
            _settings: settings::create()?,
            _registration: registry::register_storage(Arc::new(storage, GFP_KERNEL)?, module)?,
            sweeper,
        })
    }
}

struct Netblock {
    sweeper: Arc<Sweeper>,
}

impl Storage for Netblock {
    fn name(&self) -> &'static CStr {
        c_str!("netblock")
    }

    fn memory(&self, _place: Place<'_>, _blocks: u64) -> usize {
        space::MEMORY_BYTES
    }

    fn room(&self, place: Place<'_>) -> Result<Room> {
        place::room(place)
    }

    fn reserve(&self, place: Place<'_>, want: u64, at_least: u64) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(
            place::reserve(&self.sweeper, place, want, at_least)?,
            GFP_KERNEL,
        )?)
    }

    fn open(&self, place: Place<'_>) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(place::open(&self.sweeper, place)?, GFP_KERNEL)?)
    }

    fn settle(&self) {
        self.sweeper.rest();
    }
}
