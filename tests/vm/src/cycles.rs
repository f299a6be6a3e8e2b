// SPDX-License-Identifier: GPL-2.0

//! Hibernating and resuming, in every way there is.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Arrival, Hibernated, Vm};

use crate::steps::{
    expect_result, expect_type, get, prepare, resume, set, there_and_back, went_on,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "compressors",
        "none, lzo, lz4 and zstd, one after the other, and each stores less than none",
        compressors,
    ),
    Scenario::new("one-processor", "one processor", |lab| processors(lab, 1)),
    Scenario::new("four-processors", "four processors", |lab| {
        processors(lab, 4)
    }),
    Scenario::new(
        "kaslr",
        "the kernel that loads the image lies somewhere else than the saved one",
        kaslr,
    ),
    Scenario::new(
        "platform-mode",
        "the machine goes down through ACPI S4",
        platform,
    ),
    Scenario::new(
        "shutdown-mode",
        "the machine goes down without ACPI",
        |lab| {
            let mut vm = lab.sleepy()?;
            set_mode(&mut vm, "shutdown")?;
            there_and_back(&mut vm)?;
            vm.assert_clean()
        },
    ),
    Scenario::new(
        "reboot-mode",
        "the machine reboots and resumes at once",
        |lab| within_one_qemu(lab, "reboot"),
    ),
    Scenario::new(
        "test-resume",
        "the image is written, loaded and restored in one boot",
        |lab| within_one_qemu(lab, "test_resume"),
    ),
    Scenario::new(
        "reboot-syscall",
        "reboot(LINUX_REBOOT_CMD_SW_SUSPEND) hibernates",
        syscall,
    ),
    Scenario::new(
        "start-attribute",
        "start hibernates through Dormouse although it is not enabled",
        start,
    ),
    Scenario::new(
        "three-cycles",
        "three cycles in one guest: memory is the same, and no more of it is used",
        |lab| in_a_row(lab, 3),
    ),
    Scenario::long(
        "forty-cycles",
        "forty cycles in one guest: memory is the same, and no more of it is used",
        |lab| in_a_row(lab, 40),
    ),
    Scenario::new(
        "image-size-limit",
        "an image is no larger than allowed; what is left out goes to swap",
        size_limit,
    ),
    Scenario::new(
        "more-than-half",
        "more memory is in use than can be copied: a part of it goes to swap first",
        more_than_half,
    ),
];

fn compressors(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    let mut stored = BTreeMap::new();
    for name in ["none", "lzo", "lz4", "zstd"] {
        set(&mut vm, "compressor", name)?;
        vm.hibernate()?;
        stored.insert(name, sizes(&vm)?.1);
        expect_type(&vm, 0, "swsuspend")?;
        resume(&mut vm)?;
        expect_type(&vm, 0, "swap")?;
        let chosen = get(&mut vm, "compressor")?;
        ensure!(
            chosen.contains(&format!("[{name}]")),
            "compressor is {chosen}"
        );
    }
    let less = |a, b| stored[a] < stored[b];
    ensure!(
        less("lzo", "none") && less("lz4", "none") && less("zstd", "lz4"),
        "sizes of the images: {stored:?}"
    );
    vm.assert_clean()
}

/// What the boot that ended last said of its save: kB of memory, and kB stored.
fn sizes(vm: &Vm) -> Result<(u64, u64)> {
    let lines = vm.log()?.lines();
    let line = lines.iter().rev().find(|line| line.contains(" kB stored"));
    let line = line.context("the kernel log does not say what was saved")?;
    let words: Vec<&str> = line.split(' ').collect();
    let before_kb = |n: usize| {
        let kb = words.iter().enumerate().filter(|(_, word)| **word == "kB");
        let (at, _) = kb.clone().nth(n)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    before_kb(0)
        .zip(before_kb(1))
        .with_context(|| format!("no sizes in '{line}'"))
}

fn processors(lab: &Lab, count: u32) -> Result<()> {
    let mut vm = lab.small().smp(count).swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    // As many workers as processors, and another number.
    for (threads, workers) in [(0, count), (3, 3)] {
        set(&mut vm, "threads", &threads.to_string())?;
        there_and_back(&mut vm)?;
        let online = vm.run("nproc")?;
        ensure!(
            online.trim() == count.to_string(),
            "{} processors came back",
            online.trim()
        );
        // Set before the snapshot, so the restored kernel knows of it.
        let stats = get(&mut vm, "stats")?;
        ensure!(
            stats.ends_with(&format!("workers: {workers}")),
            "not {workers} workers: {stats}"
        );
    }
    vm.assert_clean()
}

fn kaslr(lab: &Lab) -> Result<()> {
    // Before the image is loaded, which takes the booting kernel's place.
    let early = "#!/bin/sh\necho \"guest: base $(grep ' _text$' /proc/kallsyms)\" > /dev/kmsg\n";
    let mut vm = lab
        .small()
        .file("/etc/early", 0o755, early)
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    let base = |vm: &Vm| -> Result<String> {
        let lines = vm.log()?.lines();
        let line = lines.iter().find(|line| line.contains("guest: base "));
        let line = line.context("no base in the kernel log")?;
        let word = line.split("guest: base ").nth(1);
        Ok(word.unwrap_or_default().to_string())
    };
    let saved = base(&vm)?;
    ensure!(saved.contains("_text"), "no address of the kernel: {saved}");
    // Two boots may come out the same, three of them hardly.
    for _ in 0..4 {
        there_and_back(&mut vm)?;
        let now = vm.run("grep ' _text$' /proc/kallsyms")?;
        ensure!(
            saved.starts_with(now.trim()),
            "the restored kernel is at {now} and was at {saved}"
        );
        if base(&vm)? != saved {
            return vm.assert_clean();
        }
    }
    bail!("five boots put the kernel at {saved}")
}

fn set_mode(vm: &mut Vm, mode: &str) -> Result<()> {
    let modes = vm.run("cat /sys/power/disk")?;
    ensure!(modes.contains(mode), "no mode {mode} in {modes}");
    vm.run(&format!("echo {mode} > /sys/power/disk"))?;
    Ok(())
}

fn platform(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set_mode(&mut vm, "platform")?;
    there_and_back(&mut vm)?;
    // Again, now that the firmware was told of a resume.
    there_and_back(&mut vm)?;
    let log = vm.run("dmesg")?;
    ensure!(
        log.contains("PM: Waking up from system sleep state S4"),
        "the platform was not told of the resume"
    );
    vm.assert_clean()
}

/// A mode in which QEMU does not end.
fn within_one_qemu(lab: &Lab, mode: &str) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set_mode(&mut vm, mode)?;
    for _ in 0..2 {
        match vm.hibernate_by("echo disk > /sys/power/state")? {
            Hibernated::Returned(output) if output.code == 0 => {}
            other => bail!("mode {mode} ended in {other:?}"),
        }
        went_on(&mut vm, Arrival::Resumed)?;
        expect_type(&vm, 0, "swap")?;
    }
    vm.assert_clean()
}

fn syscall(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    match vm.hibernate_by("guest hibernate")? {
        Hibernated::PoweredOff => {}
        other => bail!("the system call ended in {other:?}"),
    }
    expect_type(&vm, 0, "swsuspend")?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn start(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set(&mut vm, "enabled", "0")?;
    match vm.hibernate_by("echo 1 > /sys/power/hibernate/start")? {
        Hibernated::PoweredOff => {}
        other => bail!("start ended in {other:?}"),
    }
    expect_type(&vm, 0, "swsuspend")?;
    resume(&mut vm)?;
    ensure!(get(&mut vm, "enabled")? == "0", "it is enabled now");
    // Once means once: without being enabled, swsusp is next.
    vm.hibernate()?;
    ensure!(
        vm.get_disk(0)?.read(4086, 10)? == b"S1SUSPEND\0",
        "the second image is not swsusp's"
    );
    vm.assert_clean()
}

/// Memory in use, in kB, by kind. Page cache that can be dropped is not; nor are
/// free pages on the processors' own lists, which `MemFree` leaves out: some
/// seconds of work make that an eighth of memory, and it says nothing.
fn used(vm: &mut Vm) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    let text = vm.run(
        "sync; echo 3 > /proc/sys/vm/drop_caches; cat /proc/sys/vm/stat_refresh; \
         cat /proc/meminfo; \
         awk '/ count:/ { n += $2 } END { print \"Lists:\", n * 4 }' /proc/zoneinfo",
    )?;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (name, number) = (words.next(), words.next().and_then(|n| n.parse().ok()));
        if let (Some(name), Some(number)) = (name, number) {
            found.insert(name.trim_end_matches(':').to_string(), number);
        }
    }
    let get = |name: &str| {
        let number = found.get(name).copied();
        number.with_context(|| format!("no {name} in /proc/meminfo or /proc/zoneinfo"))
    };
    let used = get("MemTotal")? - get("MemFree")? - get("Lists")?;
    // What processes, files and slabs have is counted there.
    let mut named = 0;
    for name in [
        "Buffers",
        "Cached",
        "SwapCached",
        "AnonPages",
        "Slab",
        "PageTables",
    ] {
        named += get(name)?;
    }
    found.insert("used".to_string(), used);
    found.insert("unnamed".to_string(), used - named);
    Ok(found)
}

/// Memory in use all in all, in kB, counted as [`used`] does.
///
/// # Errors
///
/// When the guest does not say.
pub fn memory_used(vm: &mut Vm) -> Result<i64> {
    let found = used(vm)?;
    found.get("used").copied().context("nothing is in use")
}

/// Swap space in use, in kB.
fn swap_used(vm: &mut Vm) -> Result<u64> {
    let text = vm.run("sed 1d /proc/swaps | while read -r _ _ _ used _; do echo $used; done")?;
    text.trim()
        .parse()
        .with_context(|| format!("/proc/swaps: {text}"))
}

fn in_a_row(lab: &Lab, count: u32) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set_mode(&mut vm, "reboot")?;
    let swap = swap_used(&mut vm)?;
    let mut first = None;
    for number in 1..=count {
        match vm.hibernate_by("echo disk > /sys/power/state")? {
            Hibernated::Returned(output) if output.code == 0 => {}
            other => bail!("cycle {number} ended in {other:?}"),
        }
        went_on(&mut vm, Arrival::Resumed)?;
        let now = swap_used(&mut vm)?;
        // Less than any image: the kernel swaps as well, and makes room for the
        // snapshot that way.
        ensure!(
            now < swap + 24 * 1024,
            "swap space in use was {swap} kB and is {now} kB after cycle {number}"
        );
        // What the first cycle sets up for good is not growth.
        if first.is_none() {
            first = Some(used(&mut vm)?);
        }
    }
    let (first, last) = (first.context("no cycle")?, used(&mut vm)?);
    let grown = |name: &str| last.get(name).zip(first.get(name)).map(|(b, a)| b - a);
    // Some pages come and go. The long runs of torture see what is smaller than that.
    for (name, allowed) in [("used", 4096), ("Slab", 1024), ("VmallocUsed", 256)] {
        let grown = grown(name).with_context(|| format!("no {name} in /proc/meminfo"))?;
        ensure!(
            grown <= allowed,
            "{name} has grown by {grown} kB\nfirst {first:?}\nlast {last:?}"
        );
    }
    // Would never end if a slot of an image was still taken.
    vm.run("swapoff /dev/vda && guest work verify")?;
    vm.assert_clean()
}

fn size_limit(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let without = sizes(&vm)?.0;
    resume(&mut vm)?;
    let limit = without - 24 * 1024;
    set(&mut vm, "image_size_limit", &format!("{limit}K"))?;
    ensure!(
        get(&mut vm, "image_size_limit")? == (limit * 1024).to_string(),
        "K was not understood"
    );
    vm.hibernate()?;
    let with = sizes(&vm)?.0;
    ensure!(
        with <= limit,
        "the image has {with} kB of memory, {limit} kB were allowed, {without} kB without a limit"
    );
    resume(&mut vm)?;
    let freed = get(&mut vm, "stats")?;
    ensure!(!freed.contains("freed_pages: 0\n"), "nothing was freed");
    expect_result(&mut vm, 0, &[&format!("saved {with} kB")])?;
    vm.assert_clean()
}

fn more_than_half(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().mem(256).swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    vm.run("guest work start mib=140")?;
    set(&mut vm, "compressor", "lz4")?;
    set(&mut vm, "enabled", "1")?;
    for _ in 0..2 {
        there_and_back(&mut vm)?;
    }
    vm.assert_clean()
}
