// SPDX-License-Identifier: GPL-2.0

//! `dormouse resume`.

use std::io;

use anyhow::{bail, Result};
use dormouse_image::target::Target;
use nix::errno::Errno;

use crate::cli::Context;
use crate::control::LastResult;
use crate::failure::{Code, Failure};

/// Options of `resume`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the image is; any form that the setting "target" takes but "auto". Without it, where
    /// resume= or the setting "target" says
    target: Option<String>,
    /// Take an image that is kept because its restore was begun before, its load was cut off three
    /// times, or a boot went on without it. If anything has used its filesystems since, this damages
    /// them
    #[arg(long)]
    retry: bool,
}

/// What is written to `resume` for a `target`, or for where the kernel looks by itself.
///
/// # Errors
///
/// When it is no target to resume from, or a device that is not there.
pub fn value(context: &Context, target: Option<&str>, retry: bool) -> Result<String> {
    match (target, retry) {
        (None, false) => Ok("1".to_string()),
        (None, true) => Ok("retry".to_string()),
        (Some(target), retry) => match Target::parse(target) {
            Ok(Target::Auto) => {
                let why = "say where the image is, or nothing to look where resume= says";
                Err(Failure::error(Code::Usage, why))
            }
            // The kernel looks for the same node, and does not tell a device that is not there
            // from one without an image.
            Ok(Target::Device(path))
                if matches!(context.system.path(path).try_exists(), Ok(false)) =>
            {
                bail!("there is no device {path}: name one that is there")
            }
            Ok(_) if retry => Ok(format!("retry {target}")),
            Ok(_) => Ok(target.to_string()),
            Err(why) => Err(Failure::error(Code::Usage, why.sentence())),
        },
    }
}

/// Asks the kernel for a resume. Returns only when there was none.
///
/// # Errors
///
/// Why there was none.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let value = value(context, args.target.as_deref(), args.retry)?;
    ask(context, &value)
}

/// Writes `value` to `resume`. Returns only when there was no resume.
///
/// # Errors
///
/// Why there was none.
pub fn ask(context: &Context, value: &str) -> Result<()> {
    let before = context.control.last_result()?;
    let answer = context.control.ask("resume", value)?;
    finish(context, &before, value, answer)
}

/// What the command ends with when the kernel has answered; `before` is the last result from
/// before it was asked for `value`.
///
/// # Errors
///
/// As [`run`].
pub fn finish(
    context: &Context,
    before: &LastResult,
    value: &str,
    answer: io::Result<()>,
) -> Result<()> {
    let Err(error) = answer else {
        return context.output.say("nothing was restored");
    };
    let last = context.control.last_result()?;
    let reason = match last.errno {
        0 => String::new(),
        _ if last == *before && last.reason_of(&error).is_empty() => String::new(),
        _ => format!(": {}", last.sentence),
    };
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ENODEV => Err(Failure::error(
            Code::Nothing,
            format!("there is no image to resume{reason}"),
        )),
        Errno::EPERM if reason.is_empty() => bail!(
            "resuming is switched off: \"noresume\" or \"nohibernate\" on the command line, or lockdown; \"dormouse doctor\" says which"
        ),
        Errno::EBUSY if reason.is_empty() => {
            bail!("a cycle is under way already: \"dormouse watch\" shows it")
        }
        Errno::EINVAL if reason.is_empty() => {
            bail!("the kernel does not take \"{value}\": its log says why")
        }
        _ if reason.is_empty() => bail!("not resumed: {error}; the kernel log says more"),
        _ => bail!("not resumed{reason} ({})", last.errno),
    }
}
