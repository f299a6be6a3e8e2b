// SPDX-License-Identifier: GPL-2.0

//! `dormouse watch`.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{bail, Result};
use serde::Serialize;

use crate::cli::Context;
use crate::control::{LastResult, Progress};
use crate::failure::{Code, Failure};
use crate::memory;
use crate::output::{self, Output};
use crate::settings::{self, Change};
use crate::signals::{self, Alarm};
use crate::text;

/// How often to look. Reading progress costs the kernel a few loads.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often while a cycle runs: small images are written in less than a second.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

/// Columns of the bar.
const BAR: usize = 30;

/// Options of `watch`.
#[derive(clap::Args)]
pub struct Args {
    /// Run on while everything else is frozen, by the setting keep_running; kept in memory
    #[arg(long)]
    stay_awake: bool,
    /// Do not wait for a cycle to begin
    #[arg(long)]
    now: bool,
}

/// One look.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    progress: &'a Progress,
    percent: u64,
    bytes_per_second: u64,
    seconds_left: Option<u64>,
}

#[derive(Serialize)]
struct End<'a> {
    result: &'a LastResult,
}

/// Shows the next cycle, or the one that is under way, to its end.
///
/// # Errors
///
/// When the cycle fails, or nothing can be read; when it is to stay awake and cannot be kept in
/// memory.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let held = signals::hold()?;
    let alarm = held.alarm()?;
    let mut change = None;
    if args.stay_awake {
        // Before it is on the list: a page of it on a suspended disk would stop the machine.
        memory::lock()?;
        let list = settings::get(&context.control, "keep_running")?;
        let list = format!("{list} {}", std::process::id()).trim().to_string();
        let wanted = [("keep_running".to_string(), list)];
        change = Some(Change::make(&context.control, &wanted)?);
    }
    let result = watch(context, args, &alarm);
    if let Some(mut change) = change {
        // A process that is not there any more would make the next cycle fail. The list may be
        // busy for a moment yet.
        let mut tries = 50;
        while context.control.get("state")? != "idle" && tries > 0 {
            std::thread::sleep(INTERVAL);
            tries -= 1;
        }
        change.undo()?;
    }
    result
}

fn watch(context: &Context, args: &Args, alarm: &Alarm) -> Result<()> {
    let control = &context.control;
    let mut screen = Screen::new(context.output);
    let mut begun = args.now;
    let before = control.last_result()?;
    loop {
        let progress = control.progress()?;
        if progress.step != "idle" {
            begun = true;
            screen.show(&progress)?;
        } else {
            let last = control.last_result()?;
            // A cycle may come and go between two looks, or while this was frozen.
            if begun || last != before {
                screen.end()?;
                return finish(context.output, &last, begun && !args.now || last != before);
            }
        }
        if alarm.sleep(if begun { BUSY_INTERVAL } else { INTERVAL }) {
            screen.end()?;
            bail!("stopped watching; the cycle goes on if there is one");
        }
    }
}

fn finish(output: Output, last: &LastResult, happened: bool) -> Result<()> {
    if !happened && last.step == "idle" {
        return Err(Failure::error(Code::Nothing, "no cycle is under way"));
    }
    output.print(&End { result: last }, || last.sentence.clone())?;
    match last.errno {
        0 => Ok(()),
        errno => bail!("the cycle failed in step \"{}\" ({errno})", last.step),
    }
}

/// What was shown last.
struct Screen {
    output: Output,
    terminal: bool,
    /// Something is on the present line of the terminal.
    dirty: bool,
    /// Step and tenth of the last plain line.
    shown: Option<(String, u64)>,
}

impl Screen {
    fn new(output: Output) -> Screen {
        Screen {
            output,
            terminal: output == Output::Text && std::io::stdout().is_terminal(),
            dirty: false,
            shown: None,
        }
    }

    fn show(&mut self, progress: &Progress) -> Result<()> {
        if self.output == Output::Json {
            let moving = progress.is_moving();
            let line = Line {
                percent: progress.percent(),
                bytes_per_second: progress.rate(),
                seconds_left: progress.seconds_left().filter(|_| moving),
                progress,
            };
            return self.output.print(&line, String::new);
        }
        if self.terminal {
            self.dirty = true;
            // Back to the first column, and the rest of the line away.
            return output::raw(format!("\r{}\x1b[K", bar(progress)).as_bytes());
        }
        let tenth = match progress.is_moving() {
            true => progress.percent() / 10,
            false => 0,
        };
        let now = Some((progress.step.clone(), tenth));
        if self.shown == now {
            return Ok(());
        }
        self.shown = now;
        output::raw(format!("{}\n", plain(progress)).as_bytes())
    }

    /// Leaves the line that was written again and again.
    fn end(&mut self) -> Result<()> {
        if std::mem::take(&mut self.dirty) {
            output::raw(b"\n")?;
        }
        Ok(())
    }
}

fn word(step: &str) -> &str {
    match step {
        "begin" => "checking",
        "prepare" => "reserving memory and space",
        "snapshot" => "copying memory",
        "write" => "writing",
        "power-down" => "going down",
        "check" => "looking for an image",
        "load" => "loading",
        "restore" => "restoring",
        "resumed" => "tidying up",
        other => other,
    }
}

fn numbers(progress: &Progress) -> String {
    let left = match progress.seconds_left() {
        Some(seconds) => format!(", {} left", text::duration(seconds)),
        None => String::new(),
    };
    format!(
        "{} %  {} of {}, {} MB/s{left}",
        progress.percent(),
        text::pages(progress.done_pages),
        text::pages(progress.total_pages),
        progress.rate() / 1_000_000
    )
}

fn plain(progress: &Progress) -> String {
    match progress.is_moving() {
        true => format!("{}: {}", word(&progress.step), numbers(progress)),
        false => word(&progress.step).to_string(),
    }
}

fn bar(progress: &Progress) -> String {
    if !progress.is_moving() {
        return word(&progress.step).to_string();
    }
    let full = usize::try_from(progress.percent()).unwrap_or(100).min(100) * BAR / 100;
    let (full, rest) = ("#".repeat(full), ".".repeat(BAR - full));
    format!(
        "{} [{full}{rest}] {}",
        word(&progress.step),
        numbers(progress)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let half = Progress::parse("write 512 1024 1000000 1000").unwrap();
        assert_eq!(
            bar(&half),
            "writing [###############...............] 50 %  2.0 MiB of 4.0 MiB, 2 MB/s, 1 s left"
        );
        assert_eq!(
            plain(&half),
            "writing: 50 %  2.0 MiB of 4.0 MiB, 2 MB/s, 1 s left"
        );
        let over = Progress::parse("load 2048 1024 0 1").unwrap();
        assert!(bar(&over).starts_with("loading [##############################] 100 %"));
        let none = Progress::parse("snapshot 0 0 0 0").unwrap();
        assert_eq!(bar(&none), "copying memory");
    }
}
