// SPDX-License-Identifier: GPL-2.0

//! Settings, and changes of them that happen as a whole or not at all.

use anyhow::{Context, Result};
use dormouse_image::target::{self, Target};

use crate::control::{Choice, Control};
use crate::failure::{Code, Failure};
use crate::output;

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Number,
    Choice,
    Target,
    /// What only the kernel understands.
    Other,
}

/// All settings but those of modules, in the order in which they are made: what decides whether
/// others are good comes first, and what puts everything to use last.
const ALL: &[(&str, Kind)] = &[
    ("compressor", Kind::Choice),
    ("encryptor", Kind::Choice),
    ("freezer", Kind::Choice),
    ("snapshot", Kind::Choice),
    ("threads", Kind::Number),
    ("image_size_limit", Kind::Number),
    ("io_timeout", Kind::Number),
    ("keep_running", Kind::Other),
    ("allow_abort", Kind::Switch),
    ("freeze_filesystems", Kind::Switch),
    ("writer", Kind::Choice),
    ("target", Kind::Target),
    ("enabled", Kind::Switch),
];

/// Those that mean nothing after a boot, or are for once.
const TRANSIENT: &[&str] = &["keep_running", "netblock.claim"];

/// Longest value that is passed on: sysfs takes a page.
const VALUE_MAX: usize = 4095;

fn kind(name: &str) -> Option<Kind> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind)
}

/// Where in the order a setting is made.
fn rank(name: &str) -> usize {
    // Those of modules come when the module has been chosen, and before it is put to use.
    let position = ALL.iter().position(|(known, _)| *known == name);
    position.unwrap_or(ALL.len() - 1) * 2 + usize::from(name == "enabled")
}

/// File of the setting `name`: `netblock.timeout` is one of a module.
fn file(name: &str) -> Result<String> {
    if kind(name).is_some() {
        return Ok(name.to_string());
    }
    let parts = name.split_once('.');
    let good = |part: &str| target::parse_name(part).is_ok();
    match parts.filter(|(module, parameter)| good(module) && good(parameter)) {
        Some((module, parameter)) => Ok(format!("modules/{module}/{parameter}")),
        None => {
            let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
            let sentence = format!(
                "there is no setting \"{}\": there are {}, and those of modules as MODULE.NAME",
                name.escape_debug(),
                names.join(", ")
            );
            Err(Failure::error(Code::Usage, sentence))
        }
    }
}

/// Refuses what the kernel would refuse, in its words.
fn check(name: &str, value: &str) -> Result<()> {
    let refused = |why: &str| {
        let value: String = value.chars().take(64).collect();
        let sentence = format!("{name} cannot be \"{}\": {why}", value.escape_debug());
        Err(Failure::error(Code::Usage, sentence))
    };
    if value.len() > VALUE_MAX {
        return refused("it is too long");
    }
    if value.chars().any(char::is_control) {
        return refused("a value has no control characters in it");
    }
    let result = match kind(name) {
        Some(Kind::Switch) => target::parse_bool(value).map(|_| ()),
        Some(Kind::Number) => target::parse_unsigned(value).map(|_| ()),
        Some(Kind::Choice) => target::parse_name(value).map(|_| ()),
        Some(Kind::Target) => Target::parse(value).map(|_| ()),
        Some(Kind::Other) | None => Ok(()),
    };
    result.or_else(|invalid| refused(invalid.sentence()))
}

/// The value of a setting, as it would be written.
///
/// # Errors
///
/// When there is none of that name, or it cannot be read.
pub fn get(control: &Control, name: &str) -> Result<String> {
    let text = control.get(&file(name)?)?;
    match kind(name) {
        Some(Kind::Choice) => {
            let choice = Choice::parse(&text).with_context(|| format!("{name} is '{text}'"))?;
            Ok(choice.chosen)
        }
        _ => Ok(text),
    }
}

/// All settings that can be read now, modules' last.
///
/// # Errors
///
/// When one cannot be read.
pub fn all(control: &Control) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (name, _) in ALL {
        all.push((name.to_string(), get(control, name)?));
    }
    for name in of_modules(control) {
        let value = get(control, &name)?;
        all.push((name, value));
    }
    Ok(all)
}

/// Those of `all` that a boot should find again.
pub fn is_lasting(name: &str) -> bool {
    !TRANSIENT.contains(&name)
}

/// Settings that a resume goes by, and not only a save, besides those of modules.
const FOR_RESUME: &[&str] = &["encryptor", "threads", "io_timeout", "allow_abort"];

/// Whether a resume goes by a setting, and not only a save.
pub fn is_for_resume(name: &str) -> bool {
    FOR_RESUME.contains(&name) || name.contains('.')
}

/// The module that the setting `name` belongs to, when it is not loaded.
pub fn absent_module<'a>(control: &Control, name: &'a str) -> Option<&'a str> {
    let (module, _) = name.split_once('.')?;
    let folder = control.path().join("modules").join(module);
    (target::parse_name(module).is_ok() && !folder.exists()).then_some(module)
}

/// Names of the settings of modules that can be read and written.
fn of_modules(control: &Control) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut names = Vec::new();
    let modules = std::fs::read_dir(control.path().join("modules"));
    for module in modules.into_iter().flatten().flatten() {
        let parameters = std::fs::read_dir(module.path());
        for parameter in parameters.into_iter().flatten().flatten() {
            let mode = parameter.metadata().map_or(0, |m| m.permissions().mode());
            if mode & 0o600 == 0o600 {
                let (module, parameter) = (module.file_name(), parameter.file_name());
                names.push(format!(
                    "{}.{}",
                    module.to_string_lossy(),
                    parameter.to_string_lossy()
                ));
            }
        }
    }
    names.sort();
    names
}

/// A change of several settings. What was set is put back when it is dropped, unless it was kept.
pub struct Change<'a> {
    control: &'a Control,
    /// What each was before, in the order of the changes.
    before: Vec<(String, String)>,
}

impl<'a> Change<'a> {
    /// Makes all of `wanted`.
    ///
    /// # Errors
    ///
    /// When one is refused, in a sentence; what was set is put back.
    pub fn make(control: &'a Control, wanted: &[(String, String)]) -> Result<Change<'a>> {
        for (name, value) in wanted {
            file(name)?;
            check(name, value)?;
        }
        let mut wanted: Vec<_> = wanted.to_vec();
        // A stable sort: of two values for one setting the last one counts.
        wanted.sort_by_key(|(name, _)| rank(name));
        let mut change = Change {
            control,
            before: Vec::new(),
        };
        if let Err(error) = change.make_all(&wanted) {
            let put_back = change.undo();
            return Err(match put_back {
                Ok(()) => error.context("nothing was changed"),
                Err(other) => error.context(format!("{other:#}")),
            });
        }
        Ok(change)
    }

    fn make_all(&mut self, wanted: &[(String, String)]) -> Result<()> {
        let is_wanted = |name| wanted.iter().any(|(wanted, _)| wanted == name);
        if is_wanted("writer") && is_wanted("target") {
            // The new writer may not take the old target, nor the old writer the new one.
            let differs = |name: &str| -> Result<bool> {
                let mut same_name = wanted.iter().filter(|(wanted, _)| wanted == name);
                let now = get(self.control, name)?;
                Ok(same_name
                    .next_back()
                    .is_some_and(|(_, value)| *value != now))
            };
            if differs("writer")? && differs("target")? {
                self.set("target", "auto")?;
            }
        }
        wanted
            .iter()
            .try_for_each(|(name, value)| self.set(name, value))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let before = get(self.control, name)?;
        if before == value {
            return Ok(());
        }
        self.before.push((name.to_string(), before));
        write(self.control, name, value)
    }

    /// Keeps the change.
    pub fn keep(mut self) {
        self.before.clear();
    }

    /// Whether anything was changed.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// Puts everything back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses what was there before: says which are as they should not be.
    pub fn undo(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        while let Some((name, value)) = self.before.pop() {
            if write(self.control, &name, &value).is_err() {
                failed.push(format!("{name}={value}"));
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        anyhow::bail!(
            "these settings could not be put back, set them by hand: {}",
            failed.join(" ")
        )
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            output::complain(format_args!("{error:#}"));
        }
    }
}

fn write(control: &Control, name: &str, value: &str) -> Result<()> {
    // Nothing at all would not reach the kernel.
    let value = if value.is_empty() { "\n" } else { value };
    control.set(&file(name)?, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let mut names = vec![
            "enabled",
            "netblock.timeout",
            "target",
            "writer",
            "compressor",
        ];
        names.sort_by_key(|name| rank(name));
        let expected = [
            "compressor",
            "writer",
            "target",
            "netblock.timeout",
            "enabled",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn names() {
        assert_eq!(file("threads").unwrap(), "threads");
        assert_eq!(
            file("netblock.timeout").unwrap(),
            "modules/netblock/timeout"
        );
        for bad in [
            "",
            "start",
            "image",
            "../x",
            "a.b.c",
            "netblock/timeout",
            "a.",
            "..",
            "A.b",
        ] {
            assert!(file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values() {
        for (name, good, bad) in [
            ("enabled", "1", "yes"),
            ("threads", "64", "-1"),
            ("image_size_limit", "4G", "4T"),
            ("compressor", "lz4", "LZ4"),
            ("target", "nbd://192.0.2.1/x", "nbd://"),
            ("keep_running", "", "1\n2"),
            ("netblock.timeout", "5", "5\0"),
        ] {
            assert!(check(name, good).is_ok(), "{name} {good}");
            assert!(check(name, bad).is_err(), "{name} {bad}");
        }
        let long = "x".repeat(5000);
        let why = check("keep_running", &long).unwrap_err().to_string();
        assert!(why.len() < 200, "{why}");
    }
}
