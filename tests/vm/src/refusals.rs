// SPDX-License-Identifier: GPL-2.0

//! What is refused, and what becomes of the image then.

use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    with_program, FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "no-swap",
        "without swap space there is no hibernation, and a sentence says why",
        no_swap,
    ),
    Scenario::new(
        "swap-too-small",
        "too little swap space: the sentence counts what is needed and what there is",
        swap_too_small,
    ),
    Scenario::new(
        "missing-module",
        "an image whose compressor or writer is not loaded is kept, and resumed when they are",
        missing_module,
    ),
    Scenario::new(
        "other-kernel",
        "an image of another kernel build is kept, and resumed by its own",
        other_kernel,
    ),
    Scenario::new(
        "other-memory",
        "an image is kept while there is another amount of memory",
        other_memory,
    ),
    Scenario::new(
        "bad-values",
        "a bad value gives EINVAL and changes nothing, for every attribute",
        bad_values,
    ),
    Scenario::new(
        "unload",
        "a chosen module stays, any other one can be unloaded and loaded again",
        unload,
    ),
    Scenario::new(
        "sample-module",
        "a module from outside of the tree takes part in an image",
        sample,
    ),
    Scenario::new(
        "swapon-gives-up",
        "an image beside which swapon has been at work is never resumed",
        swapon_gives_up,
    ),
    Scenario::new(
        "second-attempt",
        "an image whose load was cut off is not tried again by itself, but on request",
        second_attempt,
    ),
    Scenario::new(
        "erase",
        "erase gives the swap space back, and there is no image",
        erase,
    ),
];

const STATE: &str = "echo disk > /sys/power/state";

fn no_swap(lab: &Lab) -> Result<()> {
    let mut vm = lab.small();
    vm.boot()?;
    prepare(&mut vm)?;
    for command in [STATE, "echo 1 > /sys/power/hibernate/start"] {
        refused(&mut vm, command, "No space left on device")?;
        expect_result(
            &mut vm,
            -28,
            &["no space for an image", "is a swap area active?"],
        )?;
        ensure!(get(&mut vm, "state")? == "idle", "the cycle goes on");
    }
    vm.run("guest work verify")?;
    vm.assert_clean()
}

/// Number before the first ` kB` after `part`.
fn kb_after(text: &str, part: &str) -> Result<u64> {
    let (_, rest) = text
        .split_once(part)
        .with_context(|| format!("no '{part}' in '{text}'"))?;
    let number = rest.trim_start().split(' ').next().unwrap_or_default();
    number
        .parse()
        .with_context(|| format!("no number after '{part}' in '{text}'"))
}

fn swap_too_small(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().swap_disk("16M")?.swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    refused(&mut vm, STATE, "No space left on device")?;
    let result = expect_result(
        &mut vm,
        -28,
        &[
            "not enough space for the image: needed",
            "at 100 %",
            "/dev/vda",
        ],
    )?;
    let (needed, available) = (
        kb_after(&result, "needed")?,
        kb_after(&result, "available")?,
    );
    ensure!(
        needed > 40 * 1024 && (8 * 1024..=16 * 1024).contains(&available),
        "needed {needed} kB, available {available} kB"
    );
    expect_type(&vm, 0, "swap")?;
    vm.run("guest work verify")?;
    // And with enough of it, the same system does hibernate.
    vm.run("swapon /dev/vdb")?;
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn missing_module(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;

    vm.set_missing(&["dormouse_lz4"]);
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -2,
        &["needs module dormouse_lz4 (compress), which is not loaded; it is kept"],
    )?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed"),
        "no image"
    );
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_missing(&["dormouse_swap"]);
    boot_fresh(&mut vm)?;
    refused(
        &mut vm,
        &format!("echo 1 > {FOLDER}/resume"),
        "No such device",
    )?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_missing(&[]);
    resume(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

/// CRC-32C, as the image has it.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Changes the header of the image on the first disk to one that another
/// kernel would have written, with a good seal; returns what it was before.
fn forge_kernel(vm: &Vm) -> Result<(u64, Vec<u8>)> {
    let disk = vm.get_disk(0)?;
    let at = disk.find(b"DMHEADER", 4096)?.context("no header")?;
    let before = disk.read(at, 16 * 4096)?;
    let mut header = before.clone();
    let total = u32::from_le_bytes(header[16..20].try_into()?) as usize;
    let build = header
        .windows(9)
        .position(|part| part == b"-dormouse")
        .context("no release in the header")?;
    header[build..build + 9].copy_from_slice(b"-hamsters");
    header[12..16].fill(0);
    let seal = crc32c(&header[..total]);
    header[12..16].copy_from_slice(&seal.to_le_bytes());
    disk.write(at, &header)?;
    Ok((at, before))
}

fn other_kernel(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let (at, header) = forge_kernel(&vm)?;
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -116,
        &[
            "made by another kernel (6.12.",
            "-hamsters",
            "not by this one; it is kept",
        ],
    )?;
    refused(&mut vm, "swapon /dev/vda", "Invalid argument")?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.get_disk(0)?.write(at, &header)?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn other_memory(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let mut vm = vm.mem(320);
    boot_fresh(&mut vm)?;
    let result = expect_result(
        &mut vm,
        -116,
        &["kB of memory, and now there are", "it is kept"],
    )?;
    let (then, now) = (
        kb_after(&result, "made with")?,
        kb_after(&result, "there are")?,
    );
    ensure!(now - then == 64 * 1024, "{then} kB and {now} kB");
    vm.power_off()?;
    let mut vm = vm.mem(256);
    resume(&mut vm)?;
    vm.assert_clean()
}

/// Attributes that can be read and written, with values that are refused.
const BAD: &[(&str, &[&str])] = &[
    ("enabled", &["", "2", "-1", "yes", " 1", "01", "1 1"]),
    (
        "compressor",
        &["", "gzip9", "LZ4", "lz4 ", "../lz4", "none none", "[lz4]"],
    ),
    ("encryptor", &["", "rot13", "lz4"]),
    ("writer", &["", "none", "tape", "lz4"]),
    ("freezer", &["", "none", "ice"]),
    ("snapshot", &["", "none", "live"]),
    (
        "target",
        &[
            "",
            "swap",
            "dev/vda",
            "/dev/../vda",
            "/dev//vda",
            "/dev/vda/",
            "254:",
            "254:0:x",
            "254:0:0:0",
            "4096:0",
            "UUID=1234",
            "nbd://",
            "nbd://host:0/x",
            "file:vda",
        ],
    ),
    (
        "threads",
        &["", "-1", "65", "two", "1.5", "99999999999999999999", "0x4"],
    ),
    (
        "image_size_limit",
        &[
            "",
            "-1",
            "1T",
            "M",
            "1 M",
            "18446744073709551616",
            "99999999999G",
        ],
    ),
    (
        "keep_running",
        &["0", "-1", "x", "1 2 3 4 5 6 7 8 9", "2147483648", "1,2"],
    ),
];

/// Attributes that do something, with values that are refused.
const BAD_ACTIONS: &[(&str, &[&str])] = &[
    ("start", &["", "0", "2", "go"]),
    ("resume", &["", "0", "auto", "again", "vda", "/dev/../vda"]),
    ("abort", &["", "0", "1", "now"]),
    ("image", &["", "1", "ERASE", "erase now"]),
];

fn bad_values(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().swap_disk("64M")?;
    vm.boot()?;
    // Another value than the default one, to see that it stays.
    for (name, value) in [
        ("enabled", "1"),
        ("compressor", "lz4"),
        ("writer", "swap"),
        ("freezer", "pm"),
        ("snapshot", "atomic"),
        ("target", "/dev/vda"),
        ("threads", "3"),
        ("image_size_limit", "64M"),
        ("keep_running", "1"),
    ] {
        set(&mut vm, name, value)?;
    }
    for (name, values) in BAD {
        let before = get(&mut vm, name)?;
        // One line too many is refused as well, whatever it says.
        for value in values.iter().chain(&["1\n\n", "\\000"]) {
            einval(&mut vm, name, value)?;
            let after = get(&mut vm, name)?;
            ensure!(
                before == after,
                "{name} was '{before}' and is '{after}' after '{value}'"
            );
        }
        let long = "x".repeat(4095);
        einval(&mut vm, name, &long)?;
        ensure!(get(&mut vm, name)? == before, "{name} has changed");
    }
    for (name, values) in BAD_ACTIONS {
        for value in *values {
            einval(&mut vm, name, value)?;
        }
        ensure!(get(&mut vm, "state")? == "idle", "{name} did something");
    }
    for name in ["state", "progress", "last_result", "stats"] {
        let output = vm.try_run(&format!("echo 1 > {FOLDER}/{name}"))?;
        ensure!(output.code != 0, "{name} can be written");
    }
    // Good ones are taken as they are documented.
    for (name, value, shown) in [
        ("image_size_limit", "2G", "2147483648"),
        ("image_size_limit", "0", "0"),
        ("threads", "64", "64"),
        ("target", "auto", "auto"),
        ("keep_running", "1 2", "1 2"),
        ("keep_running", "", ""),
        ("enabled", "0", "0"),
    ] {
        set(&mut vm, name, value)?;
        let now = get(&mut vm, name)?;
        ensure!(now == shown, "{name} is '{now}' after '{value}'");
    }
    let modes = vm.run(&format!("cd {FOLDER} && stat -c '%a %n' *"))?;
    for line in modes.lines() {
        let (mode, name) = line.split_once(' ').unwrap_or_default();
        ensure!(
            name == "modules" || ["600", "400", "200"].contains(&mode),
            "mode {mode} of {name}"
        );
    }
    vm.assert_clean()
}

fn einval(vm: &mut Vm, name: &str, value: &str) -> Result<()> {
    // Without a value there is nothing to write but the newline.
    let text = value.replace('\n', "\\n");
    let command = format!("echo -e '{text}' > {FOLDER}/{name}");
    refused(vm, &command, "Invalid argument")
}

fn unload(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    set(&mut vm, "writer", "swap")?;
    for module in ["dormouse_lz4", "dormouse_swap"] {
        let output = vm.try_run(&format!("rmmod {module}"))?;
        ensure!(
            output.code != 0,
            "{module} was unloaded though it is chosen"
        );
    }
    vm.run("rmmod dormouse_zstd")?;
    let list = get(&mut vm, "compressor")?;
    ensure!(!list.contains("zstd"), "compressors: {list}");
    refused(
        &mut vm,
        &format!("echo zstd > {FOLDER}/compressor"),
        "Invalid argument",
    )?;
    there_and_back(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    vm.run("rmmod dormouse_lz4 && rmmod dormouse_lzo")?;
    let list = get(&mut vm, "compressor")?;
    ensure!(list == "[none]", "compressors: {list}");
    // What an image was loaded and saved with can be loaded anew.
    vm.run("insmod /modules/dormouse_lz4.ko")?;
    set(&mut vm, "compressor", "lz4")?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn sample(lab: &Lab) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples");
    for name in ["Kbuild", "Makefile", "dormouse_count.rs"] {
        std::fs::copy(format!("{samples}/{name}"), folder.path().join(name))?;
    }
    let output = Command::new("make")
        .arg("-C")
        .arg(folder.path())
        .arg(format!("KDIR={}", lab.build.display()))
        .args(["RUSTC=/usr/bin/rustc", "LC_ALL=C"])
        .env_remove("MAKEFLAGS")
        .env_remove("RUSTFLAGS")
        .output()?;
    ensure!(
        output.status.success(),
        "the sample does not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut vm = lab
        .small()
        .file("/etc/early", 0o755, "#!/bin/sh\n/etc/watch &\n")
        .file("/etc/watch", 0o755, WATCH)
        .swap_disk("512M")?;
    let mut system = lab.system.clone();
    system.modules.push(folder.path().join("dormouse_count.ko"));
    vm.set_system(system);
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "compressor", "count")?;
    there_and_back(&mut vm)?;
    let saved = counted(&vm, 0, "saved")?;
    let loaded = counted(&vm, 1, "loaded")?;
    ensure!(
        saved > 0 && loaded > 0,
        "frames counted: {saved} saved, {loaded} loaded"
    );
    let output = vm.try_run("rmmod dormouse_count")?;
    ensure!(output.code != 0, "it was unloaded though it is chosen");
    set(&mut vm, "compressor", "none")?;
    vm.run("rmmod dormouse_count")?;
    vm.assert_clean()
}

/// Says again and again how many frames were counted, also while everything
/// else is frozen: what was counted then, the restored kernel cannot know.
const WATCH: &str = r#"#!/bin/sh
echo $$ > /sys/power/hibernate/keep_running
while :; do
	if [ -e /sys/power/dormouse_count/frames_saved ]; then
		read -r saved < /sys/power/dormouse_count/frames_saved
		read -r loaded < /sys/power/dormouse_count/frames_loaded
		echo "guest: counted saved=$saved loaded=$loaded" > /dev/kmsg
	fi
	sleep 0.05
done
"#;

/// Largest number that the watching task said in boot `boot`.
fn counted(vm: &Vm, boot: usize, what: &str) -> Result<u64> {
    let part = format!("{what}=");
    let numbers = vm.log_of(boot)?.lines().into_iter().filter_map(|line| {
        let (_, rest) = line.split_once("guest: counted ")?.1.split_once(&part)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    numbers.max().context("nothing was counted")
}

fn swapon_gives_up(lab: &Lab) -> Result<()> {
    let vm = with_program(lab.small().swap_disk("512M")?, "/sbin/swapon")?;
    let mut vm = vm;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;

    // A boot that does not look for images.
    vm.set_append("");
    boot_fresh(&mut vm)?;
    refused(&mut vm, "swapon /dev/vda", "Invalid argument")?;
    let said = vm.run("/sbin/swapon /dev/vda 2>&1")?;
    ensure!(
        said.contains("Rewriting the swap signature"),
        "swapon says: {said}"
    );
    vm.power_off()?;

    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -116,
        &["the image was given up", "swapon does that"],
    )?;
    ensure!(get(&mut vm, "image")? == "none", "there still is an image");
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn second_attempt(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    vm.start()?;
    vm.log()?
        .wait_for("load: 10%", 0, Duration::from_secs(120))?;
    vm.kill();

    boot_fresh(&mut vm)?;
    expect_result(
        &mut vm,
        -114,
        &["attempts: 1", "it is kept", "retry", "erase"],
    )?;
    let image = get(&mut vm, "image")?;
    ensure!(
        image.contains("state: resuming") && image.contains("attempts: 1"),
        "image: {image}"
    );
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;

    vm.set_append("resume=/dev/vda dm.resume=retry");
    resume(&mut vm)?;
    vm.set_append(FIRST_DISK);
    // The next image is one like any other.
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn erase(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    vm.set_append("resume=/dev/vda");
    boot_fresh(&mut vm)?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed"),
        "no image"
    );
    set(&mut vm, "image", "erase")?;
    ensure!(get(&mut vm, "image")? == "none", "there still is an image");
    expect_type(&vm, 0, "swap")?;
    refused(
        &mut vm,
        &format!("echo erase > {FOLDER}/image"),
        "No such device",
    )?;
    refused(
        &mut vm,
        &format!("echo 1 > {FOLDER}/resume"),
        "No such device",
    )?;
    vm.run("swapon /dev/vda")?;
    vm.power_off()?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let header = vm.get_disk(0)?.read(4096 - 512, 502)?;
    ensure!(
        header.iter().all(|&byte| byte == 0),
        "the swap header is not as it was"
    );
    vm.assert_clean()
}
