// SPDX-License-Identifier: GPL-2.0

//! Scenarios that real guests go through, each a few lines over
//! [`dormouse_vm`]. `cargo xtask check` runs all of them.
//!
//! To add one: write a function in the file where it belongs, and a line in
//! that file's `SCENARIOS`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use dormouse_vm::{System, Vm};

mod aborts;
mod builtin;
mod cmdline;
mod command;
mod cycles;
mod damage;
pub mod debian;
mod encryption;
pub mod faults;
mod files;
mod held;
mod image;
mod memory;
mod mounts;
mod netblock;
mod netlink;
mod places;
mod power;
mod refusals;
mod release;
mod screen;
mod settings;
mod shortages;
mod stacks;
mod stalls;
mod steps;
mod swapareas;
mod swsusp;
pub mod torture;
mod tpm;

pub use encryption::set_key_script;
pub use netblock::servers;
pub use steps::with_program;

/// A kernel that a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// The one under test.
    Tested,
    /// One that has all modules built in.
    Builtin,
    /// One into which failures can be injected, and which looks for leaks.
    Faults,
    /// The same, with checks of all accesses to memory.
    Kasan,
}

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name: small letters and hyphens.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// Goes through it.
    pub run: fn(&Lab) -> Result<()>,
    /// Only for `make torture`: it takes long.
    pub torture: bool,
    /// The kernel that it runs on.
    pub kernel: Kernel,
    /// It uses kbuild's folder of its kernel.
    pub build: bool,
}

impl Scenario {
    /// A scenario of `make check`.
    pub const fn new(name: &'static str, about: &'static str, run: fn(&Lab) -> Result<()>) -> Self {
        Scenario {
            name,
            about,
            run,
            torture: false,
            kernel: Kernel::Tested,
            build: false,
        }
    }

    /// A scenario of `make torture` alone.
    pub const fn long(
        name: &'static str,
        about: &'static str,
        run: fn(&Lab) -> Result<()>,
    ) -> Self {
        Scenario {
            torture: true,
            ..Scenario::new(name, about, run)
        }
    }

    /// A scenario of `make torture` alone, with a kernel that has all modules
    /// built in.
    pub const fn builtin(
        name: &'static str,
        about: &'static str,
        run: fn(&Lab) -> Result<()>,
    ) -> Self {
        Scenario {
            kernel: Kernel::Builtin,
            ..Scenario::long(name, about, run)
        }
    }

    /// The same on another kernel.
    pub const fn on(self, kernel: Kernel) -> Self {
        Scenario { kernel, ..self }
    }

    /// The same with kbuild's folder of its kernel.
    pub const fn with_build(self) -> Self {
        Scenario {
            build: true,
            ..self
        }
    }
}

/// Where a scenario runs.
#[derive(Clone)]
pub struct Lab {
    /// The kernel under test, with its modules and user space.
    pub system: System,
    /// Which one that is.
    pub kernel: Kernel,
    /// The same with other kernels, as far as scenarios need them.
    pub others: BTreeMap<Kernel, System>,
    /// kbuild's folders of kernels, where a scenario needs them.
    pub builds: BTreeMap<Kernel, PathBuf>,
    /// Makes the Debian guest, or finds it made.
    pub debian: fn() -> Result<debian::Machine>,
}

impl Lab {
    /// The same lab with another kernel.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub fn on(&self, kernel: Kernel) -> Result<Lab> {
        let mut lab = self.clone();
        lab.kernel = kernel;
        if kernel != Kernel::Tested {
            let logs = lab.system.logs.take();
            lab.system = lab
                .others
                .remove(&kernel)
                .with_context(|| format!("no kernel {kernel:?}"))?;
            lab.system.logs = logs;
        }
        Ok(lab)
    }

    /// kbuild's folder of this kernel, to build modules outside of the tree against.
    ///
    /// # Errors
    ///
    /// When the scenario does not say that it needs it.
    pub fn build(&self) -> Result<&Path> {
        let build = self.builds.get(&self.kernel);
        build.map(PathBuf::as_path).context("no folder of kbuild")
    }

    /// The same lab with one more module, `name`, that is built from the sources in `folder`,
    /// relative to the checkout, against this kernel. The folder that is returned keeps it.
    ///
    /// # Errors
    ///
    /// When it does not build, or the scenario does not say that it needs kbuild's folder.
    pub fn with_module(&self, folder: &str, name: &str) -> Result<(Lab, tempfile::TempDir)> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let made = build_modules(&sources.join(folder), self.build()?)?;
        let mut lab = self.clone();
        lab.system.modules.push(made.path().join(name));
        Ok((lab, made))
    }

    /// A new machine with all modules, 512 MiB and two processors.
    pub fn vm(&self) -> Vm {
        let vm = Vm::new(self.system.clone());
        match self.kernel {
            // What is freed is poisoned, and looked at when it is taken again.
            Kernel::Kasan => vm.append("page_poison=1"),
            Kernel::Tested | Kernel::Builtin | Kernel::Faults => vm,
        }
    }
}

/// Builds the modules whose sources are in the folder `sources` against kbuild's folder `build`,
/// as the Makefile of the samples does; they are in the folder that is returned.
///
/// # Errors
///
/// When they do not build.
pub fn build_modules(sources: &Path, build: &Path) -> Result<tempfile::TempDir> {
    let made = tempfile::tempdir()?;
    for file in std::fs::read_dir(sources)? {
        let file = file?;
        std::fs::copy(file.path(), made.path().join(file.file_name()))?;
    }
    let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/Makefile");
    std::fs::copy(makefile, made.path().join("Makefile"))?;
    let output = Command::new("make")
        .arg("-C")
        .arg(made.path())
        .arg(format!("KDIR={}", build.display()))
        .args(["RUSTC=/usr/bin/rustc", "LC_ALL=C"])
        .env_remove("MAKEFLAGS")
        .env_remove("RUSTFLAGS")
        .output()
        .context("cannot run make")?;
    ensure!(
        output.status.success(),
        "the modules of {} do not build: {}",
        sources.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(made)
}

/// Those of [`all`] that `make check` runs with [`Kernel::Kasan`] as well: few, as each takes
/// minutes. `make torture` does so with all.
pub const WITH_KASAN: &[&str] = &[
    "test-resume",
    "bystander-abort",
    "bad-values",
    "stalled-save",
];

/// All scenarios, those of `make torture` too, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    [
        swsusp::SCENARIOS,
        builtin::SCENARIOS,
        cycles::SCENARIOS,
        places::SCENARIOS,
        stacks::SCENARIOS,
        swapareas::SCENARIOS,
        files::SCENARIOS,
        refusals::SCENARIOS,
        memory::SCENARIOS,
        mounts::SCENARIOS,
        held::SCENARIOS,
        settings::SCENARIOS,
        cmdline::SCENARIOS,
        aborts::SCENARIOS,
        damage::SCENARIOS,
        encryption::SCENARIOS,
        tpm::SCENARIOS,
        power::SCENARIOS,
        shortages::SCENARIOS,
        stalls::SCENARIOS,
        faults::SCENARIOS,
        netblock::SCENARIOS,
        release::SCENARIOS,
        netlink::SCENARIOS,
        command::SCENARIOS,
        screen::SCENARIOS,
        debian::SCENARIOS,
    ]
    .concat()
}
