// SPDX-License-Identifier: GPL-2.0

//! What the tests of the pure parts of Dormouse share: samples, readers, and the bodies of the fuzz
//! targets. The pure parts themselves, exactly the files that the kernel builds, are in
//! `dormouse-image`.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub use dormouse_image::{
    blockmap,
    checksum,
    extent,
    fill,
    image,
    netblock,
    plan,
    sort,
    target, //
};

/// What only the kernel needs.
#[path = "../../../core"]
mod pure {
    pub mod pace;
    pub mod remote;
    pub mod silent;
    pub mod stack;
}

/// The pure parts of the module for generic netlink.
#[path = "../../../ui"]
pub mod ui {
    pub mod rates;
}

pub use pure::{pace, remote, silent, stack};

/// What is in the header of a swap area with an image.
#[path = "../../../core/swapmark/sector.rs"]
#[allow(dead_code, unreachable_pub)]
mod sector;

pub mod encrypted;
pub mod fuzzing;
pub mod hostile;
pub mod reader;
pub mod samples;
