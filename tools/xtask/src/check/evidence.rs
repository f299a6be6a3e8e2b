// SPDX-License-Identifier: GPL-2.0

//! Shows what the kernel logs of a failed scenario say, for a reader who has
//! only what was printed: a machine of continuous integration keeps no logs.

use std::fs;
use std::path::{Path, PathBuf};

use dormouse_vm::log::is_trouble;

/// Begins a boot, also when QEMU goes on and the log with it.
const BOOT: &str = "Linux version ";
/// Lines at the end of a boot that are shown.
const TAIL: usize = 12;
/// Reports of one boot that are shown.
const TROUBLES: usize = 6;
/// Boots that are shown, from the last one on.
const BOOTS: usize = 3;

/// What the logs in the folder `logs` say of the last boots: the faults that
/// the kernel reported, and the end.
pub fn of(logs: &Path) -> String {
    let boots: Vec<(String, Vec<String>)> = files(logs).iter().flat_map(|p| boots(p)).collect();
    let last = &boots[boots.len().saturating_sub(BOOTS)..];
    last.iter()
        .map(|(name, lines)| format!("--- {name} ---\n{}", excerpt(lines)))
        .collect()
}

/// The logs of the boots, in their order.
fn files(logs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    files
}

/// The boots of one log, each with a name.
fn boots(path: &Path) -> Vec<(String, Vec<String>)> {
    let bytes = fs::read(path).unwrap_or_default();
    let mut boots: Vec<Vec<String>> = vec![Vec::new()];
    for line in String::from_utf8_lossy(&bytes).lines() {
        let begun = boots
            .last()
            .is_some_and(|b| b.iter().any(|l| l.contains(BOOT)));
        if begun && line.contains(BOOT) {
            boots.push(Vec::new());
        }
        if let Some(boot) = boots.last_mut() {
            boot.push(line.to_string());
        }
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let named = boots.into_iter().enumerate();
    named
        .map(|(number, lines)| match number {
            0 => (file.to_string(), lines),
            again => (format!("{file}, restarted {again} times"), lines),
        })
        .collect()
}

fn excerpt(lines: &[String]) -> String {
    let end = lines.len().saturating_sub(TAIL);
    let troubles = lines[..end].iter().filter(|line| is_trouble(line));
    troubles
        .take(TROUBLES)
        .chain(&lines[end..])
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_told_from_a_boot() {
        let logs = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(logs.path().join(name), text).unwrap();
        put("boot2.log", "Linux version 6\nWARNING: here\nfirst\n");
        let many = "line\n".repeat(2 * TAIL);
        let text = format!(
            "SeaBIOS\nLinux version 6\nBUG: there\n{many}SeaBIOS\nLinux version 6\nsecond\n"
        );
        put("boot10.log", &text);
        let said = of(logs.path());
        let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("{part}: {said}"));
        assert!(at("boot2.log") < at("WARNING: here"));
        assert!(at("first") < at("boot10.log ---"));
        assert!(at("BUG: there") < at("boot10.log, restarted 1 times"));
        assert!(at("restarted 1") < at("second"));
        assert_eq!(said.matches("line\n").count(), TAIL - 1);
    }

    #[test]
    fn no_logs_say_nothing() {
        assert_eq!(of(Path::new("/nonexistent")), "");
    }
}
