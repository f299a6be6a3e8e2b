// SPDX-License-Identifier: GPL-2.0

//! How QEMU runs the guest's processors.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::vm::{System, Vm};

/// An accelerator of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's virtualisation.
    Kvm,
    /// Translation, one host thread for each processor.
    Tcg,
    /// Translation with time made a count of instructions (one processor only).
    Icount,
}

impl Accel {
    /// Arguments that select it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Accel::Kvm => &["-accel", "kvm"],
            Accel::Tcg => &["-accel", "tcg,thread=multi"],
            Accel::Icount => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=auto,sleep=off",
            ],
        }
    }
}

/// The fastest accelerator that works here.
///
/// KVM is trusted only after a guest really booted and ran in it: the device
/// may exist where guests die. The answer is kept in `folder` for as long as
/// host kernel, processor and QEMU are the same.
///
/// # Errors
///
/// When the answer cannot be kept.
pub fn best(system: &System, folder: &Path) -> Result<Accel> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Accel::Tcg);
    }
    let host = host();
    let note = folder.join("kvm-probe");
    let known = std::fs::read_to_string(&note).unwrap_or_default();
    if let Some(answer) = known.strip_prefix(&format!("{host}: ")) {
        return Ok(if answer.trim() == "works" {
            Accel::Kvm
        } else {
            Accel::Tcg
        });
    }
    let works = probe(system).is_ok();
    let answer = if works { "works" } else { "does not work" };
    std::fs::write(&note, format!("{host}: {answer}\n"))?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn probe(system: &System) -> Result<()> {
    let system = System {
        accel: Accel::Kvm,
        modules: Vec::new(),
        ..system.clone()
    };
    let mut vm = Vm::new(system)
        .mem(512)
        .smp(2)
        .boot_timeout(Duration::from_secs(20));
    vm.boot()?;
    vm.run("guest work start mib=64; guest work verify; guest work stop")?;
    vm.assert_clean()
}

/// What the answer depends on, on one line.
fn host() -> String {
    let first = |path: &str, prefix: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(prefix))
            .unwrap_or_default()
            .to_string()
    };
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    let qemu = qemu.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let parts = [
        first("/proc/version", ""),
        first("/proc/cpuinfo", "model name"),
        qemu.unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
    ];
    parts.join(" / ")
}
