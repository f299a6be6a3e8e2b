// SPDX-License-Identifier: GPL-2.0

//! Builds and tests Dormouse. Start with `cargo xtask help`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod check;
mod deb;
mod debian;
mod demo;
mod fresh;
mod guest;
mod hash;
mod kernel;
mod packages;
mod paths;
mod progress;
mod screenshots;
mod system;
mod torture;
mod transcripts;
mod vm;
mod ynl;

use kernel::Config;
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
    /// Hibernates and resumes a guest, with explanations
    Demo(demo::Args),
    /// Runs all tests; the last line counts them
    Check(check::Args),
    /// Builds the guest kernel with Dormouse and says where it is
    Kernel {
        /// Which one
        #[arg(long, value_enum, default_value = "guest")]
        config: Config,
        /// As a Debian package, in the configuration "debian"
        #[arg(long, conflicts_with = "config")]
        deb: bool,
    },
    /// Builds the Debian package of the command and the boot hooks and says where it is
    Deb,
    /// Builds the Debian guest, says where it is, and runs long scenarios in it
    Debian {
        /// Such as debian, debian-modes, debian-passphrase
        scenarios: Vec<String>,
    },
    /// Builds user-mode Linux with the KUnit suites and says where it is
    Uml,
    /// Runs the KUnit suites with the kernel's own kunit.py
    KunitPy {
        /// Further arguments of `kunit.py run`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Runs make in a clone of this checkout in a new Debian that has nothing else
    Fresh(fresh::Args),
    /// Runs the long tests; one line counts them
    Torture(torture::Args),
    /// Measures swsusp and Dormouse in the same guest, one after the other
    Bench(bench::Args),
    /// Runs a shell script in a guest, over one or several boots
    Vm(vm::Args),
    /// Writes down what the command says in a guest, for the documentation
    Transcripts,
    /// Makes the pictures of the progress screen that the documentation shows
    Screenshots,
    /// Generates the sources that come from the netlink specification
    Ynl,
}

fn run(task: Task) -> Result<bool> {
    let paths = Paths::find()?;
    match task {
        Task::Demo(args) => demo::run(&paths, &args),
        Task::Check(args) => check::run(&paths, &args),
        Task::Uml => {
            println!(
                "{}",
                kernel::build(&paths, Config::Uml)?
                    .folder
                    .join("linux")
                    .display()
            );
            Ok(true)
        }
        Task::KunitPy { arguments } => kernel::kunit_py::run(&paths, &arguments),
        Task::Fresh(args) => fresh::run(&paths, &args),
        Task::Deb => {
            println!("{}", deb::build(&paths)?.display());
            Ok(true)
        }
        Task::Debian { scenarios } => debian::run(&paths, &scenarios),
        Task::Kernel { deb: true, .. } => {
            let built = kernel::build(&paths, Config::Debian)?;
            println!("{}", built.package()?.display());
            Ok(true)
        }
        Task::Kernel { config, .. } => {
            println!("{}", kernel::build(&paths, config)?.folder.display());
            Ok(true)
        }
        Task::Torture(args) => torture::run(&paths, &args),
        Task::Bench(args) => bench::run(&paths, args),
        Task::Vm(args) => vm::run(&paths, args),
        Task::Transcripts => transcripts::run(&paths),
        Task::Screenshots => screenshots::make(&paths).map(|()| true),
        Task::Ynl => ynl::write(&paths).map(|()| true),
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
