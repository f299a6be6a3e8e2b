// SPDX-License-Identifier: GPL-2.0

//! Standard output: for people or as JSON. A reader that has gone is no error.

use std::fmt;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, Context, Result};
use serde::Serialize;

use crate::failure::Code;
use crate::text::{plain, plain_json, plain_lines};

/// Whether a value was printed.
static HAS_PRINTED: AtomicBool = AtomicBool::new(false);

/// Who reads what the command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// People.
    Text,
    /// Programs: one JSON value to a line.
    Json,
}

impl Output {
    /// Prints `value`, as JSON or in the words of `text`, without anything that a terminal would
    /// take for a command.
    ///
    /// # Errors
    ///
    /// When it cannot be written, unless nobody reads it any more.
    pub fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let mut all = match self {
            Output::Json => plain_json(&serde_json::to_string(value)?),
            Output::Text => plain_lines(&text()),
        };
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        HAS_PRINTED.store(true, Ordering::Relaxed);
        raw(all.as_bytes())
    }

    /// Prints how the command fails, if programs read that and nothing was printed before: a report
    /// says itself what is wrong.
    pub fn failed(self, code: Code, sentence: &str) {
        #[derive(Serialize)]
        struct Failed<'a> {
            error: &'a str,
            code: u8,
        }
        let failed = Failed {
            error: sentence,
            code: code as u8,
        };
        if self == Output::Json && !HAS_PRINTED.load(Ordering::Relaxed) {
            // It ends with that code in any case.
            let _ = self.print(&failed, String::new);
        }
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

/// Says something in one line on standard error, if anybody is there to read it.
pub fn complain(sentence: fmt::Arguments<'_>) {
    let sentence = plain(&sentence.to_string());
    let _ = writeln!(std::io::stderr(), "dormouse: {sentence}");
}

/// Shows on a terminal how far something is, each time in the place of what was shown before;
/// nothing is left of it when it is dropped. Shows nothing where standard error is no terminal.
pub struct Percent {
    /// What was done to that much.
    done: &'static str,
    shows: bool,
}

impl Percent {
    /// Nothing shown yet; `done` is what stands before the number.
    pub fn new(done: &'static str) -> Percent {
        Percent {
            done,
            shows: std::io::stderr().is_terminal(),
        }
    }

    /// `count` of `total` steps are done. Not every step is shown.
    pub fn at(&self, count: u64, total: u64) {
        if self.shows && (count % 64 == 0 || count == total) {
            let percent = count.saturating_mul(100) / total.max(1);
            replace(format_args!("{} {percent} %", self.done));
        }
    }
}

impl Drop for Percent {
    fn drop(&mut self) {
        if self.shows {
            replace(format_args!(""));
        }
    }
}

/// Writes `text` over the line that the cursor is in.
fn replace(text: fmt::Arguments<'_>) {
    let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
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

/// Lets somebody say no: asks `question` before the command is going to do `what`, unless
/// `yes` was given.
///
/// # Errors
///
/// When the answer is not yes, which the command ends with as `kept`; when there is nobody to ask,
/// or the answer cannot be read.
pub fn confirm(yes: bool, what: &str, question: &str, kept: &'static str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("say --yes to {what}: there is no terminal to ask on");
    }
    match is_meant(question)? {
        true => Ok(()),
        false => bail!(kept),
    }
}

/// Asks a question that is answered by yes or no; nothing is no.
fn is_meant(question: &str) -> Result<bool> {
    let mut err = std::io::stderr();
    write!(err, "{} [y/N] ", plain_lines(question)).and_then(|()| err.flush())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
