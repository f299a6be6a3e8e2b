// SPDX-License-Identifier: GPL-2.0

//! The long test: every combination, and many cuts, flips and cycles at
//! places that a seed decides.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::faults::{self, Faults, Sweep};
use crate::{Kernel, Lab, Scenario};

mod combinations;
mod cuts;
mod cycles;
mod flips;
mod held;
mod hostile;
mod stalls;

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
    encrypted: Count,
    cycles: Count,
    held: Count,
    stalls: Count,
    long: Count,
    kasan: Count,
    sweeps: Count,
    hostile: Count,
    faults: Faults,
    lost: AtomicU64,
}

impl Counts {
    fn kinds(&self) -> [(&'static str, &Count); 11] {
        [
            ("combinations", &self.combinations),
            ("power cuts", &self.cuts),
            ("flips", &self.flips),
            ("encrypted flips", &self.encrypted),
            ("cycles", &self.cycles),
            ("filesystems held", &self.held),
            ("stalls", &self.stalls),
            ("long scenarios", &self.long),
            ("with KASAN", &self.kasan),
            ("sweeps of faults", &self.sweeps),
            ("hostile images", &self.hostile),
        ]
    }

    /// Whether all went well.
    pub fn is_whole(&self) -> bool {
        let whole = self.kinds().iter().all(|(_, count)| count.is_whole());
        whole && self.faults.is_whole() && self.lost.load(Ordering::Relaxed) == 0
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
        for (name, count) in self.kinds() {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "lost {}", self.lost.load(Ordering::Relaxed))?;
        write!(f, "; {}", self.faults)
    }
}

/// Something to do with one machine.
enum Task {
    Combinations(combinations::Group),
    Cuts(u64),
    Flips(&'static str, u64),
    Cycles(u64),
    Held(u64),
    /// Which batch, and how many.
    Stalls(u64, u64),
    Long(Scenario),
    /// One that runs on a kernel that checks less otherwise.
    Kasan(Scenario),
    /// Failures injected into saves, or into loads.
    Saves(Sweep),
    Loads(Sweep),
    /// Images that were made to exhaust the command. Needs no machine.
    Hostile,
}

/// A part of the whole, to be run for itself.
pub struct Job {
    name: String,
    task: Task,
    /// Which sequence of random numbers is its own.
    stream: u64,
}

impl Job {
    fn new(name: String, task: Task, stream: u64) -> Self {
        Job { name, task, stream }
    }

    /// Its name, which begins with that of its kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn about(&self) -> String {
        match &self.task {
            Task::Combinations(group) => format!("{} combinations", group.len()),
            Task::Cuts(count) => format!("{count} power cuts in saves and loads"),
            Task::Flips(encryptor, count) => {
                format!("{count} flips in an image, encryptor {encryptor}")
            }
            Task::Cycles(count) => format!("{count} cycles in a row"),
            Task::Held(count) => {
                format!("{count} long saves while filesystems are written to")
            }
            Task::Stalls(_, count) => format!("{count} saves to a storage that stops"),
            Task::Long(scenario) | Task::Kasan(scenario) => scenario.about.to_string(),
            Task::Saves(_) => "failures injected into saves, one after the other".to_string(),
            Task::Loads(_) => "failures injected into loads, one after the other".to_string(),
            Task::Hostile => "memory and time that hostile images of 64 MiB take".to_string(),
        }
    }

    /// Whether `only` means it: the beginning of its name, or all of that of
    /// its scenario.
    pub fn is_meant(&self, only: &str) -> bool {
        let scenario = match &self.task {
            Task::Long(scenario) | Task::Kasan(scenario) => scenario.name,
            _ => "",
        };
        self.name.starts_with(only) || scenario == only
    }

    /// The kernel that it needs.
    pub fn kernel(&self) -> Kernel {
        match &self.task {
            Task::Long(scenario) | Task::Kasan(scenario) => scenario.kernel,
            Task::Saves(_) | Task::Loads(_) => Kernel::Faults,
            _ => Kernel::Tested,
        }
    }

    /// Whether it uses kbuild's folder of its kernel.
    pub fn needs_build(&self) -> bool {
        matches!(&self.task, Task::Long(scenario) | Task::Kasan(scenario) if scenario.build)
    }

    fn plan(&self, counts: &Counts) {
        match &self.task {
            Task::Combinations(group) => counts.combinations.plan(group.len()),
            Task::Cuts(count) => counts.cuts.plan(*count),
            Task::Flips("none", count) => counts.flips.plan(*count),
            Task::Flips(_, count) => counts.encrypted.plan(*count),
            Task::Cycles(count) => counts.cycles.plan(*count),
            Task::Held(count) => counts.held.plan(*count),
            Task::Stalls(_, count) => counts.stalls.plan(*count),
            Task::Long(_) => counts.long.plan(1),
            Task::Kasan(_) => counts.kasan.plan(1),
            Task::Saves(_) | Task::Loads(_) => counts.sweeps.plan(1),
            Task::Hostile => counts.hostile.plan(1),
        }
    }

    fn run(&self, lab: &Lab, seed: u64, counts: &Counts) -> Result<()> {
        let lab = &lab.on(self.kernel())?;
        let mut random = Random::new(seed, self.stream);
        match &self.task {
            Task::Combinations(group) => group.run(lab, counts),
            Task::Cuts(count) => cuts::run(lab, &mut random, *count, counts),
            Task::Flips(encryptor, count) => {
                flips::run(lab, encryptor, &mut random, *count, counts)
            }
            Task::Cycles(count) => cycles::run(lab, *count, counts),
            Task::Held(count) => held::run(lab, *count, counts),
            Task::Stalls(number, count) => stalls::run(lab, &mut random, *number, *count, counts),
            Task::Long(scenario) => (scenario.run)(lab).map(|()| counts.long.good()),
            Task::Kasan(scenario) => (scenario.run)(lab).map(|()| counts.kasan.good()),
            Task::Saves(sweep) => {
                let result = sweep.saves(lab, &counts.faults);
                result.map(|()| counts.sweeps.good())
            }
            Task::Loads(sweep) => {
                let result = sweep.loads(lab, &counts.faults);
                result.map(|()| counts.sweeps.good())
            }
            Task::Hostile => hostile::run().map(|()| counts.hostile.good()),
        }
    }
}

/// Sizes of as many batches as `n` makes, numbered from 1.
fn batches(n: u64) -> impl Iterator<Item = (u64, u64)> {
    let begins = (0..n).step_by(BATCH as usize);
    begins.map(move |begin| (1 + begin / BATCH, BATCH.min(n - begin)))
}

/// What there is to be done for `n`, the longest first.
pub fn jobs(n: u64) -> Vec<Job> {
    let mut jobs = vec![
        Job::new("cycles".to_string(), Task::Cycles(n), 0),
        Job::new("held".to_string(), Task::Held(n), 0),
        Job::new("hostile".to_string(), Task::Hostile, 0),
    ];
    jobs.extend(batches(n).map(|(number, count)| {
        let name = format!("cuts-{number}");
        Job::new(name, Task::Cuts(count), number)
    }));
    jobs.extend(batches(n).map(|(number, count)| {
        let name = format!("stalls-{number}");
        Job::new(name, Task::Stalls(number, count), (3 << 32) + number)
    }));
    jobs.extend(combinations::groups(n).into_iter().map(|group| {
        let name = format!("combinations-{group}");
        Job::new(name, Task::Combinations(group), 0)
    }));
    for (stream, encryptor) in [(1 << 32, "none"), (2 << 32, "aes-gcm")] {
        jobs.extend(batches(n).map(|(number, count)| {
            let name = format!("flips-{encryptor}-{number}");
            Job::new(name, Task::Flips(encryptor, count), stream + number)
        }));
    }
    let long = crate::all().into_iter().filter(|scenario| scenario.torture);
    jobs.extend(long.map(|scenario| {
        let name = format!("long-{}", scenario.name);
        Job::new(name, Task::Long(scenario), 0)
    }));
    jobs.extend(faults::saves(n).into_iter().map(|sweep| {
        let name = format!("faults-saves-{sweep}");
        Job::new(name, Task::Saves(sweep), 0)
    }));
    jobs.extend(faults::loads(n).into_iter().map(|sweep| {
        let name = format!("faults-loads-{sweep}");
        Job::new(name, Task::Loads(sweep), 0)
    }));
    // Debian has a kernel of its own.
    let ours = |scenario: &Scenario| {
        scenario.kernel == Kernel::Tested && !scenario.name.starts_with("debian")
    };
    let ours = crate::all().into_iter().filter(ours);
    jobs.extend(ours.map(|scenario| {
        let name = format!("kasan-{}", scenario.name);
        Job::new(name, Task::Kasan(scenario.on(Kernel::Kasan)), 0)
    }));
    jobs
}

/// Does `jobs` with `machines` guests at the same time. Says what fails; kernel
/// logs go to `logs`.
pub fn run(lab: &Lab, jobs: Vec<Job>, seed: u64, machines: usize, logs: &Path) -> Counts {
    let counts = Counts::default();
    jobs.iter().for_each(|job| job.plan(&counts));
    let jobs = Mutex::new(jobs.into_iter());
    let next = || {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.next()
    };
    std::thread::scope(|scope| {
        for _ in 0..machines.max(1) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    let name = job.name();
                    let folder = logs.join(name);
                    // Logs of an earlier run would be taken for this one's.
                    let _ = std::fs::remove_dir_all(&folder);
                    let mut lab = lab.clone();
                    lab.system.logs = Some(folder);
                    match job.run(&lab, seed, &counts) {
                        Ok(()) => println!("{name}: {counts}"),
                        Err(error) => println!("{name} FAILED: {error:#}\n{name}: {counts}"),
                    }
                }
            });
        }
    });
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(only: &str) -> Vec<String> {
        let jobs = jobs(14).into_iter().filter(|job| job.is_meant(only));
        jobs.map(|job| job.name).collect()
    }

    #[test]
    fn parts_are_found_by_name() {
        assert_eq!(meant("cycles"), ["cycles"]);
        assert_eq!(meant("hostile"), ["hostile"]);
        assert_eq!(meant("cuts"), ["cuts-1", "cuts-2"]);
        assert_eq!(meant("stalls"), ["stalls-1", "stalls-2"]);
        assert_eq!(meant("flips").len(), 4);
        assert_eq!(meant("flips-aes-gcm").len(), 2);
        assert_eq!(meant("combinations-netblock").len(), 3);
        assert_eq!(meant("nbd-torn"), ["long-nbd-torn", "kasan-nbd-torn"]);
        assert!(meant("long").len() > 5);
        assert!(meant("faults-loads").len() > 2);
        assert!(meant("kasan").len() > 50);
        assert!(meant("nothing").is_empty());
        let names: std::collections::BTreeSet<String> = meant("").into_iter().collect();
        assert_eq!(names.len(), meant("").len(), "two jobs have one name");
    }

    #[test]
    fn one_line_counts_what_is_planned() {
        let counts = Counts::default();
        jobs(14).iter().for_each(|job| job.plan(&counts));
        let line = counts.to_string();
        assert!(
            line.contains(
                "power cuts 0/14, flips 0/14, encrypted flips 0/14, cycles 0/14, filesystems held"
            ),
            "{line}"
        );
        assert!(!counts.is_whole() && Counts::default().is_whole());
    }
}
