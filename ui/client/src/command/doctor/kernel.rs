// SPDX-License-Identifier: GPL-2.0

//! What the kernel allows.

use anyhow::Result;

use super::Check;
use crate::cli::Context;
use crate::control::Choice;

/// Where firmware says whether Secure Boot is on, in the last of five bytes.
const SECURE_BOOT: &str =
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub(super) fn checks(context: &Context) -> Vec<Check> {
    vec![support(context), lockdown(context), allowed(context)]
}

fn support(context: &Context) -> Check {
    let name = "kernel";
    let release = context.system.release();
    let release = release.as_deref().unwrap_or("this kernel");
    match context.control.exists() {
        true => Check::ok(name, format!("{release} has Dormouse")),
        false => Check::fail(
            name,
            format!("{release} has no Dormouse"),
            "boot a kernel that was built with CONFIG_DORMOUSE, CONFIG_HIBERNATION and CONFIG_SWAP",
        ),
    }
}

fn lockdown(context: &Context) -> Check {
    let name = "lockdown";
    let secure_boot = std::fs::read(context.system.path(SECURE_BOOT));
    let secure_boot = secure_boot.is_ok_and(|bytes| bytes.last() == Some(&1));
    let boot = if secure_boot {
        "Secure Boot is on"
    } else {
        "Secure Boot is off"
    };
    let level = context.system.read("sys/kernel/security/lockdown");
    match level.as_deref().map(Choice::parse) {
        Some(Some(level)) if level.chosen != "none" => Check::fail(
            name,
            format!("the kernel is locked down ({}), {boot}", level.chosen),
            "lockdown forbids hibernation: boot without \"lockdown=\", or with Secure Boot off",
        ),
        _ => Check::ok(name, format!("the kernel is not locked down, {boot}")),
    }
}

fn allowed(context: &Context) -> Check {
    let name = "hibernation";
    for word in ["nohibernate", "noresume"] {
        if context.system.has_boot_word(word) {
            let found = format!("\"{word}\" is on the kernel's command line");
            return Check::fail(name, found, "boot without it");
        }
    }
    let states = context.system.read("sys/power/state").unwrap_or_default();
    match states.split_whitespace().any(|state| state == "disk") {
        true => Check::ok(name, "the kernel allows it"),
        false => Check::fail(
            name,
            "the kernel does not allow it: /sys/power/state has no \"disk\"",
            "if the kernel is not locked down, some process uses secret memory (memfd_secret): end it",
        ),
    }
}

/// Whether the kernel's own triggers use Dormouse.
pub(super) fn enabled(context: &Context) -> Result<Check> {
    let name = "enabled";
    Ok(match context.control.get("enabled")?.as_str() {
        "1" => Check::ok(name, "systemctl hibernate uses Dormouse"),
        _ => Check::fail(
            name,
            "systemctl hibernate uses swsusp, not Dormouse",
            "dormouse config set enabled=1",
        ),
    })
}
