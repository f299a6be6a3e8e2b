// SPDX-License-Identifier: GPL-2.0

//! The kernel log of one QEMU process: kept whole, followed, and judged.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// Parts of lines that no healthy kernel prints.
const TROUBLE: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "Kernel panic",
    "unable to handle",
    "sleeping function called",
    "possible recursive locking",
    "possible circular locking",
    "possible irq lock inversion",
    "possible deadlock",
    "inconsistent lock state",
    "inconsistent {",
    "held lock freed",
    "still has locks held",
    "bad unlock balance",
    "suspicious RCU usage",
    "self-detected stall",
    "detected stalls on",
    "detected expedited stalls",
    "blocked for more than",
    "soft lockup",
    "hard LOCKUP",
    "corruption",
    "refcount_t:",
    "UBSAN:",
    "Bad page state",
    "Call Trace:",
    "rust_kernel: panicked",
    "Out of memory",
];

#[derive(Default)]
struct State {
    lines: Vec<(Duration, String)>,
    ended: bool,
}

/// A kernel log that grows while the guest runs.
pub struct Log {
    state: Arc<(Mutex<State>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Log {
    /// Follows `source` until it ends, copying it to the file `path` and, with
    /// `echo`, to standard error.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn follow(source: impl Read + Send + 'static, path: &Path, echo: bool) -> Result<Self> {
        let mut file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = state.clone();
        let reader = std::thread::spawn(move || {
            let start = Instant::now();
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while let Ok(1..) = source.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                // The file is a copy for people; what is judged is in memory.
                let _ = writeln!(file, "{text}");
                if echo {
                    eprintln!("{text}");
                }
                lock(&shared.0).lines.push((start.elapsed(), text));
                shared.1.notify_all();
                line.clear();
            }
            lock(&shared.0).ended = true;
            shared.1.notify_all();
        });
        Ok(Log {
            state,
            reader: Some(reader),
            path: path.to_path_buf(),
        })
    }

    /// A log of nothing.
    pub(crate) fn empty() -> Self {
        Log {
            state: Arc::default(),
            reader: None,
            path: PathBuf::new(),
        }
    }

    /// All lines until now.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.state.0)
            .lines
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// The lines from number `from` on, until now.
    pub fn lines_from(&self, from: usize) -> Vec<String> {
        let state = lock(&self.state.0);
        let lines = state.lines.iter().skip(from);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// Time since the start of QEMU at which the first line with `text` came.
    pub fn time_of(&self, text: &str) -> Option<Duration> {
        let state = lock(&self.state.0);
        state
            .lines
            .iter()
            .find(|(_, line)| line.contains(text))
            .map(|(time, _)| *time)
    }

    /// Whether some line contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.time_of(text).is_some()
    }

    /// Waits until a line from number `from` on contains `text`; returns its number.
    ///
    /// # Errors
    ///
    /// When the guest ended or `timeout` passed without it.
    pub fn wait_for(&self, text: &str, from: usize, timeout: Duration) -> Result<usize> {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state.0);
        let mut next = from;
        loop {
            let fresh = state.lines.get(next..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|(_, line)| line.contains(text)) {
                return Ok(next + at);
            }
            next = next.max(state.lines.len());
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended {
                    "the guest ended"
                } else {
                    "timeout"
                };
                drop(state);
                bail!(
                    "{why} while waiting for '{text}' in the kernel log\n{}",
                    self.tail(15)
                );
            }
            let waited = self.state.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Number of lines until now.
    pub fn len(&self) -> usize {
        lock(&self.state.0).lines.len()
    }

    /// Whether nothing was printed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `count` lines, for an error message.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(count);
        format!(
            "--- {} ---\n{}",
            self.path.display(),
            lines[from..].join("\n")
        )
    }

    /// Waits until the guest's end has been read. Only for a QEMU that ended.
    pub fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    /// Lines that report a fault of the kernel, except those with a part that
    /// is in `allowed`.
    pub fn troubles(&self, allowed: &[String]) -> Vec<String> {
        troubles(&self.lines(), allowed)
    }

    /// The same for the lines from number `from` on.
    pub fn troubles_from(&self, from: usize, allowed: &[String]) -> Vec<String> {
        troubles(&self.lines_from(from), allowed)
    }

    /// Checks that the kernel reported no fault.
    ///
    /// # Errors
    ///
    /// The lines that report one.
    pub fn assert_clean(&self, allowed: &[String]) -> Result<()> {
        let found = self.troubles(allowed);
        if found.is_empty() {
            return Ok(());
        }
        bail!(
            "the kernel log {} reports:\n{}",
            self.path.display(),
            found.join("\n")
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a line of a kernel log reports a fault of the kernel.
pub fn is_trouble(line: &str) -> bool {
    TROUBLE.iter().any(|word| line.contains(word)) || refuses(line)
}

/// Whether a line says that tasks did not freeze, though there was time for it: a wakeup event does
/// not wait for them.
fn refuses(line: &str) -> bool {
    line.contains("refusing to freeze") && !line.contains(" aborted after ")
}

fn troubles(lines: &[String], allowed: &[String]) -> Vec<String> {
    let bad = |&number: &usize| {
        let line = &lines[number];
        is_trouble(line)
            && !shows_task(lines, number)
            && !shows_failure(lines, number)
            && !is_foreign_race(lines, number)
            && !allowed.iter().any(|word| line.contains(word.as_str()))
    };
    let numbers = (0..lines.len()).filter(bad);
    numbers.map(|number| lines[number].clone()).collect()
}

/// Whether line `number` begins the stack of a task that the kernel shows, for a reason that it
/// has given before: another line than this one says what is wrong.
fn shows_task(lines: &[String], number: usize) -> bool {
    // A line on the work of a worker may be between them.
    let before = &lines[number.saturating_sub(3)..number];
    let task = |line: &String| line.contains("task:") && line.contains(" state:");
    lines[number].contains("Call Trace:") && before.iter().any(task)
}

/// Whether line `number` begins the stack of an allocation that failed, or of a failure that was
/// injected: both may happen to a healthy kernel.
fn shows_failure(lines: &[String], number: usize) -> bool {
    // Lines on the processor and on what taints the kernel are between them.
    let before = &lines[number.saturating_sub(7)..number];
    let failure = |line: &String| {
        line.contains("page allocation failure:")
            || line.contains(": vmalloc error: size ")
            || line.contains("FAULT_INJECTION: forcing a failure")
    };
    lines[number].contains("Call Trace:") && before.iter().any(failure)
}

/// Whether line `number` begins a report of KCSAN on a data race in which neither access is one of
/// Dormouse, nor of a function that it has called: the kernel has many.
fn is_foreign_race(lines: &[String], number: usize) -> bool {
    if !lines[number].contains("BUG: KCSAN:") {
        return false;
    }
    let report = lines[number..].split(|line| line.contains("=========="));
    let report = report.into_iter().next().unwrap_or_default();
    let accesses = (0..report.len()).filter(|&at| report[at].contains(" bytes by "));
    let ours = |line: &String| line.contains("dormouse");
    !accesses
        .flat_map(|at| report[at + 1..].iter().take(2))
        .any(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_can_be_allowed() {
        let log = "[ 1.0] WARNING: CPU: 0 PID: 1 at kernel/power/x.c:1 x+0x1\n[ 1.1] all well\n\
                   [ 2.0] INFO: task kworker/0:1 blocked for more than 60 seconds.\n";
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::follow(log.as_bytes(), &folder.path().join("log"), false).unwrap();
        log.finish();
        assert_eq!(log.troubles(&[]).len(), 2);
        assert_eq!(log.troubles(&["x.c:1".into()]).len(), 1);
        assert_eq!(log.wait_for("all well", 0, Duration::ZERO).unwrap(), 1);
        assert!(log.wait_for("all well", 2, Duration::ZERO).is_err());
    }

    #[test]
    fn a_race_counts_when_it_is_ours() {
        let report = |first: &str, second: &str| {
            format!(
                "==================\nBUG: KCSAN: data-race in {first} / {second}\n\n\
                 write to 0xffff888009365bc4 of 4 bytes by task 31 on cpu 1:\n {first}+0x1/0x2\n \
                 kthread+0x1/0x2\n\nread to 0xffff888009365bc4 of 4 bytes by task 1 on cpu 0:\n \
                 {second}+0x1/0x2\n do_syscall_64+0x1/0x2\n dormouse_far_away+0x1/0x2\n\n\
                 ==================\n dormouse_later+0x1/0x2\n"
            )
        };
        let found = |text: &str| {
            let lines: Vec<String> = text.lines().map(str::to_string).collect();
            troubles(&lines, &[]).len()
        };
        assert_eq!(found(&report("wake_up", "sleep")), 0);
        assert_eq!(found(&report("dormouse_ioq_get", "sleep")), 1);
        assert_eq!(found(&report("wake_up", "dormouse_iobuf_return")), 1);
    }

    #[test]
    fn a_stack_that_is_shown_is_no_fault_but_its_reason_is() {
        let log = "[1] Freezing user space processes failed after 20.0 seconds (1 tasks refusing to freeze, wq_busy=0):\n\
                   [1] task:ls              state:D stack:0     pid:93\n[1] Call Trace:\n[1]  <TASK>\n\
                   [2] nothing\n[2] nothing\n[2] Call Trace:\n";
        let lines: Vec<String> = log.lines().map(str::to_string).collect();
        let found = troubles(&lines, &[]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("refusing") && found[1].contains("[2] Call"));
        assert_eq!(troubles(&lines, &["refusing to freeze".into()]).len(), 1);
        let log = "[1] sh: page allocation failure: order:0, mode:0x1(x)\n[1] CPU: 1\n[1] Call Trace:\n\
                   [1] sh: vmalloc error: size 16384, failed to allocate pages\n[1] CPU: 1\n[1] Call Trace:\n\
                   [2] FAULT_INJECTION: forcing a failure.\n[2] name failslab\n[2] CPU: 0\n[2] Tainted\n\
                   [2] Hardware name: QEMU\n[2] Call Trace:\n[2]  a\n[2]  b\n[2]  c\n[2]  d\n[2] Call Trace:\n";
        let lines: Vec<String> = log.lines().map(str::to_string).collect();
        assert_eq!(troubles(&lines, &[]).len(), 1);
        assert!(!is_trouble("[3] Freezing user space processes aborted after 0.03 seconds (1 tasks refusing to freeze, wq_busy=0):"));
    }
}
