// SPDX-License-Identifier: GPL-2.0

//! clippy over our crates, with the flags that kbuild compiles them with.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{ensure, Context, Result};

use super::{lock, make, tree, Config};
use crate::hash::files_below;
use crate::packages;
use crate::paths::Paths;

const RUSTC: &str = "/usr/bin/rustc";
const CLIPPY: &str = "/usr/bin/clippy-driver";

/// Runs clippy over each of our crates in `config`; returns the source of each
/// and what clippy said. Warnings count as errors.
///
/// # Errors
///
/// As [`super::build`], and when clippy cannot be run.
pub fn lint(paths: &Paths, config: Config) -> Result<Vec<(String, Output)>> {
    packages::ensure_kernel()?;
    let _lock = lock(paths)?;
    let (output, _) = make(paths, config)?;
    let scratch = tempfile::tempdir()?;
    let metadata = scratch.path().join("metadata");
    let mut results = Vec::new();
    for note in files_below(&output.join(tree::PLACE))? {
        if !note.to_string_lossy().ends_with(".o.cmd") {
            continue;
        }
        let text = fs::read_to_string(&note)?;
        let Some((source, line)) = command(&text, &metadata) else {
            continue;
        };
        // A source that is gone has left its note.
        if output.join(source).exists() {
            let said = Command::new("sh")
                .args(["-c", &line])
                .current_dir(&output)
                // What our Kbuild exports.
                .env(
                    "DORMOUSE_BINDINGS",
                    output.join(tree::PLACE).join("core/sys/bindings.rs"),
                )
                .env("CLIPPY_CONF_DIR", "..")
                .env("OBJTREE", &output)
                .env("RUSTC_BOOTSTRAP", "1")
                .output()
                .context("cannot run a shell")?;
            results.push((source.to_string(), said));
        }
    }
    ensure!(!results.is_empty(), "kbuild left no note of a crate");
    Ok(results)
}

/// From kbuild's note of how an object was made, when rustc made it: the
/// source, and the command of clippy over it, which leaves only `metadata`.
fn command<'a>(note: &'a str, metadata: &Path) -> Option<(&'a str, String)> {
    let (_, compiled) = note.lines().next()?.split_once(" := ")?;
    // After that come objtool and the like.
    let compiled = compiled.split(" ; ").next()?.trim();
    let source = compiled.rsplit(' ').next()?;
    let mut words = Vec::new();
    let mut all = compiled.split(' ');
    while let Some(word) = all.next() {
        match word {
            "--out-dir" => drop(all.next()),
            RUSTC => words.push(CLIPPY),
            _ if word.starts_with("--emit=") => {}
            _ => words.push(word),
        }
    }
    if !words.contains(&CLIPPY) {
        return None;
    }
    let line = format!(
        "{} --emit=metadata={} -Dwarnings",
        words.join(" "),
        metadata.display()
    );
    Some((source, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let note = "savedcmd_a.o := RUST_MODFILE=a /usr/bin/rustc -Wx --emit=metadata=a.rmeta \
                    --out-dir o/ --emit=obj=a.o ../a.rs  ; ./objtool a.o\n\nsource_a.o := ../a.rs\n";
        let (source, line) = command(note, Path::new("m")).unwrap();
        assert_eq!(source, "../a.rs");
        assert_eq!(
            line,
            "RUST_MODFILE=a /usr/bin/clippy-driver -Wx ../a.rs --emit=metadata=m -Dwarnings"
        );
        let c = "savedcmd_b.o := gcc -c -o b.o ../b.c\n";
        assert!(command(c, Path::new("m")).is_none());
    }
}
