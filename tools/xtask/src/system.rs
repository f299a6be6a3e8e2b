// SPDX-License-Identifier: GPL-2.0

//! What a guest is made of: kernel, modules, user space, accelerator.

use std::path::{Path, PathBuf};

use anyhow::Result;
use dormouse_vm::accel::{self, Accel};
use dormouse_vm::System;

use crate::kernel::{self, Config};
use crate::paths::Paths;
use crate::{guest, packages};

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

/// One with all modules built into its kernel, if it is `wanted`.
///
/// # Errors
///
/// As [`built`].
pub fn builtin(paths: &Paths, wanted: bool) -> Result<Option<System>> {
    wanted.then(|| built(paths, Config::Builtin)).transpose()
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
