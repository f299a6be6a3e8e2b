// SPDX-License-Identifier: GPL-2.0

//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout and the folder for what is built.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Root of the checkout.
    pub root: PathBuf,
    /// `$XDG_CACHE_HOME/dormouse`, or `~/.cache/dormouse`.
    pub cache: PathBuf,
}

impl Paths {
    /// Finds both and makes the cache folder.
    ///
    /// # Errors
    ///
    /// When there is no home folder, or it cannot be written.
    pub fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .ancestors()
            .nth(2)
            .context("tools/xtask is not in a checkout")?;
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(cache) if !cache.is_empty() => PathBuf::from(cache),
            _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
        };
        let cache = cache.join("dormouse");
        std::fs::create_dir_all(&cache)
            .with_context(|| format!("cannot make {}", cache.display()))?;
        Ok(Paths {
            root: root.to_path_buf(),
            cache,
        })
    }

    /// A folder in the cache, made when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn cached(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}
