// SPDX-License-Identifier: GPL-2.0

//! Standard output: for people or as JSON. A reader that has gone is no error.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Who reads what the command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// People.
    Text,
    /// Programs: one JSON value to a line.
    Json,
}

impl Output {
    /// Prints `value`, as JSON or in the words of `text`.
    ///
    /// # Errors
    ///
    /// When it cannot be written, unless nobody reads it any more.
    pub fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let mut all = match self {
            Output::Json => serde_json::to_string(value)?,
            Output::Text => text(),
        };
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        raw(all.as_bytes())
    }
}

/// Prints `bytes` as they are.
///
/// # Errors
///
/// As [`Output::print`].
pub fn raw(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// One sentence that a command ends with, when all went well.
#[derive(Serialize)]
pub struct Done {
    /// What was done.
    pub done: String,
}

impl Output {
    /// Prints one sentence.
    ///
    /// # Errors
    ///
    /// As [`Output::print`].
    pub fn say(self, sentence: impl Into<String>) -> Result<()> {
        let done = Done {
            done: sentence.into(),
        };
        self.print(&done, || done.done.clone())
    }
}
