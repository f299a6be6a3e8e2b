// SPDX-License-Identifier: GPL-2.0

//! `dormouse generate`: man pages and completions, made from the command line itself.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Subcommands of `generate`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write a man page for the command and each of its subcommands
    Man {
        /// Folder for the pages
        folder: PathBuf,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Writes what was asked for.
///
/// # Errors
///
/// When it cannot be written.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Man { folder } => {
            let why = || format!("cannot write to {}", folder.display());
            fs::create_dir_all(folder).with_context(why)?;
            clap_mangen::generate_to(Cli::command(), folder).with_context(why)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dormouse", &mut text);
            output::raw(&text)
        }
    }
}
