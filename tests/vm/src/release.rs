// SPDX-License-Identifier: GPL-2.0

//! What becomes of the blocks of an image on the network that nobody wants any
//! more.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use dormouse_vm::Vm;

use crate::netblock::servers::Server;
use crate::netblock::{choose, MEM_MIB, STATIC};
use crate::steps::{boot_fresh, expect_result, prepare, refused, resume, set, FOLDER};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::long(
        "nbd-trim",
        "the blocks of an image are given back after a resume, an erase and a failed save",
        trim,
    ),
    Scenario::long(
        "nbd-no-trim",
        "servers without TRIM, and without WRITE_ZEROES too: the header is overwritten",
        no_trim,
    ),
    Scenario::long(
        "nbd-trim-late",
        "a save begins while blocks are given back slowly, or after that was cut off",
        late,
    ),
];

/// Header and commit record of an image on an export.
const HEAD: std::ops::Range<usize> = 65536..65536 + 17 * 4096;
/// What may be left of an image.
const LEFT: u64 = 1 << 20;
/// How long giving blocks back may take.
const SOON: Duration = Duration::from_secs(20);

/// Bytes of the file of `server` that take room on its disk.
fn allocated(server: &Server) -> Result<u64> {
    Ok(std::fs::metadata(server.disk())?.blocks() * 512)
}

/// Waits until nothing is `missing` any more, which takes place in the background.
fn soon(missing: impl Fn() -> Result<Option<String>>) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while let Some(why) = missing()? {
        ensure!(Instant::now() < deadline, "{why}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until next to nothing of an image is left on the disk of `server`.
///
/// # Errors
///
/// When it stays.
pub fn released(server: &Server) -> Result<()> {
    soon(|| {
        let bytes = allocated(server)?;
        Ok((bytes > LEFT).then(|| format!("{bytes} bytes are left of the image")))
    })
}

/// Whether header and commit record on the disk of `server` are zeros.
fn is_wiped(server: &Server) -> Result<bool> {
    let mut head = vec![0; HEAD.len()];
    server.read_at(HEAD.start as u64, &mut head)?;
    Ok(head.iter().all(|&byte| byte == 0))
}

/// Stops a save while the image is written.
const STOP: &str = "#!/bin/sh\ncd /sys/power/hibernate\n\
    until read -r now < state && [ \"$now\" = write ]; do :; done\n\
    until read -r step done rest < progress && [ \"$done\" -gt 2000 ]; do :; done\n\
    echo 1 > abort\n";

fn ready(lab: &Lab, target: &str) -> Result<Vm> {
    let append = format!("{STATIC} dm.resume={target}");
    let vm = lab.vm().mem(MEM_MIB).network().append(&append);
    let mut vm = vm.file("/bin/stop-it", 0o755, STOP);
    vm.boot()?;
    prepare(&mut vm)?;
    choose(&mut vm, target)?;
    Ok(vm)
}

/// Where nbdkit's log filter writes to.
fn requests_of(server: &Server) -> Result<PathBuf> {
    Ok(server.disk().with_file_name("requests"))
}

/// Lines of nbdkit's log filter about `request`.
fn requests(log: &str, request: &str) -> usize {
    let word = format!(" {request} ");
    log.lines().filter(|line| line.contains(&word)).count()
}

fn trim(lab: &Lab) -> Result<()> {
    let memory = ["--filter=log", "memory", "1G", "logfile=FOLDER/requests"];
    let mut server = Server::nbdkit("1M", &memory)?;
    let target = server.target_of("");
    let log = requests_of(&server)?;
    let mut vm = ready(lab, &target)?;
    vm.hibernate()?;
    let before = std::fs::read_to_string(&log)?;
    ensure!(
        requests(&before, "Trim") + requests(&before, "Zero") == 0,
        "blocks were given back before the resume"
    );
    resume(&mut vm)?;
    vm.log()?.wait_for("kB given back", 0, SOON)?;
    let after = std::fs::read_to_string(&log)?;
    let (trims, zeroes) = (requests(&after, "Trim"), requests(&after, "Zero"));
    ensure!(trims > 0 && zeroes > 0, "{trims} trims, {zeroes} zeroes");

    // On a sparse file, it is seen in its size.
    std::fs::File::options()
        .write(true)
        .open(server.disk())?
        .set_len(1 << 30)?;
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    vm.hibernate()?;
    let full = allocated(&server)?;
    ensure!(full > 8 << 20, "the image has only {full} bytes");
    vm.set_append(STATIC);
    boot_fresh(&mut vm)?;
    ensure!(allocated(&server)? >= full, "an image was given back");
    set(&mut vm, "target", &target)?;
    set(&mut vm, "image", "erase")?;
    ensure!(is_wiped(&server)?, "the header was not overwritten");
    released(&server)?;

    // A save that is stopped leaves nothing either.
    let slow = ["--filter=rate", "file", "DISK", "rate=60M"];
    server.set_arguments(&slow);
    server.start()?;
    prepare(&mut vm)?;
    choose(&mut vm, &target)?;
    vm.run(&format!(
        "/bin/stop-it > /dev/null 2>&1 & echo $! > {FOLDER}/keep_running"
    ))?;
    refused(
        &mut vm,
        "echo disk > /sys/power/state",
        "Operation canceled",
    )?;
    set(&mut vm, "keep_running", "")?;
    released(&server)?;
    vm.hibernate()?;
    vm.set_append(&format!("{STATIC} dm.resume={target}"));
    resume(&mut vm)?;
    released(&server)?;
    vm.assert_clean()
}

fn no_trim(lab: &Lab) -> Result<()> {
    // nbd-server takes no TRIM unless its configuration says so, the liar knows nothing else.
    let server = Server::nbd_server("1G")?;
    let target = server.target();
    let mut vm = ready(lab, &target)?;
    vm.hibernate()?;
    let full = allocated(&server)?;
    resume(&mut vm)?;
    wiped_soon(&server)?;
    ensure!(allocated(&server)? + LEFT >= full, "blocks were given back");

    let arguments = ["--filter=log", "--filter=nozero", "file", "DISK"];
    let mut server = Server::nbdkit(
        "1G",
        &[&arguments[..], &["logfile=FOLDER/requests"]].concat(),
    )?;
    let target = server.target_of("");
    let log = requests_of(&server)?;
    choose(&mut vm, &target)?;
    vm.set_append(&format!("{STATIC} dm.resume={target}"));
    vm.hibernate()?;
    resume(&mut vm)?;
    wiped_soon(&server)?;
    released(&server)?;
    let log = std::fs::read_to_string(&log)?;
    ensure!(requests(&log, "Zero") == 0, "zeroes were asked for");
    ensure!(requests(&log, "Trim") > 0, "no trims");

    // One that offers both and can do neither: a line in the log, and nothing else.
    server.set_arguments(&[
        "--filter=error",
        "file",
        "DISK",
        "error-trim=EIO",
        "error-trim-rate=100%",
        "error-zero=EIO",
        "error-zero-rate=100%",
    ]);
    server.start()?;
    vm.hibernate()?;
    resume(&mut vm)?;
    let line = "the server answered with error 5; not all blocks of the image are given back";
    vm.log()?.wait_for(line, 0, SOON)?;
    ensure!(is_wiped(&server)?, "the header is still there");
    expect_result(&mut vm, 0, &["the system is back: saved"])?;
    vm.assert_clean()
}

fn wiped_soon(server: &Server) -> Result<()> {
    soon(|| Ok((!is_wiped(server)?).then(|| "the header is still there".to_string())))
}

fn late(lab: &Lab) -> Result<()> {
    let slow = [
        "--filter=blocksize-policy",
        "--filter=delay",
        "file",
        "DISK",
        "delay-trim=1",
        "blocksize-minimum=1",
        "blocksize-preferred=4096",
        "blocksize-maximum=4M",
    ];
    let mut server = Server::nbdkit("1G", &slow)?;
    let target = server.target_of("");
    let mut vm = ready(lab, &target)?;
    vm.hibernate()?;
    resume(&mut vm)?;
    // Some of it, when the next save begins.
    vm.hibernate()?;
    ensure!(
        !vm.log()?.contains("the connection was lost"),
        "it did not end in order"
    );
    resume(&mut vm)?;
    // Cut off in the middle of a request: what is written next is looked at again.
    std::thread::sleep(Duration::from_millis(1500));
    server.stop();
    let line = "not all blocks of the image are given back";
    vm.log()?.wait_for(line, 0, SOON)?;
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    vm.hibernate()?;
    ensure!(
        vm.log()?.contains("looking whether all"),
        "what was written was not looked at"
    );
    resume(&mut vm)?;
    released(&server)?;
    vm.assert_clean()
}
