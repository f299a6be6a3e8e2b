// SPDX-License-Identifier: GPL-2.0

//! Where a secret that is in memory ends up when the machine hibernates.

use anyhow::{ensure, Result};
use dormouse_host::encrypted;
use dormouse_vm::{Disk, Vm};

use super::{machine, resume_now, set_key, unlocking, PASSPHRASE, UNLOCK_OPTION};
use crate::image;
use crate::steps::{boot_fresh, prepare, resume, set, with_program, FIRST_DISK};
use crate::Lab;

/// A key that is to be found nowhere.
const PLANTED: &str = "planted key of 32 bytes, or more";

/// Whether disk `number` has the key, and the passphrase.
fn leaks(vm: &Vm, number: usize) -> Result<[bool; 2]> {
    let disk = vm.get_disk(number)?;
    let found = |text: &str| -> Result<bool> { Ok(disk.find(text.as_bytes(), 0)?.is_some()) };
    Ok([found(PLANTED)?, found(PASSPHRASE)?])
}

/// Reads the whole image with another implementation of the cipher: what the kernel wrote is what
/// the documentation says, and the secrets are in it.
fn verify(disk: &Disk) -> Result<()> {
    let (superblock, blocks) = image::linear(disk)?;
    let refused = |why| anyhow::anyhow!("the verifier refuses the image: {why}");
    let pages = encrypted::read(&superblock, &blocks, PLANTED.as_bytes()).map_err(refused)?;
    for secret in [PLANTED, PASSPHRASE] {
        let secret = secret.as_bytes();
        let mut all = pages.values();
        ensure!(
            all.any(|page| page.windows(secret.len()).any(|bytes| bytes == secret)),
            "the image is not one of this system's memory"
        );
    }
    let wrong = encrypted::read(&superblock, &blocks, PASSPHRASE.as_bytes());
    ensure!(wrong.is_err(), "another key opens it");
    Ok(())
}

/// They are in no encrypted image, and nowhere in what the kernel says.
///
/// # Errors
///
/// Where they are.
pub fn hidden(lab: &Lab) -> Result<()> {
    // So much memory that nothing is swapped out: what is there in swap space is not in the image.
    let mut vm = with_program(machine(lab)?.mem(768), "/bin/keyctl")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    set(&mut vm, "compressor", "none")?;
    // Both are in the memory of the system now, the passphrase in a file there.
    vm.run(&format!(
        "printf '%s' '{PLANTED}' | /bin/keyctl padd user dormouse:planted @u"
    ))?;
    set(&mut vm, "key", "user:dormouse:planted")?;
    vm.hibernate()?;
    // Without an encryptor they are in the image: this is how they would be found.
    ensure!(leaks(&vm, 0)? == [true, true], "a plain image without them");
    resume(&mut vm)?;
    // Nor is anything left of it in the swap area.
    vm.run("swapoff /dev/vda && dd if=/dev/zero of=/dev/vda bs=1M count=512 && mkswap /dev/vda && swapon /dev/vda")?;
    ensure!(leaks(&vm, 0)? == [false, false], "the disk is not clean");

    set(&mut vm, "encryptor", "aes-gcm")?;
    vm.hibernate()?;
    let found = leaks(&vm, 0)?;
    ensure!(found == [false, false], "secrets on the disk: {found:?}");
    verify(vm.get_disk(0)?)?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    vm.run(&format!(
        "printf '%s' '{PLANTED}' | /bin/keyctl padd user dormouse:planted @u"
    ))?;
    set(&mut vm, "key", "user:dormouse:planted")?;
    let secrets = [PLANTED, PASSPHRASE];
    for secret in secrets {
        let shown = vm.try_run(&format!(
            "grep -r -F '{secret}' /sys/power/hibernate /proc/keys"
        ))?;
        ensure!(!shown.text.contains(secret), "it is shown: {}", shown.text);
    }
    resume_now(&mut vm)?;
    for secret in secrets {
        let shown = vm.try_run(&format!(
            "grep -r -F '{secret}' /sys/power/hibernate /proc/keys"
        ))?;
        ensure!(!shown.text.contains(secret), "it is shown: {}", shown.text);
        for boot in 0..3 {
            if let Ok(log) = vm.log_of(boot) {
                ensure!(!log.contains(secret), "it is in the kernel log");
            }
        }
    }
    vm.assert_clean()
}

/// Fills a tmpfs with the secret first and then with so much else that it is swapped out.
const PLANT: &str = "\
mkdir /planted && mount -t tmpfs -o size=400m none /planted &&
for n in 1 2 3 4 5 6 7 8; do
	seq 1 200 | sed \"s/.*/$SECRET/\"
done > /planted/secret &&
dd if=/dev/urandom of=/planted/rest bs=1M count=220 2> /dev/null";

/// Swap space is not encrypted by us: what the kernel moved there before is in it as it was. The
/// image holds what is in memory, and has it nowhere in clear, however little memory there is.
///
/// # Errors
///
/// Where they are, or are not.
pub fn swapped(lab: &Lab) -> Result<()> {
    let vm = unlocking(lab.vm().mem(256))
        .append(&format!("resume=/dev/vdb dm.resume=1 {UNLOCK_OPTION}"))
        .swap_disk("512M")?
        .swap_disk("512M")?;
    let mut vm = with_program(vm, "/sbin/swapon")?;
    vm.boot()?;
    // The image goes to the second one, and nothing else does.
    vm.run("/sbin/swapon -p 10 /dev/vda && /sbin/swapon -p 1 /dev/vdb")?;
    prepare(&mut vm)?;
    set(&mut vm, "target", "/dev/vdb")?;
    set(&mut vm, "compressor", "none")?;
    set_key(&mut vm, "aes-gcm")?;
    vm.run(&format!("SECRET='{PLANTED}'\n{PLANT}"))?;
    for _ in 0..2 {
        ensure!(leaks(&vm, 0)?[0], "the secret was not swapped out");
        vm.hibernate()?;
        let found = leaks(&vm, 1)?;
        ensure!(found == [false, false], "beside the image: {found:?}");
        resume(&mut vm)?;
        let lines = vm.run(&format!("grep -c '{PLANTED}' /planted/secret"))?;
        ensure!(lines.trim() == "1600", "{lines} lines of it are left");
        // Slots of the image that each processor has taken back and keeps for the next use.
        let used = vm.run("grep /dev/vdb /proc/swaps")?;
        let used: u32 = used.split_whitespace().nth(3).unwrap_or_default().parse()?;
        ensure!(used <= 512, "{used} KiB of the second area are in use");
    }
    vm.assert_clean()
}
