// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask torture`: the long tests.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Result};
use vm_scenarios::{torture, Lab};

use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::system;

/// How long, and where to cut.
#[derive(clap::Args)]
pub struct Args {
    /// How many power cuts, flips and cycles; from 46 on, all combinations
    #[arg(short, default_value_t = 10)]
    n: u64,
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
/// When the kernel cannot be built.
pub fn run(paths: &Paths, args: &Args) -> Result<bool> {
    ensure!(args.n > 0, "-n 0 tests nothing");
    let lab = Lab {
        system: system::built(paths, args.config)?,
        build: kernel::build_folder(paths, args.config)?,
    };
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let logs = paths.cached("logs/torture")?;
    println!("seed {seed}, kernel logs in {}", logs.display());
    let start = Instant::now();
    let counts = torture::run(&lab, args.n, seed, args.jobs, &logs);
    println!("{} minutes", start.elapsed().as_secs().div_ceil(60));
    println!("torture: {counts}");
    Ok(counts.is_whole())
}
