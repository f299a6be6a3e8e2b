// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask demo`: one guest sleeps and wakes up, told step by step.

use std::time::Instant;

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Arrival, Vm};

use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// What to show.
#[derive(clap::Args)]
pub struct Args {
    /// Memory of the guest in MiB
    #[arg(long, default_value_t = 512)]
    mem: u32,
    /// Memory that the workload fills, in MiB
    #[arg(long, default_value_t = 160)]
    work: u32,
    /// Compressor: none, lzo, lz4 or zstd
    #[arg(long, default_value = "lz4")]
    compressor: String,
    /// Show the kernel log as well
    #[arg(long)]
    log: bool,
}

/// Where the superblock lies on a swap area: in the last sector of its first page.
const SUPERBLOCK: u64 = 4096 - 512;

/// Runs the task; true when the memory is the same after the resume.
///
/// # Errors
///
/// At the first step that does not do what the story says.
pub fn run(paths: &Paths, args: &Args) -> Result<bool> {
    let system = system::built(paths, Config::Guest)?;
    let names = system.modules.iter().filter_map(|path| path.file_stem());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    let names = names.join(", ");
    let mut vm = Vm::new(system)
        .mem(args.mem)
        .append("dm.resume=/dev/vda")
        .echo(args.log)
        .swap_disk("1G")?;
    say(
        1,
        &format!("A machine with {} MiB of memory starts.", args.mem),
    );
    vm.boot()?;
    note(vm.run("uname -srv")?.trim());
    note(&format!("modules: {names}"));

    say(
        2,
        &format!(
            "A program fills {} MiB with text, code and noise, and counts.",
            args.work
        ),
    );
    let work = format!("guest work start mib={} file_mib=32", args.work);
    let before = vm.run(&work).context("the workload does not start")?;
    note(before.trim());

    say(
        3,
        &format!(
            "The machine hibernates through Dormouse ({} + swap).",
            args.compressor
        ),
    );
    vm.run("swapon /dev/vda")?;
    for (file, value) in [
        ("compressor", args.compressor.as_str()),
        ("writer", "swap"),
        ("enabled", "1"),
    ] {
        vm.run(&format!("echo {value} > /sys/power/hibernate/{file}"))?;
    }
    let start = Instant::now();
    vm.hibernate()?;
    note(&format!(
        "written and powered off in {:.1} s; QEMU has ended",
        seconds(start)
    ));
    let magic = vm.get_disk(0)?.read(SUPERBLOCK, 8)?;
    ensure!(
        magic == b"DORMOUSE",
        "there is no image of Dormouse on the disk"
    );
    note("the disk now holds an image of Dormouse");

    say(4, "A new QEMU starts with nothing but that disk.");
    let start = Instant::now();
    let arrival = vm.boot()?;
    ensure!(
        arrival == Arrival::Resumed,
        "a new system came up instead: {}\n{}",
        vm.run("cat /sys/power/hibernate/last_result")
            .unwrap_or_default(),
        vm.log()?.tail(25)
    );
    note(&format!(
        "booted and restored in {:.1} s; the old system answers",
        seconds(start)
    ));
    for line in vm.run("cat /sys/power/hibernate/last_result")?.lines() {
        note(line);
    }

    say(5, "Every byte of its memory and files is compared.");
    let after = vm.run("guest work verify")?;
    note(after.trim());
    let (old, new) = (count(&before)?, count(&after)?);
    ensure!(new > old, "the program does not count any more");
    note(&format!("the counter went on from {old} to {new}"));
    vm.assert_clean()?;
    vm.power_off()?;
    println!("\nThe machine slept and woke up: the workload went on with the same memory.");
    Ok(true)
}

fn say(step: u32, text: &str) {
    println!("\n{step}. {text}");
}

fn note(text: &str) {
    println!("   {text}");
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// The value of `count=` in a line of the workload.
fn count(line: &str) -> Result<u64> {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("count="));
    word.and_then(|number| number.parse().ok())
        .context("the workload shows no counter")
}
