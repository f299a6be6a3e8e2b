// SPDX-License-Identifier: GPL-2.0

//! Authenticated ciphers of the kernel's crypto API as transforms.
//!
//! A module that offers one names it in a [`CryptoEncryptor`] and registers
//! that. Which key is for what, and what is bound to what, is written down in
//! [`cipher`].

#![forbid(unsafe_code)]

use crate::engine;
use crate::errno;
use crate::image::cipher::params::{self, KeyType, Params};
use crate::image::cipher::{self, Purpose, FRAME_BOUND_MAX, KEY_BYTES, TAG_BYTES};
use crate::image::{commit, header, FRAME_RAW_MAX};
use crate::keyslot;
use crate::sys::aead::{Aead, Hmac};
use crate::sys::buf::Buf;
use crate::sys::random;
use crate::sys::trycell::TryCell;
use crate::transform::{Authenticator, Direction, Kind, Place, Stage, Stages, Transform};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most bytes that a compressor may make of a frame: more than twice the
/// frame is refused when it registers.
const FRAME_MAX: usize = FRAME_RAW_MAX * 2 + TAG_BYTES;

/// Memory of one stage, about: the cipher with its request, its lists of
/// pages, and what is bound to a frame.
const STAGE_MEMORY: usize = 16 * 1024;

/// A key of [`KEY_BYTES`] bytes, which is overwritten when it is dropped.
pub struct SecretKey(Buf);

impl SecretKey {
    fn new() -> Result<Self> {
        Ok(SecretKey(Buf::new_secret(KEY_BYTES)?))
    }

    fn random() -> Result<Self> {
        let mut key = SecretKey::new()?;
        random::fill_random(key.bytes_mut()?);
        Ok(key)
    }

    fn bytes(&self) -> Result<&[u8; KEY_BYTES]> {
        (&*self.0).try_into().map_err(|_| EINVAL)
    }

    fn bytes_mut(&mut self) -> Result<&mut [u8; KEY_BYTES]> {
        (&mut *self.0).try_into().map_err(|_| EINVAL)
    }
}

/// An authenticated cipher of the crypto API.
pub struct CryptoEncryptor {
    name: &'static CStr,
    algorithm: &'static CStr,
    // While these exist the crypto API need not load any module: nothing can
    // be loaded while tasks are frozen.
    _ready: (Aead, Hmac),
}

impl CryptoEncryptor {
    /// The transform `name`, over the cipher `algorithm` of the crypto API
    /// with a key of 32 bytes, a nonce of 12 and a tag of 16. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the kernel has no such cipher, or no HMAC-SHA256;
    /// `EINVAL` for other lengths, `ENOMEM`.
    pub fn new(name: &'static CStr, algorithm: &'static CStr) -> Result<Self> {
        Ok(CryptoEncryptor {
            name,
            algorithm,
            _ready: (
                Aead::new(algorithm, FRAME_MAX, FRAME_BOUND_MAX)?,
                Hmac::new()?,
            ),
        })
    }

    fn text(&self) -> Result<&'static str> {
        self.name.to_str().map_err(|_| EINVAL)
    }

    /// Makes the parameters of a new image: a random data key, wrapped by
    /// `user_key`. Returns their length. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for `description` or `hint`, `ENOSPC` for `out`, `ENOMEM`, or
    /// what the crypto API says.
    pub fn wrap(
        &self,
        user_key: &[u8],
        key_type: KeyType,
        description: &str,
        hint: &str,
        out: &mut [u8],
    ) -> Result<usize> {
        let mut p = Params {
            key_type,
            description,
            hint,
            salt: [0; params::SALT_BYTES],
            wrapped: [0; params::WRAPPED_BYTES],
        };
        random::fill_random(&mut p.salt);
        let data_key = SecretKey::random()?;
        let mut bound = Buf::new(params::BOUND_MAX)?;
        let len = p.bound(self.text()?, &mut bound)?;
        let bound = bound.get(..len).ok_or(EINVAL)?;
        let mut wrapped = Buf::new(params::WRAPPED_BYTES)?;
        self.wrapping(user_key, &p)?.encrypt(
            &cipher::wrap_nonce(),
            bound,
            data_key.bytes()?,
            &mut wrapped,
        )?;
        p.wrapped.copy_from_slice(&wrapped);
        Ok(p.encode(out)?)
    }

    /// Opens the data key in `parameters`. May sleep.
    ///
    /// # Errors
    ///
    /// `EKEYREJECTED` when `user_key` is another one than the parameters were
    /// made with, or these were altered; `EBADMSG` and `EOPNOTSUPP` for
    /// parameters that make no sense, `ENOMEM`.
    pub fn unwrap(&self, user_key: &[u8], parameters: &[u8]) -> Result<SecretKey> {
        let p = Params::decode(parameters)?;
        let mut bound = Buf::new(params::BOUND_MAX)?;
        let len = p.bound(self.text()?, &mut bound)?;
        let bound = bound.get(..len).ok_or(EINVAL)?;
        // The cipher wants memory that is not on the stack.
        let mut wrapped = Buf::new(params::WRAPPED_BYTES)?;
        wrapped.copy_from_slice(&p.wrapped);
        let mut data_key = SecretKey::new()?;
        self.wrapping(user_key, &p)?
            .decrypt(
                &cipher::wrap_nonce(),
                bound,
                &wrapped,
                data_key.bytes_mut()?,
            )
            .map_err(|e| match e {
                e if e == errno::error(errno::EBADMSG) => errno::error(errno::EKEYREJECTED),
                e => e,
            })?;
        Ok(data_key)
    }

    fn wrapping(&self, user_key: &[u8], p: &Params<'_>) -> Result<Aead> {
        let mut hmac = Hmac::new()?;
        let mut extracted = SecretKey::new()?;
        cipher::extract(&mut hmac, &p.salt, user_key, extracted.bytes_mut()?)?;
        let key = self.derive(&extracted, Purpose::Wrap)?;
        let mut aead = Aead::new(self.algorithm, params::WRAPPED_BYTES, params::BOUND_MAX)?;
        aead.set_key(key.bytes()?)?;
        Ok(aead)
    }

    fn derive(&self, from: &SecretKey, purpose: Purpose) -> Result<SecretKey> {
        let mut key = SecretKey::new()?;
        let to = key.bytes_mut()?;
        cipher::expand(&mut Hmac::new()?, from.bytes()?, purpose, self.text()?, to)?;
        Ok(key)
    }

    /// Makes a stage for frames of an image with this data key. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the crypto API says.
    pub fn stage_with(&self, data_key: &SecretKey) -> Result<Arc<dyn Stage>> {
        let key = self.derive(data_key, Purpose::Frames)?;
        let mut aead = Aead::new(self.algorithm, FRAME_MAX, FRAME_BOUND_MAX)?;
        aead.set_key(key.bytes()?)?;
        let stage = AeadStage {
            tools: TryCell::new((aead, Buf::new(FRAME_BOUND_MAX)?)),
        };
        Ok(Arc::new(stage, GFP_KERNEL)?)
    }

    /// Makes the authenticator of an image with this data key. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the crypto API says.
    pub fn authenticator_with(&self, data_key: &SecretKey) -> Result<Arc<dyn Authenticator>> {
        let key = self.derive(data_key, Purpose::Seal)?;
        let seal = Seal {
            tools: TryCell::new((Hmac::new()?, key)),
        };
        Ok(Arc::new(seal, GFP_KERNEL)?)
    }

    /// Opens the data key with the key that is configured.
    fn open(&self, parameters: &[u8]) -> Result<SecretKey> {
        let p = Params::decode(parameters)?;
        let (kind, description) = (p.key_type.name(), p.description);
        let key = keyslot::configured().map_err(|e| {
            engine::fail(
                e,
                format_args!("the image needs key {kind}:{description}, and no key is configured: run \"dormouse key unlock\", or write it to /sys/power/hibernate/key; it is kept"),
            )
        })?;
        let secret = key.secret().map_err(|e| unusable(e, &key))?;
        self.unwrap(secret.bytes(), parameters).map_err(|e| {
            if e != errno::error(errno::EKEYREJECTED) {
                return e;
            }
            engine::fail(
                e,
                format_args!("the configured key {key} does not open the image, which was saved with {kind}:{description}: it is another key, or the image was altered; it is kept"),
            )
        })
    }
}

fn unusable(e: Error, key: &keyslot::Configured) -> Error {
    engine::fail(
        e,
        format_args!(
            "the configured key {key} cannot be used any more: it was revoked, or it has expired"
        ),
    )
}

impl Transform for CryptoEncryptor {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::Encrypt
    }

    fn worst_case(&self, len: usize) -> usize {
        len.saturating_add(TAG_BYTES)
    }

    fn expected_percent(&self) -> u32 {
        100
    }

    fn stage_memory(&self) -> usize {
        STAGE_MEMORY
    }

    fn parameters(&self, out: &mut [u8]) -> Result<usize> {
        let key = keyslot::configured().map_err(|e| {
            engine::fail(
                e,
                format_args!("encryptor {} has no key: run \"dormouse key set\", or write TYPE:DESCRIPTION of a key to /sys/power/hibernate/key", self.text().unwrap_or("?")),
            )
        })?;
        let secret = key.secret().map_err(|e| unusable(e, &key))?;
        self.wrap(
            secret.bytes(),
            key.key_type,
            key.description.as_str(),
            key.hint.as_str(),
            out,
        )
    }

    fn stage(&self, _direction: Direction, parameters: &[u8]) -> Result<Arc<dyn Stage>> {
        self.stage_with(&self.open(parameters)?)
    }

    fn authenticator(&self, parameters: &[u8]) -> Result<Option<Arc<dyn Authenticator>>> {
        self.authenticator_with(&self.open(parameters)?).map(Some)
    }

    fn trial(&self) -> Result<Stages> {
        let mut out = Buf::new(header::PARAMS_MAX)?;
        let user_key = SecretKey::random()?;
        let len = self.wrap(user_key.bytes()?, KeyType::User, "trial", "", &mut out)?;
        let parameters = out.get(..len).ok_or(EINVAL)?;
        let data_key = self.unwrap(user_key.bytes()?, parameters)?;
        Ok((self.stage_with(&data_key)?, self.stage_with(&data_key)?))
    }
}

/// One worker's cipher, and room for what is bound to a frame. The cell is
/// never contended: a stage belongs to one worker.
struct AeadStage {
    tools: TryCell<(Aead, Buf)>,
}

impl Stage for AeadStage {
    fn forward(&self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>> {
        let mut tools = self.tools.try_borrow().ok_or(EBUSY)?;
        let (aead, bound) = &mut *tools;
        let len = place.bound(bound)?;
        let bound = bound.get(..len).ok_or(EINVAL)?;
        aead.encrypt(&place.nonce(), bound, src, dst).map(Some)
    }

    fn backward(&self, place: &Place<'_>, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let mut tools = self.tools.try_borrow().ok_or(EBUSY)?;
        let (aead, bound) = &mut *tools;
        let len = place.bound(bound)?;
        let bound = bound.get(..len).ok_or(EINVAL)?;
        // Nobody encrypts nothing, or more than the next stage has room for.
        // Other errors than that of the tag say nothing about the data.
        if src.len() <= TAG_BYTES || src.len() > FRAME_MAX.min(dst.len().saturating_add(TAG_BYTES))
        {
            return Err(errno::error(errno::EBADMSG));
        }
        aead.decrypt(&place.nonce(), bound, src, dst)
    }
}

/// Vouches for what describes an image. One thread uses it.
struct Seal {
    tools: TryCell<(Hmac, SecretKey)>,
}

impl Authenticator for Seal {
    fn tag(&self, parts: &[&[u8]], tag: &mut [u8; commit::TAG_BYTES]) -> Result {
        use cipher::Hmac as _;
        let mut tools = self.tools.try_borrow().ok_or(EBUSY)?;
        let (hmac, key) = &mut *tools;
        let mut sum = [0; KEY_BYTES];
        hmac.hmac(key.bytes()?, parts, &mut sum)?;
        *tag = [0; commit::TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(sum) {
            *to = from;
        }
        Ok(())
    }
}
