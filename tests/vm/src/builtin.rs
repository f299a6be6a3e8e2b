// SPDX-License-Identifier: GPL-2.0

//! A kernel with all modules built in: `resume=` is enough, and the initramfs
//! has no part in it.

use anyhow::{ensure, Result};

use crate::encryption::{refuses_clear, resume_now, set_key, unlocking};
use crate::files;
use crate::netblock::{self, servers::Server};
use crate::steps::{
    boot_fresh, expect_result, expect_type, get, prepare, resume, set, there_and_back,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::builtin(
        "builtin-swap",
        "everything built in: resume= names a swap area",
        swap,
    ),
    Scenario::builtin(
        "builtin-file",
        "everything built in: resume= names the device, or the UUID, of a filesystem with a file",
        file,
    ),
    Scenario::builtin(
        "builtin-netblock",
        "everything built in: resume= names an export, with an address from DHCP and a static one",
        network,
    ),
    Scenario::builtin(
        "builtin-encrypted",
        "everything built in: an image in clear is refused, an encrypted one waits for its key",
        encrypted,
    ),
];

fn swap(lab: &Lab) -> Result<()> {
    let vm = lab
        .vm()
        .mem(crate::steps::SMALL_MIB)
        .append("resume=/dev/vda");
    let mut vm = vm.swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    for compressor in ["lz4", "zstd", "lzo"] {
        set(&mut vm, "compressor", compressor)?;
        there_and_back(&mut vm)?;
    }
    vm.assert_clean()
}

fn file(lab: &Lab) -> Result<()> {
    let mut vm = lab.vm().mem(files::MEM_MIB).disk("640M")?;
    vm.get_disk(0)?.mkfs()?;
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    let lines = files::choose(&mut vm)?;
    prepare(&mut vm)?;
    // By its UUID, as the module writes it down.
    vm.set_append(&lines[0]);
    vm.hibernate()?;
    resume(&mut vm)?;
    let offset = lines[0].split_once(' ').map_or("", |(_, offset)| offset);
    ensure!(offset.starts_with("resume_offset="), "no offset: {lines:?}");
    vm.set_append(&format!("resume=/dev/vda {offset}"));
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn network(lab: &Lab) -> Result<()> {
    let server = Server::nbdkit("1G", &["file", "DISK"])?;
    let target = server.target_of("");
    let vm = lab.vm().mem(netblock::MEM_MIB).network();
    let mut vm = vm.append(&format!("ip=dhcp resume={target}"));
    vm.boot()?;
    prepare(&mut vm)?;
    netblock::choose(&mut vm, &target)?;
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.set_append(&format!("{} resume={target}", netblock::STATIC));
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn encrypted(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(crate::steps::SMALL_MIB);
    let mut vm = unlocking(vm).swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.hibernate()?;
    let strict = "resume=/dev/vda dormouse.encryptor=aes-gcm";
    vm.set_append(strict);
    boot_fresh(&mut vm)?;
    refuses_clear(&mut vm)?;
    expect_type(&vm, 0, "swsuspend")?;
    vm.power_off()?;
    vm.set_append("resume=/dev/vda");
    resume(&mut vm)?;

    set_key(&mut vm, "aes-gcm")?;
    vm.set_append(strict);
    vm.hibernate()?;
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -126, &["and no key is configured", "it is kept"])?;
    ensure!(
        get(&mut vm, "image")?.contains("state: committed\n"),
        "the image was not kept"
    );
    vm.run("dormouse key unlock --stdin < /etc/passphrase")?;
    resume_now(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}
