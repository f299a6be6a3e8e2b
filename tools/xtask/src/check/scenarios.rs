// SPDX-License-Identifier: GPL-2.0

//! Runs the VM scenarios of tests/vm, a few at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use vm_scenarios::{Kernel, Lab, Scenario, WITH_KASAN};

use super::{evidence, limit, Tally};
use crate::debian;
use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::system;

/// A scenario and its full name.
pub type Named = (String, Scenario);

/// Scenarios whose full name contains `only`. Of those that take long only the
/// one with exactly this name, full or not.
pub fn list(only: Option<&str>) -> Vec<Named> {
    let all = vm_scenarios::all();
    let again = all.iter().filter(|one| WITH_KASAN.contains(&one.name));
    let again = again.map(|one| (format!("kasan/{}", one.name), one.on(Kernel::Kasan)));
    let named = all
        .iter()
        .map(|one| (format!("vm/{}", one.name), *one))
        .chain(again);
    let wanted = |(name, scenario): &Named| match only {
        Some(only) if scenario.torture => [name.as_str(), scenario.name].contains(&only),
        Some(only) => name.contains(only),
        // Its kernel takes a quarter of an hour to build.
        None => !scenario.torture && scenario.kernel != Kernel::Kasan,
    };
    named.filter(wanted).collect()
}

/// Runs `scenarios` on the kernel `config`, `jobs` of them at the same time.
/// When a kernel does not build, all of them failed. What the logs say of those
/// that failed comes last, where it is found.
pub fn run(paths: &Paths, config: Config, scenarios: &[Named], jobs: usize) -> Tally {
    let failed = |error: anyhow::Error| {
        println!("{error:#}");
        Tally {
            passed: 0,
            failed: scenarios.len(),
        }
    };
    let (lab, logs) = match prepare(paths, config, scenarios) {
        Ok(prepared) => prepared,
        Err(error) => return failed(error),
    };
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let lost = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, scenarios.len()) {
            scope.spawn(|| {
                while let Some(named) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let logs = logs.join(named.0.replace('/', "-"));
                    let tally = one(named, &lab, logs.clone());
                    held(&total).add(tally);
                    if !tally.all_passed() {
                        held(&lost).push(format!("== {}\n{}", named.0, evidence::of(&logs)));
                    }
                }
            });
        }
    });
    held(&lost).iter().for_each(|said| println!("{said}"));
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prepare(paths: &Paths, config: Config, scenarios: &[Named]) -> Result<(Lab, PathBuf)> {
    let kernels = scenarios.iter().map(|(_, one)| one.kernel);
    let (system, others) = system::all(paths, config, kernels)?;
    let lab = Lab {
        system,
        others,
        build: scenarios
            .iter()
            .any(|(_, one)| one.build)
            .then(|| kernel::build_folder(paths, config))
            .transpose()?,
        debian: debian::machine,
    };
    Ok((lab, paths.cached("logs/scenarios")?))
}

/// Runs one scenario on a copy of `lab` that keeps its logs in `logs`, and
/// prints a line about it.
pub fn one((name, scenario): &Named, lab: &Lab, logs: PathBuf) -> Tally {
    let start = Instant::now();
    // Logs of an earlier run would be taken for this one's.
    let _ = std::fs::remove_dir_all(&logs);
    let mut lab = lab.clone();
    lab.system.logs = Some(logs.clone());
    let (limit, work) = (limit(scenario), scenario.run);
    let result = lab.on(scenario.kernel).and_then(|lab| {
        let limit = limit * lab.system.slowness;
        limit::within(limit, &logs, move || work(&lab))
    });
    let seconds = start.elapsed().as_secs();
    match result {
        Ok(()) => println!("ok     {name} ({seconds} s)"),
        Err(ref error) => println!("FAILED {name} ({seconds} s): {}\n{error:#}", scenario.about),
    }
    Tally::of(result.is_ok())
}

/// How long `scenario` may take; a minute is usual for those that are not long.
fn limit(scenario: &Scenario) -> Duration {
    Duration::from_secs(if scenario.torture { 7200 } else { 900 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_kasan_have_names_of_their_own() {
        let found = list(Some("kasan/"));
        assert_eq!(found.len(), WITH_KASAN.len());
        assert!(found.iter().all(|(_, one)| one.kernel == Kernel::Kasan));
        assert!(list(None).iter().all(|(name, _)| name.starts_with("vm/")));
    }

    #[test]
    fn long_ones_are_found_by_their_whole_name_alone() {
        assert!(list(None).iter().all(|(_, one)| !one.torture));
        for name in ["nbd-torn", "vm/nbd-torn"] {
            let found = list(Some(name));
            assert_eq!(found.len(), 1);
            assert!(found[0].1.torture);
        }
        assert!(list(Some("nbd")).iter().all(|(_, one)| !one.torture));
        assert!(list(Some("nbd-tor")).is_empty());
    }
}
