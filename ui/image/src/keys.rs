// SPDX-License-Identifier: GPL-2.0

//! The keys of an encrypted image, with the ciphers of RustCrypto: an implementation that has
//! nothing in common with the kernel's.

#![forbid(unsafe_code)]

use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use hmac::Mac;
use sha2::Sha256;

use crate::image::cipher::params::{self, Params, SALT_BYTES};
use crate::image::cipher::{
    self, Hmac, Place, Purpose, FRAME_BOUND_MAX, KEY_BYTES, NONCE_BYTES, TAG_BYTES,
};
use crate::image::frame::{Frame, STORED_MAX};
use crate::image::{commit, Error, ImageId, Result};

/// HMAC-SHA256 of RustCrypto.
pub struct RustHmac;

impl Hmac for RustHmac {
    type Error = Error;

    fn hmac(&mut self, key: &[u8], parts: &[&[u8]], out: &mut [u8; KEY_BYTES]) -> Result {
        let mut mac =
            <::hmac::Hmac<Sha256> as Mac>::new_from_slice(key).map_err(|_| Error::BadLength)?;
        for part in parts {
            mac.update(part);
        }
        out.copy_from_slice(&mac.finalize().into_bytes());
        Ok(())
    }
}

/// The encryptors of the kernel, by the names of their modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `aes-gcm`.
    AesGcm,
    /// `chacha20-poly1305`.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Both.
    pub const ALL: [Cipher; 2] = [Cipher::AesGcm, Cipher::ChaCha20Poly1305];

    /// Name of the module.
    pub const fn name(self) -> &'static str {
        match self {
            Cipher::AesGcm => "aes-gcm",
            Cipher::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The one of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownFeature`] when there is none.
    pub fn of(name: &str) -> Result<Cipher> {
        let mut all = Cipher::ALL.into_iter();
        all.find(|c| c.name() == name).ok_or(Error::UnknownFeature)
    }

    /// Encrypts `msg` and binds `aad` to it.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] for more than any frame has.
    pub fn encrypt(
        self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Result<Vec<u8>> {
        let payload = Payload { msg, aad };
        self.turn(Way::Encrypt, key, nonce, payload)
            .ok_or(Error::BadLength)
    }

    fn decrypt(
        self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Result<Vec<u8>> {
        let payload = Payload { msg, aad };
        self.turn(Way::Decrypt, key, nonce, payload)
            .ok_or(Error::BadTag)
    }

    fn turn(
        self,
        way: Way,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        payload: Payload<'_, '_>,
    ) -> Option<Vec<u8>> {
        match self {
            Cipher::AesGcm => turn::<Aes256Gcm>(way, key, nonce, payload),
            Cipher::ChaCha20Poly1305 => turn::<ChaCha20Poly1305>(way, key, nonce, payload),
        }
    }
}

enum Way {
    Encrypt,
    Decrypt,
}

fn turn<C>(
    way: Way,
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    payload: Payload<'_, '_>,
) -> Option<Vec<u8>>
where
    C: Aead<NonceSize = U12> + KeyInit<KeySize = U32>,
{
    let cipher = C::new(key.into());
    let turned = match way {
        Way::Encrypt => cipher.encrypt(nonce.into(), payload),
        Way::Decrypt => cipher.decrypt(nonce.into(), payload),
    };
    turned.ok()
}

fn derive(key: &[u8; KEY_BYTES], purpose: Purpose, cipher: Cipher) -> Result<[u8; KEY_BYTES]> {
    let mut out = [0; KEY_BYTES];
    cipher::expand(&mut RustHmac, key, purpose, cipher.name(), &mut out)?;
    Ok(out)
}

/// The key that wraps the data key of an image with this salt.
///
/// # Errors
///
/// None in practice: every key will do.
pub fn wrapping_key(
    user_key: &[u8],
    salt: &[u8; SALT_BYTES],
    cipher: Cipher,
) -> Result<[u8; KEY_BYTES]> {
    let mut extracted = [0; KEY_BYTES];
    cipher::extract(&mut RustHmac, salt, user_key, &mut extracted)?;
    derive(&extracted, Purpose::Wrap, cipher)
}

/// The keys of an image that was opened.
pub struct Keys {
    cipher: Cipher,
    frames: [u8; KEY_BYTES],
    seal: [u8; KEY_BYTES],
}

impl Keys {
    /// The keys that come from the data key.
    ///
    /// # Errors
    ///
    /// None in practice: every key will do.
    pub fn of(data_key: &[u8; KEY_BYTES], cipher: Cipher) -> Result<Keys> {
        Ok(Keys {
            cipher,
            frames: derive(data_key, Purpose::Frames, cipher)?,
            seal: derive(data_key, Purpose::Seal, cipher)?,
        })
    }

    /// Opens the parameters of the encryptor `name`.
    ///
    /// # Errors
    ///
    /// What is wrong with them; [`Error::BadTag`] also for a wrong key.
    pub fn open(user_key: &[u8], name: &str, parameters: &[u8]) -> Result<Keys> {
        let cipher = Cipher::of(name)?;
        let p = Params::decode(parameters)?;
        let mut bound = [0; params::BOUND_MAX];
        let len = p.bound(name, &mut bound)?;
        let bound = bound.get(..len).ok_or(Error::NoRoom)?;
        let key = wrapping_key(user_key, &p.salt, cipher)?;
        let data_key = cipher.decrypt(&key, &cipher::wrap_nonce(), bound, &p.wrapped)?;
        let data_key = data_key.try_into().map_err(|_| Error::BadLength)?;
        Keys::of(&data_key, cipher)
    }

    /// The tag of the commit record over `parts`.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn tag(&self, parts: &[&[u8]]) -> Result<[u8; commit::TAG_BYTES]> {
        let mut tag = self.begin_tag()?;
        parts.iter().for_each(|part| tag.update(part));
        Ok(tag.finish())
    }

    /// Begins the tag of the commit record, over nothing yet.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn begin_tag(&self) -> Result<Tag> {
        let mac = <::hmac::Hmac<Sha256> as Mac>::new_from_slice(&self.seal);
        mac.map(Tag).map_err(|_| Error::BadLength)
    }

    /// What was encrypted to the payload of `frame`.
    ///
    /// # Errors
    ///
    /// [`Error::BadTag`] when it was altered or belongs elsewhere.
    pub fn decrypt(&self, id: ImageId, frame: &Frame<'_>) -> Result<Vec<u8>> {
        let place = Place::of(id, frame);
        let mut bound = [0; FRAME_BOUND_MAX];
        let len = place.bound(&mut bound)?;
        let bound = bound.get(..len).ok_or(Error::NoRoom)?;
        self.cipher
            .decrypt(&self.frames, &place.nonce(), bound, frame.payload)
    }

    /// Encrypts `plain`, which belongs at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] for more than a frame takes.
    pub fn encrypt(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        if plain.len() > STORED_MAX.saturating_sub(TAG_BYTES) {
            return Err(Error::BadLength);
        }
        let mut bound = [0; FRAME_BOUND_MAX];
        let len = place.bound(&mut bound)?;
        let bound = bound.get(..len).ok_or(Error::NoRoom)?;
        self.cipher
            .encrypt(&self.frames, &place.nonce(), bound, plain)
    }
}

/// The tag of a commit record, over what is given part after part.
pub struct Tag(::hmac::Hmac<Sha256>);

impl Tag {
    /// Adds a part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The tag over all parts.
    pub fn finish(self) -> [u8; commit::TAG_BYTES] {
        let mut tag = [0; commit::TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(self.0.finalize().into_bytes()) {
            *to = from;
        }
        tag
    }
}
