// SPDX-License-Identifier: GPL-2.0

//! `dormouse bench`: how fast this machine saves and loads, with each compressor.

use std::fmt::Write;

use anyhow::{bail, Context as _, Result};
use serde::Serialize;

use crate::cli::Context;
use crate::command::hibernate;
use crate::mode::Mode;
use crate::output;
use crate::settings::Change;
use crate::signals::{self, Alarm};
use crate::text;

/// Saves, loads and restores without going down.
const MODE: &str = "test_resume";

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Compressor to measure; can be given several times. Without it, all that the kernel lists
    #[arg(long)]
    compressor: Vec<String>,
    /// How many times each of them saves and loads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    cycles: u32,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// One save and one load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cycle {
    compressor: String,
    memory_kb: u64,
    stored_kb: u64,
    save_ms: u64,
    load_ms: u64,
}

#[derive(Serialize)]
struct Report {
    writer: String,
    target: String,
    encryptor: String,
    cycles: Vec<Cycle>,
}

impl Cycle {
    /// Reads the sentence of a restored kernel.
    fn parse(compressor: &str, sentence: &str) -> Option<Cycle> {
        let rest = sentence.strip_prefix("the system is back: saved ")?;
        let (memory, rest) = rest.split_once(" kB in ")?;
        let (save, rest) = rest.split_once(" ms, ")?;
        let (stored, rest) = rest.split_once(" kB stored, loaded in ")?;
        let load = rest.strip_suffix(" ms")?;
        Some(Cycle {
            compressor: compressor.to_string(),
            memory_kb: memory.parse().ok()?,
            stored_kb: stored.parse().ok()?,
            save_ms: save.parse().ok()?,
            load_ms: load.parse().ok()?,
        })
    }

    /// Millions of bytes of memory in a second.
    fn rate(&self, ms: u64) -> u64 {
        self.memory_kb.saturating_mul(1024) / 1000 / ms.max(1)
    }

    fn percent(&self) -> u64 {
        self.stored_kb.saturating_mul(100) / self.memory_kb.max(1)
    }
}

/// Saves and loads in place, and says how long that took.
///
/// # Errors
///
/// When a cycle fails; those before it are printed.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let control = &context.control;
    control.check()?;
    let mut wanted = args.compressor.clone();
    if wanted.is_empty() {
        wanted = control.choice("compressor")?.of;
    }
    let mut report = Report {
        writer: control.choice("writer")?.chosen,
        target: control.get("target")?,
        encryptor: control.choice("encryptor")?.chosen,
        cycles: Vec::new(),
    };
    let count = u64::from(args.cycles) * wanted.len() as u64;
    let question = format!(
        "All of memory is saved and loaded {count} times, with the writer \"{}\" and the target {}.\nThe system stands still for that time, and screens may go dark. Save your work. Begin?",
        report.writer, report.target
    );
    let what = "save and load all of memory";
    output::confirm(args.yes, what, &question, "nothing was done")?;
    // Whatever is typed meanwhile: everything is put back first.
    let held = signals::hold()?;
    let alarm = held.alarm()?;
    let mode = Mode::set(&context.system, MODE)?;
    let result = measure(context, &wanted, args.cycles, &alarm, &mut report.cycles);
    drop(mode);
    drop(alarm);
    context.output.print(&report, || words(&report))?;
    drop(held);
    result
}

fn measure(
    context: &Context,
    wanted: &[String],
    cycles: u32,
    alarm: &Alarm,
    done: &mut Vec<Cycle>,
) -> Result<()> {
    for name in wanted {
        let setting = [("compressor".to_string(), name.clone())];
        let mut change = Change::make(&context.control, &setting)?;
        for _ in 0..cycles {
            if alarm.is_due() {
                bail!("stopped, and everything is set as it was");
            }
            let last = hibernate::cycle(context).with_context(|| format!("with {name}"))?;
            let cycle = Cycle::parse(name, &last.sentence)
                .with_context(|| format!("the kernel says \"{}\"", last.sentence))?;
            done.push(cycle);
        }
        change.undo()?;
    }
    Ok(())
}

fn words(report: &Report) -> String {
    let mut out = String::new();
    if report.cycles.is_empty() {
        return out;
    }
    let _ = writeln!(
        out,
        "{:<12}{:>10}{:>10}{:>16}{:>20}",
        "compressor", "memory", "stored", "saved in", "loaded in"
    );
    for cycle in &report.cycles {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms / 100 % 10);
        let rate = |ms: u64| format!("{} MB/s", cycle.rate(ms));
        let bytes = |kb: u64| text::bytes(kb.saturating_mul(1024));
        let _ = writeln!(
            out,
            "{:<12}{:>10}{:>10}{:>6}{:>10}{:>10}{:>10}{:>10}",
            cycle.compressor,
            bytes(cycle.memory_kb),
            bytes(cycle.stored_kb),
            format!("{} %", cycle.percent()),
            seconds(cycle.save_ms),
            rate(cycle.save_ms),
            seconds(cycle.load_ms),
            rate(cycle.load_ms)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        let sentence =
            "the system is back: saved 122904 kB in 4091 ms, 40968 kB stored, loaded in 1946 ms";
        let cycle = Cycle::parse("lz4", sentence).unwrap();
        assert_eq!((cycle.memory_kb, cycle.stored_kb), (122_904, 40_968));
        assert_eq!((cycle.save_ms, cycle.load_ms), (4091, 1946));
        assert_eq!((cycle.rate(4091), cycle.percent()), (30, 33));
        assert_eq!(cycle.rate(0), 125_853);
        for bad in [
            "",
            "nothing has happened yet",
            "the system is back: saved 1 kB in 1 ms, loaded in 1 ms",
        ] {
            assert_eq!(Cycle::parse("lz4", bad), None, "{bad}");
        }
    }
}
