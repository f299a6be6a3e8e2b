// SPDX-License-Identifier: GPL-2.0

//! What takes longer with network block devices, for torture.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::liar::{Fault, Liar};
use super::servers::Server;
use super::{choose, cycle, fails, goes_on, half_way, machine, ready, SLOW, STATE, STATIC};
use crate::steps::{boot_fresh, expect_result, prepare};
use crate::Lab;

pub fn forgets(lab: &Lab) -> Result<()> {
    let liar = Liar::new(512 << 20, Fault::Forgets, 20)?;
    let mut vm = ready(lab, &liar.target())?;
    fails(&mut vm, "Input/output error")?;
    expect_result(&mut vm, -5, &["has lost what it had taken"])?;
    ensure!(liar.happened(), "it did not forget");
    for fault in [Fault::Half, Fault::Shutdown] {
        let liar = Liar::new(512 << 20, fault, 20)?;
        let target = liar.target();
        choose(&mut vm, &target)?;
        vm.set_append(&format!("{STATIC} dm.resume={target}"));
        cycle(&mut vm)?;
        ensure!(liar.happened(), "{fault:?} did not happen");
    }
    vm.assert_clean()
}

pub fn filters(lab: &Lab) -> Result<()> {
    let mut server = Server::nbdkit("1G", &["--filter=rate", "file", "DISK", "rate=100M"])?;
    let mut vm = ready(lab, &server.target_of(""))?;
    cycle(&mut vm)?;
    let arguments: [&[&str]; 3] = [
        &[
            "--filter=delay",
            "file",
            "DISK",
            "rdelay=20ms",
            "wdelay=20ms",
        ],
        &[
            "--filter=blocksize-policy",
            "file",
            "DISK",
            "blocksize-minimum=512",
            "blocksize-preferred=4096",
            "blocksize-maximum=65536",
            "blocksize-error-policy=error",
        ],
        &["--filter=noparallel", "file", "DISK"],
    ];
    for list in arguments {
        server.set_arguments(list);
        server.start()?;
        cycle(&mut vm)?;
    }
    server.set_arguments(&[
        "--filter=blocksize-policy",
        "file",
        "DISK",
        "blocksize-minimum=65536",
        "blocksize-preferred=65536",
        "blocksize-maximum=1M",
        "blocksize-error-policy=error",
    ]);
    server.start()?;
    fails(&mut vm, "not supported")?;
    expect_result(&mut vm, -95, &["in units of 65536 bytes"])?;
    // Only once the trigger is there, so that the save gets that far.
    server.set_arguments(&[
        "--filter=error",
        "file",
        "DISK",
        "error-pwrite=ENOSPC",
        "error-pwrite-rate=100%",
        "error-pwrite-file=FOLDER/trigger",
    ]);
    server.start()?;
    let seq = half_way(&mut vm)?;
    let folder = server.disk().parent().context("no folder")?;
    std::fs::write(folder.join("trigger"), "")?;
    goes_on(&mut vm, seq, "")?;
    expect_result(&mut vm, -28, &["answered a write with error 28"])?;
    std::fs::remove_file(folder.join("trigger"))?;
    cycle(&mut vm)?;
    vm.assert_clean()
}

pub fn torn(lab: &Lab) -> Result<()> {
    let server = Server::qemu("1G", &["--shared=4"])?;
    let mut vm = ready(lab, &server.target())?;
    vm.cut_at(STATE, "write: 30%", Duration::ZERO)?;
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -4, &["the last save did not finish"])?;
    prepare(&mut vm)?;
    choose(&mut vm, &server.target())?;
    cycle(&mut vm)?;
    vm.assert_clean()
}

pub fn ipv6(lab: &Lab) -> Result<()> {
    let early = "#!/bin/sh\n\
        echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad\n\
        ifconfig eth0 up\n\
        ifconfig eth0 add fec0::15/64\n";
    let mut server = Server::nbdkit("1G", &["file", "DISK"])?;
    let port = server.listen("::1")?;
    let target = format!("nbd://[fec0::2]:{port}/");
    let mut vm = machine(lab, &target, "").file("/etc/early", 0o755, early);
    vm.boot()?;
    prepare(&mut vm)?;
    choose(&mut vm, &target)?;
    cycle(&mut vm)?;
    vm.assert_clean()
}

pub fn load_restart(lab: &Lab) -> Result<()> {
    let mut server = Server::nbdkit("1G", &["file", "DISK"])?;
    let mut vm = ready(lab, &server.target_of(""))?;
    vm.hibernate()?;
    server.set_arguments(SLOW);
    server.start()?;
    vm.start()?;
    vm.log()?
        .wait_for("load: 30%", 0, Duration::from_secs(120))?;
    server.stop();
    std::thread::sleep(Duration::from_secs(1));
    server.start()?;
    let arrival = vm.arrive(Duration::from_secs(120))?;
    crate::steps::went_on(&mut vm, arrival)?;
    vm.assert_clean()
}

pub fn two_guests(lab: &Lab) -> Result<()> {
    let server = Server::nbdkit("1M", &["file", "dir=FOLDER"])?;
    let folder = server.disk().parent().context("no folder")?;
    let one = |name: &str| -> Result<()> {
        std::fs::File::create(folder.join(name))?.set_len(1 << 30)?;
        let mut vm = ready(lab, &server.target_of(name))?;
        cycle(&mut vm)?;
        vm.assert_clean()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one("left"));
        let result = one("right");
        match other.join() {
            Ok(other) => other.and(result),
            Err(_) => bail!("the other guest panicked"),
        }
    })
}
