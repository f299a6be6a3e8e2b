// SPDX-License-Identifier: GPL-2.0

//! One cycle of one peer in a new guest, measured.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::accel::Accel;
use dormouse_vm::{Arrival, System, Vm};
use serde_json::{json, Value};

use super::lines::Lines;

/// Who hibernates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// The hibernation of the mainline kernel.
    Swsusp,
    /// Ours.
    Dormouse,
}

impl Peer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Swsusp => "swsusp",
            Peer::Dormouse => "dormouse",
        }
    }

    /// Whether it can compress with `compressor` (`none`: whether the
    /// comparison without compression is made).
    pub fn has(self, compressor: &str) -> bool {
        self == Peer::Dormouse || ["lzo", "lz4"].contains(&compressor)
    }
}

/// The guest, the same for both peers.
pub struct Setup {
    /// Kernel, modules and user space.
    pub system: System,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Processors.
    pub vcpus: u32,
    /// Size of the workload in MiB.
    pub workload_mib: u32,
    /// Whether time is a count of instructions.
    pub icount: bool,
}

/// What one cycle gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Pages of memory in the image.
    pub pages: u64,
    /// Those of them that take no room: zero for swsusp, filled with one word
    /// for Dormouse.
    pub plain_pages: u64,
    /// Bytes that were written to the disk.
    pub stored_bytes: u64,
    /// Seconds with one processor, interrupts off.
    pub atomic_seconds: f64,
    /// Seconds of writing the image.
    pub save_seconds: f64,
    /// Seconds from the freeze to the power off; not with instruction counts.
    pub whole_save_seconds: Option<f64>,
    /// Seconds of loading the image.
    pub load_seconds: f64,
    /// Seconds from the search for an image until tasks run again; not with
    /// instruction counts.
    pub whole_load_seconds: Option<f64>,
}

/// Printed by the guest when it starts to look for an image.
const LOOKING: &str = "bench: looking for an image";
/// Both peers are asked at the same place and in the same way.
const START: &str = "#!/bin/sh
echo 'bench: looking for an image' > /dev/kmsg
echo /dev/vda > /sys/power/resume
";
const FREEZING: &str = "Freezing user space processes";
const OFF: &str = "reboot: Power down";
/// The line that thawing begins with; it ends another one only later.
const THAWED: &str = "OOM killer enabled";

/// Runs one cycle: a guest with the workload is saved, powered off, loaded and
/// verified.
///
/// # Errors
///
/// When any step fails, when the guest is not the same afterwards, or when a
/// number cannot be read.
pub fn run(setup: &Setup, peer: Peer, compressor: &str) -> Result<Sample> {
    let mut vm = machine(setup)?;
    ensure!(vm.boot()? == Arrival::Fresh, "a new disk held an image");
    vm.run(&prepare(setup, peer, compressor))
        .context("the guest could not be prepared")?;
    let before = written(&mut vm)?;
    save(&mut vm, patience(setup))?;
    let stored_bytes = written(&mut vm)? - before;
    let saved = Lines::new(&vm.log()?.lines());
    let whole_save_seconds = whole(setup, &vm, FREEZING, OFF)?;
    vm.kill();

    let arrival = vm.boot()?;
    ensure!(
        arrival == Arrival::Resumed,
        "not resumed\n{}",
        vm.log()?.tail(25)
    );
    let loaded = Lines::new(&vm.log()?.lines());
    let whole_load_seconds = whole(setup, &vm, LOOKING, THAWED)?;
    let swapped = vm.run("awk 'NR > 1 { used += $4 } END { print used }' /proc/swaps")?;
    ensure!(
        swapped.trim() == "0",
        "the guest had swapped memory out: {swapped} kB"
    );
    vm.run("guest work verify")
        .context("the memory is not the same after the resume")?;
    vm.assert_clean()?;
    vm.kill();
    let (pages, plain_pages, atomic_seconds, save_seconds, load_seconds) = match peer {
        Peer::Swsusp => swsusp(&saved, &loaded)?,
        Peer::Dormouse => dormouse(&saved, &loaded)?,
    };
    Ok(Sample {
        pages,
        plain_pages,
        stored_bytes,
        atomic_seconds,
        save_seconds,
        whole_save_seconds,
        load_seconds,
        whole_load_seconds,
    })
}

fn patience(setup: &Setup) -> Duration {
    Duration::from_secs(if setup.icount { 3600 } else { 600 })
}

/// Lets one nanosecond of the guest be one instruction, always.
pub fn counting(vm: Vm) -> Vm {
    vm.accel(Accel::Icount)
        .qemu("-icount")
        .qemu("shift=0,sleep=off")
}

fn machine(setup: &Setup) -> Result<Vm> {
    let mut vm = Vm::new(setup.system.clone())
        .mem(setup.mem_mib)
        .smp(setup.vcpus)
        .boot_timeout(patience(setup))
        .run_timeout(patience(setup))
        .file("/etc/start", 0o755, START)
        // The disk's counters are read after the guest is off.
        .qemu("-no-shutdown");
    if setup.icount {
        vm = counting(vm);
    }
    vm.swap_disk(&format!("{}M", 2 * setup.mem_mib))
}

/// Commands that bring the guest into the state that is to be saved.
fn prepare(setup: &Setup, peer: Peer, compressor: &str) -> String {
    let choose = match peer {
        Peer::Swsusp => format!(
            "if [ -d /sys/power/hibernate ]; then echo 0 > /sys/power/hibernate/enabled; fi
             echo {compressor} > /sys/module/hibernate/parameters/compressor"
        ),
        Peer::Dormouse => format!(
            "echo 1 > /sys/power/hibernate/enabled
             echo {compressor} > /sys/power/hibernate/compressor"
        ),
    };
    // Neither peer is to free memory: both save all of it.
    let bytes = u64::from(setup.mem_mib) << 20;
    format!(
        "set -e
         {choose}
         swapon /dev/vda
         echo shutdown > /sys/power/disk
         echo {bytes} > /sys/power/image_size
         guest work start mib={} seed=1",
        setup.workload_mib
    )
}

/// Hibernates and waits until the guest is off.
fn save(vm: &mut Vm, patience: Duration) -> Result<()> {
    let from = vm.log()?.len();
    vm.send("echo disk > /sys/power/state")?;
    let deadline = Instant::now() + patience;
    loop {
        let log = vm.log()?;
        let lines = log.lines();
        let since = lines.get(from..).unwrap_or_default();
        if since.iter().any(|line| line.contains(OFF)) {
            return Ok(());
        }
        if since.iter().any(|line| line.contains("hibernation exit")) {
            bail!("the guest did not hibernate\n{}", log.tail(25));
        }
        if Instant::now() > deadline {
            bail!("the guest did not power off in time\n{}", log.tail(25));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes written to all disks since QEMU started.
fn written(vm: &mut Vm) -> Result<u64> {
    let disks = vm.qmp()?.command("query-blockstats", json!({}))?;
    let disks = disks.as_array().context("QEMU does not list its disks")?;
    let bytes = disks.iter().map(|disk| disk["stats"]["wr_bytes"].as_u64());
    let sum: Option<u64> = bytes.sum();
    sum.filter(|_| disks.iter().any(Value::is_object))
        .context("QEMU does not count writes")
}

/// Seconds between two lines of the present boot's log as they came out of
/// the guest. Its own clock does not do here: it stands still in the atomic
/// section, and the restored kernel goes on with the one of the saved kernel.
fn whole(setup: &Setup, vm: &Vm, from: &str, to: &str) -> Result<Option<f64>> {
    if setup.icount {
        return Ok(None);
    }
    let log = vm.log()?;
    let at = |mark: &str| {
        // The log may be behind what the guest does.
        log.wait_for(mark, 0, Duration::from_secs(10))?;
        log.time_of(mark)
            .with_context(|| format!("the kernel log has no line with '{mark}'"))
    };
    let time = at(to)?.checked_sub(at(from)?);
    let time = time.with_context(|| format!("'{to}' came before '{from}'"))?;
    Ok(Some(time.as_secs_f64()))
}

/// What both logs say of a cycle: pages of the image, those of them that take
/// no room, seconds of the atomic section, of saving and of loading.
type Told = (u64, u64, f64, f64, f64);

fn swsusp(saved: &Lines, loaded: &Lines) -> Result<Told> {
    let created = "Image created (";
    let [copied, zero] = saved.find(created)?.numbers(created)?;
    Ok((
        copied + zero,
        zero,
        saved.seconds("hibernation: Creating image:", created)?,
        saved.seconds("Compressing and saving image data", "Wrote ")?,
        loaded.seconds("Loading and decompressing image data", "Read ")?,
    ))
}

fn dormouse(saved: &Lines, loaded: &Lines) -> Result<Told> {
    let taken = "filled with one word";
    let [pages, filled] = saved.find(taken)?.numbers("snapshot: ")?;
    let seconds = |lines: &Lines, mark: &str| {
        let [kilobytes, millis] = lines.find(mark)?.numbers(mark)?;
        ensure!(
            kilobytes == pages * 4,
            "{pages} pages copied, but '{mark}{kilobytes} kB'"
        );
        Ok(millis as f64 / 1e3)
    };
    Ok((
        pages,
        filled,
        saved.seconds("snapshot: copying pages", taken)?,
        seconds(saved, "dormouse: saved ")?,
        seconds(loaded, "dormouse: loaded ")?,
    ))
}
