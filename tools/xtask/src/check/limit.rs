// SPDX-License-Identifier: GPL-2.0

//! A time limit for scenarios. Every wait in them ends by itself; this is for
//! the one that does not, which would otherwise hold up a whole run without a
//! word.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{anyhow, bail, Context, Result};

/// Lines of a kernel log that are shown.
const TAIL: usize = 15;

/// What the thread of a job says.
enum Said {
    /// Its place below /proc.
    Here(PathBuf),
    /// What the job came to.
    Ended(Result<()>),
}

/// Runs `job` in a thread of its own, and waits for it no longer than `limit`.
///
/// # Errors
///
/// Those of `job`; when it panics; when it has not ended in time, with what can
/// be said about why. Its thread and what that has started are then left alone,
/// and end with this process.
pub fn within(
    limit: Duration,
    logs: &Path,
    job: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        let me = fs::read_link("/proc/thread-self").unwrap_or_default();
        // Nobody listens any more once the limit is passed.
        let _ = sender.send(Said::Here(me));
        let _ = sender.send(Said::Ended(job()));
    });
    let thread = thread.context("cannot start a thread")?;
    let mut place = PathBuf::new();
    loop {
        match receiver.recv_timeout(limit) {
            Ok(Said::Here(me)) => place = Path::new("/proc").join(me),
            Ok(Said::Ended(result)) => return thread.join().map_err(panicked).and(result),
            Err(RecvTimeoutError::Disconnected) => return thread.join().map_err(panicked),
            Err(RecvTimeoutError::Timeout) => bail!(
                "it did not end within {} s\nits thread: {}\n{}{}",
                limit.as_secs(),
                waiting(&place),
                children(),
                newest(logs)
            ),
        }
    }
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> anyhow::Error {
    anyhow!("it panicked")
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim().to_string()
}

/// What a task of /proc waits for.
fn waiting(task: &Path) -> String {
    let state = text(&task.join("status"));
    let state = state
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .unwrap_or("gone")
        .trim();
    let [place, call] = ["wchan", "syscall"].map(|name| text(&task.join(name)));
    format!("{state}, in {place}, system call {call}")
}

/// A line for each process that this one has started.
fn children() -> String {
    let me = format!("PPid:\t{}", std::process::id());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = entries
        .map(|entry| entry.path())
        .filter(|path| text(&path.join("status")).lines().any(|line| line == me));
    ours.map(|path| {
        let command: String = text(&path.join("cmdline")).chars().take(120).collect();
        format!("child: {}: {command}\n", waiting(&path))
    })
    .collect()
}

/// The end of the kernel log in `logs` that was written last.
fn newest(logs: &Path) -> String {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    let log = entries.map(|entry| entry.path()).max_by_key(|path| {
        let meta = fs::metadata(path);
        meta.and_then(|meta| meta.modified()).ok()
    });
    let Some(log) = log else {
        return "no kernel log".into();
    };
    let text = text(&log);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    format!("--- {} ---\n{}", log.display(), lines[from..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn hands_on_what_a_job_says() {
        let logs = tempfile::tempdir().unwrap();
        within(LONG, logs.path(), || Ok(())).unwrap();
        let error = within(LONG, logs.path(), || bail!("no")).unwrap_err();
        assert_eq!(error.to_string(), "no");
        let error = within(LONG, logs.path(), || panic!("oh")).unwrap_err();
        assert_eq!(error.to_string(), "it panicked");
    }

    #[test]
    fn gives_up_and_says_why() {
        let logs = tempfile::tempdir().unwrap();
        fs::write(logs.path().join("boot1.log"), "the last words\n").unwrap();
        let sleep = || {
            let _ = std::process::Command::new("sleep").arg("3").status();
            Ok(())
        };
        let error = within(Duration::from_millis(300), logs.path(), sleep).unwrap_err();
        let error = error.to_string();
        for part in ["within 0 s", "system call", "sleep 3", "the last words"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
