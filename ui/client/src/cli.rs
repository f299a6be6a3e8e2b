// SPDX-License-Identifier: GPL-2.0

//! What may be on the command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::command::{
    abort, bench, config, doctor, generate, hibernate, image, key, resume, status, ui, watch,
};
use crate::control::Control;
use crate::failure;
use crate::output::Output;
use crate::system::System;

/// The command line.
#[derive(Parser)]
#[command(name = "dormouse", version, about = "Hibernation with Dormouse")]
#[command(after_help = failure::HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Print JSON, one value to a line
    #[arg(long, global = true)]
    json: bool,
    /// The control folder
    #[arg(long, hide = true)]
    control: Option<PathBuf>,
    /// Where the system is that is looked at
    #[arg(long, hide = true, default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say how things are: state, settings, last result, image, room
    Status,
    /// Check what could be in the way of hibernation, and say what to do about it
    Doctor,
    /// Hibernate now, and come back with the result after the resume
    Hibernate(hibernate::Args),
    /// Look for an image and go on where it was saved
    Resume(resume::Args),
    /// Stop the hibernation or resume that is under way
    Abort,
    /// Show the progress of a cycle, from its beginning to its result
    Watch(watch::Args),
    /// Show the progress of a cycle on a console, with keys, while everything else is frozen
    Ui(ui::Args),
    /// Settings: read, change, keep them over a boot
    #[command(subcommand)]
    Config(config::Command),
    /// Images on devices and in files, without the kernel's help
    #[command(subcommand)]
    Image(image::Command),
    /// The key that images are encrypted with
    #[command(subcommand)]
    Key(key::Command),
    /// Measure how fast this machine saves and loads, with each compressor
    Bench(bench::Args),
    /// Write the man pages or the completions of a shell
    #[command(subcommand, hide = true)]
    Generate(generate::Command),
}

/// What every subcommand works with.
pub struct Context {
    /// The kernel's control folder.
    pub control: Control,
    /// The rest of the system.
    pub system: System,
    /// Who reads what is printed.
    pub output: Output,
}

impl Cli {
    /// Who reads what is printed.
    pub const fn output(&self) -> Output {
        match self.json {
            true => Output::Json,
            false => Output::Text,
        }
    }

    /// Does what the command line says.
    ///
    /// # Errors
    ///
    /// The sentence to print, with its exit code.
    pub fn run(self) -> Result<()> {
        let output = self.output();
        let control = self
            .control
            .unwrap_or_else(|| self.root.join("sys/power/hibernate"));
        let context = Context {
            control: Control::new(&control),
            system: System::new(&self.root),
            output,
        };
        match self.command {
            Command::Status => status::run(&context),
            Command::Doctor => doctor::run(&context),
            Command::Hibernate(args) => hibernate::run(&context, &args),
            Command::Resume(args) => resume::run(&context, &args),
            Command::Abort => abort::run(&context),
            Command::Watch(args) => watch::run(&context, &args),
            Command::Ui(args) => ui::run(&context, &args),
            Command::Config(command) => config::run(&context, &command),
            Command::Image(command) => image::run(&context, &command),
            Command::Key(command) => key::run(&context, &command),
            Command::Bench(args) => bench::run(&context, &args),
            Command::Generate(command) => generate::run(&command),
        }
    }
}
