// SPDX-License-Identifier: GPL-2.0

//! Dormouse: a hibernation framework whose parts are modules.
//!
//! The engine is built into the kernel. It takes over the image from the
//! kernel's own hibernation code: which pages go into it, what is done to
//! them, where they are kept, and how they come back. Compressors, encryptors
//! and places for the image are loadable modules that implement a trait of
//! this crate and register it.
//!
//! Read the files in the order in which a page of memory meets them:
//!
//! - [`cycle`]: the steps of one hibernate or one resume, and their order.
//! - [`freezer`]: how the world is stopped.
//! - [`snapshot`]: which pages are saved, and how they are held still.
//! - [`pipeline`]: frames of pages, through the transforms, to the storage.
//! - [`transform`]: what a compressor or an encryptor is.
//! - [`storage`]: what a place for images is.
//! - [`image`]: every byte of what is written.
//!
//! [`registry`] finds modules by name, [`engine`] holds the settings,
//! [`control`] shows them in `/sys/power/hibernate/`. Everything unsafe is in
//! [`sys`].

pub mod blockmap;
pub mod blockspace;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod cmdline;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod control;
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
pub mod cryptoaead;
pub mod cryptocomp;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod cycle;
pub mod engine;
pub mod errno;
pub mod extent;
pub mod fill;
pub mod freezer;
pub mod image;
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
pub mod keyslot;
pub mod observer;
pub mod pace;
pub mod patience;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod registry;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod remote;
pub mod report;
pub mod selftest;
pub mod silent;
pub mod snapshot;
pub mod sort;
pub mod stack;
pub mod stats;
pub mod storage;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod swapmark;
pub mod sys;
pub mod target;
pub mod text;
pub mod transform;

pub use crate::sys::checksum;

use kernel::prelude::*;

module! {
    type: Core,
    name: "dormouse",
    author: "The Dormouse developers",
    description: "Dormouse hibernation framework",
    license: "GPL",
}

/// The engine as the kernel sees it: set up at boot, never unloaded.
struct Core {
    #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
    _parts: hibernate::Parts,
}

impl kernel::Module for Core {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        engine::init()?;
        Ok(Core {
            #[cfg(CONFIG_DORMOUSE_HIBERNATE)]
            _parts: hibernate::Parts::new(_module)?,
        })
    }
}

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
mod hibernate {
    //! What exists only where the architecture can hibernate.

    use super::{cmdline, control, cycle, engine, freezer, registry, snapshot, sys};
    use kernel::prelude::*;

    pub(super) struct Parts {
        _freezer: registry::Registration,
        _snapshot: registry::Registration,
        _hooks: sys::hibernate::Registration,
    }

    impl Parts {
        pub(super) fn new(module: &'static ThisModule) -> Result<Self> {
            cmdline::apply(engine::get()?);
            control::create()?;
            Ok(Parts {
                _freezer: registry::register_freezer(freezer::pm()?, module)?,
                _snapshot: registry::register_snapshot(snapshot::atomic::method()?, module)?,
                _hooks: sys::hibernate::register(&cycle::CYCLE)?,
            })
        }
    }
}
