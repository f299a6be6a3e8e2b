// SPDX-License-Identifier: GPL-2.0

//! The files of `/sys/power/hibernate/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The control folder.
pub struct Control(PathBuf);

/// One line of `image`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

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

impl Control {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Control(path.to_path_buf())
    }

    /// Reads a file, without the newline at its end.
    ///
    /// # Errors
    ///
    /// When it is not there or the kernel refuses.
    pub fn get(&self, name: &str) -> Result<String> {
        let path = self.0.join(name);
        let text = fs::read_to_string(&path).with_context(|| match self.0.exists() {
            true => format!("cannot read {}: is this root?", path.display()),
            false => format!(
                "there is no {}: this kernel has no Dormouse",
                self.0.display()
            ),
        })?;
        Ok(text.trim_end_matches('\n').to_string())
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// When it is not there or the kernel refuses, with the kernel's reason.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, value).with_context(|| {
            format!(
                "the kernel does not take '{value}' for {}: its log says why",
                path.display()
            )
        })
    }

    /// What is where a resume would look.
    ///
    /// # Errors
    ///
    /// When the kernel cannot read it.
    pub fn image(&self) -> Result<Image> {
        let text = self.get("image")?;
        let resumable = matches!(field(&text, "state"), Some("committed" | "resuming"));
        if !resumable || field(&text, "discarded").is_some() {
            return Ok(Image::None);
        }
        if let Some(why) = field(&text, "damaged") {
            anyhow::bail!("the image is damaged: {why}");
        }
        match field(&text, "encryptor") {
            None | Some("none") => Ok(Image::Plain),
            Some(encryptor) => Ok(Image::Encrypted(Encrypted {
                encryptor: encryptor.to_string(),
                key: field(&text, "key").unwrap_or_default().to_string(),
                hint: field(&text, "hint").unwrap_or_default().to_string(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Result<Image> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("image"), text).unwrap();
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
