// SPDX-License-Identifier: GPL-2.0

//! Images in ordinary files on mounted filesystems.

use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::Vm;

use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back_on,
    FOLDER,
};
use crate::{Lab, Scenario};

mod refused;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "file-ext4",
        "an image in a file on ext4, found by resume= and resume_offset=",
        ext4,
    ),
    Scenario::long(
        "file-device-name",
        "an image in a file is found by UUID when its device has another name in the boot kernel",
        device_name,
    ),
    Scenario::long(
        "file-xfs",
        "an image in a file on xfs, found by the UUID of the filesystem",
        xfs,
    ),
    Scenario::new(
        "file-btrfs",
        "an image in a file on btrfs, found by the UUID of the filesystem",
        btrfs,
    ),
    Scenario::new(
        "file-mounted-since",
        "an image whose filesystem was mounted since is given up",
        mounted_since,
    ),
    Scenario::new(
        "file-refusals",
        "files that are not ours or do not stay where they are are refused, and never changed",
        refused::all,
    ),
    Scenario::long(
        "large-sectors",
        "disks with sectors of 4096 bytes: an image in swap space, and one in a file",
        large_sectors,
    ),
    Scenario::long(
        "file-beside-swap",
        "images in a file and in swap space, one after the other, do not touch each other",
        beside_swap,
    ),
    Scenario::long(
        "file-requests",
        "requests to a file are as large as those to a swap file beside it",
        requests,
    ),
    Scenario::long(
        "file-torn",
        "a save to a file that was cut off leaves a filesystem and a boot without an image",
        torn,
    ),
    Scenario::long(
        "file-replaced",
        "what is damaged, or is a copy somewhere else, is no image",
        replaced,
    ),
];

/// The folder of the module.
const FILE: &str = "/sys/power/hibernate/modules/file";

/// Size of the files: enough for any image of these guests.
const SIZE: &str = "256M";

/// Ends what holds files open, and waits until it has let go of them.
const LET_GO: &str = "killall sleep; while pidof sleep > /dev/null; do usleep 50000; done";

/// Memory of the machines, in MiB: a part of it caches the file that is made.
pub const MEM_MIB: u32 = 400;

/// Runs a program of the host on disk `number`.
///
/// # Errors
///
/// When it is missing or fails.
pub fn host(program: &str, arguments: &[&str], vm: &Vm, number: usize) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .arg(vm.get_disk(number)?.path())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Makes a filesystem of type `fs` on the first disk.
fn mkfs(vm: &Vm, fs: &str) -> Result<()> {
    match fs {
        "ext4" => vm.get_disk(0)?.mkfs(),
        "xfs" => host("/sbin/mkfs.xfs", &["-q", "-f"], vm, 0),
        "btrfs" => host("/sbin/mkfs.btrfs", &["-q", "-f"], vm, 0),
        _ => bail!("no filesystem {fs}"),
    }
}

/// Ends a scenario: off, the host finds nothing wrong with the filesystem, and
/// no kernel log has a warning.
///
/// # Errors
///
/// When one of these is not so.
pub fn sound(vm: &mut Vm, fs: &str) -> Result<()> {
    vm.power_off()?;
    match fs {
        "ext4" => host("/sbin/e2fsck", &["-f", "-n"], vm, 0)?,
        "xfs" => host("/sbin/xfs_repair", &["-n", "-f"], vm, 0)?,
        "btrfs" => host("/bin/btrfs", &["check", "--readonly"], vm, 0)?,
        _ => bail!("no filesystem {fs}"),
    }
    vm.assert_clean()
}

/// A machine with a filesystem on its first disk, mounted, before anything of
/// it is configured.
fn mounted(lab: &Lab, fs: &str, options: &str) -> Result<Vm> {
    let vm = lab.vm().mem(MEM_MIB).disk("640M")?;
    boot_mounted(vm, fs, options)
}

/// Makes a filesystem of type `fs` on the first disk of a machine, boots it and
/// mounts that on `/mnt` with `options`.
///
/// # Errors
///
/// When the program of the host is missing, or something fails.
pub fn boot_mounted(mut vm: Vm, fs: &str, options: &str) -> Result<Vm> {
    mkfs(&vm, fs)?;
    vm.boot()?;
    vm.run(&format!(
        "mkdir /mnt && mount -t {fs} -o {options} /dev/vda /mnt"
    ))?;
    Ok(vm)
}

/// Makes a file on `/mnt` and chooses it; returns the locators of its image.
///
/// # Errors
///
/// When the guest refuses.
pub fn choose(vm: &mut Vm) -> Result<Vec<String>> {
    ensure!(vm.run(&format!("cat {FILE}/resume"))?.trim() == "none");
    vm.run(&format!("echo /mnt/image {SIZE} > {FILE}/create"))?;
    set(vm, "writer", "file")?;
    set(vm, "target", "/mnt/image")?;
    let text = vm.run(&format!("cat {FILE}/resume"))?;
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    ensure!(lines.len() == 3, "strange locators: {text}");
    Ok(lines)
}

/// The same, and a workload, with files open on the filesystem.
fn ready(vm: &mut Vm) -> Result<Vec<String>> {
    let lines = choose(vm)?;
    vm.run("echo 'what is open' > /mnt/note && (sleep 100000 < /mnt/note &) && sync")?;
    prepare(vm)?;
    Ok(lines)
}

/// What nobody may do to the file while it is the target.
fn protected(vm: &mut Vm) -> Result<()> {
    for (command, message) in [
        ("echo x >> /mnt/image", "Text file busy"),
        ("truncate -s 1M /mnt/image", "Text file busy"),
        ("rm -f /mnt/image", "Operation not permitted"),
        ("mv /mnt/image /mnt/other", "Operation not permitted"),
        (
            "echo x > /mnt/new; mv -f /mnt/new /mnt/image",
            "Operation not permitted",
        ),
        ("umount /mnt", "busy"),
    ] {
        refused(vm, command, message)?;
    }
    Ok(())
}

/// One cycle after the other, each found by one of `appends`; then everything
/// is let go of, and the filesystem checked.
fn cycles(vm: &mut Vm, fs: &str, appends: &[String]) -> Result<()> {
    for append in appends {
        vm.set_append(append);
        vm.hibernate()?;
        resume(vm)?;
        vm.run("grep -q 'what is open' /mnt/note && echo more >> /mnt/note && sync")?;
        protected(vm)?;
    }
    set(vm, "target", "auto")?;
    // What is seen of the file now is what the device has.
    vm.run("head -c 15 /mnt/image | grep -q DORMOUSE-FILE-1")?;
    vm.run(&format!("rm /mnt/image; {LET_GO}; umount /mnt"))?;
    sound(vm, fs)
}

/// Makes the boot kernel, and it alone, find the disks in the other order, when
/// it is told so by `dm.other_names`.
pub const OTHER_NAMES: &str = "#!/bin/sh
grep -q dm.other_names /proc/cmdline || exit 0
cd /sys/bus/virtio/drivers/virtio_blk
disks=$(ls -d virtio*)
for disk in $disks; do echo $disk > unbind; done
for disk in $(echo $disks | tr ' ' '\\n' | sort -r); do echo $disk > bind; done
";

fn ext4(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "ext4", "rw")?;
    let lines = ready(&mut vm)?;
    protected(&mut vm)?;
    let offset = vm.get_disk(0)?.first_block("/image")?;
    ensure!(
        lines[0].ends_with(&format!(" resume_offset={offset}")),
        "{lines:?}, not {offset}"
    );
    expect_type(&vm, 0, "ext4")?;
    let append = format!("resume=/dev/vda resume_offset={offset} dm.resume=1");
    cycles(&mut vm, "ext4", &[append])
}

fn large_sectors(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(MEM_MIB).disk("640M")?.swap_disk("512M")?;
    let vm = vm
        .qemu("-global")
        .qemu("virtio-blk-device.logical_block_size=4096")
        .qemu("-global")
        .qemu("virtio-blk-device.physical_block_size=4096");
    let mut vm = boot_mounted(vm, "ext4", "rw")?;
    for disk in ["vda", "vdb"] {
        let bytes = vm.run(&format!("cat /sys/block/{disk}/queue/logical_block_size"))?;
        ensure!(bytes.trim() == "4096", "sectors of {bytes}");
    }
    vm.run("swapon /dev/vdb")?;
    let lines = ready(&mut vm)?;
    set(&mut vm, "writer", "swap")?;
    set(&mut vm, "target", "/dev/vdb")?;
    vm.set_append("dm.resume=/dev/vdb");
    there_and_back_on(&mut vm, 1)?;
    set(&mut vm, "writer", "file")?;
    set(&mut vm, "target", "/mnt/image")?;
    cycles(&mut vm, "ext4", &[format!("dm.resume={}", lines[1])])
}

fn device_name(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(MEM_MIB).disk("640M")?.disk("16M")?;
    let vm = vm.file("/etc/early", 0o755, OTHER_NAMES);
    let mut vm = boot_mounted(vm, "ext4", "rw")?;
    let lines = ready(&mut vm)?;
    ensure!(lines[2].starts_with("254:0:"), "{lines:?}");
    let append = format!("dm.resume={} dm.other_names", lines[1]);
    cycles(&mut vm, "ext4", &[append])?;
    let offset = lines[1].split(':').next_back().unwrap_or_default();
    ensure!(
        vm.log()?.contains(&format!("offset {offset} is on 254:16")),
        "the disks kept their names"
    );
    Ok(())
}

fn xfs(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "xfs", "rw")?;
    let lines = ready(&mut vm)?;
    cycles(&mut vm, "xfs", &[format!("dm.resume={}", lines[1])])
}

fn btrfs(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "btrfs", "compress-force=zstd")?;
    let lines = ready(&mut vm)?;
    cycles(&mut vm, "btrfs", &[format!("dm.resume={}", lines[1])])
}

fn mounted_since(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "ext4", "rw")?;
    let lines = ready(&mut vm)?;
    let append = format!("dm.resume={}", lines[2]);
    vm.set_append("");
    vm.hibernate()?;
    boot_fresh(&mut vm)?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    // While somebody has the filesystem mounted there is no resume.
    let request = format!("echo {} > {FOLDER}/resume", lines[2]);
    refused(&mut vm, &request, "No such device")?;
    vm.run("echo later > /mnt/later && umount /mnt")?;
    vm.power_off()?;
    vm.set_append(&append);
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -116,
        &["the filesystem on vda was mounted since the image was saved"],
    )?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt && grep -q later /mnt/later && umount /mnt")?;
    vm.power_off()?;
    // Told once.
    boot_fresh(&mut vm)?;
    ensure!(get(&mut vm, "last_result")?.starts_with("0 "), "told twice");
    sound(&mut vm, "ext4")
}

fn beside_swap(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(MEM_MIB).disk("640M")?.swap_disk("512M")?;
    let mut vm = boot_mounted(vm, "ext4", "rw")?;
    vm.run("swapon /dev/vdb")?;
    let lines = ready(&mut vm)?;
    for _ in 0..2 {
        set(&mut vm, "writer", "file")?;
        set(&mut vm, "target", "/mnt/image")?;
        vm.set_append(&format!("dm.resume={}", lines[2]));
        vm.hibernate()?;
        expect_type(&vm, 1, "swap")?;
        resume(&mut vm)?;

        // Lets go of the file, which another writer has no use for.
        set(&mut vm, "writer", "swap")?;
        ensure!(vm.run(&format!("cat {FILE}/resume"))?.trim() == "none");
        vm.run("mv /mnt/image /mnt/other && mv /mnt/other /mnt/image")?;
        set(&mut vm, "target", "auto")?;
        vm.set_append("resume=/dev/vdb dm.resume=1");
        there_and_back_on(&mut vm, 1)?;
    }
    vm.run(&format!("{LET_GO}; umount /mnt"))?;
    vm.run(&format!("echo {} > {FOLDER}/target", lines[1]))?;
    ensure!(
        get(&mut vm, "image")?.contains("consumed"),
        "no trace of it"
    );
    sound(&mut vm, "ext4")
}

fn torn(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "ext4", "rw")?;
    let lines = ready(&mut vm)?;
    set(&mut vm, "compressor", "zstd")?;
    let start = format!("echo 1 > {FOLDER}/start");
    vm.cut_at(&start, "write: 20%", Duration::ZERO)?;
    vm.set_append(&format!("dm.resume={}", lines[1]));
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -4, &["the last save did not finish"])?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt && grep -q open /mnt/note")?;
    // The same file serves again.
    set(&mut vm, "writer", "file")?;
    set(&mut vm, "target", "/mnt/image")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    resume(&mut vm)?;
    set(&mut vm, "target", "auto")?;
    vm.run("umount /mnt")?;
    sound(&mut vm, "ext4")
}

fn replaced(lab: &Lab) -> Result<()> {
    let mut vm = mounted(lab, "ext4", "rw")?;
    let lines = ready(&mut vm)?;
    vm.set_append(&format!("dm.resume={}", lines[2]));
    vm.hibernate()?;
    let block = vm.get_disk(0)?.first_block("/image")?;
    let disk = vm.get_disk(0)?;
    let page = disk.read(block * 4096, 8192)?;

    // A copy of the page, with a filesystem that is as it was: not here.
    disk.write((block + 9) * 4096, &page[..4096])?;
    vm.set_append(&format!("dm.resume=254:0:{}", block + 9));
    boot_fresh(&mut vm)?;
    ensure!(vm.log()?.contains("has a copy of a file for images"));
    vm.power_off()?;

    // Another label, and none.
    vm.set_append(&format!("dm.resume={}", lines[2]));
    for label in [[0; 512], [0xff; 512]] {
        vm.get_disk(0)?.write(block * 4096, &label)?;
        boot_fresh(&mut vm)?;
        ensure!(
            get(&mut vm, "last_result")?.starts_with("0 "),
            "not ignored"
        );
        vm.power_off()?;
    }

    // The block map is damaged: that is seen, and the image given up.
    let disk = vm.get_disk(0)?;
    disk.write(block * 4096, &page[..4096])?;
    disk.write((block + 1) * 4096 + 100, &[page[4096 + 100] ^ 1])?;
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -74,
        &["the block map of the image in the file on vda is damaged"],
    )?;
    vm.power_off()?;
    boot_fresh(&mut vm)?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt && umount /mnt")?;
    sound(&mut vm, "ext4")
}

/// Bytes and operations of the first disk, from the machine's point of view:
/// written, then read.
fn traffic(vm: &mut Vm) -> Result<[u64; 4]> {
    let answer = vm
        .qmp()?
        .command("query-blockstats", serde_json::json!({}))?;
    let stats = &answer[0]["stats"];
    let names = ["wr_bytes", "wr_operations", "rd_bytes", "rd_operations"];
    let mut numbers = [0; 4];
    for (number, name) in numbers.iter_mut().zip(names) {
        *number = stats[name].as_u64().with_context(|| format!("no {name}"))?;
    }
    Ok(numbers)
}

/// Saves and resumes in one boot; returns the mean sizes of what was written
/// and read in one operation.
fn mean_sizes(vm: &mut Vm) -> Result<[u64; 2]> {
    vm.run("sync")?;
    let before = traffic(vm)?;
    vm.run("echo disk > /sys/power/state")?;
    expect_result(vm, 0, &["the system is back: saved"])?;
    let after = traffic(vm)?;
    let mean = |bytes: usize| {
        let operations = after[bytes + 1] - before[bytes + 1];
        (after[bytes] - before[bytes]) / operations.max(1)
    };
    Ok([mean(0), mean(2)])
}

fn requests(lab: &Lab) -> Result<()> {
    let mut vm = boot_mounted(lab.vm().disk("1200M")?, "ext4", "rw")?;
    vm.run("dd if=/dev/zero of=/mnt/swap bs=1M count=256 && mkswap /mnt/swap")?;
    vm.run("swapon /mnt/swap")?;
    ready(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    vm.run("echo test_resume > /sys/power/disk")?;
    let file = mean_sizes(&mut vm)?;
    set(&mut vm, "writer", "swap")?;
    set(&mut vm, "target", "auto")?;
    let swap = mean_sizes(&mut vm)?;
    vm.run("guest work verify")?;
    for (file, swap) in file.into_iter().zip(swap) {
        ensure!(
            file * 100 >= swap * 95,
            "{file} bytes at a time to the file, {swap} to swap"
        );
        // Far more than a page: the device decides how much.
        ensure!(file > 64 << 10, "{file} bytes at a time to the file");
    }
    vm.assert_clean()
}
