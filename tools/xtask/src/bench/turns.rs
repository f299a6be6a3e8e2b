// SPDX-License-Identifier: GPL-2.0

//! Cycles that one guest goes through in turns, with one setting and another:
//! what else the host does touches all of them.
//!
//! The image is saved, loaded and restored in one boot (`test_resume`).

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Arrival, System, Vm};

use super::compare::{median, Comparison};
use super::lines::Lines;

/// The guest and how often everything is done.
#[derive(Clone)]
pub struct Setup {
    /// Kernel, modules and user space.
    pub system: System,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Processors.
    pub vcpus: u32,
    /// Rounds that count, after one that does not: what a disk has never
    /// written to has to find room on the host first.
    pub rounds: u32,
}

impl Setup {
    /// A machine, off, without disks.
    pub fn machine(&self) -> Vm {
        Vm::new(self.system.clone())
            .mem(self.mem_mib)
            .smp(self.vcpus)
            .run_timeout(Duration::from_secs(300))
    }

    /// A row of this guest, without encryption, in which nothing is measured yet.
    pub fn row(&self, peer: &'static str, compressor: &str, writer: &'static str) -> Comparison {
        Comparison {
            peer,
            compressor: compressor.to_string(),
            encryptor: "none",
            writer,
            vcpus: self.vcpus,
            direction: "",
            speeds: [0.0; 2],
            ratio: 0.0,
            stored: [None; 2],
            needed: None,
        }
    }
}

/// Boots `vm` and gets it ready, with a workload of `workload_mib`.
///
/// # Errors
///
/// When something of that fails.
pub fn boot(vm: &mut Vm, commands: &str, workload_mib: u32) -> Result<()> {
    ensure!(vm.boot()? == Arrival::Fresh, "a new disk held an image");
    vm.run(&format!(
        "set -e
         {commands}
         echo test_resume > /sys/power/disk
         echo 1 > /sys/power/hibernate/enabled
         guest work start mib={workload_mib} seed=1
         sync"
    ))
    .context("the guest could not be prepared")?;
    Ok(())
}

/// What one cycle gave.
#[derive(Clone, Copy, Debug)]
pub struct Cycle {
    /// Bytes of memory in the image.
    pub memory: u64,
    /// Bytes that were stored of it.
    pub stored: u64,
    save_seconds: f64,
    load_seconds: f64,
}

impl Cycle {
    fn seconds(&self, direction: &str) -> f64 {
        match direction {
            "save" => self.save_seconds,
            _ => self.load_seconds,
        }
    }

    /// Bytes of memory in a second.
    pub fn memory_speed(&self, direction: &str) -> f64 {
        self.memory as f64 / self.seconds(direction)
    }

    /// Bytes of what was stored in a second.
    pub fn stored_speed(&self, direction: &str) -> f64 {
        self.stored as f64 / self.seconds(direction)
    }
}

/// Goes through one cycle, after `commands`.
///
/// # Errors
///
/// When it fails, when the guest is not the same afterwards, or when a number
/// cannot be read.
pub fn cycle(vm: &mut Vm, commands: &str) -> Result<Cycle> {
    vm.run(&format!("set -e\n{commands}"))?;
    let from = vm.log()?.len();
    vm.run("echo disk > /sys/power/state")?;
    vm.run("guest work verify")
        .context("the memory is not the same after the resume")?;
    let (saved, loaded) = ("dormouse: saved ", "dormouse: loaded ");
    let log = vm.log()?;
    log.wait_for(loaded, from, Duration::from_secs(10))?;
    let lines = log.lines();
    let lines = Lines::new(lines.get(from..).unwrap_or_default());
    let [kilobytes, save_millis, _, stored] = lines.find(saved)?.numbers(saved)?;
    let [again, load_millis] = lines.find(loaded)?.numbers(loaded)?;
    ensure!(
        kilobytes == again,
        "{kilobytes} kB saved, {again} kB loaded"
    );
    Ok(Cycle {
        memory: kilobytes * 1024,
        stored: stored * 1024,
        save_seconds: save_millis as f64 / 1e3,
        load_seconds: load_millis as f64 / 1e3,
    })
}

/// Both settings of a comparison, each with the commands that choose it.
pub struct Turns<'a> {
    /// That of the peer, then that of Dormouse.
    pub commands: [&'a str; 2],
    /// The row without its numbers.
    pub row: Comparison,
}

impl Turns<'_> {
    /// Goes through all rounds; returns a row for each direction.
    ///
    /// # Errors
    ///
    /// As [`cycle`].
    pub fn take(&self, vm: &mut Vm, rounds: u32) -> Result<Vec<Comparison>> {
        let mut cycles = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            // Who comes first changes: what the host still has to write from
            // one cycle holds up the next one.
            let first = round as usize % 2;
            for peer in [first, 1 - first] {
                let one = cycle(vm, self.commands[peer])?;
                if round > 0 {
                    cycles[peer].push(one);
                }
            }
        }
        rows(&self.row, &cycles)
    }
}

/// Rows of cycles with one setting and with another, for both directions.
///
/// # Errors
///
/// Without cycles.
pub fn rows(row: &Comparison, cycles: &[Vec<Cycle>; 2]) -> Result<Vec<Comparison>> {
    let mut rows = Vec::new();
    for direction in ["save", "load"] {
        let speeds = |(peer, dormouse): (&Cycle, &Cycle)| {
            [peer, dormouse].map(|one| one.memory_speed(direction))
        };
        let rounds: Vec<_> = cycles[0].iter().zip(&cycles[1]).map(speeds).collect();
        let row = Comparison {
            direction,
            stored: [stored(&cycles[0]), stored(&cycles[1])],
            ..row.clone()
        };
        rows.push(row.measured(&rounds).context("no cycle")?);
    }
    Ok(rows)
}

/// Bytes that one of several cycles stored.
pub fn stored(cycles: &[Cycle]) -> Option<u64> {
    median(cycles.iter().map(|one| one.stored as f64)).map(|bytes| bytes as u64)
}
