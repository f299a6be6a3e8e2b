// SPDX-License-Identifier: GPL-2.0

//! Memory that is short, or of a kind that not everybody may use.

use anyhow::{ensure, Context, Result};
use dormouse_host::reader;
use dormouse_vm::Vm;

use crate::image;
use crate::steps::{
    boot_fresh, get, prepare, resume, set, there_and_back, went_on, FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "memory-plan",
        "a save takes the memory that was planned for it, with one thread and with eight",
        plan,
    ),
    Scenario::new(
        "memory-kept-back",
        "what the allocator keeps back is not taken for free: something is moved to swap for it",
        kept_back,
    ),
    Scenario::new(
        "memory-movable",
        "copies lie where only memory may be that can be moved",
        movable,
    ),
    Scenario::new(
        "memory-while-writing",
        "every free page is kept for emergencies while the image is written: it is complete",
        while_writing,
    ),
    Scenario::new(
        "resume-full-cache",
        "a system whose memory is full of page cache gives it up for an image",
        full_cache,
    ),
    Scenario::new(
        "resume-tight",
        "a load that is short of memory ends with an error, and works as soon as there is enough",
        tight,
    ),
    Scenario::new(
        "poisoned-page",
        "a page with an uncorrectable error is not in the image",
        poisoned,
    ),
];

/// The number of `name` in `stats`.
fn stat(vm: &mut Vm, name: &str) -> Result<u64> {
    let stats = get(vm, "stats")?;
    let mut lines = stats.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
    number.with_context(|| format!("no {name} in {stats}"))
}

fn plan(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    for (compressor, threads) in [("lz4", 1), ("lz4", 8), ("zstd", 2)] {
        set(&mut vm, "compressor", compressor)?;
        set(&mut vm, "threads", &threads.to_string())?;
        there_and_back(&mut vm)?;
        let planned = stat(&mut vm, "planned_pages")?;
        let taken = stat(&mut vm, "taken_pages")?;
        // Others take and free some at the same time.
        ensure!(
            taken <= planned + 64,
            "{compressor} with {threads} threads took {taken} pages, and {planned} were planned"
        );
        ensure!(
            taken >= planned * 7 / 8,
            "{compressor} with {threads} threads took only {taken} pages of {planned}"
        );
    }
    vm.assert_clean()
}

/// Hibernates and resumes; something had to be freed for that.
fn freed(vm: &mut Vm) -> Result<u64> {
    there_and_back(vm)?;
    stat(vm, "freed_pages")
}

fn kept_back(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().mem(320).append(FIRST_DISK).swap_disk("512M")?;
    vm.boot()?;
    vm.run("guest work start mib=60 file_mib=4")?;
    set(&mut vm, "compressor", "lz4")?;
    set(&mut vm, "enabled", "1")?;
    vm.run("swapon /dev/vda")?;
    ensure!(freed(&mut vm)? == 0, "it did not fit without that");
    // Once the image has its slots, nothing more can be moved there.
    let pages = stat(&mut vm, "saveable_pages")?;
    vm.run(&format!(
        "swapoff /dev/vda; mkswap /dev/vda {}; swapon /dev/vda",
        pages * 4 + 24 * 1024
    ))?;
    vm.run("echo 65536 > /proc/sys/vm/min_free_kbytes")?;
    ensure!(freed(&mut vm)? != 0, "nothing was freed");
    vm.assert_clean()
}

fn movable(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .vm()
        .mem(512)
        .append(FIRST_DISK)
        .append("movablecore=320M")
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    vm.run("guest work start mib=140 file_mib=4")?;
    set(&mut vm, "compressor", "lz4")?;
    set(&mut vm, "enabled", "1")?;
    for _ in 0..2 {
        ensure!(freed(&mut vm)? == 0, "there was room for all of it");
    }
    vm.assert_clean()
}

/// A task that is not frozen. As long as the image is written, it tells the
/// allocator to keep back more memory than there is.
const KEEP_BACK: &str = "\
#!/bin/sh
echo $$ > /sys/power/hibernate/keep_running
read -r before < /proc/sys/vm/min_free_kbytes
state=
until [ \"$state\" = write ]; do
	read -r state < /sys/power/hibernate/state
done
# Later there is no memory for this.
echo keep-back: now > /dev/kmsg
echo 2000000 > /proc/sys/vm/min_free_kbytes
while [ \"$state\" = write ]; do
	read -r state < /sys/power/hibernate/state
done
echo $before > /proc/sys/vm/min_free_kbytes
";

fn while_writing(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .small()
        .file("/bin/keep-back", 0o755, KEEP_BACK)
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.run("/bin/keep-back > /dev/null 2>&1 &")?;
    vm.run(&format!(
        "until grep -q . {FOLDER}/keep_running; do usleep 50000; done"
    ))?;
    vm.hibernate()?;
    let log = vm.log()?.lines();
    let at = |text: &str| log.iter().position(|line| line.contains(text));
    let (kept, written) = (at("keep-back: now"), at("dormouse: saved "));
    ensure!(
        kept.is_some() && kept < written,
        "the free pages were not kept back while the image was written: {kept:?}, {written:?}"
    );
    resume(&mut vm)?;
    vm.run("kill $(cat /sys/power/hibernate/keep_running)")?;
    vm.assert_clean()
}

fn full_cache(lab: &Lab) -> Result<()> {
    let mut vm = lab
        .vm()
        .mem(320)
        .append("resume=/dev/vda")
        .swap_disk("512M")?
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.run(NOISE)?;
    vm.hibernate()?;
    boot_fresh(&mut vm)?;
    // It is in the cache as long as somebody has the device open.
    vm.run("sleep 1000 < /dev/vdb & cat /dev/vdb > /dev/null")?;
    let free = vm.run("awk '/^MemFree:/ { print $2 }' /proc/meminfo")?;
    let free: u64 = free.trim().parse()?;
    ensure!(free < 48 * 1024, "{free} kB are free");
    loaded_by(&mut vm, &format!("echo 1 > {FOLDER}/resume"))?;
    vm.assert_clean()
}

/// Makes a file without zeros, which need no page frame of their own to be loaded to.
const NOISE: &str =
    "dd if=/dev/urandom of=/tmp/noise bs=1M count=60 2>&1 && md5sum /tmp/noise > /tmp/sum";

/// Has the image of a system with [`NOISE`] resumed by `command`, and checks that all is there.
fn loaded_by(vm: &mut Vm, command: &str) -> Result<()> {
    let timeout = std::time::Duration::from_secs(120);
    let from = vm.log()?.len();
    vm.send(command)?;
    vm.log()?.wait_for("kB of memory in", from, timeout)?;
    let arrival = vm.arrive(timeout)?;
    went_on(vm, arrival)?;
    vm.run("md5sum -c /tmp/sum")?;
    Ok(())
}

/// Fills memory until there is less than `need` kB, and makes room bit by bit until the image is
/// resumed. What it sees goes to the kernel log.
const TIGHT: &str = r#"#!/bin/sh
free=$(awk '/^MemFree:/ { print $2 }' /proc/meminfo)
full=$((free - $1 - 16384))
mkdir /full && mount -t ramfs none /full
dd if=/dev/zero of=/full/file bs=1k count=$full 2> /dev/null
while [ $full -gt 0 ]; do
	echo retry > /sys/power/hibernate/resume
	echo "tight: $(cat /sys/power/hibernate/last_result)" > /dev/kmsg
	full=$((full - 256))
	truncate -s ${full}k /full/file
done
"#;

fn tight(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(320).append("resume=/dev/vda");
    let mut vm = vm.file("/bin/tight", 0o755, TIGHT).swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.run(NOISE)?;
    vm.hibernate()?;
    let log = vm.log()?.lines();
    let counts = log.iter().rev().find_map(|line| {
        let (_, counts) = line.split_once("snapshot: ")?;
        let (pages, fill) = counts.split_once(" pages, ")?;
        Some((
            pages.parse::<u64>().ok()?,
            fill.split(' ').next()?.parse::<u64>().ok()?,
        ))
    });
    let (pages, fill) = counts.context("the log does not say how many pages there are")?;
    boot_fresh(&mut vm)?;
    let from = vm.log()?.len();
    loaded_by(&mut vm, &format!("tight {}", (pages - fill) * 4))?;
    let lines = vm.log()?.lines_from(from);
    let refused = lines.iter().filter(|line| line.contains("tight: -12 "));
    let refused = refused.count();
    ensure!(refused > 4, "memory was short {refused} times");
    let others = lines
        .iter()
        .find(|line| line.contains("tight: ") && !line.contains("tight: -12 "));
    ensure!(others.is_none(), "a load ended in {others:?}");
    // As the kernel does where a thread is to be made and there is no memory for its stack.
    let shown = lines.iter().find(|line| line.contains("vmalloc error"));
    ensure!(shown.is_none(), "threads were to be made: {shown:?}");
    vm.assert_clean()
}

/// Bits of `/proc/kpageflags`.
const BUDDY: u32 = 1 << 10;
const HWPOISON: u32 = 1 << 19;

/// The flags of `count` page frames from `first` on: their lower half.
fn flags(vm: &mut Vm, first: u64, count: u64) -> Result<Vec<u32>> {
    let text = vm.run(&format!(
        "dd if=/proc/kpageflags bs=8 skip={first} count={count} 2> /dev/null | \
         hexdump -v -e '2/4 \"%08x \" \"\\n\"'"
    ))?;
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(words
        .map(|word| u32::from_str_radix(word, 16))
        .collect::<Result<_, _>>()?)
}

fn poisoned(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set(&mut vm, "compressor", "none")?;
    // One that nobody uses: from then on nobody can, but it is not free.
    let first = 128 << 8;
    let found = flags(&mut vm, first, 4096)?;
    let free = found.iter().position(|flags| flags & BUDDY != 0);
    let pfn = first + free.context("no page is free")? as u64;
    vm.run(&format!(
        "echo {pfn:#x} > /sys/kernel/debug/hwpoison/corrupt-pfn"
    ))?;
    let now = flags(&mut vm, pfn, 1)?;
    ensure!(
        now.first().is_some_and(|flags| flags & HWPOISON != 0),
        "the page is not poisoned: {now:x?}"
    );
    vm.hibernate()?;
    let (superblock, blocks) = image::linear(vm.get_disk(0)?)?;
    let image = reader::read(&superblock, &blocks);
    let image = image.map_err(|e| anyhow::anyhow!("{}", e.sentence()))?;
    let image = image.context("no image")?;
    let filled = image.fills.iter();
    ensure!(
        !image.pages.contains_key(&pfn)
            && filled
                .clone()
                .all(|&(first, count, _)| pfn < first || pfn >= first + u64::from(count)),
        "page frame {pfn:#x} is in the image"
    );
    resume(&mut vm)?;
    let now = flags(&mut vm, pfn, 1)?;
    ensure!(
        now.first().is_some_and(|flags| flags & HWPOISON != 0),
        "the page is not poisoned any more: {now:x?}"
    );
    vm.assert_clean()
}
