// SPDX-License-Identifier: GPL-2.0

//! Failures injected into saves and loads: the allocation or request number N
//! fails, for N from 1 up, until the whole runs through without one.
//!
//! Only what the core and its modules ask for fails: the kernel looks for an
//! address of the core in the stack.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::{Arrival, Vm};

use crate::steps::{expect_type, get};
use crate::{Kernel, Lab, Scenario};

mod guest;
mod sweeps;

use guest::Said;
use sweeps::HOW;
pub use sweeps::{loads, saves, How, Sweep, What};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::long(
        "faults",
        "the first allocations and requests of a save and of a load fail, one after the other",
        first,
    )
    .on(Kernel::Kasan),
    Scenario::long(
        "leaks",
        "memory that a module of ours loses is found, an object as well as a page",
        guest::lost,
    )
    .on(Kernel::Faults)
    .with_build(),
];

/// A failure that the kernel reports.
const FORCED: &str = "FAULT_INJECTION: forcing a failure";
/// After so many runs in a row without a failure there is none left to come: some that fail
/// without harm are not reported by the kernel.
const SPARE: u64 = 8;
/// A sweep with so many defects ends.
const ENOUGH: usize = 6;
/// How long a cycle may take.
const LONG: Duration = Duration::from_secs(600);

/// What came of all failures; its text is one line.
#[derive(Default)]
pub struct Faults {
    saves: AtomicU64,
    loads: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    leaked: AtomicU64,
    reports: AtomicU64,
}

impl Faults {
    /// Whether nothing was lost, nothing leaked, and the kernel reported nothing.
    pub fn is_whole(&self) -> bool {
        let bad = [&self.lost, &self.leaked, &self.reports];
        bad.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    fn injected(&self, step: &str, refused: bool) {
        let load = ["check", "load", "restore", "resumed"].contains(&step);
        add(if load { &self.loads } else { &self.saves });
        if refused {
            add(&self.refused);
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} injected in saves, {} in loads, {} of them refused, {} lost, {} leaked, {} reports",
            load(&self.saves),
            load(&self.loads),
            load(&self.refused),
            load(&self.lost),
            load(&self.leaked),
            load(&self.reports)
        )
    }
}

/// Few of each, for a look at all of it.
fn first(lab: &Lab) -> Result<()> {
    let counts = Faults::default();
    let sweep = |what, numbers| Sweep {
        how: HOW[0],
        what,
        numbers,
    };
    sweep(What::Task, (1, 6, 1)).saves(lab, &counts)?;
    let step = 1 << 20;
    sweep(What::Requests, (1, 6 * step, step)).loads(lab, &counts)?;
    println!("faults: {counts}");
    ensure!(counts.is_whole(), "{counts}");
    Ok(())
}

/// Defects that a sweep has found.
struct Found<'a> {
    counts: &'a Faults,
    defects: Vec<String>,
}

impl Found<'_> {
    /// Counts a result that is an error as one of `kind`, and goes on.
    fn note<T>(&mut self, kind: fn(&Faults) -> &AtomicU64, result: Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                add(kind(self.counts));
                println!("{error:#}");
                self.defects.push(format!("{error:#}"));
            })
            .ok()
    }

    /// Looks for reports in the log of `vm` from line `from` on.
    fn look(&mut self, vm: &Vm, from: usize, where_: &str) -> Result<()> {
        let reports = vm.log()?.troubles_from(from, &[]);
        let result = match reports.is_empty() {
            true => Ok(()),
            false => bail_with(format!("{where_}: {}", reports.join("\n"))),
        };
        self.note(|counts| &counts.reports, result);
        Ok(())
    }

    /// Ends a sweep in which there was `any` failure.
    fn end(self, any: bool) -> Result<()> {
        ensure!(self.defects.is_empty(), "{}", self.defects.join("\n"));
        ensure!(any, "nothing was made to fail");
        Ok(())
    }
}

fn bail_with(text: String) -> Result<()> {
    bail!(text)
}

impl Sweep {
    fn each(&self) -> impl Iterator<Item = u64> {
        let (from, to, step) = self.numbers;
        (from..=to).step_by(usize::try_from(step).unwrap_or(usize::MAX))
    }

    /// Saves with failures, in the mode `test_resume`, so that those that complete come back at
    /// once: failures after the save is complete are ones of its load.
    ///
    /// # Errors
    ///
    /// When something is lost, leaks or is reported; it is counted then, as everything else.
    pub fn saves(&self, lab: &Lab, counts: &Faults) -> Result<()> {
        let mut found = Found {
            counts,
            defects: Vec::new(),
        };
        let (mut vm, _server) = guest::ready(lab, self.how)?;
        guest::leave_out_frames(&mut vm, self.what == What::Task)?;
        vm.run("echo test_resume > /sys/power/disk")?;
        // The first one makes what stays, such as pools of the block layer.
        let said = vm.run("inject task 1000000 disk /sys/power/state")?;
        let before = Said::parse(&said)?;
        ensure!(before.code == 0, "without a failure: {before:?}");
        let pages = guest::pages(&mut vm)?;
        let mut spare = SPARE;
        let mut any = false;
        for number in self.each() {
            let from = vm.log()?.len();
            let result = self.save(&mut vm, number, &before, counts);
            let lost = result.with_context(|| format!("save {self} {number}"));
            let injected = found.note(|counts| &counts.lost, lost);
            if !vm.is_running() {
                return found.end(true);
            }
            found.look(&vm, from, &format!("save {self} {number}"))?;
            any |= injected == Some(true);
            spare = match injected {
                Some(false) => spare - 1,
                _ => SPARE,
            };
            if spare == 0 || found.defects.len() >= ENOUGH {
                break;
            }
        }
        let leaks = guest::leaks(&mut vm, pages).with_context(|| format!("saves {self}"));
        found.note(|counts| &counts.leaked, leaks);
        let whole = vm.run(
            "echo disk > /sys/power/state && guest work verify && timeout 60 swapoff /dev/vda && \
             timeout 60 swapoff /dev/vdc && md5sum -c /ram.sum",
        );
        found.note(|counts| &counts.lost, whole);
        found.end(any)
    }

    /// One save; returns whether a failure was injected into it.
    fn save(&self, vm: &mut Vm, number: u64, before: &Said, counts: &Faults) -> Result<bool> {
        let from = vm.log()?.len();
        let what = self.what;
        let begin = Instant::now();
        let said = vm.run(&format!(
            "inject {what} {number} disk /sys/power/state; echo save {number} done > /dev/kmsg"
        ))?;
        let said = Said::parse(&said)?;
        vm.log()?
            .wait_for(&format!("save {number} done"), from, LONG)?;
        ensure!(said.state == "idle", "the cycle goes on: {said:?}");
        ensure!(said.mark == before.mark, "a mark is left: {said:?}");
        if said.swaps != before.swaps {
            // The kernel swaps as well. This would never end if a slot of an image was still
            // taken.
            vm.run("timeout 120 swapoff /dev/vda && swapon /dev/vda")
                .with_context(|| format!("slots are still taken: {said:?}"))?;
        }
        let lines = vm.log()?.lines_from(from);
        let injected = said.left == 0 || lines.iter().any(|line| line.contains(FORCED));
        if said.code == 0 {
            ensure!(
                said.result.starts_with("0 resumed"),
                "it succeeded, but: {said:?}"
            );
        } else {
            ensure!(said.left == 0, "it failed by itself: {said:?}");
            ensure!(said.has_reason(), "it failed without a reason: {said:?}");
            // The server of the image answers all the time.
            ensure!(
                !said.result.contains("no answer within 60 s") || begin.elapsed().as_secs() > 59,
                "nobody has waited that long: {said:?}"
            );
        }
        vm.run("guest work verify")?;
        if injected {
            // Of those that were completed the log knows where they failed.
            let step = match said.code {
                0 => step_of(&lines),
                _ => said.step(),
            };
            counts.injected(step, said.code != 0);
        }
        Ok(injected)
    }

    /// Loads one image again and again, with one failure after the other; some of them may
    /// succeed: then there is a new image for the others. For images that
    /// [`How::can_load_again`].
    ///
    /// # Errors
    ///
    /// When something is lost, leaks or is reported; it is counted then, as everything else.
    pub fn loads(&self, lab: &Lab, counts: &Faults) -> Result<()> {
        let mut found = Found {
            counts,
            defects: Vec::new(),
        };
        let (mut vm, _server) = guest::ready(lab, self.how)?;
        let mut spare = SPARE;
        let mut any = false;
        let mut next = self.numbers.0;
        while next <= self.numbers.1 && spare > 0 && found.defects.len() < ENOUGH {
            let result = self.one_image(&mut vm, next, &mut found);
            let result = result.with_context(|| format!("loads {self} from {next}"));
            let Some((then, injected)) = found.note(|counts| &counts.lost, result) else {
                break;
            };
            next = then;
            any |= injected;
            spare = if injected { SPARE } else { spare - 1 };
        }
        found.end(any)
    }

    /// Loads one image until it is resumed, with failures from number `next` on; returns the
    /// number of the first that was not tried, and whether any was injected.
    fn one_image(&self, vm: &mut Vm, next: u64, found: &mut Found<'_>) -> Result<(u64, bool)> {
        let (_, to, step) = self.numbers;
        vm.run("echo shutdown > /sys/power/disk")?;
        let hibernating = vm.send("echo disk > /sys/power/state")?;
        vm.finish(LONG)?;
        ensure!(vm.boot()? == Arrival::Fresh, "it was resumed unasked");
        guest::arm(vm)?;
        guest::leave_out_frames(vm, matches!(self.what, What::Task | What::Pages))?;
        let from = vm.log()?.len();
        vm.send(&format!("loads {} {next} {to} {step}", self.what))?;
        match vm.wait(hibernating, LONG * 6, |_| {})? {
            Progress::Done(output) => ensure!(output.code == 0, "the save gave {}", output.code),
            other => bail!("it was not resumed ({other:?})\n{}", vm.log()?.tail(25)),
        }
        vm.run("guest work verify && md5sum -c /ram.sum")?;
        ensure!(get(vm, "state")? == "idle", "the cycle goes on");
        expect_type(vm, 0, "swap")?;
        expect_type(vm, 2, "swap")?;
        let lines = vm.log()?.lines_from(from);
        let mut number = next;
        let (mut refused, mut checked) = (0u64, 0u64);
        let mut injected = false;
        for line in &lines {
            injected |= line.contains(FORCED);
            let Some((_, said)) = line.split_once("] load ") else {
                continue;
            };
            if let Some(numbers) = said.strip_prefix("leaks: ") {
                checked += 1;
                let leaked = check_leaks(numbers).with_context(|| format!("loads {self}"));
                found.note(|counts| &counts.leaked, leaked);
            } else if let Some((_, said)) = said.split_once(": ") {
                let result = kept(said).with_context(|| format!("load {self} {number}"));
                if found.note(|counts| &counts.lost, result).is_some() {
                    found.counts.injected("load", true);
                }
                refused += 1;
                number += step;
            } else {
                injected = false;
            }
        }
        ensure!(
            checked >= refused,
            "{refused} loads were refused, and leaks looked for {checked} times"
        );
        found.look(vm, from, &format!("loads {self} {next} to {number}"))?;
        if injected {
            found.counts.injected("load", false);
        }
        // The last one was resumed, whatever failed.
        Ok((number + step, injected || refused > 0))
    }
}

/// Checks what `loads` says of leaks.
fn check_leaks(said: &str) -> Result<()> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let [before, after, objects] = words[..] else {
        bail!("not three words: {said}");
    };
    ensure!(
        after.parse::<u64>()? <= before.parse()? && ["0", "later"].contains(&objects),
        "{before} pages of the core before, {after} after, {objects} objects that nothing refers to"
    );
    Ok(())
}

/// Checks that a load that came back has failed by the failure, and that its image waits.
fn kept(said: &str) -> Result<()> {
    let said = Said::parse(said)?;
    ensure!(said.code != 0, "it came back without an error: {said:?}");
    ensure!(said.left == 0, "it failed by itself: {said:?}");
    ensure!(said.has_reason(), "it failed without a reason: {said:?}");
    ensure!(
        said.image.starts_with("state: committed"),
        "the image was not kept: {said:?}"
    );
    Ok(())
}

/// The step in which a cycle was when a failure was injected: of a save, or of a load.
fn step_of(lines: &[String]) -> &'static str {
    let failed = lines.iter().position(|line| line.contains(FORCED));
    let saved = lines
        .iter()
        .position(|line| line.contains("dormouse: saved "));
    match failed.zip(saved) {
        Some((failed, saved)) if failed > saved => "load",
        _ => "write",
    }
}
