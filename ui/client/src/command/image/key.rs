// SPDX-License-Identifier: GPL-2.0

//! The key of an encrypted image, where the kernel has no part in it.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{bail, Context as _, Result};
use dormouse_image::image::cipher::params::{Params, USER_KEY_MAX, USER_KEY_MIN};
use dormouse_image::image::Error;
use dormouse_image::keys::Keys;
use dormouse_image::open::Opened;
use zeroize::Zeroizing;

use super::failure;
use crate::control::Control;
use crate::failure::{Code, Failure};
use crate::hint::Hint;
use crate::passphrase;

/// Options that say where the key comes from.
#[derive(clap::Args)]
pub(super) struct KeyArgs {
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
    /// File with the secret of the key, where it does not come from a passphrase
    #[arg(long, conflicts_with = "stdin")]
    key_file: Option<PathBuf>,
    /// Memory that making the key from the passphrase may take, in MiB: the image says how much it
    /// takes, and anybody may have made the image. Without it 48, in 4 passes, or what the key takes
    /// that is configured on this machine
    #[arg(long, value_name = "MIB")]
    max_memory_mib: Option<u32>,
}

fn damaged(error: Error) -> anyhow::Error {
    Failure::error(Code::Damaged, format!("header: {error}"))
}

/// How an image is encrypted, and with which key of the user.
pub struct Lock<'a> {
    /// Name of the encryptor.
    pub encryptor: &'a str,
    parameters: &'a [u8],
}

impl<'a> Lock<'a> {
    /// That of `opened`, if it is encrypted.
    ///
    /// # Errors
    ///
    /// When the header is no good.
    pub fn of(opened: &'a Opened<'_>) -> Result<Option<Lock<'a>>> {
        let encryptor = opened.encryptor().map_err(|fault| failure(&fault))?;
        Ok(encryptor.map(|(encryptor, parameters)| Lock {
            encryptor,
            parameters,
        }))
    }

    /// What the image says of the key.
    ///
    /// # Errors
    ///
    /// When that is no good.
    pub fn params(&self) -> Result<Params<'a>> {
        Params::decode(self.parameters).map_err(damaged)
    }

    /// The keys of the image; nothing if `key` is not the user's, or the image was altered.
    ///
    /// # Errors
    ///
    /// As [`Lock::params`].
    pub fn open(&self, key: &[u8]) -> Result<Option<Keys>> {
        match Keys::open(key, self.encryptor, self.parameters) {
            Ok(keys) => Ok(Some(keys)),
            Err(Error::BadTag) => Ok(None),
            Err(error) => Err(damaged(error)),
        }
    }
}

/// The user's key, as the kernel names it.
pub fn name(params: &Params<'_>) -> String {
    format!("{}:{}", params.key_type.name(), params.description)
}

impl KeyArgs {
    /// The user's key; `otherwise` says what else could be done.
    fn user_key(
        &self,
        control: &Control,
        lock: &Lock<'_>,
        otherwise: &str,
    ) -> Result<Zeroizing<Vec<u8>>> {
        if let Some(path) = &self.key_file {
            let shown = path.display();
            let mut key = Zeroizing::new(Vec::with_capacity(USER_KEY_MAX + 1));
            let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
            // What is longer is no key, however long it is.
            file.take(USER_KEY_MAX as u64 + 1)
                .read_to_end(&mut key)
                .with_context(|| format!("cannot read {shown}"))?;
            if key.len() > USER_KEY_MAX {
                bail!("{shown} has more than {USER_KEY_MAX} bytes: a key has {USER_KEY_MIN} to {USER_KEY_MAX}");
            }
            if !(USER_KEY_MIN..=USER_KEY_MAX).contains(&key.len()) {
                bail!(
                    "{shown} has {} bytes: a key has {USER_KEY_MIN} to {USER_KEY_MAX}",
                    key.len()
                );
            }
            return Ok(key);
        }
        let params = lock.params()?;
        let hint: Hint = params.hint.parse().with_context(|| {
            let key = name(&params);
            format!("the image needs the key {key}: give its secret with --key-file{otherwise}")
        })?;
        if !self.stdin && !std::io::stdin().is_terminal() {
            bail!("the image is encrypted: give the passphrase with --stdin{otherwise}");
        }
        // Where no kernel tells of one, no key is configured.
        let configured = control.get("hint").ok().and_then(|hint| hint.parse().ok());
        hint.affordable(configured.as_ref(), self.max_memory_mib)?;
        let passphrase = passphrase::of_image(self.stdin)?;
        Ok(Zeroizing::new(hint.key(passphrase.as_bytes())?.to_vec()))
    }

    /// The keys of `opened`, if it is encrypted.
    pub(super) fn keys(
        &self,
        control: &Control,
        opened: &Opened<'_>,
        otherwise: &str,
    ) -> Result<Option<Keys>> {
        let Some(lock) = Lock::of(opened)? else {
            return Ok(None);
        };
        match lock.open(&self.user_key(control, &lock, otherwise)?)? {
            None => bail!(
                "this key does not open the image: it is another one, or the image was altered"
            ),
            keys => Ok(keys),
        }
    }
}
