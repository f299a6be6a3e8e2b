// SPDX-License-Identifier: GPL-2.0

//! The long test: every combination, and many cuts, flips and cycles at
//! places that a seed decides.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::Lab;

mod combinations;
mod cuts;
mod cycles;
mod flips;

/// Most cuts or flips that one machine goes through.
const BATCH: u64 = 13;

/// Numbers that are the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Begins the sequence number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Random(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// How many of one kind were to be done, and how many went well.
#[derive(Default)]
pub struct Count {
    good: AtomicU64,
    all: AtomicU64,
}

impl Count {
    fn plan(&self, count: u64) {
        self.all.fetch_add(count, Ordering::Relaxed);
    }

    fn good(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
    }

    fn is_whole(&self) -> bool {
        self.good.load(Ordering::Relaxed) == self.all.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        write!(f, "{}/{}", load(&self.good), load(&self.all))
    }
}

/// What came of it; its text is one line.
#[derive(Default)]
pub struct Counts {
    combinations: Count,
    cuts: Count,
    flips: Count,
    cycles: Count,
    lost: AtomicU64,
}

impl Counts {
    /// Whether all went well.
    pub fn is_whole(&self) -> bool {
        let kinds = [&self.combinations, &self.cuts, &self.flips, &self.cycles];
        kinds.iter().all(|kind| kind.is_whole()) && self.lost.load(Ordering::Relaxed) == 0
    }

    /// Passes on what came of going on with a session whose image was
    /// complete; one that fails is lost.
    fn kept<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "combinations {}, power cuts {}, flips {}, cycles {}, lost {}",
            self.combinations,
            self.cuts,
            self.flips,
            self.cycles,
            self.lost.load(Ordering::Relaxed)
        )
    }
}

/// Something to do with one machine.
enum Job {
    Combinations(combinations::Group),
    Cuts { stream: u64, count: u64 },
    Flips { stream: u64, count: u64 },
    Cycles { count: u64 },
}

impl Job {
    fn name(&self) -> String {
        match self {
            Job::Combinations(group) => format!("combinations-{group}"),
            Job::Cuts { stream, .. } => format!("cuts-{stream}"),
            Job::Flips { stream, .. } => format!("flips-{stream}"),
            Job::Cycles { .. } => "cycles".to_string(),
        }
    }

    fn run(&self, lab: &Lab, seed: u64, counts: &Counts) -> Result<()> {
        match self {
            Job::Combinations(group) => group.run(lab, counts),
            Job::Cuts { stream, count } => {
                cuts::run(lab, &mut Random::new(seed, *stream), *count, counts)
            }
            Job::Flips { stream, count } => {
                flips::run(lab, &mut Random::new(seed, *stream), *count, counts)
            }
            Job::Cycles { count } => cycles::run(lab, *count, counts),
        }
    }
}

/// What is to be done for `n`, the longest first.
fn jobs(n: u64, counts: &Counts) -> Vec<Job> {
    counts.cuts.plan(n);
    counts.flips.plan(n);
    counts.cycles.plan(n);
    let mut jobs = vec![Job::Cycles { count: n }];
    let batches = |from: u64| {
        let begins = (0..n).step_by(BATCH as usize);
        begins.map(move |begin| (from + begin / BATCH, BATCH.min(n - begin)))
    };
    jobs.extend(batches(1).map(|(stream, count)| Job::Cuts { stream, count }));
    let groups = combinations::groups(n);
    counts
        .combinations
        .plan(groups.iter().map(|group| group.len()).sum());
    jobs.extend(groups.into_iter().map(Job::Combinations));
    jobs.extend(batches(1 << 32).map(|(stream, count)| Job::Flips { stream, count }));
    jobs
}

/// Does everything, `n` of each and a part of the combinations that grows with
/// `n`, with `machines` guests at the same time. Says what fails; kernel logs
/// go to `logs`.
pub fn run(lab: &Lab, n: u64, seed: u64, machines: usize, logs: &Path) -> Counts {
    let counts = Counts::default();
    let jobs = Mutex::new(jobs(n, &counts).into_iter());
    let next = || {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.next()
    };
    std::thread::scope(|scope| {
        for _ in 0..machines.max(1) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    let name = job.name();
                    let folder = logs.join(&name);
                    // Logs of an earlier run would be taken for this one's.
                    let _ = std::fs::remove_dir_all(&folder);
                    let mut lab = lab.clone();
                    lab.system.logs = Some(folder);
                    match job.run(&lab, seed, &counts) {
                        Ok(()) => println!("{name}: {counts}"),
                        Err(error) => println!("{name} FAILED: {error:#}"),
                    }
                }
            });
        }
    });
    counts
}
