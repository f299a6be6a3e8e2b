// SPDX-License-Identifier: GPL-2.0

//! Builds kernels: `cargo xtask kernel` and `cargo xtask uml`.
//!
//! Everything lies in the cache, outside of the checkout:
//!
//!     linux-KEY/           source with our patches (tree.rs), one per state of the patches
//!     linux-KEY/o-CONFIG/  kbuild's folder of one configuration
//!     out/CONFIG-KEY/      what was built, one per state of everything it depends on
//!
//! A result whose key is there is taken as it is, without asking kbuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::deb;
use crate::hash::{self, Key};
use crate::packages;
use crate::paths::Paths;
use crate::progress;

mod config;
mod host;
pub mod kunit_py;
mod lint;
mod tree;

pub use config::Config;
pub use lint::lint;

/// Written last into a folder of results.
const DONE: &str = "done";
/// Results that stay in the cache.
const KEEP: usize = 12;

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Folder of the results: `bzImage` (or `linux`), `config`, `Module.symvers`, `modules/`.
    pub folder: PathBuf,
    /// Our modules, in the order of the pipeline.
    pub modules: Vec<PathBuf>,
}

impl Built {
    fn read(folder: &Path) -> Result<Self> {
        let order = fs::read_to_string(folder.join("modules/order"))?;
        Ok(Built {
            folder: folder.to_path_buf(),
            modules: order
                .lines()
                .map(|name| folder.join("modules").join(name))
                .collect(),
        })
    }

    /// The kernel itself.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("bzImage")
    }

    /// Its Debian package.
    ///
    /// # Errors
    ///
    /// When its configuration is built without one.
    pub fn package(&self) -> Result<PathBuf> {
        deb::find(&self.folder, "linux-image-")
    }
}

/// Builds `config` from the checkout, or finds it built.
///
/// # Errors
///
/// Missing packages, room or memory; a patch, a configuration or a source that
/// does not fit.
pub fn build(paths: &Paths, config: Config) -> Result<Built> {
    ensure(config)?;
    // A folder that is done never changes, so nobody has to be waited for.
    let folder = result(paths, config, &paths.root)?;
    if folder.join(DONE).exists() {
        fs::write(folder.join(DONE), "")?;
        return Built::read(&folder);
    }
    let _lock = lock(paths)?;
    let (_, folder) = make(paths, config)?;
    Built::read(&folder)
}

/// Installs what is missing to build `config`.
fn ensure(config: Config) -> Result<()> {
    packages::ensure_kernel()?;
    match config {
        Config::Debian => packages::ensure(packages::DEB),
        Config::Kasan => packages::ensure(packages::CLANG),
        _ => Ok(()),
    }
}

/// kbuild's folder of `config` in the state that belongs to the checkout, to
/// build modules outside of the tree against.
///
/// # Errors
///
/// As [`build`].
pub fn build_folder(paths: &Paths, config: Config) -> Result<PathBuf> {
    ensure(config)?;
    let _lock = lock(paths)?;
    Ok(make(paths, config)?.0)
}

/// Runs kbuild in the tree; returns its folder and that of the results.
fn make(paths: &Paths, config: Config) -> Result<(PathBuf, PathBuf)> {
    let tools = host::Toolchain::find(paths)?;
    host::check_memory(1500)?;
    host::check_disk(&paths.cache, 3)?;
    let tree = tree::prepare(paths)?;
    let output = tree.join(config.output());
    // The checkout may be edited meanwhile: what counts is the copy.
    let folder = result(paths, config, &tree.join(tree::PLACE))?;
    // The folder may hold a later state than the results of this one.
    let state = output.join("dormouse.state");
    let name = folder
        .file_name()
        .context("results without a name")?
        .to_string_lossy();
    let current = fs::read_to_string(&state).is_ok_and(|text| text == name);
    if !current || !folder.join(DONE).exists() {
        // Says nothing while kbuild works: it may be interrupted.
        let _ = fs::remove_file(&state);
        config::configure(paths, &tools, &tree, config)?;
        let log = paths
            .cached("logs")?
            .join(format!("kernel-{}.log", config.name()));
        let mut make = tools.make(&tree, &config.output());
        make.arg(format!("-j{}", host::jobs()))
            .args(config.arguments())
            .args(config.targets());
        let label = format!("building the {} kernel", config.name());
        progress::run(&label, &mut make, &log, false)?;
        if !folder.join(DONE).exists() {
            collect(&output, &folder, config)?;
        }
        fs::write(&state, name.as_bytes())?;
        prune(paths)?;
    }
    Ok((output, folder))
}

fn result(paths: &Paths, config: Config, ours: &Path) -> Result<PathBuf> {
    let key = key(paths, config, ours)?;
    Ok(paths
        .cached("out")?
        .join(format!("{}-{key}", config.name())))
}

/// The source tree for the present patches, for tools that come with it.
///
/// # Errors
///
/// As [`build`].
pub fn source(paths: &Paths) -> Result<PathBuf> {
    packages::ensure_kernel()?;
    let _lock = lock(paths)?;
    tree::prepare(paths)
}

/// The key of `config` with our sources as they are in the folder `ours`.
fn key(paths: &Paths, config: Config, ours: &Path) -> Result<String> {
    let mut key = Key::default();
    key.text(config.name());
    key.text(&tree::version()?);
    key.text(&host::version(config.compiler())?);
    key.files(&paths.root, &tree::patches(paths))?;
    for fragment in config.fragments(paths) {
        key.files(&paths.root, &fragment)?;
    }
    for name in tree::OURS {
        let files = hash::files_below(&ours.join(name))?;
        for file in files.iter().filter(|file| tree::is_source(ours, file)) {
            key.files(ours, file)?;
        }
    }
    Ok(key.finish())
}

/// Kernel builds take turns: they share one source tree.
fn lock(paths: &Paths) -> Result<Flock<fs::File>> {
    exclusive(paths, "lock")
}

/// Waits until nobody else holds the file `name` of the cache, and holds it.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn exclusive(paths: &Paths, name: &str) -> Result<Flock<fs::File>> {
    let file = fs::File::create(paths.cache.join(name))?;
    let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((file, _)) => file,
    };
    eprintln!("waiting for another build to end");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

fn collect(output: &Path, folder: &Path, config: Config) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.join("modules"))?;
    let copy = |from: &str, to: &str| {
        fs::copy(output.join(from), folder.join(to))
            .with_context(|| format!("kbuild left no {from}"))
    };
    copy(".config", "config")?;
    let mut order = String::new();
    if config == Config::Uml {
        copy("linux", "linux")?;
    } else {
        copy("arch/x86/boot/bzImage", "bzImage")?;
        copy("System.map", "System.map")?;
        copy("Module.symvers", "Module.symvers")?;
        for object in fs::read_to_string(output.join("modules.order"))?.lines() {
            let module = PathBuf::from(object).with_extension("ko");
            let name = module
                .file_name()
                .context("module without a name")?
                .to_string_lossy();
            copy(&module.to_string_lossy(), &format!("modules/{name}"))?;
            order.push_str(&format!("{name}\n"));
        }
    }
    if config == Config::Dwarf {
        copy("vmlinux", "vmlinux")?;
    }
    if config == Config::Debian {
        // kbuild puts it beside its own folder.
        let beside = output.parent().context("no tree")?;
        let package = deb::find(beside, "linux-image-")?;
        let name = package.file_name().context("package without a name")?;
        fs::copy(&package, folder.join(name))?;
        fs::remove_file(&package)?;
    }
    fs::write(folder.join("modules/order"), order)?;
    fs::write(folder.join(DONE), "")?;
    Ok(())
}

/// Removes results that were not used for long.
fn prune(paths: &Paths) -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths.cached("out")?)? {
        let path = entry?.path();
        let used = fs::metadata(path.join(DONE)).and_then(|data| data.modified());
        found.push((used.unwrap_or(SystemTime::UNIX_EPOCH), path));
    }
    found.sort();
    let surplus = found.len().saturating_sub(KEEP);
    for (_, path) in &found[..surplus] {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}
