// SPDX-License-Identifier: GPL-2.0

//! KUnit suites for the parts of Dormouse that need a kernel around them.
//!
//! Built into user-mode Linux they run at boot; as a module they run when it is loaded. What needs
//! no kernel is tested under cargo, in `tests/host`.
//!
//! - One file per suite: [`registry`], [`format`], [`transforms`], [`encryption`], [`pipeline`],
//!   [`faults`], [`budget`], [`observer`], [`file`], [`net`].
//! - [`fixture`]: a place in memory for images, pages that are no pages, transforms that fail when
//!   they are told to.
//! - [`check`]: how a case is written. [`glue`]: how KUnit gets to know of it.

mod budget;
mod check;
mod encryption;
mod faults;
mod file;
mod fixture;
mod format;
mod glue;
#[cfg(CONFIG_DORMOUSE_NET)]
mod net;
mod observer;
mod pipeline;
// The pure part of the module for files.
#[path = "../modules/file/plan.rs"]
mod plan;
mod registry;
mod transforms;
mod vectors;

use kernel::prelude::*;

module! {
    type: Suites,
    name: "dormouse_kunit",
    author: "The Dormouse developers",
    description: "KUnit suites for Dormouse",
    license: "GPL",
}

struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Suites)
    }
}

/// The owner of what suites register.
fn owner() -> &'static ThisModule {
    &THIS_MODULE
}
