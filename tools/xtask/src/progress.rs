// SPDX-License-Identifier: GPL-2.0

//! Runs long commands: output into a log file, one line of progress.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// Lines of the log that an error shows.
const TAIL: usize = 40;

struct Progress {
    label: String,
    start: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(label: &str) -> Self {
        let progress = Progress {
            label: label.to_string(),
            start: Instant::now(),
            shown: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        };
        if !progress.terminal {
            eprintln!("{label} ...");
        }
        progress
    }

    fn step(&mut self, lines: usize) {
        let pause = if self.terminal { 200 } else { 30_000 };
        if self.shown.elapsed() >= Duration::from_millis(pause) {
            self.shown = Instant::now();
            self.show(lines, if self.terminal { "" } else { "\n" });
        }
    }

    fn show(&self, lines: usize, end: &str) {
        let seconds = self.start.elapsed().as_secs();
        let begin = if self.terminal { "\r\x1b[K" } else { "" };
        let label = &self.label;
        eprint!(
            "{begin}{label}: {lines} steps, {}:{:02}{end}",
            seconds / 60,
            seconds % 60
        );
        let _ = std::io::stderr().flush();
    }
}

/// Runs `command` with its output in the file `log`, which is begun anew unless
/// `append`, and shows how many lines came and how long it takes.
///
/// # Errors
///
/// When it fails: the message holds the end of the log.
pub fn run(label: &str, command: &mut Command, log: &Path, append: bool) -> Result<()> {
    let file = File::options()
        .create(true)
        .write(true)
        .append(append)
        .truncate(!append)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let mut reader = BufReader::new(File::open(log)?);
    reader.seek(SeekFrom::End(0))?;
    let mut progress = Progress::new(label);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let mut lines = 0;
    let status = loop {
        let status = child.try_wait()?;
        lines += count_lines(&mut reader)?;
        progress.step(lines);
        match status {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    progress.show(lines, "\n");
    if status.success() {
        return Ok(());
    }
    bail!(
        "{label} failed; the end of {}:\n{}",
        log.display(),
        tail(log)?
    );
}

/// Lines that were added since the last call.
fn count_lines(reader: &mut BufReader<File>) -> Result<usize> {
    let mut count = 0;
    loop {
        let data = reader.fill_buf()?;
        if data.is_empty() {
            return Ok(count);
        }
        count += data.iter().filter(|byte| **byte == b'\n').count();
        let length = data.len();
        reader.consume(length);
    }
}

fn tail(log: &Path) -> Result<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    // With several jobs the error may stand far above the end.
    let errors = lines
        .iter()
        .filter(|line| line.contains("error") || line.contains("Error"));
    let errors: Vec<&str> = errors.copied().take(10).collect();
    let end = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    Ok(format!(
        "{end}\n--- errors in it ---\n{}",
        errors.join("\n")
    ))
}
