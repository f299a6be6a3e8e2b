// SPDX-License-Identifier: GPL-2.0

//! Runs the VM scenarios of tests/vm, a few at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use vm_scenarios::{Kernel, Lab, Scenario, WITH_KASAN};

use super::{evidence, limit, Tally};
use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// A scenario and its full name.
pub type Named = (String, Scenario);

/// Scenarios whose full name contains one of `only`, or all when there is none. Of those that
/// take long only the ones with exactly such a name, full or not.
pub fn list<S: AsRef<str>>(only: &[S]) -> Vec<Named> {
    let all = vm_scenarios::all();
    let again = all.iter().filter(|one| WITH_KASAN.contains(&one.name));
    let again = again.map(|one| (format!("kasan/{}", one.name), one.on(Kernel::Kasan)));
    let named = all
        .iter()
        .map(|one| (format!("vm/{}", one.name), *one))
        .chain(again);
    let wanted = |(name, scenario): &Named| {
        let mut only = only.iter().map(AsRef::as_ref);
        match scenario.torture {
            true => only.any(|only| only == name || only == scenario.name),
            false => only.len() == 0 || only.any(|only| name.contains(only)),
        }
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
    let builds = scenarios.iter().filter(|(_, one)| one.build);
    let builds = builds.map(|(_, one)| one.kernel);
    let lab = system::lab(paths, config, kernels, builds)?;
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
        let found = list(&["kasan/"]);
        assert_eq!(found.len(), WITH_KASAN.len());
        assert!(found.iter().all(|(_, one)| one.kernel == Kernel::Kasan));
        let all = list::<&str>(&[]);
        let of_kasan = all.iter().filter(|(_, one)| one.kernel == Kernel::Kasan);
        assert_eq!(of_kasan.count(), found.len());
    }

    #[test]
    fn long_ones_are_found_by_their_whole_name_alone() {
        assert!(list::<&str>(&[]).iter().all(|(_, one)| !one.torture));
        for name in ["nbd-torn", "vm/nbd-torn"] {
            let found = list(&[name]);
            assert_eq!(found.len(), 1);
            assert!(found[0].1.torture);
        }
        assert!(list(&["nbd"]).iter().all(|(_, one)| !one.torture));
        assert!(list(&["nbd-tor"]).is_empty());
    }
}
