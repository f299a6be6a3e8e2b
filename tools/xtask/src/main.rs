// SPDX-License-Identifier: GPL-2.0

//! Builds and tests Dormouse. Start with `cargo xtask help`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod guest;
mod paths;
mod vm;

use paths::Paths;

/// Builds and tests Dormouse.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a shell script in a guest, over one or several boots
    Vm(vm::Args),
}

fn run(task: Task) -> Result<bool> {
    let paths = Paths::find()?;
    match task {
        Task::Vm(args) => vm::run(&paths, args),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
