// SPDX-License-Identifier: GPL-2.0

//! The pure parts of Dormouse, exactly the files that the kernel builds, with their tests.
//!
//! What these files need from the kernel is provided here under the same names: `checksum`.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

// Inline, so that `image/wire.rs` and the like are found below `core/` as they are in the kernel.
#[path = "../../../core"]
mod pure {
    pub mod blockmap;
    pub mod extent;
    pub mod fill;
    pub mod image;
    pub mod pace;
    pub mod plan;
    pub mod sort;
    pub mod target;
}

/// The pure parts of the module for network block devices.
#[path = "../../../modules/netblock"]
pub mod netblock {
    pub mod mark;
    pub mod proto;
}

/// The pure parts of the module for generic netlink.
#[path = "../../../ui"]
pub mod ui {
    pub mod rates;
}

pub use pure::{
    blockmap,
    extent,
    fill,
    image,
    pace,
    plan,
    sort,
    target, //
};

pub mod encrypted;
pub mod fuzzing;
pub mod reader;
pub mod samples;

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
