// SPDX-License-Identifier: GPL-2.0

//! The command `dormouse` in a real guest.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Hibernated, Vm};

use crate::encryption;
use crate::image::{runs, Part};
use crate::steps::{boot_fresh, expect_result, expect_type, get, resume};
use crate::{Lab, Scenario};

mod cores;

use self::cores::Planted;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "command",
        "status, config, doctor, hibernate, watch and abort of the command do what they say",
        command,
    ),
    Scenario::new(
        "image-offline",
        "images of the kernel, verified and erased by the command without it, encrypted ones too",
        offline,
    ),
];

/// Runs `dormouse ARGS`, which has to end with `code` and say `part`.
fn fails(vm: &mut Vm, args: &str, code: i32, part: &str) -> Result<()> {
    let output = vm.try_run(&format!("dormouse {args}"))?;
    ensure!(
        output.code == code && output.text.contains(part) && output.text.lines().count() == 1,
        "'dormouse {args}' gave {} '{}' instead of {code} and '{part}'",
        output.code,
        output.text.trim()
    );
    Ok(())
}

/// Runs `dormouse ARGS`, which has to say all of `parts`.
fn says(vm: &mut Vm, args: &str, parts: &[&str]) -> Result<String> {
    let text = vm.run(&format!("dormouse {args}"))?;
    for part in parts {
        ensure!(
            text.contains(part),
            "'dormouse {args}' does not say '{part}': {text}"
        );
    }
    Ok(text)
}

fn settings(vm: &mut Vm) -> Result<()> {
    says(vm, "config set compressor=lzo threads=2", &["done"])?;
    fails(
        vm,
        "config set writer=tape compressor=lz4",
        1,
        "nothing was changed",
    )?;
    fails(
        vm,
        "config set compressor=lz4 threads=65",
        1,
        "nothing was changed",
    )?;
    fails(vm, "config set threads=two", 2, "unsigned number")?;
    says(vm, "config get compressor", &["lzo\n"])?;
    vm.run("mkdir -p /etc")?;
    says(vm, "config save", &["/etc/dormouse.toml"])?;
    says(
        vm,
        "config set compressor=none threads=0 image_size_limit=1G",
        &["done"],
    )?;
    says(vm, "config apply", &["done"])?;
    says(
        vm,
        "config get",
        &["compressor=lzo\n", "threads=2\n", "image_size_limit=0\n"],
    )?;
    Ok(())
}

/// Saves and restores in the same boot, seen by `watch`.
fn in_place(vm: &mut Vm) -> Result<()> {
    // Not into a file in memory: that is as it was at the snapshot afterwards.
    vm.run("dormouse watch --stay-awake > /dev/kmsg 2>&1 & sleep 1")?;
    says(
        vm,
        "hibernate --mode test_resume --compressor zstd",
        &["the system is back: saved", "loaded in"],
    )?;
    vm.run("guest work verify")?;
    says(vm, "config get compressor", &["lzo\n"])?;
    says(
        vm,
        "bench --yes --compressor none",
        &["saved in", "\nnone ", " MB/s"],
    )?;
    says(vm, "config get compressor", &["lzo\n"])?;
    let modes = vm.run("cat /sys/power/disk")?;
    ensure!(
        modes.contains("[platform]"),
        "the mode was not put back: {modes}"
    );
    vm.run("until [ -z \"$(cat /sys/power/hibernate/keep_running)\" ]; do sleep 1; done")?;
    let log = vm.log()?;
    for part in ["writing: ", " MB/s", "tidying up"] {
        ensure!(log.contains(part), "watch did not show '{part}'");
    }
    Ok(())
}

fn refused(vm: &mut Vm) -> Result<()> {
    fails(vm, "abort", 3, "no hibernation or resume is under way")?;
    fails(vm, "resume /dev/vda", 3, "there is no image")?;
    fails(vm, "watch --now", 3, "no cycle is under way")?;
    vm.run("swapoff /dev/vda")?;
    fails(vm, "hibernate --mode test_resume", 1, "not hibernated: ")?;
    vm.run("swapon /dev/vda")?;
    answers(vm)?;
    // Nobody but root.
    vm.run(
        "mkdir -p /etc; echo root:x:0:0::/:/bin/sh > /etc/passwd; echo dora:x:1000:1000::/:/bin/sh >> /etc/passwd",
    )?;
    for args in [
        "status",
        "doctor",
        "hibernate",
        "resume",
        "abort",
        "watch --now",
        "config get",
        "config set threads=1",
        "key status",
        "key clear",
        "bench --yes",
        "image info /dev/vda",
        "image erase /dev/vda --yes",
    ] {
        let output = vm.try_run(&format!("su -s /bin/sh -c '/bin/dormouse {args}' dora"))?;
        ensure!(
            output.code == 6 && output.text.contains("only root"),
            "'{args}' as a user: {} {}",
            output.code,
            output.text
        );
    }
    Ok(())
}

/// What cannot be done: one line, the exit code of the manual, and the kernel goes on.
fn answers(vm: &mut Vm) -> Result<()> {
    vm.run("head -c 100000 /dev/urandom > /tmp/garbage")?;
    for (args, code, part) in [
        ("resume /dev/nowhere", 1, "there is no device /dev/nowhere"),
        ("resume nowhere", 2, "a target is auto"),
        ("hibernate --mode nap", 2, "there is no mode"),
        (
            "hibernate --target /dev/nowhere --mode test_resume",
            1,
            "/dev/nowhere",
        ),
        ("hibernate --writer tape", 1, "nothing was changed"),
        ("hibernate --frob", 2, "unexpected argument"),
        ("config get colour", 2, "there is no setting"),
        ("config get tape.speed", 2, "does not know"),
        ("image info /dev/nowhere", 1, "cannot be read"),
        ("image info /tmp/garbage", 3, "no mark of Dormouse"),
        (
            "image verify /dev/vda",
            3,
            "there is no image: /dev/vda says",
        ),
        ("image erase nbd://127.0.0.1/x --yes", 1, "cannot be read: "),
        (
            "image extract /tmp/garbage /tmp/core",
            3,
            "no mark of Dormouse",
        ),
        (
            "key unlock --device /dev/vda --stdin",
            3,
            "there is no image: /dev/vda says",
        ),
        ("bench --yes --compressor tape", 1, "nothing was changed"),
        ("bench", 1, "say --yes"),
    ] {
        fails(vm, args, code, part)?;
    }
    // Nobody reads it: no error.
    for args in ["status", "doctor", "config get", "key status"] {
        let code = vm.run(&format!(
            "(dormouse {args} 2>&1; echo $? > /tmp/code) | true; cat /tmp/code"
        ))?;
        ensure!(code.trim() == "0", "'{args}' into a closed pipe: {code}");
    }
    says(
        vm,
        "config get compressor writer target",
        &["=lzo\n", "=swap\n", "=auto\n"],
    )?;
    Ok(())
}

fn doctor(vm: &mut Vm) -> Result<()> {
    says(
        vm,
        "doctor",
        &[
            "ok    hibernation the kernel allows it\n",
            "ok    modules     found dormouse_swap, dormouse_lz4\n",
            "ok    target      swap space on /dev/vda, ",
            "ok    room        ",
            "ok    resume      the next boot looks on /dev/vda\n",
            "ok    image       none waits to be resumed\n",
        ],
    )?;
    vm.run("swapoff /dev/vda && echo 0 > /sys/power/hibernate/enabled")?;
    let output = vm.try_run("dormouse doctor")?;
    ensure!(
        output.code == 1,
        "all is well without swap space: {}",
        output.text
    );
    for part in [
        "FAIL  enabled     systemctl hibernate uses swsusp",
        "FAIL  target      there is no free swap space",
        "not ready: enabled, target, room",
    ] {
        ensure!(output.text.contains(part), "no '{part}' in {}", output.text);
    }
    vm.run("swapon /dev/vda && dormouse config set enabled=1")?;
    Ok(())
}

/// Runs `dormouse image ARGS` on the host, over the first disk of a guest that is off.
fn image(lab: &Lab, vm: &Vm, args: &str, input: &str) -> Result<(i32, String)> {
    let (word, options) = args.split_once(' ').unwrap_or((args, ""));
    let mut child = Command::new(&lab.system.client)
        .args(["image", word])
        .arg(vm.get_disk(0)?.path())
        .args(options.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the command")?;
    // It may end without reading.
    let _ = child
        .stdin
        .take()
        .context("no pipe")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().unwrap_or(-1), text))
}

/// The same, with the exit code and words that are expected.
fn finds(lab: &Lab, vm: &Vm, args: &str, input: &str, code: i32, parts: &[&str]) -> Result<()> {
    let (found, text) = image(lab, vm, args, input)?;
    let missing = parts.iter().find(|part| !text.contains(**part));
    ensure!(
        found == code && missing.is_none(),
        "'image {args}' gave {found} instead of {code}, without {missing:?}: {text}"
    );
    Ok(())
}

/// Makes a core of the image, and finds in it what is at known places in memory.
fn extracted(lab: &Lab, vm: &Vm, planted: &Planted) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("core");
    let args = format!("extract {}", path.display());
    finds(lab, vm, &args, "", 0, &["the kernel was moved by 0x"])?;
    cores::check(&path, planted)
}

fn offline(lab: &Lab) -> Result<()> {
    let mut vm = encryption::unlocking(lab.sleepy()?);
    let planted = cores::plant(&mut vm)?;
    vm.hibernate()?;
    finds(
        lab,
        &vm,
        "info",
        "",
        0,
        &[
            "state           committed\n",
            "made with       lz4; written by swap",
        ],
    )?;
    finds(lab, &vm, "verify", "", 0, &["good: checked "])?;
    extracted(lab, &vm, &planted)?;
    // A bit in the middle of what the image takes.
    let data = runs(vm.get_disk(0)?)?;
    let data = data
        .iter()
        .rfind(|run| run.part == Part::Data)
        .context("no data")?;
    let at = data.at + data.len / 2;
    let flip = |vm: &Vm| -> Result<()> {
        let mut byte = vm.get_disk(0)?.read(at, 1)?;
        byte[0] ^= 4;
        vm.get_disk(0)?.write(at, &byte)
    };
    flip(&vm)?;
    finds(
        lab,
        &vm,
        "verify",
        "",
        4,
        &["does not match its checksum", "the image is damaged"],
    )?;
    flip(&vm)?;
    resume(&mut vm)?;

    says(&mut vm, "config set compressor=zstd", &["done"])?;
    vm.run(&format!(
        "echo '{}' | dormouse key set --stdin {}",
        encryption::PASSPHRASE,
        encryption::CHEAP
    ))?;
    vm.hibernate()?;
    let made = "made with       zstd, then aes-gcm; written by swap";
    finds(
        lab,
        &vm,
        "info",
        "",
        0,
        &[made, "logon:dormouse:passphrase"],
    )?;
    finds(
        lab,
        &vm,
        "verify --no-key",
        "",
        0,
        &["not checked: what is in the frames"],
    )?;
    finds(
        lab,
        &vm,
        "verify --stdin",
        encryption::PASSPHRASE,
        0,
        &["good: checked ", "all tags"],
    )?;
    finds(
        lab,
        &vm,
        "verify --stdin",
        "another",
        1,
        &["does not open the image"],
    )?;
    finds(lab, &vm, "erase", "", 1, &["say --yes"])?;
    expect_type(&vm, 0, "swsuspend")?;
    finds(lab, &vm, "erase --yes", "", 0, &["has no image any more"])?;
    expect_type(&vm, 0, "swap")?;
    finds(
        lab,
        &vm,
        "verify",
        "",
        3,
        &["is a swap area without an image"],
    )?;
    boot_fresh(&mut vm)?;
    vm.run("swapon /dev/vda")?;
    vm.assert_clean()
}

fn command(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    says(
        &mut vm,
        "status",
        &[
            "enabled           yes",
            "lz4 (of none",
            "swap space on /dev/vda holds",
        ],
    )?;
    doctor(&mut vm)?;
    settings(&mut vm)?;
    in_place(&mut vm)?;
    refused(&mut vm)?;

    let save = "dormouse hibernate > /tmp/came-back 2>&1";
    match vm.hibernate_by(save)? {
        Hibernated::PoweredOff => {}
        _ => bail!("it came back: {}", vm.run("cat /tmp/came-back")?),
    }
    let made = "made with       lzo; written by swap";
    finds(lab, &vm, "info", "", 0, &[made])?;
    finds(lab, &vm, "verify", "", 0, &["good: checked "])?;
    resume(&mut vm)?;
    let said = vm.run("until [ -s /tmp/came-back ]; do sleep 1; done; cat /tmp/came-back")?;
    let result = expect_result(&mut vm, 0, &["the system is back: saved"])?;
    ensure!(result.ends_with(said.trim_end()), "{said} is not {result}");
    ensure!(
        !get(&mut vm, "image")?.contains("state: committed"),
        "there still is an image"
    );
    vm.assert_clean()
}
