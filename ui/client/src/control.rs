// SPDX-License-Identifier: GPL-2.0

//! The files of `/sys/power/hibernate/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;

use crate::failure::{Code, Failure};

mod image;
mod values;

pub use self::image::{Encrypted, Image, Shown};
pub use self::values::{Choice, LastResult, Progress, PAGE};

/// The control folder.
pub struct Control(PathBuf);

impl Control {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Control(path.to_path_buf())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether this kernel has Dormouse at all.
    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Finds out whether this kernel has Dormouse, and whether its files may be read.
    ///
    /// # Errors
    ///
    /// When not.
    pub fn check(&self) -> Result<()> {
        self.get("state").map(|_| ())
    }

    fn refused(&self, name: &str, error: io::Error) -> Error {
        let path = self.0.join(name);
        let path = path.display();
        if !self.exists() {
            let sentence = format!(
                "there is no {}: this kernel has no Dormouse. Boot one that was built with CONFIG_DORMOUSE",
                self.0.display()
            );
            return Failure::error(Code::NoDormouse, sentence);
        }
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EACCES => Failure::not_root("use", path),
            Errno::ENOENT => Failure::error(
                Code::Usage,
                format!("there is no {path}: this kernel's Dormouse does not know \"{name}\""),
            ),
            Errno::EBUSY => Error::new(error).context(format!(
                "{path} cannot be used while a cycle is under way: wait for it (\"dormouse watch\"), or stop it (\"dormouse abort\")"
            )),
            _ => Error::new(error).context(format!("cannot use {path}")),
        }
    }

    /// Reads a file, without the newline at its end.
    ///
    /// # Errors
    ///
    /// When it is not there or the kernel refuses.
    pub fn get(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.0.join(name));
        let text = text.map_err(|error| self.refused(name, error))?;
        Ok(text.trim_end_matches('\n').to_string())
    }

    /// As [`Control::get`], but nothing if there is no such file.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn get_if_there(&self, name: &str) -> Result<Option<String>> {
        if self.exists() && !self.0.join(name).exists() {
            return Ok(None);
        }
        self.get(name).map(Some)
    }

    /// Writes a file and returns what the kernel says.
    ///
    /// # Errors
    ///
    /// The inner error is the kernel's answer to `value`; the outer one says
    /// that the file cannot be written at all.
    pub fn ask(&self, name: &str, value: &str) -> Result<io::Result<()>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.0.join(name))
            .map_err(|error| self.refused(name, error))?;
        // One write: the kernel takes each for a value of its own.
        Ok(io::Write::write_all(&mut &file, value.as_bytes()))
    }

    /// Writes a setting.
    ///
    /// # Errors
    ///
    /// When it is not there or the kernel refuses, with the kernel's reason.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let Err(error) = self.ask(name, value)? else {
            return Ok(());
        };
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EBUSY | Errno::EACCES => Err(self.refused(name, error)),
            _ => {
                let reason = self
                    .last_result()
                    .map_or(String::new(), |last| last.reason_of(&error));
                let path = self.0.join(name);
                Err(Error::new(error)).with_context(|| {
                    format!(
                        "the kernel does not take '{value}' for {}: {reason}its log says more",
                        path.display()
                    )
                })
            }
        }
    }

    /// A setting that is one of several names.
    ///
    /// # Errors
    ///
    /// As [`Control::get`], or when it is not written as such.
    pub fn choice(&self, name: &str) -> Result<Choice> {
        let text = self.get(name)?;
        Choice::parse(&text).with_context(|| format!("{name} is '{text}'"))
    }

    /// What became of the last cycle.
    ///
    /// # Errors
    ///
    /// As [`Control::get`], or when it is not written as such.
    pub fn last_result(&self) -> Result<LastResult> {
        let text = self.get("last_result")?;
        LastResult::parse(&text).with_context(|| format!("last_result is '{text}'"))
    }

    /// What the cycle under way, or the last one, has done.
    ///
    /// # Errors
    ///
    /// As [`Control::get`], or when it is not written as such.
    pub fn progress(&self) -> Result<Progress> {
        let text = self.get("progress")?;
        Progress::parse(&text).with_context(|| format!("progress is '{text}'"))
    }
}
