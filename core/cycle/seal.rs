// SPDX-License-Identifier: GPL-2.0

//! Whether what describes an image is what its encryptor vouched for, and
//! whether the settings allow an image without that.

#![forbid(unsafe_code)]

use super::open::Refusal;
use crate::engine::Engine;
use crate::errno;
use crate::image::cipher::params::{Params, DESCRIPTION_MAX, HINT_MAX};
use crate::image::commit::{Commit, TAG_BYTES};
use crate::image::header::{Header, TransformKind};
use crate::image::{self, cipher, BLOCK};
use crate::registry::{self, Pinned};
use crate::sys::buf::Buf;
use crate::text::Text;
use crate::transform::{Authenticator, Transform};
use core::fmt::{self, Write};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What is to be compared before anything of an image is believed.
pub(super) struct Seal {
    // Field order matters: the object goes before the module that holds its
    // code.
    authenticator: Option<Arc<dyn Authenticator>>,
    _encryptor: Option<Pinned<dyn Transform>>,
}

impl Seal {
    /// Finds the encryptor that `header` names and opens its key. May sleep.
    ///
    /// # Errors
    ///
    /// The image is kept when the settings ask for another encryptor, when
    /// there is no module or no key, or when the key does not fit.
    pub(super) fn of(engine: &Engine, header: &Header<'_>) -> Result<Seal, Refusal> {
        let mut transforms = header.transforms();
        let found = transforms.find(|t| t.kind == TransformKind::Encrypt);
        // It is the last one, as every save makes it.
        if transforms.next().is_some() {
            return Err(image::Error::BadOrder.into());
        }
        allowed(engine, found.map(|t| t.name))?;
        let Some(found) = found else {
            return Ok(Seal {
                authenticator: None,
                _encryptor: None,
            });
        };
        let name = found.name;
        let encryptor = registry::get()?.encryptors.find(name).map_err(|_| {
            Refusal::Kept(engine.fail(
                ENOENT,
                format_args!("the image needs module dormouse_{name} (encrypt), which is not loaded; it is kept"),
            ))
        })?;
        let authenticator = encryptor
            .authenticator(found.params)
            .and_then(|a| a.ok_or(EINVAL))
            .map_err(|e| match e.to_errno().wrapping_neg() {
                errno::EBADMSG => Refusal::Damaged(image::Error::BadParameters),
                errno::EOPNOTSUPP => Refusal::Damaged(image::Error::UnknownFeature),
                _ => Refusal::Kept(engine.fail(
                    e,
                    format_args!("encryptor {name} cannot open the image; it is kept"),
                )),
            })?;
        Ok(Seal {
            authenticator: Some(authenticator),
            _encryptor: Some(encryptor),
        })
    }

    /// Whether an encryptor vouches for the image.
    pub(super) fn vouches(&self) -> bool {
        self.authenticator.is_some()
    }

    /// Compares the tag of `commit` with the header's area and the root. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// The image is damaged when it does not match, or when there is a tag
    /// that nobody made.
    pub(super) fn check(&self, area: &[u8], root: &[u8], commit: &Commit) -> Result<(), Refusal> {
        let mut tag = [0; TAG_BYTES];
        if let Some(authenticator) = &self.authenticator {
            let mut block = Buf::new(BLOCK)?;
            let bytes = block.get_mut(..BLOCK).and_then(|b| b.try_into().ok());
            let bytes: &mut [u8; BLOCK] = bytes.ok_or(EINVAL)?;
            commit.encode_untagged(bytes)?;
            authenticator.tag(&[area, root, bytes], &mut tag)?;
        }
        if !cipher::same(&tag, &commit.tag) {
            return Err(image::Error::BadTag.into());
        }
        Ok(())
    }
}

/// Writes how an image is encrypted for a person, or `dormouse key`, to read.
/// Nobody vouches for any of that.
pub(super) fn inspect(area: &[u8], out: &mut dyn Write) -> fmt::Result {
    let header = match Header::decode(area) {
        Ok(header) => header,
        Err(why) => return writeln!(out, "damaged: {why}"),
    };
    let mut transforms = header.transforms();
    let Some(found) = transforms.find(|t| t.kind == TransformKind::Encrypt) else {
        return writeln!(out, "encryptor: none");
    };
    writeln!(out, "encryptor: {}", found.name)?;
    match Params::decode(found.params) {
        Ok(p) => {
            let description =
                Text::<DESCRIPTION_MAX>::format_plain(format_args!("{}", p.description));
            writeln!(out, "key: {}:{description}", p.key_type.name())?;
            let hint = Text::<HINT_MAX>::format_plain(format_args!("{}", p.hint));
            writeln!(out, "hint: {hint}")
        }
        Err(why) => writeln!(out, "damaged: {why}"),
    }
}

/// The encryptor that the settings ask for. Who asks for one wants no image
/// that somebody else put in the place of theirs.
pub(super) fn wanted(engine: &Engine) -> Option<Text<32>> {
    engine.settings(|s| {
        let name = s.encryptor.name();
        name.map(|name| Text::format(format_args!("{name}")))
    })
}

/// Whether the settings allow an image made by `encryptor`.
fn allowed(engine: &Engine, encryptor: Option<&str>) -> Result<(), Refusal> {
    let Some(wanted) = wanted(engine) else {
        return Ok(());
    };
    if encryptor == Some(wanted.as_str()) {
        return Ok(());
    }
    let found = encryptor.unwrap_or("none");
    Err(Refusal::Kept(engine.fail(
        EPERM,
        format_args!(
            "the setting encryptor is {wanted}, and the image was made with {found}; it is kept"
        ),
    )))
}
