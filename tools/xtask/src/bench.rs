// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask bench`: swsusp and Dormouse in the same guest, and Dormouse
//! beside itself and others; see Documentation/bench.rst for what is measured.

use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use dormouse_vm::System;

use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::system;

mod compare;
mod cycle;
mod encryption;
mod file;
mod lines;
mod network;
mod report;
mod turns;

use compare::Comparison;
use cycle::{Peer, Setup};
use report::Pair;

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// Dormouse and the kernel's own hibernation
    Swsusp,
    /// With encryption and without, and beside the kernel's cipher
    Encryption,
    /// A file and swap space on the same disk
    File,
    /// A network block device, swap space, and dd
    Network,
}

/// What to measure.
///
/// Each row with swsusp is one or two hibernations of a new guest: with swsusp,
/// where it has that compressor, and with Dormouse. The other groups of rows are
/// made in one guest each. A row takes a minute or two.
#[derive(clap::Args)]
pub struct Args {
    /// Group of rows; may be repeated [default: all, and swsusp alone with --compressor, --vcpus,
    /// --only or --icount]
    #[arg(long, value_enum)]
    rows: Vec<Rows>,
    /// Compressor; may be repeated [default: all; lz4 for encryption, none for a file]
    #[arg(long, value_parser = ["lzo", "lz4", "zstd", "none"])]
    compressor: Vec<String>,
    /// Processors of the guest; may be repeated [default: 2 and 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8))]
    vcpus: Vec<u32>,
    /// Memory of the guest in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=16384))]
    mem: u32,
    /// Memory that the guest's workload fills, in MiB [default: 400, with --icount 100]
    #[arg(long)]
    workload: Option<u32>,
    /// Measure so many times and take medians [default: 1 with swsusp, 3 on the
    /// network, 5 otherwise]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: Option<u32>,
    /// Count instructions of one processor instead of measuring time
    #[arg(long)]
    icount: bool,
    /// Measure only one of the two
    #[arg(long, value_enum)]
    only: Option<Peer>,
    /// Where the numbers go [default: bench.json, with --icount bench-icount.json]
    #[arg(long)]
    json: Option<PathBuf>,
    /// Boot this kernel instead of building one
    #[arg(long)]
    bzimage: Option<PathBuf>,
    /// Module to load, with --bzimage; may be repeated, in the order of loading
    #[arg(long, requires = "bzimage")]
    ko: Vec<PathBuf>,
}

/// Runs the task.
///
/// # Errors
///
/// When a guest does not do what it is told, or a number cannot be read.
pub fn run(paths: &Paths, args: Args) -> Result<bool> {
    let mut vcpus = args.vcpus.clone();
    if vcpus.is_empty() {
        vcpus = if args.icount { vec![1] } else { vec![2, 1] };
    }
    ensure!(
        !args.icount || vcpus == [1],
        "instructions are counted with one processor only"
    );
    ensure!(
        !args.icount || args.rows.iter().all(|rows| *rows == Rows::Swsusp),
        "instructions are counted in rows with swsusp only"
    );
    let compressors = compressors(&args.compressor, args.icount)?;
    let system = match &args.bzimage {
        Some(kernel) => system::of(paths, kernel, &args.ko)?,
        None => system::built(paths, Config::Guest)?,
    };
    let wanted = groups(&args);
    let mut pairs = Vec::new();
    for &vcpus in vcpus.iter().filter(|_| wanted.contains(&Rows::Swsusp)) {
        let setup = setup(&args, system.clone(), vcpus);
        for compressor in &compressors {
            if let Some(pair) = measure(&args, &setup, compressor)? {
                pairs.push(pair);
            }
        }
    }
    let mut others = Vec::new();
    for &rows in wanted.iter().filter(|rows| **rows != Rows::Swsusp) {
        let setup = turns::Setup {
            system: system.clone(),
            mem_mib: args.mem,
            vcpus: vcpus[0],
            rounds: args.repeat.unwrap_or(match rows {
                // Most of it is dd.
                Rows::Network => 3,
                _ => 5,
            }),
        };
        others.extend(compare(paths, &args, &setup, rows)?);
    }
    let name = if args.icount {
        "bench-icount.json"
    } else {
        "bench.json"
    };
    let json = args.json.unwrap_or_else(|| name.into());
    std::fs::write(&json, report::json(&pairs, &others, args.icount)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    if !pairs.is_empty() {
        print!("{}", report::table(&pairs, args.icount));
    }
    print!("{}", compare::table(&others));
    Ok(true)
}

/// Why no instructions are counted without compressing.
const WAITS: &str = "with \"none\" the processor waits for the disk, and the guest's clock, which \
                     is to count instructions, runs meanwhile";

/// The compressors of rows with swsusp: those that were `named`, or all.
fn compressors(named: &[String], icount: bool) -> Result<Vec<String>> {
    let mut all = named.to_vec();
    if all.is_empty() {
        all = ["lzo", "lz4", "zstd", "none"].map(str::to_string).to_vec();
    }
    if icount && all.iter().any(|name| name == "none") {
        ensure!(named.is_empty(), "{WAITS}");
        eprintln!("left out: {WAITS}");
        all.retain(|name| name != "none");
    }
    Ok(all)
}

/// The groups of rows that were asked for.
fn groups(args: &Args) -> Vec<Rows> {
    let narrowed = !args.compressor.is_empty()
        || !args.vcpus.is_empty()
        || args.only.is_some()
        || args.icount
        || args.bzimage.is_some();
    match args.rows.as_slice() {
        [] if narrowed => vec![Rows::Swsusp],
        [] => Rows::value_variants().to_vec(),
        rows => rows.to_vec(),
    }
}

/// Measures a group of rows in a guest of its own.
fn compare(
    paths: &Paths,
    args: &Args,
    setup: &turns::Setup,
    rows: Rows,
) -> Result<Vec<Comparison>> {
    eprintln!("[{rows:?}, {} vCPU]", setup.vcpus);
    let compressor = |default| args.compressor.first().map_or(default, String::as_str);
    let found = match rows {
        Rows::Swsusp => Ok(Vec::new()),
        Rows::Encryption => {
            ensure!(
                args.bzimage.is_none(),
                "modules for the bench are built for our own kernel alone"
            );
            let build = kernel::build_folder(paths, Config::Guest)?;
            encryption::run(setup, compressor("lz4"), &build)
        }
        Rows::File => file::run(setup, compressor("none")),
        Rows::Network => network::run(setup),
    };
    let found = found.with_context(|| format!("{rows:?}"))?;
    eprint!("{}", compare::table(&found));
    Ok(found)
}

fn setup(args: &Args, system: System, vcpus: u32) -> Setup {
    Setup {
        system,
        mem_mib: args.mem,
        vcpus,
        workload_mib: args.workload.unwrap_or(if args.icount { 100 } else { 400 }),
        icount: args.icount,
    }
}

/// Measures one compressor, the peers in turn, so that both meet the same
/// load of the host; `None` when nobody who was asked for has it.
fn measure(args: &Args, setup: &Setup, compressor: &str) -> Result<Option<Pair>> {
    let peers = [Peer::Swsusp, Peer::Dormouse];
    let wanted = |peer: Peer| peer.has(compressor) && args.only.is_none_or(|only| only == peer);
    let mut samples = [Vec::new(), Vec::new()];
    let repeat = args.repeat.unwrap_or(1);
    for round in 1..=repeat {
        for (peer, samples) in peers.into_iter().zip(&mut samples) {
            if !wanted(peer) {
                continue;
            }
            let name = peer.name();
            let what = format!("{name} with {compressor}, {} vCPU", setup.vcpus);
            eprintln!("[{what}, {round} of {repeat}]");
            samples.push(cycle::run(setup, peer, compressor).context(what)?);
        }
    }
    let [swsusp, dormouse] = samples.map(|samples| report::median(&samples));
    if swsusp.is_none() && dormouse.is_none() {
        return Ok(None);
    }
    let pair = Pair {
        compressor: compressor.to_string(),
        vcpus: setup.vcpus,
        swsusp,
        dormouse,
    };
    pair.check()?;
    eprint!(
        "{}",
        report::table(std::slice::from_ref(&pair), setup.icount)
    );
    Ok(Some(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_counted() {
        let none = ["none".to_string()];
        assert_eq!(compressors(&[], false).unwrap().len(), 4);
        assert_eq!(compressors(&none, false).unwrap(), none);
        assert_eq!(compressors(&[], true).unwrap(), ["lzo", "lz4", "zstd"]);
        let error = compressors(&none, true).unwrap_err();
        assert!(error.to_string().contains("waits for the disk"), "{error}");
    }
}
