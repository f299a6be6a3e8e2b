// SPDX-License-Identifier: GPL-2.0

//! The parameters of an encrypted image: which key opens it, and the data key wrapped by that.

#![forbid(unsafe_code)]

use super::{
    KEY_BYTES,
    TAG_BYTES, //
};
use crate::image::wire::{
    Reader,
    Writer, //
};
use crate::image::{
    is_module_name,
    Error,
    Result,
    NAME_BYTES, //
};

/// Version of the parameters.
pub const VERSION: u32 = 1;

/// Bytes of the salt.
pub const SALT_BYTES: usize = 32;

/// Bytes of the wrapped data key.
pub const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Most bytes of the description of a key.
pub const DESCRIPTION_MAX: usize = 255;

/// Most bytes of the hint.
pub const HINT_MAX: usize = 256;

/// Bytes of the fixed fields.
pub const FIXED_BYTES: usize = 96;

/// Most bytes that are bound to the wrapped key.
pub const BOUND_MAX: usize = 16 + SALT_BYTES + DESCRIPTION_MAX + HINT_MAX + NAME_BYTES;

/// Least bytes of a key of the user, so that nobody takes a passphrase for one.
pub const USER_KEY_MIN: usize = 32;

/// Most bytes of a key of the user.
pub const USER_KEY_MAX: usize = 1024;

/// The type of a key in the kernel's keyrings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KeyType {
    /// Any bytes; user space can read them back.
    User = 1,
    /// Any bytes; only the kernel can read them.
    Logon = 2,
    /// Made by the kernel, and sealed by a TPM or another source of trust.
    Trusted = 3,
    /// Made by the kernel, and encrypted by a key of another type.
    Encrypted = 4,
}

impl KeyType {
    /// All of them.
    pub const ALL: [KeyType; 4] = [
        KeyType::User,
        KeyType::Logon,
        KeyType::Trusted,
        KeyType::Encrypted,
    ];

    /// The kernel's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            KeyType::User => "user",
            KeyType::Logon => "logon",
            KeyType::Trusted => "trusted",
            KeyType::Encrypted => "encrypted",
        }
    }
}

fn is_text(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

/// Reads `TYPE:DESCRIPTION`, as settings have it.
///
/// # Errors
///
/// [`Error::BadText`] for a type that is not known, and for a description that is empty, too long
/// or has control characters.
pub fn parse_key(text: &str) -> Result<(KeyType, &str)> {
    let (word, description) = text.split_once(':').ok_or(Error::BadText)?;
    let mut all = KeyType::ALL.into_iter();
    let key_type = all.find(|t| t.name() == word).ok_or(Error::BadText)?;
    if description.is_empty() || !is_text(description, DESCRIPTION_MAX) {
        return Err(Error::BadText);
    }
    Ok((key_type, description))
}

/// Returns whether `text` may be a hint: at most [`HINT_MAX`] bytes without control characters.
pub fn is_hint(text: &str) -> bool {
    is_text(text, HINT_MAX)
}

/// The parameters that an encryptor leaves in the header.
///
/// All but `wrapped` is bound to `wrapped`. Before that was opened, nothing of it is to be
/// believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    /// Type of the user's key.
    pub key_type: KeyType,
    /// Description of the user's key.
    pub description: &'a str,
    /// What user space wants to find again to make the key; empty if there is nothing.
    pub hint: &'a str,
    /// Salt of the wrapping key, random.
    pub salt: [u8; SALT_BYTES],
    /// The data key, encrypted, and its tag.
    pub wrapped: [u8; WRAPPED_BYTES],
}

impl<'a> Params<'a> {
    fn check(&self) -> Result {
        if self.description.is_empty()
            || !is_text(self.description, DESCRIPTION_MAX)
            || !is_hint(self.hint)
        {
            return Err(Error::BadText);
        }
        Ok(())
    }

    fn fields(&self, w: &mut Writer<'_>) -> Result {
        self.check()?;
        w.u32(VERSION)?;
        w.u32(self.key_type as u32)?;
        w.u16(self.description.len() as u16)?;
        w.u16(self.hint.len() as u16)?;
        w.u32(0)?;
        w.bytes(&self.salt)
    }

    /// Writes the parameters and returns their length.
    ///
    /// # Errors
    ///
    /// [`Error::BadText`] for description or hint, [`Error::NoRoom`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize> {
        let mut w = Writer::new(out);
        self.fields(&mut w)?;
        w.bytes(&self.wrapped)?;
        w.bytes(self.description.as_bytes())?;
        w.bytes(self.hint.as_bytes())?;
        Ok(w.position())
    }

    /// Writes what is bound to the wrapped key and returns its length, at most [`BOUND_MAX`]: all
    /// other parameters, and the name of the encryptor.
    ///
    /// # Errors
    ///
    /// As [`Params::encode`], and [`Error::BadText`] for `name`.
    pub fn bound(&self, name: &str, out: &mut [u8]) -> Result<usize> {
        if !is_module_name(name) {
            return Err(Error::BadText);
        }
        let mut w = Writer::new(out);
        self.fields(&mut w)?;
        w.bytes(self.description.as_bytes())?;
        w.bytes(self.hint.as_bytes())?;
        w.text(name, NAME_BYTES)?;
        Ok(w.position())
    }

    /// Reads the parameters, which are all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVersion`], [`Error::UnknownFeature`] for the type of key,
    /// [`Error::Truncated`], [`Error::BadLength`], [`Error::NotZero`], [`Error::BadText`].
    pub fn decode(bytes: &'a [u8]) -> Result<Params<'a>> {
        let mut r = Reader::new(bytes);
        if r.u32()? != VERSION {
            return Err(Error::UnknownVersion);
        }
        let number = r.u32()?;
        let mut all = KeyType::ALL.into_iter();
        let key_type = all.find(|&t| t as u32 == number);
        let description_len = usize::from(r.u16()?);
        let hint_len = usize::from(r.u16()?);
        r.zeros(4)?;
        let salt = r.array()?;
        let wrapped = r.array()?;
        let text = |bytes| core::str::from_utf8(bytes).map_err(|_| Error::BadText);
        let params = Params {
            key_type: key_type.ok_or(Error::UnknownFeature)?,
            description: text(r.bytes(description_len)?)?,
            hint: text(r.bytes(hint_len)?)?,
            salt,
            wrapped,
        };
        if !r.rest().is_empty() {
            return Err(Error::BadLength);
        }
        params.check()?;
        Ok(params)
    }
}
