// SPDX-License-Identifier: GPL-2.0

//! The key that images are encrypted with: which one it is, and a reference to it.
//!
//! It is looked up when it is configured, in the keyrings of the process that
//! configures it, and held from then on. Its secret stays in the keyring and
//! is copied only for as long as a key is derived from it.

#![forbid(unsafe_code)]

use crate::engine;
use crate::errno;
use crate::image::cipher::params::{
    parse_key, KeyType, DESCRIPTION_MAX, HINT_MAX, USER_KEY_MAX, USER_KEY_MIN,
};
use crate::sys::buf::Buf;
use crate::sys::keys::Key;
use crate::text::Text;
use core::fmt;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// Most bytes of a key's type and description, as users write them.
pub const KEY_MAX: usize = 16 + DESCRIPTION_MAX;

/// A key that was found.
#[derive(Clone)]
pub struct Configured {
    key: Arc<Key>,
    /// Its type.
    pub key_type: KeyType,
    /// Its description.
    pub description: Text<DESCRIPTION_MAX>,
    /// What user space wants to find in images that are made with it.
    pub hint: Text<HINT_MAX>,
}

/// The secret of a key. It is overwritten when it is dropped.
pub struct Secret {
    bytes: Buf,
    len: usize,
}

impl Secret {
    /// The secret.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl fmt::Display for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key_type.name(), self.description)
    }
}

impl Configured {
    /// Finds the key `TYPE:DESCRIPTION` in the keyrings of the current
    /// process. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a text that is none, or a key that is too short or too
    /// long; `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`; `EOPNOTSUPP`
    /// for a type that is not built into the kernel.
    pub fn find(text: &str) -> Result<Configured> {
        let Ok((key_type, description)) = parse_key(text) else {
            pr_err!("key: expected none, or user:, logon:, trusted: or encrypted: with the description of a key\n");
            return Err(EINVAL);
        };
        let kind = CString::try_from_fmt(format_args!("{}", key_type.name()))?;
        let name = CString::try_from_fmt(format_args!("{}", description))?;
        let key = Key::find(&kind, &name).inspect_err(|e| {
            let why = match e.to_errno().wrapping_neg() {
                errno::ENOKEY => "it is not in the keyrings of this process",
                errno::EOPNOTSUPP => "this kernel has no keys of that type built in",
                _ => "it cannot be used",
            };
            pr_err!("key {}: {}\n", text, why);
        })?;
        let found = Configured {
            key: Arc::new(key, GFP_KERNEL)?,
            key_type,
            description: Text::format(format_args!("{description}")),
            hint: Text::new(),
        };
        found.secret().inspect_err(|_| {
            pr_err!(
                "key {}: it is revoked or expired, or not {} to {} bytes long\n",
                text,
                USER_KEY_MIN,
                USER_KEY_MAX
            );
        })?;
        Ok(found)
    }

    /// Copies the secret. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is too short or too long; `EKEYREVOKED`,
    /// `EKEYEXPIRED`, `ENOMEM`.
    pub fn secret(&self) -> Result<Secret> {
        let mut bytes = Buf::new_secret(USER_KEY_MAX)?;
        let len = self.key.read(&mut bytes).map_err(|e| match e {
            e if e == E2BIG => EINVAL,
            e => e,
        })?;
        if len < USER_KEY_MIN {
            return Err(EINVAL);
        }
        Ok(Secret { bytes, len })
    }
}

/// The configured key. One that the kernel's command line names is looked for
/// in the keyrings of the current process, and kept when it is there. May
/// sleep.
///
/// # Errors
///
/// `ENOKEY` when there is none; as [`Configured::find`].
pub fn configured() -> Result<Configured> {
    let engine = engine::get()?;
    let (key, named) = engine.settings(|s| (s.key.clone(), s.key_named));
    match key {
        Some(key) => Ok(key),
        None if named.is_empty() => Err(errno::error(errno::ENOKEY)),
        None => {
            let found = Configured::find(named.as_str())?;
            engine.adjust(|s| s.key = Some(found.clone()));
            Ok(found)
        }
    }
}
