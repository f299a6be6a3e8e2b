// SPDX-License-Identifier: GPL-2.0

//! The kernel tree: Debian's source with our patches. It stays at one place,
//! as kbuild builds everything anew in a tree that has moved.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{bail, Context, Result};

use super::host;
use crate::hash::Key;
use crate::packages;
use crate::paths::Paths;
use crate::progress;

/// The source package; its minor version moves with security updates.
const PACKAGE: &str = "linux-source-6.12";
const ARCHIVE: &str = "/usr/src/linux-source-6.12.tar.xz";
/// Where the patches of the tree are kept, with the version of its source and,
/// while it is complete, its key.
const NOTES: &str = ".dormouse";
/// What our repository holds of the kernel.
pub const OURS: &[&str] = &["Kbuild", "Kconfig", "core", "modules", "ui", "kunit"];

/// Where that is in the tree.
pub const PLACE: &str = "kernel/power/dormouse";
/// What is in those folders without being ours to build, in rsync's words.
const HIDDEN: &[&str] = &["/ui/client", "/ui/image", "*.o", "*.ko", "*.cmd", "*.rmeta"];

/// Whether `file` below `folder` is a source for kbuild, by the same rules.
pub fn is_source(folder: &Path, file: &Path) -> bool {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let built = [".o", ".ko", ".cmd", ".rmeta"]
        .iter()
        .any(|end| name.ends_with(end));
    let hidden = ["ui/client", "ui/image"]
        .iter()
        .any(|path| file.starts_with(folder.join(path)));
    !built && !hidden
}

/// Version of the installed kernel source.
///
/// # Errors
///
/// When it is not installed.
pub fn version() -> Result<String> {
    packages::version(PACKAGE)
}

/// Folder of the checkout with the patches for this kernel.
pub fn patches(paths: &Paths) -> PathBuf {
    paths.root.join("patches/6.12")
}

/// Files of the series in `folder`, in order.
fn series(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = folder.join("series");
    let text = fs::read_to_string(&list).with_context(|| format!("no {}", list.display()))?;
    let names = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(names.map(|name| folder.join(name)).collect())
}

/// Returns the tree with the present patches, and with our sources in it as they
/// are now; unpacks it when there is none. The caller holds the cache's lock.
///
/// # Errors
///
/// No room, a broken archive, or a patch that does not apply.
pub fn prepare(paths: &Paths) -> Result<PathBuf> {
    let version = version()?;
    let mut key = Key::default();
    key.text(&version);
    key.files(&patches(paths), &patches(paths))?;
    let key = key.finish();
    let tree = paths.cache.join("linux");
    let notes = tree.join(NOTES);
    let note = |name: &str| fs::read_to_string(notes.join(name)).ok();
    let present = note("key");
    if present.as_ref() != Some(&key) {
        // One that is being changed has none.
        remove_file(&notes.join("key"))?;
        let before = present.filter(|_| note("version").as_ref() == Some(&version));
        match before.map(|before| (exchange(&tree, &patches(paths)), before)) {
            Some((Ok(()), _)) => {}
            // What was built in it takes an hour.
            Some((Err(Failed::AsBefore(error)), before)) => {
                fs::write(notes.join("key"), before)?;
                return Err(error);
            }
            Some((Err(Failed::Broken), _)) | None => unpack(paths, &tree, &version)?,
        }
        fs::write(notes.join("key"), key)?;
    }
    sync(paths, &tree)?;
    Ok(tree)
}

fn unpack(paths: &Paths, tree: &Path, version: &str) -> Result<()> {
    remove_all(paths)?;
    host::check_disk(&paths.cache, 6)?;
    fs::create_dir_all(tree.join(NOTES))?;
    let log = paths.cached("logs")?.join("unpack.log");
    let mut tar = Command::new("tar");
    tar.args(["-x", "-v", "--strip-components=1", "-f", ARCHIVE, "-C"])
        .arg(tree);
    progress::run(&format!("unpacking Linux {version}"), &mut tar, &log, false)?;
    fs::write(tree.join(NOTES).join("version"), version)?;
    apply_all(tree, &patches(paths))
}

/// Why patches were not exchanged.
enum Failed {
    /// The new ones do not apply, and the tree has the ones from before again.
    AsBefore(anyhow::Error),
    /// The tree is of no use any more.
    Broken,
}

/// Exchanges the patches of `tree`, so that only files that differ get a new
/// time, and what was built stays built.
fn exchange(tree: &Path, patches: &Path) -> Result<(), Failed> {
    eprintln!("the patches changed: exchanging them");
    let applied = tree.join(NOTES).join("patches");
    let former = tree.join(NOTES).join("former");
    let broken = |_| Failed::Broken;
    let mut touched = files_of(&applied).map_err(broken)?;
    touched.extend(files_of(patches).map_err(Failed::AsBefore)?);
    let before: Vec<_> = touched.iter().map(|file| state(&tree.join(file))).collect();
    take_off(tree, &series(&applied).map_err(broken)?).map_err(broken)?;
    remove(&former)
        .and_then(|()| Ok(fs::rename(&applied, &former)?))
        .map_err(broken)?;
    let result = apply_all(tree, patches).or_else(|error| {
        let here = series(patches).map_err(broken)?.into_iter();
        let here = here.filter_map(|patch| Some(applied.join(patch.file_name()?)));
        let here: Vec<_> = here.filter(|patch| patch.exists()).collect();
        take_off(tree, &here)
            .and_then(|()| apply_all(tree, &former))
            .map_err(broken)?;
        Err(Failed::AsBefore(error))
    });
    for (file, before) in touched.iter().zip(before) {
        let Some((data, time)) = before else { continue };
        let path = tree.join(file);
        if fs::read(&path).is_ok_and(|now| now == data) {
            let file = fs::File::options().append(true).open(&path);
            file.and_then(|file| file.set_modified(time))
                .map_err(|_| Failed::Broken)?;
        }
    }
    result
}

/// Takes `patches` off `tree`, the last one first.
fn take_off(tree: &Path, patches: &[PathBuf]) -> Result<()> {
    let mut patches = patches.iter().rev();
    patches.try_for_each(|patch| apply(tree, patch, true))
}

fn state(path: &Path) -> Option<(Vec<u8>, SystemTime)> {
    let time = fs::metadata(path).and_then(|data| data.modified()).ok()?;
    Some((fs::read(path).ok()?, time))
}

/// Files, relative to the tree, that the series in `folder` changes.
fn files_of(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for patch in series(folder)? {
        let text = fs::read_to_string(patch)?;
        let changed = text.lines().filter_map(|line| {
            let path = line
                .strip_prefix("+++ b/")
                .or(line.strip_prefix("--- a/"))?;
            Some(path.split('\t').next().unwrap_or(path).to_string())
        });
        files.extend(changed);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn apply_all(tree: &Path, patches: &Path) -> Result<()> {
    let kept = tree.join(NOTES).join("patches");
    remove(&kept)?;
    fs::create_dir_all(&kept)?;
    for patch in series(patches)? {
        apply(tree, &patch, false)?;
        fs::copy(
            &patch,
            kept.join(patch.file_name().context("patch without a name")?),
        )?;
    }
    fs::copy(patches.join("series"), kept.join("series"))?;
    Ok(())
}

fn apply(tree: &Path, patch: &Path, reverse: bool) -> Result<()> {
    let mut command = Command::new("patch");
    command
        .args([
            "-p1",
            "--batch",
            "--fuzz=0",
            "--no-backup-if-mismatch",
            "-d",
        ])
        .arg(tree);
    command
        .arg(if reverse { "--reverse" } else { "--forward" })
        .arg("-i")
        .arg(patch);
    let output = command.output().context("cannot run patch")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        bail!("{} does not apply:\n{said}", patch.display());
    }
    Ok(())
}

/// Brings our sources into the tree; a file whose content is the same keeps its time.
fn sync(paths: &Paths, tree: &Path) -> Result<()> {
    let mut command = Command::new("rsync");
    command.args(["-rc", "--delete", "--delete-excluded"]);
    for hidden in HIDDEN {
        command.arg(format!("--exclude={hidden}"));
    }
    let sources = OURS
        .iter()
        .map(|name| paths.root.join(name))
        .filter(|path| path.exists());
    let target = tree.join(PLACE);
    fs::create_dir_all(&target)?;
    let status = command
        .args(sources)
        .arg(&target)
        .status()
        .context("cannot run rsync")?;
    if !status.success() {
        bail!("cannot copy our sources to {}", target.display());
    }
    Ok(())
}

/// Removes all trees, those of earlier versions of this program too, and what is
/// left of one that was not completed.
fn remove_all(paths: &Paths) -> Result<()> {
    for entry in fs::read_dir(&paths.cache)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "linux" || name == "linux.part" || name.starts_with("linux-") {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(from: &str, to: &str) -> String {
        format!("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-{from}\n+{to}\n")
    }

    fn make_series(folder: &Path, patches: &[(&str, &str)]) {
        remove(folder).unwrap();
        fs::create_dir_all(folder).unwrap();
        let mut list = String::new();
        for (number, (from, to)) in patches.iter().enumerate() {
            list += &format!("{number}.patch\n");
            fs::write(folder.join(format!("{number}.patch")), patch(from, to)).unwrap();
        }
        fs::write(folder.join("series"), list).unwrap();
    }

    #[test]
    fn patches_that_do_not_apply_leave_the_tree_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, ours) = (folder.path().join("tree"), folder.path().join("ours"));
        fs::create_dir_all(tree.join(NOTES)).unwrap();
        fs::write(tree.join("file"), "one\n").unwrap();
        let read = || fs::read_to_string(tree.join("file")).unwrap();
        let exchange = || exchange(&tree, &ours);

        make_series(&ours, &[("one", "two"), ("two", "three")]);
        apply_all(&tree, &ours).unwrap();
        assert_eq!(read(), "three\n");
        let time = SystemTime::UNIX_EPOCH;
        let mut options = fs::File::options();
        let file = options.append(true).open(tree.join("file")).unwrap();
        file.set_modified(time).unwrap();

        // The first one applies, the second one does not.
        make_series(&ours, &[("one", "five"), ("six", "seven")]);
        let failed = exchange();
        assert!(matches!(failed, Err(Failed::AsBefore(e)) if e.to_string().contains("1.patch")));
        assert_eq!(read(), "three\n");
        let modified = fs::metadata(tree.join("file")).unwrap().modified();
        assert_eq!(modified.unwrap(), time, "it would be built anew");

        make_series(&ours, &[("one", "four")]);
        assert!(exchange().is_ok());
        assert_eq!(read(), "four\n");
        fs::write(tree.join("file"), "somebody else\n").unwrap();
        assert!(matches!(exchange(), Err(Failed::Broken)));
    }
}
