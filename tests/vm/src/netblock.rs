// SPDX-License-Identifier: GPL-2.0

//! Images on network block devices, with servers of other people, and with one
//! that lies.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use crate::steps::{boot_fresh, expect_result, get, prepare, refused, resume, set, FOLDER};
use crate::{Lab, Scenario};

mod liar;
mod long;
mod marks;
pub mod servers;
mod stop;

use liar::{Fault, Liar};
use servers::{free_port, Server, EXPORT};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "network-busy",
        "kernel threads send while the network card is put down and brought back",
        network_busy,
    ),
    Scenario::new(
        "nbd-qemu",
        "qemu-nbd, for one client and for several, with a static address",
        qemu,
    ),
    Scenario::long(
        "nbd-nbdkit",
        "nbdkit, with an address from DHCP and with one that the initramfs sets",
        nbdkit,
    ),
    Scenario::new(
        "nbd-server",
        "nbd-server, and with it an image that an earlier boot refused",
        nbd_server,
    ),
    Scenario::new(
        "nbd-restart",
        "the server is killed and started again in the middle of a save, which succeeds",
        restart,
    ),
    Scenario::new(
        "nbd-gone",
        "the server is gone for good in the middle of a save: the guest goes on",
        gone,
    ),
    Scenario::new(
        "nbd-mark-restored",
        "the server is away right after a restore: its mark is taken off later, or erasing is advised",
        marks::restored,
    ),
    Scenario::new(
        "nbd-mark-undone",
        "the same after a save that is rolled back when its image is complete",
        marks::undone,
    ),
    Scenario::new(
        "nbd-stop",
        "a save that waits for a server or a network is stopped long before it gives up",
        stop::stopped,
    ),
    Scenario::new(
        "nbd-refusals",
        "exports that cannot be used are refused with the reason, and nothing is written",
        refusals,
    ),
    Scenario::new(
        "nbd-lies",
        "servers that do not keep to the protocol: the save fails, and the guest goes on",
        lies,
    ),
    Scenario::long(
        "nbd-two-guests",
        "two guests hibernate at once to two exports of one server",
        long::two_guests,
    ),
    Scenario::long(
        "nbd-forgets",
        "a server that loses what it had taken is found out; one that ends is not missed",
        long::forgets,
    ),
    Scenario::long(
        "nbd-filters",
        "a slow link, a distant server, requests of 64 KiB, writes that fail",
        long::filters,
    ),
    Scenario::long(
        "nbd-torn",
        "the power goes in the middle of a save: a normal boot, and the next save works",
        long::torn,
    ),
    Scenario::long("nbd-ipv6", "a server with an IPv6 address", long::ipv6),
    Scenario::long(
        "nbd-load-restart",
        "the server is restarted in the middle of a load, which goes on",
        long::load_restart,
    ),
];

/// Kernel argument that gives a machine its address.
pub const STATIC: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off";
/// Memory of the machines, in MiB.
pub const MEM_MIB: u32 = 384;

const STATE: &str = "echo disk > /sys/power/state";

/// A machine without disks that looks for an image at `target`.
fn machine(lab: &Lab, target: &str, address: &str) -> Vm {
    let append = format!("{address} dm.resume={target}");
    lab.vm().mem(MEM_MIB).network().append(&append)
}

/// Chooses the writer, and where it writes to.
///
/// # Errors
///
/// When the guest refuses.
pub fn choose(vm: &mut Vm, target: &str) -> Result<()> {
    set(vm, "writer", "netblock")?;
    set(vm, "target", target)
}

/// A machine that has booted and is ready to hibernate to `target`.
///
/// # Errors
///
/// When something of that fails.
pub fn ready(lab: &Lab, target: &str) -> Result<Vm> {
    let mut vm = machine(lab, target, STATIC);
    make_ready(&mut vm, target)?;
    Ok(vm)
}

/// Boots `vm` and makes it ready to hibernate to `target`.
fn make_ready(vm: &mut Vm, target: &str) -> Result<()> {
    vm.boot()?;
    prepare(vm)?;
    choose(vm, target)
}

fn cycle(vm: &mut Vm) -> Result<()> {
    vm.hibernate()?;
    resume(vm)
}

/// Hibernates, and checks that it fails with `message` and the guest goes on.
fn fails(vm: &mut Vm, message: &str) -> Result<()> {
    let seq = vm.send(STATE)?;
    goes_on(vm, seq, message)
}

fn goes_on(vm: &mut Vm, seq: u64, message: &str) -> Result<()> {
    let output = vm
        .wait(seq, Duration::from_secs(120), |_| {})?
        .done(STATE)?;
    ensure!(
        output.code != 0 && output.text.contains(message),
        "'{message}' was expected, not {output:?}"
    );
    vm.run("guest work verify")?;
    ensure!(get(vm, "state")? == "idle", "the cycle is not over");
    Ok(())
}

/// Begins to hibernate and waits until a part of the image is written.
fn half_way(vm: &mut Vm) -> Result<u64> {
    let from = vm.log()?.len();
    let seq = vm.send(STATE)?;
    let timeout = Duration::from_secs(60);
    vm.log()?.wait_for("write: 30%", from, timeout)?;
    Ok(seq)
}

fn qemu(lab: &Lab) -> Result<()> {
    let mut server = Server::qemu("1G", &[])?;
    let mut vm = ready(lab, &server.target())?;
    // One client at a time, so whoever holds a connection keeps others out.
    cycle(&mut vm)?;
    server.set_arguments(&["--shared=8", "--discard=unmap"]);
    server.start()?;
    cycle(&mut vm)?;
    crate::release::released(&server)?;
    vm.assert_clean()
}

const DHCP_BY_HAND: &str = "#!/bin/sh\n\
    ifconfig eth0 up\n\
    udhcpc -i eth0 -n -q -t 20 -T 1 -s /etc/lease > /dev/null 2>&1\n";

const LEASE: &str = "#!/bin/sh\n\
    [ \"$1\" = bound ] || exit 0\n\
    ifconfig \"$interface\" \"$ip\" netmask \"$subnet\"\n\
    for gateway in $router; do route add default gw \"$gateway\"; done\n";

fn nbdkit(lab: &Lab) -> Result<()> {
    let server = Server::nbdkit("1G", &["file", "DISK"])?;
    let target = server.target_of("");
    let mut vm = machine(lab, &target, "ip=dhcp");
    vm.boot()?;
    prepare(&mut vm)?;
    choose(&mut vm, &target)?;
    cycle(&mut vm)?;
    vm.power_off()?;
    let mut vm = machine(lab, &target, "")
        .file("/etc/early", 0o755, DHCP_BY_HAND)
        .file("/etc/lease", 0o755, LEASE);
    vm.boot()?;
    prepare(&mut vm)?;
    choose(&mut vm, &target)?;
    cycle(&mut vm)?;
    vm.assert_clean()
}

fn nbd_server(lab: &Lab) -> Result<()> {
    let mut server = Server::nbd_server("1G")?;
    let target = server.target();
    let mut vm = ready(lab, &target)?;
    vm.hibernate()?;
    // Nobody listens: a normal boot, and the image stays.
    server.stop();
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -111, &["nobody listens there"])?;
    server.start()?;
    set(&mut vm, "target", &target)?;
    let image = get(&mut vm, "image")?;
    ensure!(image.starts_with("state: committed"), "image: {image}");
    // A save may not begin over an image that can be resumed.
    prepare(&mut vm)?;
    choose(&mut vm, &target)?;
    fails(&mut vm, "Device or resource busy")?;
    expect_result(&mut vm, -16, &["holds an image that was not resumed"])?;
    vm.power_off()?;
    // What resume= names is found by whoever asks for "1".
    let append = format!("{STATIC} resume={target} dm.resume=1");
    vm.set_append(&append);
    resume(&mut vm)?;
    let image = get(&mut vm, "image")?;
    ensure!(image.starts_with("state: consumed"), "image: {image}");
    set(&mut vm, "image", "erase")?;
    vm.assert_clean()
}

/// nbdkit with a file, no faster than a save takes some seconds.
const SLOW: &[&str] = &["--filter=rate", "file", "DISK", "rate=60M"];

fn restart(lab: &Lab) -> Result<()> {
    let mut server = Server::nbdkit("1G", SLOW)?;
    let mut vm = ready(lab, &server.target_of(""))?;
    half_way(&mut vm)?;
    server.stop();
    std::thread::sleep(Duration::from_secs(2));
    server.start()?;
    vm.finish(Duration::from_secs(120))?;
    ensure!(
        vm.log()?.contains("looking whether all"),
        "what was written is not looked at again"
    );
    // At full speed, for the load.
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    resume(&mut vm)?;
    vm.assert_clean()
}

fn gone(lab: &Lab) -> Result<()> {
    let mut server = Server::nbdkit("1G", SLOW)?;
    let mut vm = ready(lab, &server.target_of(""))?;
    vm.run(&format!("echo 5 > {FOLDER}/modules/netblock/timeout"))?;
    let seq = half_way(&mut vm)?;
    server.stop();
    goes_on(&mut vm, seq, "")?;
    expect_result(&mut vm, -111, &["nobody listens there"])?;
    fails(&mut vm, "Connection refused")?;
    // And with the server back, everything is as before.
    server.set_arguments(&["file", "DISK"]);
    server.start()?;
    cycle(&mut vm)?;
    vm.assert_clean()
}

fn refusals(lab: &Lab) -> Result<()> {
    let mut server = Server::qemu("1G", &[])?;
    let target = server.target();
    let mut vm = ready(lab, &target)?;
    // Something else is on it, at the beginning or at the end.
    for at in [1080, (1 << 30) - 512] {
        server.write_at(at, b"EFI PART or the like")?;
        fails(&mut vm, "File exists")?;
        expect_result(&mut vm, -17, &["holds something else", "claim"])?;
        let mut first = [0; 1024];
        server.read_at(0, &mut first)?;
        ensure!(first == [0; 1024], "something was written to the export");
        server.write_at(at, &[0; 20])?;
    }
    server.set_arguments(&["--read-only"]);
    server.start()?;
    fails(&mut vm, "Read-only file system")?;
    expect_result(&mut vm, -30, &["the export is read-only"])?;
    std::fs::File::options()
        .write(true)
        .open(server.disk())?
        .set_len(16 << 20)?;
    server.set_arguments(&[]);
    server.start()?;
    set(&mut vm, "compressor", "none")?;
    fails(&mut vm, "No space left on device")?;
    expect_result(&mut vm, -28, &["not enough space for the image", EXPORT])?;

    set(&mut vm, "target", &server.target_of("other"))?;
    fails(&mut vm, "No such file or directory")?;
    expect_result(&mut vm, -2, &["the server has no such export"])?;
    set(&mut vm, "target", "nbd://server.example/disk")?;
    fails(&mut vm, "Invalid argument")?;
    expect_result(&mut vm, -22, &["is a name", "give an address"])?;
    set(&mut vm, "target", "auto")?;
    fails(&mut vm, "Invalid argument")?;
    expect_result(&mut vm, -22, &["netblock needs a target"])?;
    let nobody = format!("nbd://10.0.2.2:{}/x", free_port()?);
    set(&mut vm, "target", &nobody)?;
    fails(&mut vm, "Connection refused")?;

    let settings = format!("{FOLDER}/modules/netblock");
    for bad in [
        "timeout=4",
        "timeout=x",
        "connections=0",
        "connections=9",
        "claim=2",
    ] {
        let (name, value) = bad.split_once('=').context("no value")?;
        let command = format!("echo {value} > {settings}/{name}");
        refused(&mut vm, &command, "Invalid argument")?;
    }
    // Taken when the user says so, and only once.
    std::fs::File::options()
        .write(true)
        .open(server.disk())?
        .set_len(1 << 30)?;
    server.write_at(1080, b"nobody wants it")?;
    server.start()?;
    set(&mut vm, "target", &target)?;
    vm.run(&format!("echo 1 > {settings}/claim"))?;
    cycle(&mut vm)?;
    let claim = vm.run(&format!("cat {settings}/claim"))?;
    ensure!(claim.trim() == "0", "claim is still {claim}");
    vm.assert_clean()
}

fn lies(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, "nbd://10.0.2.2:1/nothing", STATIC);
    vm.boot()?;
    prepare(&mut vm)?;
    vm.run(&format!("echo 5 > {FOLDER}/modules/netblock/timeout"))?;
    let protocol = "Protocol error";
    let cases = [
        (Fault::Greeting, protocol, "does not speak NBD"),
        (Fault::Mute, "timed out", "no answer within 5 s"),
        (Fault::Magic, protocol, "what it sent is no reply"),
        (Fault::Cookie, protocol, "something that was not asked"),
        (Fault::Chunk, protocol, "was not agreed on"),
        (Fault::Silence, "timed out", "no answer within 5 s"),
        (Fault::Trickle, "timed out", "no answer within 5 s"),
        (Fault::Drops, "timed out", "no answer within 5 s"),
    ];
    for (fault, message, sentence) in cases {
        let liar = Liar::new(512 << 20, fault, 12)?;
        choose(&mut vm, &liar.target())?;
        fails(&mut vm, message)?;
        ensure!(liar.happened(), "{fault:?} did not happen");
        let result = get(&mut vm, "last_result")?;
        ensure!(result.contains(sentence), "{fault:?}: {result}");
    }
    // With an honest one a signal to whoever hibernates is no lost connection.
    let honest = Liar::new(512 << 20, Fault::Silence, 0)?;
    choose(&mut vm, &honest.target())?;
    vm.run("echo test_resume > /sys/power/disk && guest hibernate alarm=1")?;
    vm.run("guest work verify")?;
    let restored = get(&mut vm, "last_result")?;
    ensure!(restored.starts_with("0 "), "with a signal: {restored}");
    vm.assert_clean()
}

/// Looks for duplicates of 20 addresses without an end: packets from a workqueue that is never
/// frozen.
const SEND: &str = "cd /proc/sys/net/ipv6 && echo 100000 > conf/eth0/dad_transmits && \
    echo 10 > neigh/eth0/retrans_time_ms && ip -6 addr flush dev eth0 && \
    for n in 0 1 2 3 4 5 6 7 8 9 a b c d e f 10 11 12 13; do \
    ip -6 addr add fd00::$n/64 dev eth0 || exit 1; done";

fn network_busy(lab: &Lab) -> Result<()> {
    let mut vm = lab.small().network().append(STATIC).swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    let sent = |vm: &mut Vm| -> Result<u64> {
        Ok(vm
            .run("cat /sys/class/net/eth0/statistics/tx_packets")?
            .trim()
            .parse()?)
    };
    vm.run("echo test_resume > /sys/power/disk")?;
    for round in 0..10 {
        // They are given up when the card is brought back.
        vm.run(SEND)?;
        let before = sent(&mut vm)?;
        std::thread::sleep(Duration::from_secs(1));
        let after = sent(&mut vm)?;
        ensure!(after > before + 50, "round {round}: nothing is sent");
        vm.run("echo disk > /sys/power/state")?;
    }
    vm.run("guest work verify")?;
    vm.assert_clean()
}
