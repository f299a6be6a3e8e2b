// SPDX-License-Identifier: GPL-2.0

//! Encrypts and authenticates the image with ChaCha20-Poly1305 (RFC 8439).

#![forbid(unsafe_code)]

use dormouse::cryptoaead::CryptoEncryptor;
use dormouse::registry::{self, Registration};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: ChaCha20Poly1305,
    name: "dormouse_chacha20_poly1305",
    author: "The Dormouse developers",
    description: "ChaCha20-Poly1305 encryption for Dormouse",
    license: "GPL",
    alias: ["dormouse-encrypt-chacha20-poly1305"],
}

struct ChaCha20Poly1305 {
    _registration: Registration,
}

impl kernel::Module for ChaCha20Poly1305 {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let chacha = CryptoEncryptor::new(
            c_str!("chacha20-poly1305"),
            c_str!("rfc7539(chacha20,poly1305)"),
        )?;
        Ok(ChaCha20Poly1305 {
            _registration: registry::register_transform(Arc::new(chacha, GFP_KERNEL)?, module)?,
        })
    }
}
