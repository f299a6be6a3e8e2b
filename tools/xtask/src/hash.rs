// SPDX-License-Identifier: GPL-2.0

//! Keys made of the content of files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Collects what something depends on.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a text, such as a version.
    pub fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    /// Adds a file or all files below a folder, with their names relative to
    /// `base`. What does not exist is the same as an empty folder.
    ///
    /// # Errors
    ///
    /// When something there cannot be read.
    pub fn files(&mut self, base: &Path, path: &Path) -> Result<()> {
        for file in files_below(path)? {
            self.text(&file.strip_prefix(base).unwrap_or(&file).to_string_lossy());
            let data =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            self.0.update((data.len() as u64).to_le_bytes());
            self.0.update(data);
        }
        Ok(())
    }

    /// The key: 16 hexadecimal digits.
    pub fn finish(self) -> String {
        self.0.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// All files below `path` (or `path` itself) in a fixed order, without folders
/// of build results.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    if !path.is_dir() {
        return Ok(found);
    }
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let below = entry.path();
        // cargo marks its folders of results so.
        if entry.file_name() != ".git" && !below.join("CACHEDIR.TAG").exists() {
            found.extend(files_below(&below)?);
        }
    }
    Ok(found)
}
