// SPDX-License-Identifier: GPL-2.0

//! Encrypts and authenticates the image with AES-256 in Galois/Counter Mode.

#![forbid(unsafe_code)]

use dormouse::cryptoaead::CryptoEncryptor;
use dormouse::registry::{self, Registration};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: AesGcm,
    name: "dormouse_aes_gcm",
    author: "The Dormouse developers",
    description: "AES-GCM encryption for Dormouse",
    license: "GPL",
    alias: ["dormouse-encrypt-aes-gcm"],
}

struct AesGcm {
    _registration: Registration,
}

impl kernel::Module for AesGcm {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let aes_gcm = CryptoEncryptor::new(c_str!("aes-gcm"), c_str!("gcm(aes)"))?;
        Ok(AesGcm {
            _registration: registry::register_transform(Arc::new(aes_gcm, GFP_KERNEL)?, module)?,
        })
    }
}
