// SPDX-License-Identifier: GPL-2.0

//! `dormouse hibernate`, `resume`, `abort` and `watch`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::fake::Fake;

#[test]
fn hibernates() {
    let fake = Fake::new();
    fake.set(
        "last_result",
        "0 resumed the system is back: saved 4 kB in 1 ms, loaded in 1 ms\n",
    );
    let ran = fake.run("hibernate --compressor zstd --mode reboot");
    assert_eq!(
        ran.works(),
        "the system is back: saved 4 kB in 1 ms, loaded in 1 ms\n"
    );
    assert_eq!(fake.get("start"), "1");
    // What was for this time only is as it was.
    assert_eq!(fake.get("compressor"), "lz4");
    let disk = std::fs::read_to_string(fake.root().join("sys/power/disk")).unwrap();
    assert_eq!(disk, "platform");
    fake.put("sys/power/disk", "[platform] shutdown\n");
    let ran = fake.run("hibernate --json");
    assert_eq!(ran.json()["step"], "resumed");

    fake.set("compressor", "none [lz4]\n");
    fake.set("start", "");
    fake.run("hibernate --compressor lzo --mode sleep")
        .fails(2, "there are platform, shutdown");
    assert_eq!(
        (fake.get("start").as_str(), fake.get("compressor").as_str()),
        ("", "lz4")
    );

    fake.set("compressor", "none [lz4]\n");
    fake.set(
        "last_result",
        "-5 resumed the mark could not be taken off\n",
    );
    fake.run("hibernate")
        .fails(1, "the mark could not be taken off (-5)");
}

#[test]
fn resumes() {
    let fake = Fake::new();
    fake.put("dev/vda2", "");
    for (args, value) in [
        ("resume", "1"),
        ("resume --retry", "retry"),
        ("resume /dev/vda2", "/dev/vda2"),
        ("resume 254:2", "254:2"),
        ("resume --retry 254:2", "retry 254:2"),
        ("resume /dev/vda2 --retry", "retry /dev/vda2"),
        (
            "resume UUID=00112233-4455-6677-8899-aabbccddeeff",
            "UUID=00112233-4455-6677-8899-aabbccddeeff",
        ),
        ("resume /swapfile", "/swapfile"),
        ("resume nbd://192.0.2.1/x", "nbd://192.0.2.1/x"),
    ] {
        assert_eq!(fake.run(args).works(), "nothing was restored\n");
        assert_eq!(fake.get("resume"), value);
    }
    fake.run("resume auto").fails(2, "say where");
    fake.run("resume here").fails(2, "a target is auto, a path");
    fake.run("resume auto --retry").fails(2, "say where");
}

#[test]
fn resumes_from_no_device_that_is_not_there() {
    let fake = Fake::new();
    for args in [
        "resume /dev/nowhere",
        "ui --load /dev/nowhere --tty /dev/null",
    ] {
        fake.run(args).fails(1, "there is no device /dev/nowhere");
    }
    // The kernel was not asked.
    assert_eq!(fake.get("resume"), "");
}

#[test]
fn aborts() {
    let fake = Fake::new();
    fake.set("state", "write\n");
    assert!(fake.run("abort").works().contains("in step \"write\""));
    assert_eq!(fake.get("abort"), "1");
}

#[test]
fn watches() {
    let fake = Fake::new();
    fake.run("watch --now").fails(3, "no cycle is under way");
    fake.set("progress", "write 256 1024 1000 500\n");
    let mut child = fake
        .command()
        .arg("watch")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(
        next(),
        "writing: 25 %  1.0 MiB of 4.0 MiB, 2 MB/s, 2 s left"
    );
    fake.set("progress", "power-down 1024 1024 1000 2000\n");
    assert_eq!(next(), "going down");
    fake.set("last_result", "0 resumed the system is back: saved\n");
    fake.set("progress", "idle 1024 1024 1000 2000\n");
    assert_eq!(next(), "the system is back: saved");
    assert!(child.wait().unwrap().success());

    fake.set("last_result", "-125 write stopped on request\n");
    let ran = fake.run("watch --now --json");
    ran.fails(1, "failed in step \"write\" (-125)");
    assert_eq!(ran.json()["result"]["errno"], -125);
}

#[test]
fn stays_awake_and_takes_itself_off_the_list() {
    let fake = Fake::new();
    fake.set("keep_running", "77\n");
    fake.set("progress", "load 1 2 3 4\n");
    let mut child = fake
        .command()
        .args(["watch", "--stay-awake"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let expected = format!("77 {}", child.id());
    let mut tries = 3000;
    while fake.get("keep_running") != expected && tries > 0 {
        std::thread::sleep(Duration::from_millis(10));
        tries -= 1;
        if child.try_wait().unwrap().is_some() {
            // Whoever may not lock memory is not put on the list.
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(err.contains("cannot be kept in memory"), "{err}");
            assert_eq!(fake.get("keep_running"), "77\n");
            return;
        }
    }
    assert_eq!(fake.get("keep_running"), expected);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mut locked = status
        .lines()
        .filter_map(|line| line.strip_prefix("VmLck:"));
    let locked = locked.next().unwrap().trim();
    assert_ne!(locked, "0 kB");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    let status = child.wait_with_output().unwrap().status;
    assert!(!status.success());
    assert_eq!(fake.get("keep_running"), "77");
}
