// SPDX-License-Identifier: GPL-2.0

//! Encrypted images: they come back with the right key, and with nothing else.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_host::fuzzing::seal_frame;
use dormouse_host::image::{header, wire, BLOCK, CHUNK_BYTES};
use dormouse_vm::{Disk, Vm};

use crate::damage::Asleep;
use crate::image::Part;
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, resume, set, there_and_back,
    went_on, with_program, FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

mod secrets;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "encrypted-aes-gcm",
        "passphrase set, asked for in the initramfs, memory back as it was, twice",
        |lab| cycle(lab, "aes-gcm"),
    ),
    Scenario::long(
        "encrypted-chacha20-poly1305",
        "the same with the other cipher",
        |lab| cycle(lab, "chacha20-poly1305"),
    ),
    Scenario::new(
        "wrong-passphrase",
        "no key, then a wrong one: refused and kept; then the right one resumes",
        wrong_passphrase,
    ),
    Scenario::new(
        "encryptor-without-key",
        "an encryptor without a key: refused before anything is frozen",
        without_key,
    ),
    Scenario::new(
        "key-ends",
        "a key too short, revoked, expired: refused; one that left its keyring still works",
        key_ends,
    ),
    Scenario::new(
        "downgrade",
        "an image in clear is refused and kept where the settings ask for encryption",
        downgrade,
    ),
    Scenario::new(
        "snapshot-device",
        "with an encryptor nothing hibernates around Dormouse through /dev/snapshot; without one it can",
        snapshot_device,
    ),
    Scenario::new(
        "encrypted-damaged",
        "a flipped bit in any part of an encrypted image: not resumed",
        damaged,
    ),
    Scenario::new(
        "encrypted-forged",
        "changes with good checksums in header, commit record and a frame: not resumed",
        forged,
    ),
    Scenario::new(
        "secrets",
        "planted key and passphrase: in a plain image, in no encrypted one, nor in log or sysfs",
        secrets::hidden,
    ),
    Scenario::long(
        "secrets-swapped",
        "what is swapped out before is in clear in swap space, and not where the image is",
        secrets::swapped,
    ),
];

/// What /init does before it looks for an image, if it is told to.
const UNLOCK: &str = "\
[ -n \"$(option dm.target)\" ] && option dm.target > /sys/power/hibernate/target
[ -n \"$(option dm.encryptor)\" ] && option dm.encryptor > /sys/power/hibernate/encryptor
[ -n \"$(option dm.unlock)\" ] && dormouse key unlock --stdin < /etc/passphrase
";

/// What everything here is encrypted with.
pub const PASSPHRASE: &str = "seven sleepers under one teapot";

/// Costs that an emulated processor can bear.
pub const CHEAP: &str = "--memory-mib 16 --passes 1 --lanes 1";

/// Kernel argument that makes /init of a machine that is [`unlocking`] give the passphrase.
pub const UNLOCK_OPTION: &str = "dm.unlock=1";

const UNLOCKED: &str = "resume=/dev/vda dm.resume=1 dm.unlock=1";

/// Adds to `vm` what gives the passphrase of an image before it is looked for.
pub fn unlocking(vm: Vm) -> Vm {
    vm.file("/etc/unlock", 0o755, UNLOCK)
        .file("/etc/passphrase", 0o600, PASSPHRASE)
}

fn machine(lab: &Lab) -> Result<Vm> {
    unlocking(lab.small()).swap_disk("512M")
}

/// Shell commands that make a machine encrypt images from now on, with the
/// passphrase in /etc/passphrase and a key that costs little.
pub fn set_key_script(encryptor: &str) -> String {
    format!("dormouse key set --stdin {CHEAP} --encryptor {encryptor} < /etc/passphrase")
}

/// Encrypts images from now on.
///
/// # Errors
///
/// When the guest refuses.
pub fn set_key(vm: &mut Vm, encryptor: &str) -> Result<()> {
    vm.run(&set_key_script(encryptor))?;
    Ok(())
}

/// A machine with a workload that will hibernate encrypted.
///
/// # Errors
///
/// When something of that fails.
pub fn sleepy(lab: &Lab, encryptor: &str) -> Result<Vm> {
    let mut vm = machine(lab)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set_key(&mut vm, encryptor)?;
    vm.set_append(UNLOCKED);
    Ok(vm)
}

fn cycle(lab: &Lab, encryptor: &str) -> Result<()> {
    let mut vm = sleepy(lab, encryptor)?;
    let status = vm.run("dormouse key status")?;
    let expected = format!("encryptor: {encryptor}\nkey: logon:dormouse:passphrase\nimage: none\n");
    ensure!(status == expected, "status: {status}");
    for _ in 0..2 {
        there_and_back(&mut vm)?;
    }
    // And in the same boot, where the kernel that loads it still has all keys.
    vm.run("echo test_resume > /sys/power/disk && echo disk > /sys/power/state")?;
    vm.run("guest work verify")?;
    expect_result(&mut vm, 0, &["the system is back: saved", "loaded in"])?;
    vm.assert_clean()
}

/// Asks the running system to resume, and checks that the one that hibernated is back.
///
/// # Errors
///
/// When it is not.
pub fn resume_now(vm: &mut Vm) -> Result<()> {
    let from = vm.log()?.len();
    vm.send(&format!("echo 1 > {FOLDER}/resume"))?;
    // Then the agent of the new system is gone.
    let timeout = Duration::from_secs(120);
    vm.log()?.wait_for("kB of memory in", from, timeout)?;
    let arrival = vm.arrive(timeout)?;
    went_on(vm, arrival)
}

fn wrong_passphrase(lab: &Lab) -> Result<()> {
    let mut vm = sleepy(lab, "aes-gcm")?;
    vm.hibernate()?;

    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    let needs = "the image needs key logon:dormouse:passphrase, and no key is configured";
    expect_result(&mut vm, -126, &[needs, "dormouse key unlock", "it is kept"])?;
    let shown = get(&mut vm, "image")?;
    for part in [
        "state: committed",
        "encryptor: aes-gcm",
        "key: logon:dormouse:passphrase",
        "hint: argon2id:v=19,m=16384,t=1,p=1,salt=",
    ] {
        ensure!(shown.contains(part), "no '{part}' in {shown}");
    }
    let status = vm.run("dormouse key status")?;
    ensure!(
        status.contains("image: encrypted by aes-gcm, needs logon:dormouse:passphrase"),
        "status: {status}"
    );
    let again = format!("echo 1 > {FOLDER}/resume");
    for wrong in ["eight sleepers under one teapot", "x"] {
        vm.run(&format!("echo '{wrong}' | dormouse key unlock --stdin"))?;
        refused(&mut vm, &again, "Key was rejected")?;
        expect_result(
            &mut vm,
            -129,
            &["does not open the image", "it is another key", "it is kept"],
        )?;
    }
    refused(&mut vm, "echo | dormouse key unlock --stdin", "is empty")?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed\n"),
        "the image was not kept"
    );
    expect_type(&vm, 0, "swsuspend")?;
    // The command knows before the kernel, if it looks at the device itself.
    let device = "dormouse key unlock --device /dev/vda --stdin";
    refused(&mut vm, &format!("echo x | {device}"), "wrong passphrase")?;
    vm.run(&format!("{device} < /etc/passphrase"))?;
    resume_now(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    // The restored system still has its key.
    vm.set_append(UNLOCKED);
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn without_key(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "encryptor", "aes-gcm")?;
    let before = vm.log()?.len();
    refused(
        &mut vm,
        "echo disk > /sys/power/state",
        "Required key not available",
    )?;
    let result = expect_result(&mut vm, -126, &["encryptor aes-gcm has no key", "key set"])?;
    ensure!(result.starts_with("-126 begin "), "{result}");
    let lines = vm.log()?.lines();
    ensure!(
        !lines[before..].iter().any(|line| line.contains("Freezing")),
        "something was frozen"
    );
    for (value, message) in [
        ("logon:dormouse:nothing", "Required key not available"),
        ("nonsense", "Invalid argument"),
        ("logon:", "Invalid argument"),
        ("", "Invalid argument"),
    ] {
        refused(&mut vm, &format!("echo '{value}' > {FOLDER}/key"), message)?;
        ensure!(get(&mut vm, "key")? == "none", "there is a key");
    }
    refused(
        &mut vm,
        &format!("echo x > {FOLDER}/hint"),
        "Required key not available",
    )?;
    set_key(&mut vm, "aes-gcm")?;
    vm.run("dormouse key clear")?;
    ensure!(get(&mut vm, "key")? == "none", "there still is a key");
    ensure!(
        get(&mut vm, "encryptor")?.starts_with("[none]"),
        "there still is an encryptor"
    );
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn key_ends(lab: &Lab) -> Result<()> {
    let mut vm = with_program(machine(lab)?, "/bin/keyctl")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    let add = |vm: &mut Vm, bytes: usize| -> Result<String> {
        let secret = "k".repeat(bytes);
        let id = vm.run(&format!(
            "printf '%s' {secret} | /bin/keyctl padd user dormouse:test @u"
        ))?;
        Ok(id.trim().to_string())
    };
    let set_it = format!("echo user:dormouse:test > {FOLDER}/key");
    for bytes in [31, 1025] {
        add(&mut vm, bytes)?;
        refused(&mut vm, &set_it, "Invalid argument")?;
    }
    set(&mut vm, "encryptor", "aes-gcm")?;
    vm.run("echo test_resume > /sys/power/disk")?;
    let save = "echo disk > /sys/power/state";
    for (end, errno, message) in [
        ("revoke", -128, "Key has been revoked"),
        ("timeout", -127, "Key has expired"),
    ] {
        let id = add(&mut vm, 32)?;
        vm.run(&set_it)?;
        let seconds = if end == "timeout" { "1" } else { "" };
        vm.run(&format!("/bin/keyctl {end} {id} {seconds} && sleep 2"))?;
        refused(&mut vm, save, message)?;
        expect_result(
            &mut vm,
            errno,
            &["the configured key user:dormouse:test cannot be used any more"],
        )?;
    }
    let id = add(&mut vm, 1024)?;
    vm.run(&set_it)?;
    vm.run(&format!("/bin/keyctl unlink {id} @u"))?;
    refused(&mut vm, &set_it, "Required key not available")?;
    vm.run(save)?;
    vm.run("guest work verify")?;
    expect_result(&mut vm, 0, &["the system is back: saved"])?;
    vm.assert_clean()
}

/// An image in clear was refused and kept, because the settings ask for aes-gcm.
pub fn refuses_clear(vm: &mut Vm) -> Result<()> {
    let why = "the setting encryptor is aes-gcm, and the image was made with none; it is kept";
    expect_result(vm, -1, &[why]).map(|_| ())
}

fn downgrade(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab)?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    vm.set_append(&format!("{FIRST_DISK} dm.encryptor=aes-gcm"));
    boot_fresh(&mut vm)?;
    refuses_clear(&mut vm)?;
    vm.power_off()?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.set_append(FIRST_DISK);
    resume(&mut vm)?;
    vm.assert_clean()
}

fn snapshot_device(lab: &Lab) -> Result<()> {
    // Opening it is all that a program has to do to be let hibernate, or restore.
    const OPEN: [(&str, &str); 2] = [
        (": < /dev/snapshot", "saved"),
        (": > /dev/snapshot", "restored"),
    ];
    let mut vm = lab.sleepy()?;
    set(&mut vm, "encryptor", "aes-gcm")?;
    for (open, what) in OPEN {
        refused(&mut vm, open, "Operation not permitted")?;
        let sentence = format!("an image in clear was about to be {what} without Dormouse");
        expect_result(&mut vm, -1, &[&sentence])?;
    }
    set(&mut vm, "encryptor", "none")?;
    for (open, _) in OPEN {
        vm.run(open)?;
    }
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn damaged(lab: &Lab) -> Result<()> {
    Asleep::of(sleepy(lab, "aes-gcm")?)?.refuses_each(&[
        Part::Header,
        Part::Commit,
        Part::Root,
        Part::Index,
        Part::Data,
    ])
}

fn at_of(asleep: &Asleep, part: Part) -> Result<u64> {
    let run = asleep.runs.iter().find(|run| run.part == part);
    Ok(run.context("no such part")?.at)
}

/// Changes a part of the image on `disk`, and makes its seal right.
fn forge(
    disk: &Disk,
    at: u64,
    len: usize,
    crc_at: usize,
    change: impl Fn(&mut [u8]),
) -> Result<()> {
    let mut bytes = disk.read(at, len)?;
    change(&mut bytes);
    wire::seal(&mut bytes, crc_at).map_err(|e| anyhow::anyhow!("{e}"))?;
    disk.write(at, &bytes)
}

fn forged(lab: &Lab) -> Result<()> {
    let mut asleep = Asleep::of(sleepy(lab, "aes-gcm")?)?;
    let (header_at, commit_at) = (at_of(&asleep, Part::Header)?, at_of(&asleep, Part::Commit)?);
    let data_at = at_of(&asleep, Part::Data)?;
    let altered = "a part of the image was altered: it does not match its tag";

    // The header says another amount of memory, and the commit record knows.
    let disk = asleep.vm.get_disk(0)?;
    let total = u32::from_le_bytes(disk.read(header_at + 16, 4)?.try_into().unwrap_or_default());
    forge(disk, header_at, total as usize, header::CRC_AT, |header| {
        header[376] ^= 1;
    })?;
    let crc = disk.read(header_at + header::CRC_AT as u64, 4)?;
    forge(disk, commit_at, BLOCK, 12, |commit| {
        commit[100..104].copy_from_slice(&crc);
    })?;
    asleep.refused_with(&[altered])?;

    // One byte less is said to be stored.
    asleep.restore()?;
    let disk = asleep.vm.get_disk(0)?;
    forge(disk, commit_at, BLOCK, 12, |commit| commit[104] ^= 1)?;
    asleep.refused_with(&[altered])?;

    // A bit of the contents of a page; then one of where it belongs.
    for at in [1000, 64] {
        asleep.restore()?;
        let disk = asleep.vm.get_disk(0)?;
        let mut frame = disk.read(data_at, CHUNK_BYTES)?;
        frame[at] ^= 1;
        seal_frame(&mut frame).map_err(|e| anyhow::anyhow!("{e}"))?;
        disk.write(data_at, &frame)?;
        asleep.refused_with(&["a part of it fails its check"])?;
    }
    asleep.vm.power_off()?;
    asleep.restore()?;
    resume(&mut asleep.vm)?;
    asleep.vm.assert_clean()
}
