// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask torture`: the long tests.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Result};
use vm_scenarios::torture;

use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// How long, and where to cut.
#[derive(clap::Args)]
pub struct Args {
    /// How many power cuts, flips of each kind, and cycles; from 29 on, all combinations
    #[arg(short, default_value_t = 10)]
    n: u64,
    /// Only the parts whose name begins with this (cycles, held, hostile, cuts, stalls,
    /// combinations, flips, long, faults, kasan, or more of a name), or the scenario of this name
    #[arg(long)]
    only: Option<String>,
    /// Say what there is, run nothing
    #[arg(long)]
    list: bool,
    /// Decides where power is cut and bits are flipped; printed, to repeat a run
    #[arg(long)]
    seed: Option<u64>,
    /// Guests at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Kernel under test
    #[arg(long, value_enum, default_value = "guest")]
    config: Config,
}

/// Runs the task; true when nothing failed.
///
/// # Errors
///
/// When the kernel cannot be built, or nothing has the name that was given.
pub fn run(paths: &Paths, args: &Args) -> Result<bool> {
    ensure!(args.n > 0, "-n 0 tests nothing");
    let mut jobs = torture::jobs(args.n);
    if let Some(only) = &args.only {
        jobs.retain(|job| job.is_meant(only));
    }
    ensure!(
        !jobs.is_empty(),
        "nothing has a name like that; --list shows all"
    );
    if args.list {
        for job in &jobs {
            println!("{}: {}", job.name(), job.about());
        }
        return Ok(true);
    }
    let kernels = jobs.iter().map(torture::Job::kernel);
    let builds = jobs.iter().filter(|job| job.needs_build());
    let builds = builds.map(torture::Job::kernel);
    let lab = system::lab(paths, args.config, kernels, builds)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let logs = paths.cached("logs/torture")?;
    println!("seed {seed}, kernel logs in {}", logs.display());
    let start = Instant::now();
    let counts = torture::run(&lab, jobs, seed, args.jobs, &logs);
    println!("{} minutes", start.elapsed().as_secs().div_ceil(60));
    println!("torture: {counts}");
    Ok(counts.is_whole())
}
