// SPDX-License-Identifier: GPL-2.0

//! Compresses the image with LZO.

#![forbid(unsafe_code)]

use dormouse::cryptocomp::CryptoCompressor;
use dormouse::registry::{self, Registration};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Lzo,
    name: "dormouse_lzo",
    author: "The Dormouse developers",
    description: "LZO compression for Dormouse",
    license: "GPL",
    alias: ["dormouse-compress-lzo"],
}

struct Lzo {
    _registration: Registration,
}

/// `lzo1x_worst_compress()`.
fn worst_case(len: usize) -> usize {
    len.saturating_add(len / 16).saturating_add(64 + 3 + 2)
}

impl kernel::Module for Lzo {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let lzo = CryptoCompressor {
            name: c_str!("lzo"),
            worst_case,
            expected_percent: 50,
            // `LZO1X_MEM_COMPRESS`.
            stage_memory: 16 * 1024,
        };
        Ok(Lzo {
            _registration: registry::register_transform(Arc::new(lzo, GFP_KERNEL)?, module)?,
        })
    }
}
