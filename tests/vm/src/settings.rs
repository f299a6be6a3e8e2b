// SPDX-License-Identifier: GPL-2.0

//! The control folder in sysfs, and modules that come and go.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use crate::steps::{get, prepare, refused, set, there_and_back, FOLDER};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
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
    )
    .with_build(),
];

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
        &[
            "0",
            "1",
            "-1",
            "x",
            "2 3 4 5 6 7 8 9 10",
            "2147483648",
            "1,2",
        ],
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
        ("keep_running", "1000"),
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
        ("keep_running", "1000 2", "1000 2"),
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

/// Writes `value`, which is refused, and the kernel log says why.
fn einval(vm: &mut Vm, name: &str, value: &str) -> Result<()> {
    let before = vm.log()?.len();
    // Without a value there is nothing to write but the newline.
    let text = value.replace('\n', "\\n");
    let command = format!("echo -e '{text}' > {FOLDER}/{name}");
    refused(vm, &command, "Invalid argument")?;
    vm.log()?
        .wait_for("dormouse: ", before, Duration::from_secs(5))
        .with_context(|| format!("no reason in the log for '{value}' in {name}"))?;
    Ok(())
}

fn unload(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    // What is chosen without anybody having named it is shown without its module, too.
    vm.run("rmmod dormouse_swap")?;
    let list = get(&mut vm, "writer")?;
    ensure!(list.starts_with("[swap] "), "writers: {list}");
    vm.run("insmod /modules/dormouse_swap.ko")?;
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
    let (lab, _modules) = lab.with_module("samples", "dormouse_count.ko")?;
    let mut vm = lab
        .small()
        .file("/etc/early", 0o755, "#!/bin/sh\n/etc/watch &\n")
        .file("/etc/watch", 0o755, WATCH)
        .swap_disk("512M")?;
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
