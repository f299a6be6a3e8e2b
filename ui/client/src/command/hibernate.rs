// SPDX-License-Identifier: GPL-2.0

//! `dormouse hibernate`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use nix::errno::Errno;

use crate::cli::Context;
use crate::control::Choice;
use crate::failure::{Code, Failure};
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

/// `/sys/power/disk`, put back when dropped.
struct Mode {
    path: PathBuf,
    before: String,
}

impl Mode {
    fn set(path: &Path, mode: &str) -> Result<Mode> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
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
        let guard = Mode {
            path: path.to_path_buf(),
            before: modes.chosen,
        };
        fs::write(path, mode).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(guard)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        if fs::write(&self.path, &self.before).is_err() {
            let path = self.path.display();
            eprintln!("dormouse: {path} could not be put back to {}", self.before);
        }
    }
}

/// Hibernates. Returns in the restored system, or when the machine stayed up.
///
/// # Errors
///
/// Why it stayed up.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let control = &context.control;
    let before = control.last_result()?;
    // What is for this time only has to be put back, whatever is typed meanwhile.
    let held = signals::hold()?;
    let mut change = Change::make(control, &args.settings())?;
    let mode = match &args.mode {
        Some(mode) => Some(Mode::set(&context.system.path("sys/power/disk"), mode)?),
        None => None,
    };
    let asked = control.ask("start", "1");
    drop(mode);
    change.undo()?;
    drop(held);
    let last = control.last_result()?;
    let Err(error) = asked? else {
        if last.errno != 0 {
            bail!("{} ({})", last.sentence, last.errno);
        }
        return context.output.print(&last, || last.sentence.clone());
    };
    if last.errno != 0 && (last != before || !last.reason_of(&error).is_empty()) {
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
