// SPDX-License-Identifier: GPL-2.0

//! The progress screen, for a console while everything else is frozen.
//!
//! [`model`] is what is known of the cycle, [`view`] draws it, [`keys`] understands what is typed;
//! these are pure. [`surface`] is where it is shown: on a [`console`] or, where a splash screen has
//! the display, through [`plymouth`]. [`panel`] reads and writes the kernel's files. Nothing here
//! waits for another process.

pub mod console;
pub mod ioctl;
pub mod keys;
pub mod model;
pub mod panel;
pub mod plymouth;
pub mod surface;
pub mod view;

/// How fast a save or load goes: the kernel's own reckoning.
// Not everything that the kernel needs is needed here.
#[allow(dead_code)]
#[path = "../../rates.rs"]
mod rates;
