// SPDX-License-Identifier: GPL-2.0

//! `dormouse hibernate`.

use std::io;

use anyhow::{bail, Result};
use nix::errno::Errno;

use crate::cli::Context;
use crate::control::LastResult;
use crate::mode::Mode;
use crate::settings::Change;
use crate::signals;

/// Options of `hibernate`.
#[derive(clap::Args)]
pub struct Args {
    /// Compressor, for this time only
    #[arg(long)]
    compressor: Option<String>,
    /// Writer, for this time only
    #[arg(long)]
    writer: Option<String>,
    /// Target, for this time only
    #[arg(long)]
    target: Option<String>,
    /// What to do with the machine in the end, for this time only: platform, shutdown, reboot,
    /// suspend or test_resume
    #[arg(long)]
    mode: Option<String>,
}

impl Args {
    fn settings(&self) -> Vec<(String, String)> {
        let all = [
            ("compressor", &self.compressor),
            ("writer", &self.writer),
            ("target", &self.target),
        ];
        let named =
            |(name, value): (&str, &Option<String>)| Some((name.to_string(), value.clone()?));
        all.into_iter().filter_map(named).collect()
    }
}

/// Hibernates. Returns in the restored system, or when the machine stayed up.
///
/// # Errors
///
/// Why it stayed up.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    context.control.check()?;
    // What is for this time only has to be put back, whatever is typed meanwhile.
    let held = signals::hold()?;
    let mut change = Change::make(&context.control, &args.settings())?;
    let mode = match &args.mode {
        Some(mode) => Some(Mode::set(&context.system, mode)?),
        None => None,
    };
    let result = cycle(context);
    drop(mode);
    change.undo()?;
    drop(held);
    let last = result?;
    context.output.print(&last, || last.sentence.clone())
}

/// Hibernates with the settings that are made. Returns in the restored system, or when the machine
/// stayed up.
///
/// # Errors
///
/// Why it stayed up.
pub(super) fn cycle(context: &Context) -> Result<LastResult> {
    let before = context.control.last_result()?;
    let asked = context.control.ask("start", "1")?;
    outcome(context, &before, asked)
}

/// What became of it when the kernel has answered; `before` is the last result from before it was
/// asked.
///
/// # Errors
///
/// Why it stayed up.
pub(super) fn outcome(
    context: &Context,
    before: &LastResult,
    answer: io::Result<()>,
) -> Result<LastResult> {
    let last = context.control.last_result()?;
    let Err(error) = answer else {
        if last.errno != 0 {
            bail!("{} ({})", last.sentence, last.errno);
        }
        return Ok(last);
    };
    if last.errno != 0 && (last != *before || !last.reason_of(&error).is_empty()) {
        bail!("not hibernated: {} ({})", last.sentence, last.errno);
    }
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EPERM => bail!(
            "hibernation is switched off: \"nohibernate\" on the command line, lockdown, or secret memory in use; \"dormouse doctor\" says which"
        ),
        Errno::EBUSY => bail!("a cycle is under way already: \"dormouse watch\" shows it"),
        _ => bail!("not hibernated: {error}; the kernel log says more"),
    }
}
