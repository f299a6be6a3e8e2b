// SPDX-License-Identifier: GPL-2.0

//! The kernel's files, opened while files can be opened, and read over and over.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result};
use nix::libc;

use super::model::{plain, Facts};
use crate::cli::Context;
use crate::control::{Choice, Control, LastResult, Progress};

/// Bytes of the longest file, `stats`.
const ROOM: usize = 2048;

/// Numbers that those are shown who want more, and what they are called.
const SHOWN: &[(&str, &str)] = &[
    ("image_pages", "pages"),
    ("fill_pages", "filled with one word"),
    ("freed_pages", "pages freed before"),
    ("workers", "workers"),
];

/// The files.
pub struct Panel {
    progress: File,
    last_result: File,
    stats: File,
    abort: File,
    after_save: Option<File>,
}

/// What came of asking for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The kernel is not to do that.
    Forbidden,
    /// It cannot be done any more, or not yet.
    Late,
}

fn open(control: &Control, name: &str, write: bool) -> Result<File> {
    let path = control.path().join(name);
    let mut options = OpenOptions::new();
    options.read(!write).write(write);
    let file = options.open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn read(file: &File) -> io::Result<String> {
    let mut room = [0; ROOM];
    let count = file.read_at(&mut room, 0)?;
    Ok(String::from_utf8_lossy(&room[..count]).into_owned())
}

impl Panel {
    /// Opens the files of `control`.
    ///
    /// # Errors
    ///
    /// When one of them is not there.
    pub fn open(control: &Control) -> Result<Panel> {
        let panel = Panel {
            progress: open(control, "progress", false)?,
            last_result: open(control, "last_result", false)?,
            stats: open(control, "stats", false)?,
            abort: open(control, "abort", true)?,
            after_save: OpenOptions::new()
                .read(true)
                .write(true)
                .open(control.path().join("after_save"))
                .ok(),
        };
        // What the kernel keeps for a file that is read is there from now on.
        let _ = (
            panel.progress(),
            panel.last_result(),
            panel.stats(),
            panel.after_save(),
        );
        Ok(panel)
    }

    /// How far it is; nothing when that cannot be understood.
    pub fn progress(&self) -> Option<Progress> {
        Progress::parse(read(&self.progress).ok()?.trim_end())
    }

    /// What became of it; nothing when that cannot be understood.
    pub fn last_result(&self) -> Option<LastResult> {
        LastResult::parse(read(&self.last_result).ok()?.trim_end())
    }

    /// Numbers for those who want more.
    pub fn stats(&self) -> Vec<(String, String)> {
        let text = read(&self.stats).unwrap_or_default();
        let number = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(plain))
        };
        let known = SHOWN.iter();
        known
            .filter_map(|(name, word)| Some((word.to_string(), number(name)?)))
            // Not counted yet.
            .filter(|(_, number)| number != "0")
            .collect()
    }

    /// The choice of `after_save`; empty where there is none.
    pub fn after_save(&self) -> String {
        let text = self.after_save.as_ref().and_then(|file| read(file).ok());
        let choice = text.and_then(|text| Choice::parse(&text));
        choice.map_or(String::new(), |choice| plain(&choice.chosen))
    }

    /// Asks for the end of the cycle.
    pub fn stop(&self) -> Answer {
        answer(self.abort.write_at(b"1", 0))
    }

    /// Asks for another end of the save.
    pub fn set_after_save(&self, value: &str) -> Answer {
        match &self.after_save {
            Some(file) => answer(file.write_at(value.as_bytes(), 0)),
            None => Answer::Late,
        }
    }
}

fn answer(written: io::Result<usize>) -> Answer {
    match written {
        Ok(_) => Answer::Done,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Answer::Forbidden,
        Err(_) => Answer::Late,
    }
}

/// The settings as the screen says them; `from` is where a resume was told to look.
pub fn facts(context: &Context, from: Option<&str>) -> Facts {
    let control = &context.control;
    let chosen = |name| control.choice(name).map(|choice| choice.chosen);
    let writer = chosen("writer").unwrap_or_default();
    let named = match from {
        Some(from) => from.to_string(),
        None => target(control),
    };
    let target = match (named.as_str(), writer.as_str()) {
        ("auto", "swap") => "swap space".to_string(),
        (named, _) => plain(named),
    };
    let mut modules = vec![writer];
    for name in ["compressor", "encryptor"] {
        modules.extend(chosen(name).ok().filter(|chosen| chosen != "none"));
    }
    let disk = context.system.read("sys/power/disk").unwrap_or_default();
    let mode = Choice::parse(&disk).map_or(String::new(), |choice| choice.chosen);
    Facts {
        target,
        // Of a resume, the image says what made it.
        modules: match from {
            Some(_) => String::new(),
            None => plain(&modules.join(", ")),
        },
        mode: plain(&mode),
        may_stop: control.get("allow_abort").map_or(true, |text| text != "0"),
    }
}

/// The target, also if it is no text.
fn target(control: &Control) -> String {
    let bytes = std::fs::read(control.path().join("target")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches('\n').to_string()
}
