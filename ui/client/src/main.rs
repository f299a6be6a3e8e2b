// SPDX-License-Identifier: GPL-2.0

//! The command of Dormouse: says how things are, steers, and looks into images.
//!
//! Linked statically it needs nothing but the kernel, so it can go into an initramfs.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::Parser;

mod cli;
mod command;
mod control;
mod failure;
mod file;
mod hint;
mod memory;
mod mode;
mod newfile;
mod output;
mod passphrase;
mod room;
mod screen;
mod settings;
mod signals;
mod system;
mod text;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = cli.output();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, sentence) = (failure::code_of(&error), format!("{error:#}"));
            output.failed(code, &sentence);
            output::complain(format_args!("{sentence}"));
            code.into()
        }
    }
}

/// Says what is wrong with the command line in one line; help is longer.
fn usage(error: &clap::Error) -> ExitCode {
    let is_help =
        !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help {
        // Whoever does not read it has not asked for it.
        let _ = error.print();
    } else {
        let sentence = text::one_line(&error.to_string());
        // What was understood of a command line that is not understood.
        if std::env::args_os().any(|arg| arg == "--json") {
            output::Output::Json.failed(failure::Code::Usage, &sentence);
        }
        output::complain(format_args!("{sentence}"));
    }
    match error.use_stderr() {
        true => failure::Code::Usage.into(),
        false => ExitCode::SUCCESS,
    }
}
