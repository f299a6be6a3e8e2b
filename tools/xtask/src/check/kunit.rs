// SPDX-License-Identifier: GPL-2.0

//! KUnit suites, in user-mode Linux.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::Tally;
use crate::kernel::{self, Config};
use crate::paths::Paths;

/// How long all suites may take.
const TIMEOUT: Duration = Duration::from_secs(900);

/// Builds and runs them; prints what failed.
///
/// # Errors
///
/// When user-mode Linux does not build, hangs, or stops before the last test.
pub fn run(paths: &Paths) -> Result<Tally> {
    let built = kernel::build(paths, Config::Uml)?;
    let mut child = Command::new(built.folder.join("linux"))
        .args([
            "mem=512M",
            "con=null",
            "con0=fd:0,fd:1",
            "panic=-1",
            "kunit.enable=1",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run user-mode Linux")?;
    let mut output = child.stdout.take().context("no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        output
            .read_to_end(&mut text)
            .map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait()?.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Also when it ended: its helper processes may hold the pipe.
    let _ = child.kill();
    let _ = child.wait();
    let text = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader died"))??;
    let log = paths.cached("logs")?.join("kunit.log");
    std::fs::write(&log, &text)?;
    let result = parse(&text).with_context(|| format!("see {}", log.display()))?;
    for line in &result.failures {
        println!("{line}");
    }
    if result.tally.failed > 0 {
        println!("see {}", log.display());
    }
    Ok(result.tally)
}

#[derive(Debug)]
struct Report {
    tally: Tally,
    failures: Vec<String>,
}

/// Reads KTAP: suites at depth 0, their cases one level deeper.
fn parse(text: &str) -> Result<Report> {
    let mut report = Report {
        tally: Tally::default(),
        failures: Vec::new(),
    };
    let mut suites = None;
    let mut ended = 0;
    for line in text.lines() {
        // Without a root filesystem, which it has not got, it panics then.
        if suites == Some(ended) {
            break;
        }
        if dormouse_vm::log::is_trouble(line) {
            report.failures.push(line.to_string());
        }
        let line = without_time(line);
        let depth = line.len() - line.trim_start().len();
        let words = line.trim();
        if depth == 0 && suites.is_none() {
            suites = words
                .strip_prefix("1..")
                .and_then(|count| count.parse::<usize>().ok());
        }
        let good = words.starts_with("ok ");
        if suites.is_none() || !(good || words.starts_with("not ok ")) {
            continue;
        }
        match depth {
            0 => ended += 1,
            4 if words.contains("# SKIP") => report.failures.push(format!("skipped: {words}")),
            4 if !good => report.failures.push(words.to_string()),
            4 => report.tally.passed += 1,
            _ => {}
        }
    }
    report.tally.failed = report.failures.len();
    let suites = suites.context("no KUnit suite ran")?;
    if ended != suites || report.tally == Tally::default() {
        bail!("KUnit ended after {ended} of {suites} suites");
    }
    Ok(report)
}

/// A console line without its `[  1.234567] ` stamp.
fn without_time(line: &str) -> &str {
    let rest = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "));
    match rest {
        Some((stamp, rest)) if stamp.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Linux\nKTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    \
                        1..2\n    ok 1 a\n    not ok 2 b\n# s: pass:1 fail:1\nnot ok 1 s\n";

    #[test]
    fn counts_cases() {
        let report = parse(GOOD).unwrap();
        assert_eq!((report.tally.passed, report.tally.failed), (1, 1));
        assert_eq!(report.failures, ["not ok 2 b"]);
    }

    #[test]
    fn a_fault_of_the_kernel_is_a_failure() {
        let text = GOOD.replace(
            "    ok 1 a\n",
            "[    0.3] WARNING: CPU: 0 PID: 1\n    ok 1 a\n",
        );
        assert_eq!(parse(&text).unwrap().tally.failed, 2);
    }

    #[test]
    fn an_early_end_is_an_error() {
        assert!(parse("Linux\nKernel panic\n").is_err());
        assert!(parse(GOOD.strip_suffix("not ok 1 s\n").unwrap()).is_err());
        assert_eq!(without_time("[    0.270000]     ok 1 a"), "    ok 1 a");
    }
}
