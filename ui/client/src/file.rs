// SPDX-License-Identifier: GPL-2.0

//! The file that keeps settings over a boot.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::failure::{Code, Failure};
use crate::system::System;

/// Where settings are kept over a boot, without the root of the system.
pub const DEFAULT: &str = "etc/dormouse.toml";

/// The setting without which the boot takes images of others.
pub const ENCRYPTOR: &str = "encryptor";

/// More than anybody writes, and little enough to read.
const FILE_MAX: u64 = 64 * 1024;

const HEAD: &str = "# Settings of Dormouse, written by \"dormouse config save\".\n\
                    # \"dormouse config apply\" makes them, at boot for example.\n\n";

fn value(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(on) => Ok(u8::from(*on).to_string()),
        other => {
            let what = other.type_str();
            let sentence =
                format!("{name} is a TOML {what}: it has to be a text, a number, true or false");
            Err(Failure::error(Code::Usage, sentence))
        }
    }
}

/// Reads `text`, names of modules' settings with a dot.
fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let sentence = error.to_string();
        // Its first line says where, the last one what.
        let mut lines = sentence.lines().filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or("not TOML").to_string();
        let last = lines.next_back().map(|what| format!(": {what}"));
        Failure::error(Code::Usage, format!("{first}{}", last.unwrap_or_default()))
    })?;
    let mut all = Vec::new();
    for (name, entry) in &table {
        let Value::Table(parameters) = entry else {
            all.push((name.clone(), value(name, entry)?));
            continue;
        };
        for (parameter, entry) in parameters {
            let name = format!("{name}.{parameter}");
            let value = value(&name, entry)?;
            all.push((name, value));
        }
    }
    Ok(all)
}

/// The encryptor that the images have to be made with, according to the settings that are kept;
/// a boot refuses others.
pub fn demanded(system: &System) -> Option<String> {
    let settings = load(&system.path(DEFAULT)).ok()??;
    let mut values = settings.into_iter().filter(|(name, _)| name == ENCRYPTOR);
    let (_, value) = values.next_back()?;
    (value != "none").then_some(value)
}

/// Reads the settings in `path`; nothing when there is no such file.
///
/// # Errors
///
/// When it is not to be trusted, cannot be read, or is not what it should be.
pub fn load(path: &Path) -> Result<Option<Vec<(String, String)>>> {
    let shown = path.display();
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.with_context(|| format!("cannot read {shown}"))?,
    };
    let meta = file
        .metadata()
        .with_context(|| format!("cannot read {shown}"))?;
    if !meta.is_file() || meta.permissions().mode() & 0o022 != 0 {
        let sentence = format!("{shown} is no file that only its owner can write: make it one with \"chmod 644 {shown}\"");
        return Err(Failure::error(Code::Failed, sentence));
    }
    let mut text = String::new();
    file.take(FILE_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    if meta.len() >= FILE_MAX {
        return Err(Failure::error(
            Code::Usage,
            format!("{shown} is too large to be one of settings"),
        ));
    }
    let settings = parse(&text).with_context(|| format!("{shown} is not understood"))?;
    Ok(Some(settings))
}

/// `settings` as TOML: those of modules in tables of their own, behind the others.
fn compose(settings: &[(String, String)]) -> Result<String> {
    let mut flat = Table::new();
    let mut tables = Table::new();
    for (name, text) in settings {
        let value = match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => Value::Integer(number),
            _ => Value::String(text.clone()),
        };
        match name.split_once('.') {
            None => {
                flat.insert(name.clone(), value);
            }
            Some((module, parameter)) => {
                let table = tables.entry(module).or_insert_with(|| Table::new().into());
                let table = table.as_table_mut().context("two kinds of one name")?;
                table.insert(parameter.to_string(), value);
            }
        }
    }
    let tables = match tables.is_empty() {
        true => String::new(),
        false => format!("\n{}", toml::to_string(&tables)?),
    };
    Ok(format!("{HEAD}{}{tables}", toml::to_string(&flat)?))
}

/// Writes `settings` to `path`, as a whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn save(path: &Path, settings: &[(String, String)]) -> Result<()> {
    let text = compose(settings)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::error(
            Code::NotRoot,
            format!("only root may write {}: run this as root", path.display()),
        ),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        all.iter().map(owned).collect()
    }

    #[test]
    fn comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.toml");
        assert_eq!(load(&path).unwrap(), None);
        let mut all = pairs(&[
            ("compressor", "lz4"),
            ("enabled", "1"),
            ("image_size_limit", "18446744073709551615"),
            ("netblock.timeout", "60"),
            ("target", "file:/a \"b\" \\ c"),
        ]);
        save(&path, &all).unwrap();
        let mut found = load(&path).unwrap().unwrap();
        all.sort();
        found.sort();
        assert_eq!(found, all);
        // Nothing else was left there.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn reads_what_people_write() {
        let text = "enabled = true\nthreads = 2\ntarget = 'auto'\n[netblock]\ntimeout = 5\n";
        let expected = [
            ("enabled", "1"),
            ("netblock.timeout", "5"),
            ("target", "auto"),
            ("threads", "2"),
        ];
        let mut found = parse(text).unwrap();
        found.sort();
        assert_eq!(found, pairs(&expected));
        for bad in [
            "enabled",
            "threads = 1.5",
            "target = ['a']",
            "[a]\nb = {c = 1}",
            "a = 1\na = 2",
        ] {
            let why = format!("{:#}", parse(bad).unwrap_err());
            assert!(!why.contains('\n') && why.len() < 200, "{why}");
        }
    }

    #[test]
    fn trusts_no_file_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "enabled = 1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(load(&path).is_err());
        assert!(load(folder.path()).is_err());
    }
}
