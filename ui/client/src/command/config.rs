// SPDX-License-Identifier: GPL-2.0

//! `dormouse config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::Context;
use crate::failure::{Code, Failure};
use crate::file;
use crate::output;
use crate::settings::{self, Change};

/// Subcommands of `config`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Print settings, all of them or the ones named
    Get {
        /// Names of settings; NAME.PARAMETER for one of a module
        names: Vec<String>,
    },
    /// Change settings, all of them or none
    Set {
        /// What to change, as NAME=VALUE
        #[arg(required = true, value_name = "NAME=VALUE")]
        changes: Vec<String>,
    },
    /// Write the present settings to a file
    Save(FileArgs),
    /// Make the settings of that file: encryptor, and then all others or none
    Apply(ApplyArgs),
}

/// What of a file is made.
#[derive(clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Only those that a resume goes by, for an initramfs: encryptor, threads, io_timeout,
    /// allow_abort, and those of modules
    #[arg(long)]
    resume: bool,
}

/// Where settings are kept.
#[derive(clap::Args)]
pub struct FileArgs {
    /// The file; without it /etc/dormouse.toml
    #[arg(long)]
    file: Option<PathBuf>,
}

impl FileArgs {
    fn path(&self, context: &Context) -> PathBuf {
        let own = || context.system.path(file::DEFAULT);
        self.file.clone().unwrap_or_else(own)
    }
}

/// Reads, changes, keeps settings.
///
/// # Errors
///
/// When one does not exist or is refused; nothing has changed then.
pub fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Get { names } => get(context, names),
        Command::Set { changes } => set(context, changes),
        Command::Save(args) => save(context, &args.path(context)),
        Command::Apply(args) => apply(context, args),
    }
}

fn get(context: &Context, names: &[String]) -> Result<()> {
    let all = match names.is_empty() {
        true => settings::all(&context.control)?,
        false => {
            let one = |name: &String| Ok((name.clone(), settings::get(&context.control, name)?));
            names.iter().map(one).collect::<Result<_>>()?
        }
    };
    let map: BTreeMap<_, _> = all.iter().cloned().collect();
    context.output.print(&map, || {
        let line = |(name, value): &(String, String)| match names.len() {
            1 => format!("{value}\n"),
            _ => format!("{name}={value}\n"),
        };
        all.iter().map(line).collect()
    })
}

fn set(context: &Context, changes: &[String]) -> Result<()> {
    let split = |change: &String| {
        let pair = change
            .split_once('=')
            .map(|(n, v)| (n.to_string(), v.to_string()));
        pair.ok_or_else(|| {
            let sentence = format!("\"{}\" is not NAME=VALUE", change.escape_debug());
            Failure::error(Code::Usage, sentence)
        })
    };
    let wanted: Vec<_> = changes.iter().map(split).collect::<Result<_>>()?;
    make(context, &wanted)
}

fn make(context: &Context, wanted: &[(String, String)]) -> Result<()> {
    let change = Change::make(&context.control, wanted)?;
    let said = match change.is_empty() {
        true => "it is all set like that already",
        false => "done",
    };
    change.keep();
    context.output.say(said)
}

fn save(context: &Context, path: &Path) -> Result<()> {
    let mut all = settings::all(&context.control)?;
    all.retain(|(name, _)| settings::is_lasting(name));
    file::save(path, &all)?;
    context
        .output
        .say(format!("{} has the present settings", path.display()))
}

fn apply(context: &Context, args: &ApplyArgs) -> Result<()> {
    let path = &args.file.path(context);
    let Some(mut wanted) = file::load(path)? else {
        let sentence = format!(
            "there is no {}: \"dormouse config save\" makes it",
            path.display()
        );
        return Err(Failure::error(Code::Nothing, sentence));
    };
    leave_out_absent(context, path, &mut wanted);
    // Kept whatever becomes of the others: without it the next save would be in clear, by the
    // kernel's own hibernation at that, and the next boot would refuse the image.
    let (encryptor, mut others): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|(name, _)| name == file::ENCRYPTOR);
    let first = Change::make(&context.control, &encryptor);
    first
        .with_context(|| format!("in {}", path.display()))?
        .keep();
    if !args.resume {
        let but = match encryptor.is_empty() {
            true => "",
            false => ", all but encryptor",
        };
        return make(context, &others).with_context(|| format!("in {}{but}", path.display()));
    }
    others.retain(|(name, _)| settings::is_for_resume(name));
    // An image is worth more than these.
    for one in others {
        match Change::make(&context.control, &[one]) {
            Ok(change) => change.keep(),
            Err(error) => output::complain(format_args!("{error:#}")),
        }
    }
    Ok(())
}

/// Leaves those out that have no effect because their module is not loaded, unless another setting
/// chooses it, which loads it.
fn leave_out_absent(context: &Context, path: &Path, wanted: &mut Vec<(String, String)>) {
    let values: Vec<String> = wanted.iter().map(|(_, value)| value.clone()).collect();
    wanted.retain(|(name, _)| {
        let module = settings::absent_module(&context.control, name);
        let absent = module.filter(|module| !values.iter().any(|value| value == module));
        if let Some(module) = absent {
            output::complain(format_args!(
                "{}: {name} is left out, as module {module} is not loaded",
                path.display()
            ));
        }
        absent.is_none()
    });
}
