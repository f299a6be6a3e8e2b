// SPDX-License-Identifier: GPL-2.0

//! Servers, and files on mounted filesystems, that stand still.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use dormouse_vm::Arrival;

use super::{reach, stop_at, Brake, DISK, LONG, PATIENCE, REST, SLOW};
use crate::files;
use crate::netblock::{self, servers::Server};
use crate::steps::{expect_result, prepare, resume, set};
use crate::Lab;

/// An nbdkit that takes a second or two for an image, and is a brake.
fn slow_server() -> Result<Server> {
    Server::nbdkit("1G", &["--filter=rate", "file", "DISK", "rate=60M"])
}

/// A server stops in a save, and in a load.
///
/// # Errors
///
/// When something is not as it should be.
pub fn server(lab: &Lab) -> Result<()> {
    let server = slow_server()?;
    let target = server.target_of("");
    let mut vm = netblock::ready(lab, &target)?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    let brake = Brake::Server(server);
    stop_at(&mut vm, &brake, "write: 30%")?;
    // The watchdog and the module may come to the same at the same time.
    let result = expect_result(&mut vm, -110, &[" write ", &target])?;
    ensure!(
        result.contains("within 4 s"),
        "it does not say how long it waited: {result}"
    );
    brake.go_on(&mut vm)?;
    vm.run("guest work verify")?;

    let append = format!(
        "{} dm.resume={target} dormouse.io_timeout={PATIENCE}",
        netblock::STATIC
    );
    vm.set_append(&append);
    vm.hibernate()?;
    vm.start()?;
    reach(&vm, "load: 20%", 0)?;
    brake.stop(&mut vm)?;
    let since = Instant::now();
    let arrival = vm.arrive(LONG)?;
    let took = since.elapsed();
    ensure!(
        arrival == Arrival::Fresh,
        "it resumed from a server at rest"
    );
    ensure!(
        took < Duration::from_secs(PATIENCE) + REST + Duration::from_secs(5),
        "the boot went on after {} ms",
        took.as_millis()
    );
    expect_result(&mut vm, -110, &[&target])?;
    brake.go_on(&mut vm)?;
    vm.assert_clean()?;
    vm.kill();
    resume(&mut vm)?;
    vm.assert_clean()
}

/// A server that takes long for each request is waited for while it answers, and
/// given up when it takes longer than the setting says.
///
/// # Errors
///
/// When something is not as it should be.
pub fn delays(lab: &Lab) -> Result<()> {
    let slow = ["--filter=delay", "file", "DISK", "wdelay=2"];
    let mut server = Server::nbdkit("1G", &slow)?;
    let target = server.target_of("");
    let mut vm = netblock::ready(lab, &target)?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    vm.hibernate()?;
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    resume(&mut vm)?;

    server.set_arguments(&["--filter=delay", "file", "DISK", "wdelay=60"]);
    server.start()?;
    let seq = vm.send("echo disk > /sys/power/state")?;
    super::back(&mut vm, seq, Instant::now(), LONG)?;
    expect_result(&mut vm, -110, &[&target, "within 4 s"])?;
    vm.run("guest work verify")?;
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

/// The disk of the filesystem with the file of the image stops in a save: the
/// machine goes on, with what is on other disks.
///
/// # Errors
///
/// When something is not as it should be.
pub fn file(lab: &Lab) -> Result<()> {
    let vm = lab.vm().mem(files::MEM_MIB).disk("640M")?.disk("64M")?;
    vm.get_disk(1)?.mkfs()?;
    let mut vm = files::boot_mounted(vm, "ext4", "rw")?;
    vm.run("mkdir /other && mount -t ext4 /dev/vdb /other")?;
    let locators = files::choose(&mut vm)?;
    prepare(&mut vm)?;
    set(&mut vm, "io_timeout", &PATIENCE.to_string())?;
    vm.run("sync")?;
    vm.qmp()?.throttle(0, SLOW)?;
    stop_at(&mut vm, &DISK, "write: 10%")?;
    expect_result(
        &mut vm,
        -110,
        &[" write ", "vda stands still", "within 4 s"],
    )?;
    vm.run("guest work verify && echo more > /other/note && sync /other/note")?;
    DISK.go_on(&mut vm)?;
    vm.run("echo more > /mnt/note && sync")?;
    vm.set_append(&format!("dm.resume={}", locators[2]));
    vm.hibernate()?;
    resume(&mut vm)?;
    vm.run("grep -q more /mnt/note && grep -q more /other/note")?;
    set(&mut vm, "target", "auto")?;
    vm.run("umount /mnt && umount /other")?;
    files::sound(&mut vm, "ext4")
}
