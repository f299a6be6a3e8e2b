// SPDX-License-Identifier: GPL-2.0

//! What a guest is made of: kernel, modules, user space, accelerator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use dormouse_vm::accel::{self, Accel};
use dormouse_vm::System;
use vm_scenarios::{Kernel, Lab};

use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::{debian, guest, packages};

/// A system of the kernel `config`, built when it is not there.
///
/// # Errors
///
/// When something cannot be built or installed.
pub fn built(paths: &Paths, config: Config) -> Result<System> {
    let built = kernel::build(paths, config)?;
    let mut system = of(paths, &built.kernel(), &built.modules)?;
    (system.slowness, system.more_mib) = config.cost();
    Ok(system)
}

/// The configuration of `kernel`, where the one under test is `tested`.
fn config(kernel: Kernel, tested: Config) -> Config {
    match kernel {
        Kernel::Tested => tested,
        Kernel::Builtin => Config::Builtin,
        Kernel::Faults => Config::Faults,
        Kernel::Kasan => Config::Kasan,
    }
}

/// A lab with the system under test, of the kernel `tested`, with those of all other `kernels`,
/// and with kbuild's folders of `builds`. When none of `kernels` is the one under test, that is
/// not built: another one stands in for it.
///
/// # Errors
///
/// As [`built`].
pub fn lab(
    paths: &Paths,
    tested: Config,
    kernels: impl Iterator<Item = Kernel>,
    builds: impl Iterator<Item = Kernel>,
) -> Result<Lab> {
    let (system, others) = all(paths, tested, kernels)?;
    let builds: BTreeSet<Kernel> = builds.collect();
    let folder = |kernel| Ok((kernel, kernel::build_folder(paths, config(kernel, tested))?));
    Ok(Lab {
        system,
        kernel: Kernel::Tested,
        others,
        builds: builds.into_iter().map(folder).collect::<Result<_>>()?,
        debian: debian::machine,
    })
}

fn all(
    paths: &Paths,
    tested: Config,
    kernels: impl Iterator<Item = Kernel>,
) -> Result<(System, BTreeMap<Kernel, System>)> {
    let wanted: BTreeSet<Kernel> = kernels.collect();
    let mut systems = BTreeMap::new();
    for kernel in wanted {
        systems.insert(kernel, built(paths, config(kernel, tested))?);
    }
    let system = match systems.first_key_value() {
        // `Tested` is the first of all.
        Some((_, system)) => system.clone(),
        None => built(paths, tested)?,
    };
    systems.remove(&Kernel::Tested);
    Ok((system, systems))
}

/// A system of any kernel and modules.
///
/// # Errors
///
/// When the user space for it cannot be built or installed.
pub fn of(paths: &Paths, kernel: &Path, modules: &[PathBuf]) -> Result<System> {
    packages::ensure(packages::GUEST)?;
    let [guest, client] = guest::build(paths)?;
    let mut system = System {
        kernel: kernel.to_path_buf(),
        modules: modules.to_vec(),
        busybox: "/bin/busybox".into(),
        guest,
        client,
        accel: Accel::Tcg,
        logs: None,
        slowness: 1,
        more_mib: 0,
    };
    system.accel = accel::best(&system, &paths.cache)?;
    Ok(system)
}
