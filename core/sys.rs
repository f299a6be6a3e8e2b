// SPDX-License-Identifier: GPL-2.0

//! What Dormouse needs of Linux, behind safe interfaces.
//!
//! This folder is the only place of `unsafe` code. Each file wraps one topic as if it were part of
//! the `kernel` crate; what Rust cannot reach (static inlines, macros, loops over pages, functions
//! that are not for modules) is in the C files beside them, which `shim.h` declares.
//!
//! Rules for the C shims: they are not exported. A module reaches them only through the Rust
//! functions of this folder, which therefore are never inlined into it.

#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
pub mod aead;
pub mod block;
pub mod buf;
pub mod checksum;
pub mod crypto;
mod ffi;
#[cfg(CONFIG_DORMOUSE_GENL)]
pub mod genl;
pub mod hibernate;
pub mod ioq;
#[cfg(CONFIG_DORMOUSE_ENCRYPTION)]
pub mod keys;
pub mod module;
#[cfg(CONFIG_DORMOUSE_NET)]
pub mod net;
pub mod once;
pub mod random;
pub mod slot;
pub mod stack;
pub mod sysfs;
pub mod table;
pub mod thread;
pub mod time;
pub mod trycell;
pub mod uts;
pub mod work;

#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod cmdline;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod file;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod filesystems;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod gfp;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod pages;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod restore;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod swap;
#[cfg(CONFIG_DORMOUSE_HIBERNATE)]
pub mod tasks;
