// SPDX-License-Identifier: GPL-2.0

//! The modules that the settings need, here and in the initramfs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::Check;
use crate::cli::Context;
use crate::{file, settings};

/// Where a module is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    BuiltIn,
    Loaded,
    Loadable,
    Missing,
}

/// `dormouse_aes_gcm` for `aes-gcm`.
fn module(name: &str) -> String {
    format!("dormouse_{}", name.replace('-', "_"))
}

/// Whether a list of the files of modules has `module`, in whatever packing.
fn lists(list: &str, module: &str) -> bool {
    let of = |line: &str| {
        let path = line.split(':').next()?;
        let file = path.rsplit('/').next()?;
        Some(file.split(".ko").next()?.replace('-', "_"))
    };
    list.lines().any(|line| of(line).as_deref() == Some(module))
}

fn release(context: &Context) -> String {
    context.system.release().unwrap_or_default()
}

fn find(context: &Context, module: &str) -> Is {
    let folder = format!("lib/modules/{}", release(context));
    let list = |name: &str| {
        context
            .system
            .read(&format!("{folder}/{name}"))
            .unwrap_or_default()
    };
    let live = context.system.read("proc/modules").unwrap_or_default();
    let loaded = live
        .lines()
        .any(|line| line.split(' ').next() == Some(module));
    if loaded {
        Is::Loaded
    } else if lists(&list("modules.builtin"), module) {
        Is::BuiltIn
    } else if lists(&list("modules.dep"), module) {
        Is::Loadable
    } else if context
        .system
        .path(&format!("sys/module/{module}"))
        .exists()
    {
        // Not in the list of loaded ones, so it is a part of the kernel.
        Is::BuiltIn
    } else {
        Is::Missing
    }
}

/// Names of the modules that the settings need, without "none".
fn needed(context: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for setting in ["writer", "compressor", "encryptor"] {
        let chosen = context.control.choice(setting)?.chosen;
        if chosen != "none" {
            // A writer that is not called like its module would not be found.
            names.push(module(&chosen));
        }
    }
    Ok(names)
}

pub(super) fn checks(context: &Context) -> Result<Vec<Check>> {
    let name = "modules";
    let needed = needed(context)?;
    let missing: Vec<&str> = needed
        .iter()
        .filter(|module| find(context, module) == Is::Missing)
        .map(String::as_str)
        .collect();
    let here = match missing.is_empty() {
        true => Check::ok(name, format!("found {}", needed.join(", "))),
        false => Check::fail(
            name,
            format!("{} cannot be found", missing.join(", ")),
            "install the modules of this kernel, or choose others",
        ),
    };
    Ok(vec![here, initramfs(context, &needed)])
}

/// The initramfs of the next boot, as far as it can be listed.
fn initramfs(context: &Context, needed: &[String]) -> Check {
    let name = "initramfs";
    let apart = |module: &&String| find(context, module) != Is::BuiltIn;
    let apart: Vec<&String> = needed.iter().filter(apart).collect();
    if apart.is_empty() {
        return Check::ok(name, "not needed: everything is built into the kernel");
    }
    let release = release(context);
    let paths = [
        format!("boot/initrd.img-{release}"),
        format!("boot/initramfs-{release}.img"),
    ];
    let mut paths = paths.iter().map(|path| context.system.path(path));
    let Some(path) = paths.find(|path| path.exists()) else {
        return Check::unknown(
            name,
            format!("no initramfs of {release} was found in /boot"),
        );
    };
    let shown = path.display().to_string();
    let Some(list) = listing(&path) else {
        return Check::unknown(
            name,
            format!("{shown} cannot be listed: there is neither lsinitramfs nor lsinitrd"),
        );
    };
    let absent: Vec<&str> = apart
        .iter()
        .filter(|module| !lists(&list, module))
        .map(|module| module.as_str())
        .collect();
    if !absent.is_empty() {
        return Check::fail(
            name,
            format!("{shown} is without {}", absent.join(", ")),
            "add them, to /etc/initramfs-tools/modules for example, and make it again with update-initramfs -u",
        );
    }
    if !asks(&list) {
        return Check::fail(
            name,
            format!("{shown} has the modules, and nothing that loads them and asks for the resume"),
            "install the Debian package, or the hooks with \"make -C dist install\", and make it again; the admin guide says what a hook of your own has to do",
        );
    }
    match stale(context, &path, &list) {
        Some(found) => Check::note(
            name,
            found,
            "make it again, with update-initramfs -u for example",
        ),
        None => Check::ok(name, format!("{shown} has the modules and a hook")),
    }
}

/// Whether a file of an initramfs is our hook, or somebody's who named it so.
fn asks(list: &str) -> bool {
    list.lines().any(|line| {
        let hook = line.contains("scripts/") || line.contains("hooks/");
        line.ends_with("lib/dormouse/resume") || (hook && line.contains("dormouse"))
    })
}

/// What is wrong with the settings in the initramfs at `path`, if a resume goes by any.
fn stale(context: &Context, path: &Path, list: &str) -> Option<String> {
    let file = context.system.path("etc/dormouse.toml");
    let wanted = file::load(&file).ok()??;
    if !wanted.iter().any(|(name, _)| settings::is_for_resume(name)) {
        return None;
    }
    let shown = path.display();
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if !list.lines().any(|line| line.ends_with("etc/dormouse.toml")) {
        Some(format!(
            "{shown} is without /etc/dormouse.toml, by which a resume goes"
        ))
    } else if time(&file) > time(path) {
        Some(format!(
            "{shown} is older than /etc/dormouse.toml, by which a resume goes"
        ))
    } else {
        None
    }
}

fn listing(path: &Path) -> Option<String> {
    for program in ["lsinitramfs", "lsinitrd"] {
        let output = Command::new(program)
            .arg(path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                // lsinitrd prints a long listing, whose last word is the path.
                let last = |line: &str| line.split_whitespace().next_back().map(str::to_string);
                return Some(text.lines().filter_map(last).collect::<Vec<_>>().join("\n"));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_hook() {
        assert!(asks("usr/lib/dormouse/resume"));
        assert!(asks(
            "scripts/local-premount/dormouse\nscripts/init-top/udev"
        ));
        assert!(asks("var/lib/dracut/hooks/pre-mount/05-dormouse-resume.sh"));
        assert!(!asks(
            "scripts/local-premount/resume\nusr/sbin/dormouse\netc/dormouse.toml"
        ));
    }

    #[test]
    fn finds_modules_in_lists() {
        assert_eq!(module("aes-gcm"), "dormouse_aes_gcm");
        let list = "kernel/power/dormouse/modules/swap/dormouse_swap.ko.xz: a.ko\nkernel/x.ko:\n";
        assert!(lists(list, "dormouse_swap") && lists(list, "x"));
        assert!(!lists(list, "dormouse") && !lists(list, "a") && !lists("", ""));
    }
}
