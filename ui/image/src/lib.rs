// SPDX-License-Identifier: GPL-2.0

//! Images of Dormouse, outside of the kernel.
//!
//! The format is that of the kernel because the files are: the pure parts of `core/` and of the
//! modules build here as they are.

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
}

pub use pure::{
    blockmap,
    extent,
    fill,
    image,
    plan,
    sort,
    target, //
};

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
