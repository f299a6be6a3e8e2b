// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask check`: all tests, in the order of what fails soonest.

use std::time::Instant;

use anyhow::Result;

use crate::kernel::Config;
use crate::paths::Paths;

mod dist;
mod evidence;
mod host;
mod kunit;
mod limit;
pub mod scenarios;
mod style;

/// What to check.
#[derive(clap::Args)]
pub struct Args {
    /// Only the parts and scenarios whose name contains this, or the long scenario of exactly
    /// this name; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Say what there is, run nothing
    #[arg(long)]
    list: bool,
    /// Scenarios that run at the same time
    #[arg(long, default_value_t = default_jobs())]
    jobs: usize,
    /// Kernel of the scenarios
    #[arg(long, value_enum, default_value = "debug")]
    config: Config,
}

/// Guests have two processors and wait a lot, so two of them share two well.
fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().clamp(1, 2))
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Counts the tests of `other` as well.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// True when nothing failed.
    pub fn all_passed(self) -> bool {
        self.failed == 0
    }

    fn of(good: bool) -> Self {
        Tally {
            passed: usize::from(good),
            failed: usize::from(!good),
        }
    }
}

type Part = fn(&Paths) -> Result<Tally>;

/// Parts with their names; the scenarios come after them.
const PARTS: &[(&str, Part)] = &[
    ("format", style::format),
    ("clippy", style::clippy),
    ("checkpatch", style::checkpatch),
    ("generated", style::generated),
    ("shellcheck", dist::shellcheck),
    ("hooks", dist::hooks),
    ("tools", host::tools),
    ("host", host::pure),
    ("fuzz", host::fuzz),
    ("kunit", kunit::run),
    ("kernel-clippy", style::kernel_clippy),
];

/// Runs the task; true when nothing failed.
///
/// # Errors
///
/// Never for a test: one that cannot run counts as failed.
pub fn run(paths: &Paths, args: &Args) -> Result<bool> {
    let only = &args.only;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| name.contains(one));
    let scenarios = scenarios::list(only);
    let parts = PARTS.iter().filter(|part| wanted(part.0));
    if args.list {
        parts.for_each(|part| println!("{}", part.0));
        scenarios
            .iter()
            .for_each(|(name, one)| println!("{name}: {}", one.about));
        return Ok(true);
    }
    let mut total = Tally::default();
    for (name, part) in parts {
        println!("== {name}");
        let start = Instant::now();
        let tally = part(paths).unwrap_or_else(|error| {
            println!("{error:#}");
            Tally::of(false)
        });
        let seconds = start.elapsed().as_secs();
        println!(
            "== {name}: {} passed, {} failed ({seconds} s)",
            tally.passed, tally.failed
        );
        total.add(tally);
    }
    if !scenarios.is_empty() {
        println!("== scenarios");
        total.add(scenarios::run(paths, args.config, &scenarios, args.jobs));
    }
    // A filter that fits nothing must not look like success.
    if total == Tally::default() {
        println!("nothing has a name like that; --list shows all");
        total.failed = 1;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.all_passed())
}
