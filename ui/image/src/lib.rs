// SPDX-License-Identifier: GPL-2.0

//! Images of Dormouse, outside of the kernel: finding them, reading them, checking every byte.
//!
//! The format is that of the kernel because the files are: the pure parts of `core/` and of the
//! modules build here as they are. What they need from the kernel is provided under the same
//! names: `checksum`.
//!
//! # The way of an image
//!
//! [`place`] finds the mark and the blocks, [`open`] reads what describes the image, [`keys`]
//! opens an encrypted one, [`check`] goes through all frames, which [`undo`] unpacks and [`ledger`]
//! counts, and [`extract`] makes a core of them. [`device`] reads blocks, also of an [`export`].
//!
//! # Hostile images
//!
//! Whoever can write to a disk says what an image claims. No claim sizes anything before it was
//! compared with what there is: a file of 64 MiB is checked in less than 64 MiB of memory and twice
//! its size, and in less than a minute, whatever it says. Tests of the command measure that.

#![forbid(unsafe_code)]

// Inline, so that `image/wire.rs` and the like are found below `core/` as they are in the kernel.
#[path = "../../../core"]
mod pure {
    pub mod blockmap;
    pub mod extent;
    pub mod fill;
    pub mod image;
    pub mod plan;
    pub mod sort;
    pub mod target;
    pub mod text;
}

/// The pure parts of the module for network block devices.
#[path = "../../../modules/netblock"]
pub mod netblock {
    pub mod mark;
    // The number of requests that are under way has no use for being zero.
    #[allow(clippy::len_without_is_empty)]
    pub mod proto;
}

/// The mark in the header of a swap area.
#[path = "../../../core/swapmark"]
mod swapmark {
    // Not everything that the module needs is needed here.
    #[allow(dead_code)]
    pub(crate) mod sector;
}

/// The pure parts of the module for files.
#[path = "../../../modules/file"]
mod file {
    #[allow(dead_code)]
    pub(crate) mod page;
}

pub use pure::{
    blockmap,
    extent,
    fill,
    image,
    plan,
    sort,
    target,
    text, //
};

pub mod check;
pub mod device;
pub mod export;
pub mod extract;
pub mod fault;
pub mod keys;
pub mod ledger;
pub mod open;
pub mod place;
pub mod runs;
pub mod undo;

/// Checksums, as `core/` provides them in the kernel.
pub mod checksum {
    /// Adds `bytes` to the raw CRC-32C register `seed`, without inversions.
    pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
        !::crc32c::crc32c_append(!seed, bytes)
    }

    /// Returns the XXH64 of `bytes` with seed 0.
    pub fn xxh64(bytes: &[u8]) -> u64 {
        xxhash_rust::xxh64::xxh64(bytes, 0)
    }
}
