// SPDX-License-Identifier: GPL-2.0

//! Compresses the image with Zstandard, at the level of the crypto API.

#![forbid(unsafe_code)]

use dormouse::cryptocomp::CryptoCompressor;
use dormouse::registry::{self, Registration};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Zstd,
    name: "dormouse_zstd",
    author: "The Dormouse developers",
    description: "Zstandard compression for Dormouse",
    license: "GPL",
    alias: ["dormouse-compress-zstd"],
}

struct Zstd {
    _registration: Registration,
}

/// `ZSTD_COMPRESSBOUND()`: small inputs get a margin of their own.
fn worst_case(len: usize) -> usize {
    let margin = (128usize << 10).saturating_sub(len) >> 11;
    len.saturating_add(len >> 8).saturating_add(margin)
}

impl kernel::Module for Zstd {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let zstd = CryptoCompressor {
            name: c_str!("zstd"),
            worst_case,
            expected_percent: 40,
            // The workspaces of level 3, which the crypto API always has for
            // both directions.
            stage_memory: 1536 * 1024,
        };
        Ok(Zstd {
            _registration: registry::register_transform(Arc::new(zstd, GFP_KERNEL)?, module)?,
        })
    }
}
