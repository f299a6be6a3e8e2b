// SPDX-License-Identifier: GPL-2.0

//! The command of Dormouse: says how things are, steers, and looks into images.
//!
//! Linked statically it needs nothing but the kernel, so it can go into an initramfs.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod command;
mod control;
mod failure;
mod file;
mod hint;
mod output;
mod passphrase;
mod room;
mod settings;
mod signals;
mod system;
mod text;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dormouse: {error:#}");
            failure::code_of(&error).into()
        }
    }
}
