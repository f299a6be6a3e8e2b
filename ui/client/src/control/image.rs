// SPDX-License-Identifier: GPL-2.0

//! The image that a resume would find, as the kernel tells of it.

use anyhow::Result;
use serde::Serialize;

use super::Control;
use crate::text::plain;

/// How the image is encrypted that waits to be resumed.
#[derive(Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Name of the encryptor.
    pub encryptor: String,
    /// Type and description of its key.
    pub key: String,
    /// How the key is made.
    pub hint: String,
}

/// What is where a resume would look.
#[derive(Debug, PartialEq, Eq)]
pub enum Image {
    /// Nothing that could be resumed.
    None,
    /// An image in clear.
    Plain,
    /// An encrypted one.
    Encrypted(Encrypted),
}

/// The lines of `image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// State of its superblock.
    pub state: String,
    /// When the save began, in seconds since 1970.
    pub saved_at: Option<i64>,
    /// How many loads were begun and not ended in order.
    pub attempts: Option<u32>,
    /// That a boot has looked at it and gone on without it.
    pub passed: Option<String>,
    /// Why it will never be resumed.
    pub discarded: Option<String>,
    /// Errno and sentence of what failed last.
    pub last_failure: Option<String>,
    /// Name of the encryptor, or none.
    pub encryptor: Option<String>,
    /// Key that it needs.
    pub key: Option<String>,
    /// How that key is made.
    pub hint: Option<String>,
    /// What is wrong with it.
    pub damaged: Option<String>,
}

/// One line of `image`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Shown {
    fn parse(text: &str) -> Option<Shown> {
        let owned = |name| field(text, name).map(plain);
        Some(Shown {
            state: owned("state")?,
            saved_at: field(text, "saved_at").and_then(|t| t.parse().ok()),
            attempts: field(text, "attempts").and_then(|t| t.parse().ok()),
            passed: owned("passed"),
            discarded: owned("discarded"),
            last_failure: owned("last_failure"),
            encryptor: owned("encryptor"),
            key: owned("key"),
            hint: owned("hint"),
            damaged: owned("damaged"),
        })
    }

    /// Whether a resume would take it, as far as can be seen.
    pub fn waits(&self) -> bool {
        matches!(self.state.as_str(), "committed" | "resuming") && self.discarded.is_none()
    }
}

impl Control {
    /// The lines of `image`; nothing where there is no mark of Dormouse.
    ///
    /// # Errors
    ///
    /// When the kernel cannot read it.
    pub fn shown(&self) -> Result<Option<Shown>> {
        Ok(Shown::parse(&self.get("image")?))
    }

    /// What is where a resume would look.
    ///
    /// # Errors
    ///
    /// When the kernel cannot read it.
    pub fn image(&self) -> Result<Image> {
        let Some(shown) = self.shown()?.filter(Shown::waits) else {
            return Ok(Image::None);
        };
        if let Some(why) = shown.damaged {
            anyhow::bail!("the image is damaged: {why}");
        }
        match shown.encryptor.as_deref() {
            None | Some("none") => Ok(Image::Plain),
            Some(encryptor) => Ok(Image::Encrypted(Encrypted {
                encryptor: encryptor.to_string(),
                key: shown.key.unwrap_or_default(),
                hint: shown.hint.unwrap_or_default(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Result<Image> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("image"), text).unwrap();
        Control::new(folder.path()).image()
    }

    #[test]
    fn finds_out_about_the_image() {
        assert_eq!(image("none\n").unwrap(), Image::None);
        assert_eq!(image("state: consumed\n").unwrap(), Image::None);
        assert_eq!(
            image("state: committed\ndiscarded: used\n").unwrap(),
            Image::None
        );
        assert_eq!(
            image("state: committed\nencryptor: none\n").unwrap(),
            Image::Plain
        );
        assert!(image("state: committed\ndamaged: why\n").is_err());
        let text = "state: resuming\nattempts: 1\nencryptor: aes-gcm\n\
                    key: logon:dormouse:passphrase\nhint: argon2id:v=19\n";
        let expected = Encrypted {
            encryptor: "aes-gcm".into(),
            key: "logon:dormouse:passphrase".into(),
            hint: "argon2id:v=19".into(),
        };
        assert_eq!(image(text).unwrap(), Image::Encrypted(expected));
    }
}
