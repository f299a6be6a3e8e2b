// SPDX-License-Identifier: GPL-2.0

//! What becomes of the machine at the end of a save.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::control::Choice;
use crate::failure::{Code, Failure};
use crate::output;
use crate::system::System;

/// `/sys/power/disk`, put back when dropped.
pub struct Mode {
    path: PathBuf,
    before: String,
}

impl Mode {
    /// Makes it `mode`.
    ///
    /// # Errors
    ///
    /// When there is no such mode here, or the kernel refuses.
    pub fn set(system: &System, mode: &str) -> Result<Mode> {
        let path = system.path("sys/power/disk");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let modes = Choice::parse(&text)
            .with_context(|| format!("{} is '{}'", path.display(), text.trim_end()))?;
        if !modes.of.iter().any(|known| known == mode) {
            let sentence = format!(
                "there is no mode \"{}\" here: there are {}",
                mode.escape_debug(),
                modes.of.join(", ")
            );
            return Err(Failure::error(Code::Usage, sentence));
        }
        fs::write(&path, mode).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Failure::not_root("write", path.display()),
            _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
        })?;
        Ok(Mode {
            path,
            before: modes.chosen,
        })
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        if fs::write(&self.path, &self.before).is_err() {
            let path = self.path.display();
            output::complain(format_args!(
                "{path} could not be put back to {}",
                self.before
            ));
        }
    }
}
