// SPDX-License-Identifier: GPL-2.0

//! `dormouse abort`.

use anyhow::{Context as _, Result};

use crate::cli::Context;
use crate::failure::{Code, Failure};

/// Stops the cycle that is under way.
///
/// # Errors
///
/// When there is none that could be stopped.
pub fn run(context: &Context) -> Result<()> {
    let control = &context.control;
    let state = control.get("state")?;
    match control.ask("abort", "1")? {
        Ok(()) => context.output.say(format!(
            "asked the cycle to stop, which is in step \"{state}\""
        )),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {
            let why = match state.as_str() {
                "idle" => "no hibernation or resume is under way".to_string(),
                state => format!("it is too late: step \"{state}\" cannot be stopped"),
            };
            Err(Failure::error(Code::Nothing, why))
        }
        Err(error) => Err(error).context("the kernel does not stop the cycle"),
    }
}
