// SPDX-License-Identifier: GPL-2.0

//! Compresses the image with LZ4.

#![forbid(unsafe_code)]

use dormouse::cryptocomp::CryptoCompressor;
use dormouse::registry::{self, Registration};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Lz4,
    name: "dormouse_lz4",
    author: "The Dormouse developers",
    description: "LZ4 compression for Dormouse",
    license: "GPL",
    alias: ["dormouse-compress-lz4"],
}

struct Lz4 {
    _registration: Registration,
}

/// `LZ4_COMPRESSBOUND()`.
fn worst_case(len: usize) -> usize {
    len.saturating_add(len / 255).saturating_add(16)
}

impl kernel::Module for Lz4 {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let lz4 = CryptoCompressor {
            name: c_str!("lz4"),
            worst_case,
            expected_percent: 50,
            // `LZ4_MEM_COMPRESS`.
            stage_memory: 16 * 1024,
        };
        Ok(Lz4 {
            _registration: registry::register_transform(Arc::new(lz4, GFP_KERNEL)?, module)?,
        })
    }
}
