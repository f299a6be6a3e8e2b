// SPDX-License-Identifier: GPL-2.0

//! The progress screen: drawn while everything is frozen, with keys that work.

mod serial;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::{Arrival, Display, Output, Vm};

use crate::steps::{clock, expect_result, get, prepare, resume, set, FOLDER, SMALL_MIB};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "screen",
        "the screen is drawn while saving and loading; Esc stops unless forbidden, R reboots",
        screen,
    ),
    Scenario::long(
        "screen-vga",
        "the same in text mode, without a framebuffer",
        vga,
    ),
    Scenario::long(
        "screen-serial",
        "the same on a serial line, where the kernel log goes",
        serial::serial,
    ),
    Scenario::long(
        "screen-waits",
        "a screen that was started before shows a cycle that somebody else begins",
        waits,
    ),
    Scenario::long(
        "screen-esc",
        "Esc at 10 points of saving and 5 of loading: back within 2 s each, nothing lost",
        esc,
    ),
];

/// Bytes in a second that the disk takes, so that there is time to look.
pub const SLOW: u64 = 12 << 20;
/// The same, so that a process of the guest has time to look.
const SLOWER: u64 = 6 << 20;

/// The same, so that somebody has time to answer.
const CRAWL: u64 = 1 << 20;
/// How long it takes to read what the screen asks.
const READ: Duration = Duration::from_millis(1500);

/// How long a cycle may take to get somewhere.
const LONG: Duration = Duration::from_secs(60);

/// Pause before each look at the screen.
const MOMENT: Duration = Duration::from_millis(500);

/// Time from a key to the system that goes on.
const BACK: Duration = Duration::from_secs(2);

/// Asks for the image with the screen, as an initramfs does, on a slow disk.
const UNLOCK: &str = "#!/bin/sh\ndormouse ui --load /dev/vda > /dev/kmsg 2>&1\n";

/// Prints the screen to the kernel log as soon as the cycle is in step $1 for a moment, and whether
/// the process that draws it had page faults since tasks were frozen.
const LOOK: &str = r#"#!/bin/sh
# Without another process: there is not much time.
faults() {
	read -r pids < /sys/power/hibernate/keep_running
	for pid in $pids; do
		read -r stat < "/proc/$pid/stat"
		case $stat in
		*"(dormouse)"*)
			set -- $stat
			found="${10} ${12}"
			;;
		esac
	done
}
now=idle
while [ "$now" = idle ] || [ "$now" = begin ]; do
	sleep 0.1
	read -r now < /sys/power/hibernate/state
done
faults
before=$found
until read -r now < /sys/power/hibernate/state && [ "$now" = "$1" ]; do sleep 0.2; done
sleep 0.5
read -r lines columns <<- END
	$(stty -F /dev/tty63 size)
END
fold -w "$columns" < /dev/vcs63 | while read -r line; do
	[ -n "$line" ] && echo "screen: $line" > /dev/kmsg
done
faults
echo "screen: page faults: $before $found" > /dev/kmsg
"#;

/// What is left to be read after an Esc in the middle of a save.
const ESC: &str = "stopped on request while the image was written";

/// A machine with a screen, where the initramfs draws on it, too; or on the
/// serial line.
fn machine(lab: &Lab, display: Option<Display>) -> Result<Vm> {
    let vm = lab
        .vm()
        .mem(SMALL_MIB)
        .append("resume=/dev/vda printk.devkmsg=on");
    let vm = match display {
        Some(display) => vm.display(display),
        None => vm,
    };
    let mut vm = vm
        .file("/etc/unlock", 0o755, UNLOCK)
        .file("/bin/look", 0o755, LOOK)
        .swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    Ok(vm)
}

/// Starts to hibernate with the screen, on a slow disk; returns the number of the command.
fn begin(vm: &mut Vm) -> Result<u64> {
    vm.qmp()?.throttle(0, SLOW)?;
    vm.send("dormouse ui --hibernate")
}

/// Waits until the kernel log of the present boot says `text` after `from`.
fn reach(vm: &Vm, text: &str, from: usize) -> Result<()> {
    vm.log()?.wait_for(text, from, LONG).map(drop)
}

/// Waits for the end of command `seq`, which comes back to the same system.
fn back(vm: &mut Vm, seq: u64) -> Result<Output> {
    match vm.wait(seq, LONG, |_| {})? {
        Progress::Done(output) => Ok(output),
        other => bail!("the command did not come back: {other:?}"),
    }
}

/// Waits for the end of command `seq`, whose save Esc has stopped, and checks that nothing is lost.
fn stopped(vm: &mut Vm, seq: u64) -> Result<()> {
    let output = back(vm, seq)?;
    ensure!(
        output.code == 1 && output.text.contains("stopped on request"),
        "Esc gave {output:?}"
    );
    is_given_back(vm)?;
    vm.run("guest work verify").map(drop)
}

/// Waits for the end of command `seq`, whose image is loaded by now, on a disk that is not slow any
/// more.
fn restored(vm: &mut Vm, seq: u64) -> Result<()> {
    vm.qmp()?.throttle(0, 0)?;
    let output = back(vm, seq)?;
    ensure!(
        output.code == 0 && output.text.contains("the system is back: saved"),
        "it came back with {output:?}"
    );
    Ok(())
}

/// Checks that each of `parts` stands in a line from number `from` on of the log, one with `mark`.
fn shown(vm: &Vm, mark: &str, parts: &[&str], from: usize) -> Result<()> {
    let lines = vm.log()?.lines();
    let lines = lines.get(from..).unwrap_or_default();
    for part in parts {
        ensure!(
            lines
                .iter()
                .any(|line| line.contains(mark) && line.contains(part)),
            "the screen did not show '{part}'"
        );
    }
    Ok(())
}

/// How many pixels of the screen have the colour of the bar, and how many are not black.
fn pixels(vm: &mut Vm) -> Result<(usize, usize)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("screen.ppm");
    vm.qmp()?.screenshot(&file)?;
    count(&file)
}

fn count(file: &Path) -> Result<(usize, usize)> {
    let bytes = std::fs::read(file)?;
    // P6, width, height and the largest value, a line each.
    let mut rest = &bytes[..];
    for _ in 0..3 {
        let end = rest.iter().position(|byte| *byte == b'\n');
        rest = &rest[end.context("no picture")? + 1..];
    }
    let colours = rest.chunks_exact(3);
    // The second is what six bits of VGA make of the first.
    let bar = colours
        .clone()
        .filter(|rgb| [[0, 0xaa, 0xaa], [0, 0xa8, 0xa8]].contains(&[rgb[0], rgb[1], rgb[2]]));
    let lit = colours.filter(|rgb| *rgb != [0, 0, 0]);
    Ok((bar.count(), lit.count()))
}

/// Waits until a bar is to be seen.
///
/// # Errors
///
/// When there is none in time.
pub fn is_drawn(vm: &mut Vm) -> Result<()> {
    let deadline = Instant::now() + LONG;
    loop {
        std::thread::sleep(MOMENT);
        let (bar, lit) = pixels(vm)?;
        // 68 columns of 8 by 16 pixels are the whole bar.
        if (500..40_000).contains(&bar) && lit < 100_000 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{bar} pixels of the bar, {lit} in all"
        );
    }
}

/// Checks that the console from before is to be seen again, and nothing is left behind.
fn is_given_back(vm: &mut Vm) -> Result<()> {
    let active = vm.run("cat /sys/class/tty/tty0/active")?;
    ensure!(active.trim() == "tty1", "{active} is to be seen");
    let kept = get(vm, "keep_running")?;
    ensure!(kept.is_empty(), "{kept} is still kept running");
    let after = get(vm, "after_save")?;
    ensure!(after == "[mode] power-off reboot", "after_save is {after}");
    Ok(())
}

fn screen(lab: &Lab) -> Result<()> {
    keys(lab, Display::Graphics)
}

fn vga(lab: &Lab) -> Result<()> {
    keys(lab, Display::Text)
}

fn waits(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Some(Display::Graphics))?;
    vm.qmp()?.throttle(0, SLOW)?;
    vm.run("dormouse ui > /tmp/ui.out 2>&1 &")?;
    vm.run(&format!(
        "until grep -q . {FOLDER}/keep_running; do sleep 0.1; done"
    ))?;
    let seq = vm.send("echo disk > /sys/power/state")?;
    reach(&vm, "write: 10%", 0)?;
    is_drawn(&mut vm)?;
    vm.qmp()?.press("esc")?;
    let output = back(&mut vm, seq)?;
    ensure!(output.code != 0, "the save was not stopped: {output:?}");
    expect_result(&mut vm, -125, &[ESC])?;
    vm.run("while pidof dormouse > /dev/null; do sleep 0.1; done")?;
    let said = vm.run("cat /tmp/ui.out")?;
    ensure!(said.contains("stopped on request"), "it said {said}");
    is_given_back(&mut vm)?;
    vm.run("guest work verify")?;
    vm.assert_clean()
}

fn keys(lab: &Lab, display: Display) -> Result<()> {
    let mut vm = machine(lab, Some(display))?;
    // Esc.
    let seq = begin(&mut vm)?;
    reach(&vm, "write: 10%", 0)?;
    is_drawn(&mut vm)?;
    vm.qmp()?.press("esc")?;
    stopped(&mut vm, seq)?;
    expect_result(&mut vm, -125, &[ESC])?;

    // Esc where that is forbidden, and R: the machine reboots.
    set(&mut vm, "allow_abort", "0")?;
    vm.run(&format!(
        "/bin/look write > /dev/null 2>&1 & echo $! > {FOLDER}/keep_running"
    ))?;
    let from = vm.log()?.len();
    let seq = begin(&mut vm)?;
    vm.qmp()?.throttle(0, SLOWER)?;
    reach(&vm, "write: 10%", from)?;
    vm.qmp()?.press("esc")?;
    reach(
        &vm,
        "a request to stop was refused: the setting allow_abort is 0",
        from,
    )?;
    vm.qmp()?.press("r")?;
    reach(&vm, "screen: ", from)?;
    reach(&vm, "load: 10%", from)?;
    is_drawn(&mut vm)?;
    restored(&mut vm, seq)?;
    let parts = [
        "Writing the image",
        " %",
        " MB/s now",
        " stored (",
        "to swap space",
        "then reboot",
    ];
    shown(&vm, "screen: ", &parts, 0)?;
    stays_in_memory(&vm)?;
    tenths(&vm, from)?;
    vm.run("guest work verify; kill $(cat /sys/power/hibernate/keep_running)")?;
    set(&mut vm, "keep_running", "")?;
    is_given_back(&mut vm)?;
    vm.assert_clean()
}

/// Checks that the process that draws did not need a page from anywhere while tasks were frozen.
fn stays_in_memory(vm: &Vm) -> Result<()> {
    let lines = vm.log()?.lines();
    let line = lines
        .iter()
        .find_map(|line| line.split("page faults: ").nth(1));
    let words = line.context("page faults were not counted")?;
    let counts: Vec<u64> = words
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    // Minor, major; of the beginning and of the end.
    let [minor, major, minor_after, major_after] = counts[..] else {
        bail!("'{words}' are no counts of page faults");
    };
    // One that finds its page being moved waits for that, and takes no memory.
    ensure!(
        major == major_after && minor_after - minor <= 4,
        "page faults: {words}"
    );
    Ok(())
}

/// Checks that the kernel has told of the save and of the load in tenths, each at most once: of
/// several that are done at the same time only the last.
fn tenths(vm: &Vm, from: usize) -> Result<()> {
    let lines = vm.log()?.lines();
    let lines = lines.get(from..).unwrap_or_default();
    for step in ["write", "load"] {
        let count = |percent: usize| {
            let end = format!(" {step}: {percent}%");
            lines.iter().filter(|line| line.ends_with(&end)).count()
        };
        let counts: Vec<usize> = (10..=100).step_by(10).map(count).collect();
        ensure!(
            counts.iter().all(|count| *count <= 1)
                && counts.iter().sum::<usize>() >= 6
                && counts.last() == Some(&1),
            "lines for each tenth of {step}: {counts:?}"
        );
    }
    Ok(())
}

/// Presses Esc when the log shows `point`, and waits for `end`; how long that took.
fn press(vm: &mut Vm, point: &str, end: &str, from: usize) -> Result<Duration> {
    let at = vm.log()?.wait_for(point, from, LONG)?;
    let pressed = Instant::now();
    vm.qmp()?.press("esc")?;
    let after = vm.log()?.wait_for(end, at, LONG)?;
    let took = pressed.elapsed();
    let asked = vm.log()?.wait_for("asked to stop", at, Duration::ZERO)?;
    println!(
        "esc at '{point}': {} ms to '{end}', {} ms of them after the kernel was asked",
        took.as_millis(),
        clock(vm, after)?.saturating_sub(clock(vm, asked)?)
    );
    ensure!(took < BACK, "at '{point}' it took {} ms", took.as_millis());
    Ok(took)
}

fn esc(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Some(Display::Graphics))?;
    for point in [
        "Freezing user space processes",
        "Freezing remaining freezable tasks",
        "snapshot: copying pages",
        "write: 10%",
        "write: 20%",
        "write: 30%",
        "write: 50%",
        "write: 70%",
        "write: 80%",
        "write: 90%",
    ] {
        let from = vm.log()?.len();
        let seq = begin(&mut vm)?;
        press(&mut vm, point, "hibernation exit", from)?;
        stopped(&mut vm, seq).with_context(|| format!("at '{point}'"))?;
    }
    vm.hibernate()?;
    for point in [
        "load: 10%",
        "load: 30%",
        "load: 50%",
        "load: 70%",
        "load: 90%",
    ] {
        vm.start()?;
        vm.qmp()?.throttle(0, SLOW)?;
        vm.log()?.wait_for(point, 0, LONG)?;
        vm.qmp()?.throttle(0, CRAWL)?;
        vm.qmp()?.press("esc")?;
        std::thread::sleep(READ);
        vm.qmp()?.throttle(0, SLOW)?;
        press(&mut vm, point, "guest: ready", 0)?;
        ensure!(
            vm.arrive(LONG)? == Arrival::Fresh,
            "it resumed all the same"
        );
        let why = "loading was stopped on request; the image is kept";
        expect_result(&mut vm, -125, &[why])?;
        let image = get(&mut vm, "image")?;
        ensure!(
            image.contains("state: committed") && image.contains("attempts: 0"),
            "the image is {image}"
        );
        is_given_back(&mut vm)?;
        vm.power_off()?;
    }
    resume(&mut vm)?;
    vm.assert_clean()
}
