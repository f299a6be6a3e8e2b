// SPDX-License-Identifier: GPL-2.0

//! A network block device against the guest's own disk, and against `dd`
//! through nbd.ko to the same server.
//!
//! Nothing is compressed, so that the bytes on the link are the same.

use anyhow::{Context, Result};
use dormouse_vm::Vm;
use vm_scenarios::servers::Server;

use super::compare::{median, Comparison};
use super::turns::{self, Setup};

/// What is to be reached of what `dd` does.
const LEAST: f64 = 0.85;

const CLIENT: &str = "/usr/sbin/nbd-client";

/// Where the workers of `dd` write to, one after the other.
const DEVICE: &str = "/dev/nbd0";

/// Ways to use `dd`: with what options, and by how many at the same time.
/// Which one is the fastest depends on the machine, so all are tried.
const WAYS: [(&str, u32); 3] = [("direct", 1), ("direct", 4), ("", 1)];

const LOCAL: &str = "echo swap > /sys/power/hibernate/writer
    echo auto > /sys/power/hibernate/target";

/// Measures.
///
/// # Errors
///
/// When a guest or the server does not do what it is told, or a number cannot
/// be read.
pub fn run(setup: &Setup) -> Result<Vec<Comparison>> {
    let server = Server::nbdkit("1M", &["file", "dir=FOLDER"])?;
    let folder = server.disk().parent().context("no folder")?.to_path_buf();
    for name in ["image", "scratch"] {
        std::fs::File::create(folder.join(name))?.set_len(1 << 30)?;
    }
    let vm = setup
        .machine()
        .network()
        .append("ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off");
    let mut vm =
        vm_scenarios::with_program(vm, CLIENT)?.swap_disk(&format!("{}M", setup.mem_mib))?;
    let commands = format!(
        "swapon /dev/vda
         {CLIENT} 10.0.2.2 {} {DEVICE} -N scratch -C 4 > /dev/null 2>&1
         echo none > /sys/power/hibernate/compressor",
        server.port()
    );
    turns::boot(&mut vm, &commands, setup.mem_mib / 10)?;
    let remote = format!(
        "echo netblock > /sys/power/hibernate/writer
         echo {} > /sys/power/hibernate/target",
        server.target_of("image")
    );
    let rows = all(setup, &mut vm, &remote)?;
    vm.assert_clean()?;
    vm.kill();
    Ok(rows)
}

fn all(setup: &Setup, vm: &mut Vm, remote: &str) -> Result<Vec<Comparison>> {
    let mut cycles = [Vec::new(), Vec::new()];
    let mut others = [(); WAYS.len()].map(|()| [Vec::new(), Vec::new()]);
    for round in 0..=setup.rounds {
        let (local, far) = (turns::cycle(vm, LOCAL)?, turns::cycle(vm, remote)?);
        for ((options, jobs), speeds) in WAYS.into_iter().zip(&mut others) {
            let both = dd(vm, options, jobs, far.stored)?;
            for (speed, speeds) in both.into_iter().zip(speeds).filter(|_| round > 0) {
                speeds.push(speed);
            }
        }
        if round > 0 {
            cycles[0].push(local);
            cycles[1].push(far);
        }
    }
    let row = setup.row("swap", "none", "netblock");
    let fastest = fastest(&others)?;
    let mut rows = turns::rows(&row, &cycles)?;
    for (at, direction) in ["save", "load"].into_iter().enumerate() {
        let far = &cycles[1];
        let speeds = far.iter().map(|one| one.stored_speed(direction));
        let others = fastest[at].iter().copied();
        let rounds: Vec<_> = others.zip(speeds).map(|(dd, far)| [dd, far]).collect();
        let row = Comparison {
            peer: "dd",
            direction,
            stored: [None, turns::stored(far)],
            needed: Some(LEAST),
            ..row.clone()
        };
        rows.push(row.measured(&rounds).context("no cycle")?);
    }
    Ok(rows)
}

/// What the fastest way to write reached in each round, and the fastest way to
/// read. Says what all of them reached.
fn fastest(ways: &[[Vec<f64>; 2]]) -> Result<[&[f64]; 2]> {
    let mut best = [(0.0, [].as_slice()); 2];
    for ((options, jobs), way) in WAYS.into_iter().zip(ways) {
        let mut both = [0.0; 2];
        for ((speed, best), all) in both.iter_mut().zip(&mut best).zip(way) {
            *speed = median(all.iter().copied()).context("no dd")?;
            if *speed > best.0 {
                *best = (*speed, all);
            }
        }
        let [write, read] = both.map(|speed| speed / 1e6);
        eprintln!("[{jobs} dd {options}: write {write:.1} MB/s, read {read:.1} MB/s]");
    }
    Ok(best.map(|(_, all)| all))
}

/// Writes and reads about `bytes` with `jobs` of `dd` at the same time, each
/// a part of its own; returns bytes in a second, writing and reading.
fn dd(vm: &mut Vm, options: &str, jobs: u32, bytes: u64) -> Result<[f64; 2]> {
    let count = (bytes >> 20).max(4) / u64::from(jobs);
    let flag = |which: &str| match options {
        "" => String::new(),
        options => format!("{which}flag={options}"),
    };
    let (input, output) = (flag("i"), flag("o"));
    let write = format!(
        "dd if=/dev/zero of={DEVICE} bs=1M count={count} seek=$((i * {count})) {output} conv=notrunc,fsync"
    );
    let read =
        format!("dd if={DEVICE} of=/dev/null bs=1M count={count} skip=$((i * {count})) {input}");
    let mut speeds = [0.0; 2];
    for (speed, one) in speeds.iter_mut().zip([write, read]) {
        let last = jobs - 1;
        let text = vm.run(&format!(
            "set -e
             sync
             blockdev --flushbufs {DEVICE}
             now() {{ cut -d ' ' -f 1 /proc/uptime; }}
             start=$(now)
             pids=
             for i in $(seq 0 {last}); do
                 {one} 2> /dev/null &
                 pids=\"$pids $!\"
             done
             for pid in $pids; do wait $pid; done
             echo $start $(now)"
        ))?;
        let mut words = text.split_whitespace().map(str::parse::<f64>);
        let times = words.next().zip(words.next());
        let (Ok(from), Ok(to)) = times.context("dd did not say when")? else {
            anyhow::bail!("no times: {text}");
        };
        *speed = ((count * u64::from(jobs)) << 20) as f64 / (to - from);
    }
    Ok(speeds)
}
