// SPDX-License-Identifier: GPL-2.0

//! Settings on the kernel's command line.

use anyhow::{ensure, Result};
use dormouse_vm::{Arrival, Vm};

use crate::encryption::{refuses_clear, resume_now, sleepy as encrypted};
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, refused, set, there_and_back, went_on,
    with_program, FIRST_DISK, FOLDER,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "command-line",
        "settings on the kernel's command line: an image in clear is refused, nonsense is not used",
        refusals,
    ),
    Scenario::long(
        "command-line-encrypted",
        "encryptor and key from the command line alone: nothing is saved or resumed without them",
        encryption,
    ),
    Scenario::long(
        "command-line-swsusp",
        "an encryptor on the command line keeps an image of swsusp from being resumed",
        swsusp,
    ),
];

/// Values that are not used, with what the log says of them.
const NONSENSE: &[(&str, &str)] = &[
    ("compressor=LZ4", "a name has 1 to 31 of the characters"),
    ("enabled=yes", "the value is 0 or 1"),
    ("writer=", "a name has 1 to 31 of the characters"),
    ("target=disk", "a target is auto, a path"),
    ("threads=65", "at most 64"),
    ("image_size_limit=1T", "the value is an unsigned number"),
    (
        "key=secret",
        "a key is user:, logon:, trusted: or encrypted:",
    ),
];

/// Checks that everything has the value that it has without any option, but the encryptor.
fn nothing_else(vm: &mut Vm) -> Result<()> {
    for (name, value) in [
        ("enabled", "0"),
        ("target", "auto"),
        ("threads", "0"),
        ("image_size_limit", "0"),
        ("key", "none"),
    ] {
        let got = get(vm, name)?;
        ensure!(got == value, "{name} is {got}");
    }
    let got = get(vm, "compressor")?;
    ensure!(got.starts_with("[none]"), "compressor is {got}");
    Ok(())
}

fn refusals(lab: &Lab) -> Result<()> {
    let mut vm = lab.sleepy()?;
    vm.hibernate()?;
    let options = NONSENSE
        .iter()
        .map(|(option, _)| format!("dormouse.{option}"));
    let options = options.collect::<Vec<_>>().join(" ");
    vm.set_append(&format!(
        "{FIRST_DISK} dormouse.encryptor=aes-gcm {options}"
    ));
    boot_fresh(&mut vm)?;
    refuses_clear(&mut vm)?;
    for (option, why) in NONSENSE {
        let line = format!("command line: {option}: {why}");
        ensure!(vm.log()?.contains(&line), "the log does not say '{line}'");
    }
    nothing_else(&mut vm)?;
    expect_type(&vm, 0, "swsuspend")?;
    // Whoever may write to sysfs has the last word.
    set(&mut vm, "encryptor", "none")?;
    resume_now(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}

/// 32 bytes, and what puts them into a keyring before an image is looked for.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ADD: &str = "printf '%s' 0123456789abcdef0123456789abcdef | \
    /bin/keyctl padd user dormouse:test @u";

fn encryption(lab: &Lab) -> Result<()> {
    let unlock = format!("[ -n \"$(option dm.unlock)\" ] && {ADD}\n");
    let settings = "dormouse.enabled=1 dormouse.encryptor=aes-gcm dormouse.compressor=zstd \
        dormouse.key=user:dormouse:test dormouse.threads=1";
    let vm = lab.small().swap_disk("512M")?.append(settings);
    let mut vm = with_program(vm, "/bin/keyctl")?.file("/etc/unlock", 0o755, unlock);
    vm.boot()?;
    vm.run("swapon /dev/vda; guest work start mib=48 file_mib=8")?;
    for (name, value) in [
        ("enabled", "1"),
        ("threads", "1"),
        ("key", "user:dormouse:test"),
    ] {
        let got = get(&mut vm, name)?;
        ensure!(got == value, "{name} is {got}");
    }
    for (name, value) in [("encryptor", "[aes-gcm]"), ("compressor", "[zstd]")] {
        let got = get(&mut vm, name)?;
        ensure!(got.contains(value), "{name} is {got}");
    }
    let save = "echo disk > /sys/power/state";
    refused(&mut vm, save, "Required key not available")?;
    expect_result(&mut vm, -126, &["encryptor aes-gcm has no key"])?;
    vm.run(ADD)?;
    vm.hibernate()?;
    ensure!(
        vm.get_disk(0)?.find(SECRET.as_bytes(), 0)?.is_none(),
        "the image is in clear"
    );
    // Without the key, and then with it.
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -126, &["the image needs key user:dormouse:test"])?;
    vm.power_off()?;
    vm.set_append(&format!("{FIRST_DISK} {settings} dm.unlock=1"));
    let arrival = vm.boot()?;
    went_on(&mut vm, arrival)?;
    there_and_back(&mut vm)?;
    vm.power_off()?;

    // What is no name at all is no reason to do without.
    vm.set_append(&format!(
        "{FIRST_DISK} dormouse.encryptor=AES dormouse.enabled=1"
    ));
    boot_fresh(&mut vm)?;
    ensure!(
        vm.log()?
            .contains("nothing is saved or resumed before encryptor is set"),
        "the log does not say what is wrong with the encryptor"
    );
    vm.run("swapon /dev/vda")?;
    refused(&mut vm, save, "Invalid argument")?;
    expect_result(&mut vm, -22, &["encrypt \"?\" is not there"])?;
    vm.power_off()?;
    // And so is the name of a module that is not there.
    vm.set_append(&format!(
        "{FIRST_DISK} dormouse.encryptor=rot13 dormouse.enabled=1"
    ));
    boot_fresh(&mut vm)?;
    vm.run("swapon /dev/vda")?;
    refused(&mut vm, save, "No such file or directory")?;
    expect_result(&mut vm, -2, &["encrypt \"rot13\" is not there"])?;
    let got = get(&mut vm, "encryptor")?;
    ensure!(got.starts_with("[rot13] none "), "encryptor is {got}");
    // A writer with its target, and a key that is asked for in vain.
    vm.power_off()?;
    vm.set_append("dormouse.writer=file dormouse.target=/tmp/nothing dormouse.enabled=1");
    boot_fresh(&mut vm)?;
    refused(&mut vm, save, "No such file or directory")?;
    expect_result(&mut vm, -2, &["/tmp/nothing"])?;
    vm.assert_clean()?;

    // An encrypted image is as good to one that asks for its encryptor.
    let mut vm = encrypted(lab, "aes-gcm")?;
    vm.set_append(&format!(
        "{FIRST_DISK} dm.unlock=1 dormouse.encryptor=aes-gcm"
    ));
    there_and_back(&mut vm)?;
    vm.assert_clean()
}

fn swsusp(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().append("resume=/dev/vda").swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda; guest work start mib=64")?;
    vm.hibernate()?;
    vm.set_append("resume=/dev/vda dormouse.encryptor=aes-gcm");
    boot_fresh(&mut vm)?;
    let line = "none of swsusp is looked for: the setting encryptor forbids it";
    ensure!(vm.log()?.contains(line), "the log does not say '{line}'");
    // Nor does it save one, which nobody would look for.
    refused(
        &mut vm,
        "echo disk > /sys/power/state",
        "Operation not permitted",
    )?;
    expect_result(&mut vm, -1, &["swsusp would save in clear"])?;
    vm.power_off()?;
    vm.set_append("resume=/dev/vda");
    ensure!(vm.boot()? == Arrival::Resumed, "swsusp did not resume");
    vm.run("guest work verify")?;
    // The restored system has no such option.
    prepare(&mut vm)?;
    vm.run(&format!("grep -q '^.none' {FOLDER}/encryptor"))?;
    vm.assert_clean()
}
