// SPDX-License-Identifier: GPL-2.0

//! The netlink family, asked by the kernel tree's own client, unchanged.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Hibernated, Vm};
use serde_json::Value;

use crate::steps::{expect_result, get, prepare, refused, resume, set, with_program, FOLDER};
use crate::{Lab, Scenario};

mod python;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "netlink-client",
        "the kernel's cli.py asks for everything, hears of a save and stops it, and needs a right for that",
        client,
    )
    .with_build(),
    Scenario::new(
        "netlink-events",
        "a listener that runs on hears of every step, and one that never reads holds up nothing",
        events,
    )
    .with_build(),
    Scenario::long(
        "netlink-removed",
        "the module is removed in the middle of a save, which goes on",
        removed,
    )
    .with_build(),
];

/// Messages that `ui/` tells in a second, at most.
const MOST_PER_SECOND: u64 = 5;

/// The client, for a shell; its options follow.
const CLI: &str =
    "chroot /py /usr/bin/python3 /ynl/cli.py --spec /hibernate.yaml --no-schema --output-json";

/// Whether somebody is in a group of generic netlink.
const LISTENS: &str =
    r#"awk '$2 == 16 && $4 != "00000000" { found = 1 } END { exit !found }' /proc/net/netlink"#;

/// What a program writes when it is ready.
const READY: &str = "ynl: ready";

/// Stops the cycle as soon as the image is written.
const ABORT: &str = r#"
from lib import YnlFamily
family = YnlFamily("/hibernate.yaml", "")
print("ynl: ready", flush=True)
while family.do("get-state", {})["step"] != "write":
    pass
family.do("abort", {})
"#;

/// Prints what is told, as it comes.
const WATCH: &str = r#"
import json, select
from lib import YnlFamily
family = YnlFamily("/hibernate.yaml", "")
family.ntf_subscribe("events")
print("ynl: ready", flush=True)
while True:
    select.select([family.sock], [], [])
    family.check_ntf()
    for event in family.async_msg_queue:
        print("ynl:", json.dumps(event), flush=True)
    family.async_msg_queue.clear()
"#;

/// Listens with next to no room, and looks only when it is told to.
const DEAF: &str = r#"
import os, select, socket, time
from lib import YnlFamily
family = YnlFamily("/hibernate.yaml", "")
family.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
family.ntf_subscribe("events")
print("ynl: ready", flush=True)
while not os.path.exists("/tmp/look"):
    time.sleep(0.1)
try:
    family.check_ntf()
    print("ynl: nothing was lost", flush=True)
except OSError as error:
    print("ynl: errno", error.errno, flush=True)
"#;

/// Waits until an image is written and takes the module away.
const REMOVE: &str = r#"#!/bin/sh
cd /sys/power/hibernate
until read -r now < state && [ "$now" = write ]; do :; done
rmmod dormouse_netlink && echo "ynl: removed in $now" > /dev/kmsg
"#;

/// A booted machine with swap space on its first disk, a workload, and Python
/// with the kernel's client on the second.
fn machine(lab: &Lab) -> Result<Vm> {
    let vm = with_program(lab.small().swap_disk("512M")?, "/usr/bin/setpriv")?;
    let vm = vm.disk("64M")?.file("/bin/remove", 0o755, REMOVE);
    // Programs write to the kernel log as often as they like.
    let mut vm = vm.append("printk.devkmsg=on");
    let scripts = [("abort", ABORT), ("watch", WATCH), ("deaf", DEAF)];
    python::install(lab, vm.get_disk(1)?.path(), &scripts)?;
    vm.boot()?;
    vm.run("swapon /dev/vda && mkdir /py && mount -t ext4 -o ro /dev/vdb /py")?;
    vm.run("mount -t tmpfs tmp /py/tmp")?;
    prepare(&mut vm)?;
    Ok(vm)
}

/// Runs the client and reads what it prints.
fn ask(vm: &mut Vm, options: &str) -> Result<Value> {
    let text = vm.run(&format!("{CLI} {options}"))?;
    serde_json::from_str(text.trim()).with_context(|| format!("{options}: {text}"))
}

/// Starts script `name`, whose output goes to `out`, keeps it running, and
/// waits until it is ready.
fn start(vm: &mut Vm, name: &str, out: &str) -> Result<()> {
    vm.run(&format!(
        "chroot /py /usr/bin/python3 /ynl/{name}.py > {out} 2>&1 < /dev/null & \
         echo $(cat {FOLDER}/keep_running) $! > {FOLDER}/keep_running"
    ))?;
    if out == "/dev/kmsg" {
        vm.log()?.wait_for(READY, 0, Duration::from_secs(60))?;
    } else {
        vm.run(&format!(
            "until grep -q '{READY}' {out}; do sleep 0.2; done"
        ))?;
    }
    Ok(())
}

/// The number that `attribute` of `message` is.
fn number(message: &Value, attribute: &str) -> Result<u64> {
    message[attribute]
        .as_u64()
        .with_context(|| format!("no number {attribute}: {message}"))
}

fn client(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab)?;
    let state = ask(&mut vm, "--do get-state")?;
    ensure!(
        state["step"] == "idle" && state["target"] == "auto" && state.get("rate").is_none(),
        "the state is {state}"
    );
    set(&mut vm, "image_size_limit", "8G")?;
    let settings = ask(&mut vm, "--do get-settings")?;
    ensure!(
        settings["compressor"] == "lz4"
            && settings["encryptor"] == "none"
            && settings["writer"] == "swap"
            && settings["enabled"] == 1
            && settings["image-size-limit"] == 8u64 << 30,
        "the settings are {settings}"
    );
    set(&mut vm, "image_size_limit", "0")?;
    rights(&mut vm)?;

    // Frozen in the save, and thawed again when it is stopped.
    vm.run(&format!(
        "{CLI} --subscribe events --sleep 20 > /tmp/events 2>&1 < /dev/null &"
    ))?;
    vm.run(&format!("until {LISTENS}; do sleep 0.2; done"))?;
    start(&mut vm, "abort", "/tmp/abort")?;
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) if output.text.contains("Operation canceled") => {}
        other => bail!("the save was not stopped: {other:?}"),
    }
    set(&mut vm, "keep_running", "")?;
    let last = expect_result(
        &mut vm,
        -125,
        &["stopped on request while the image was written"],
    )?;
    let result = ask(&mut vm, "--do get-result")?;
    let told = result["sentence"].as_str().context("no sentence")?;
    ensure!(
        result["errno"] == -125 && result["step"] == "write" && last.ends_with(told),
        "the result is {result}"
    );
    let stats = ask(&mut vm, "--do get-stats")?;
    let saveable = number(&stats, "saveable-pages")?.to_string();
    ensure!(
        get(&mut vm, "stats")?.contains(&format!("saveable_pages: {saveable}\n")),
        "the statistics are {stats}"
    );

    let text = vm.run("until [ -s /tmp/events ]; do sleep 0.2; done; cat /tmp/events")?;
    let events: Vec<Value> =
        serde_json::from_str(text.trim()).with_context(|| format!("events: {text}"))?;
    ensure!(
        steps(&events) == ["begin", "prepare", "snapshot", "write", "idle"],
        "the steps are {text}"
    );
    let results = events.iter().filter(|one| one["name"] == "result-ntf");
    let results: Vec<_> = results.map(|one| &one["msg"]).collect();
    ensure!(results == [&result], "the results are {text}");
    vm.run("guest work verify")?;
    vm.assert_clean()
}

/// Who may stop a cycle, and when there is none to stop.
fn rights(vm: &mut Vm) -> Result<()> {
    refused(vm, &format!("{CLI} --do abort"), "Invalid argument")?;
    // All rights but this one: CAP_NET_ADMIN is not enough.
    let limited = format!("/usr/bin/setpriv --bounding-set=-sys_admin {CLI}");
    refused(vm, &format!("{limited} --do abort"), "not permitted")?;
    // To look needs none.
    vm.run(&format!("{limited} --do get-state")).map(|_| ())
}

/// The steps that are told of in `events`.
fn steps(events: &[Value]) -> Vec<&str> {
    let events = events.iter().filter(|one| one["name"] == "step-ntf");
    events
        .filter_map(|one| one["msg"]["step"].as_str())
        .collect()
}

/// The events that were printed to the kernel log of the present boot.
fn printed(vm: &Vm) -> Result<Vec<Value>> {
    let lines = vm.log()?.lines();
    let events = lines.iter().filter_map(|line| line.split_once("ynl: {"));
    events
        .map(|(_, rest)| {
            serde_json::from_str(&format!("{{{rest}")).with_context(|| format!("event {rest}"))
        })
        .collect()
}

fn events(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab)?;
    start(&mut vm, "deaf", "/tmp/deaf")?;
    start(&mut vm, "watch", "/dev/kmsg")?;
    vm.hibernate()?;
    let events = printed(&vm)?;
    ensure!(
        steps(&events) == ["begin", "prepare", "snapshot", "write", "power-down"],
        "the steps are {events:?}"
    );
    progress(&events)?;
    let results = events.iter().filter(|one| one["name"] == "result-ntf");
    let results: Vec<_> = results.collect();
    ensure!(
        matches!(results[..], [one] if one["msg"]["errno"] == 0),
        "the results are {results:?}"
    );

    resume(&mut vm)?;
    vm.log()?
        .wait_for("\"idle\"", 0, Duration::from_secs(60))
        .context("the resumed listener heard nothing of the end")?;
    let events = printed(&vm)?;
    ensure!(
        steps(&events).ends_with(&["resumed", "idle"]),
        "the steps of the resume are {events:?}"
    );
    vm.run("touch /py/tmp/look; until grep -q -e errno -e lost /tmp/deaf; do sleep 0.2; done")?;
    let text = vm.run("cat /tmp/deaf")?;
    // ENOBUFS
    ensure!(text.contains("errno 105"), "it heard everything: {text}");
    vm.assert_clean()
}

/// Checks the messages about how far a save is.
fn progress(events: &[Value]) -> Result<()> {
    let events = events.iter().filter(|one| one["name"] == "progress-ntf");
    let all: Vec<_> = events.map(|one| &one["msg"]).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        bail!("nothing was told of progress");
    };
    let total = number(first, "pages-total")?;
    ensure!(
        number(first, "pages-done")? == 0
            && number(last, "pages-done")? == total
            && number(last, "remaining-ms")? == 0,
        "from {first} to {last}"
    );
    let mut before = 0;
    for one in &all {
        let done = number(one, "pages-done")?;
        ensure!(
            one["step"] == "write" && done >= before && number(one, "pages-total")? == total,
            "out of order: {one}"
        );
        before = done;
    }
    // Those at the beginning and at the end are free.
    let most = number(last, "elapsed-ms")? * MOST_PER_SECOND / 1000 + 3;
    ensure!(all.len() as u64 <= most, "{} messages: {last}", all.len());
    let average = number(last, "average-rate")? / 4096 * number(last, "elapsed-ms")? / 1000;
    ensure!(
        average.abs_diff(total) <= total / 50,
        "the average is not that of {total} pages: {last}"
    );
    Ok(())
}

fn removed(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab)?;
    vm.run(&format!("/bin/remove & echo $! > {FOLDER}/keep_running"))?;
    vm.hibernate()?;
    vm.log()?
        .wait_for("ynl: removed in write", 0, Duration::from_secs(1))?;
    resume(&mut vm)?;
    vm.run(&format!("kill $(cat {FOLDER}/keep_running)"))?;
    // It is as it was at the time of the snapshot.
    let state = ask(&mut vm, "--do get-state")?;
    ensure!(state["pages-done"].is_u64(), "the state is {state}");
    vm.assert_clean()
}
