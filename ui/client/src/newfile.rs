// SPDX-License-Identifier: GPL-2.0

//! Files that are written as a whole or not at all, and that take the place of nothing but a file.
//!
//! What a path leads to may change while a file is written. So the folder is opened once, and
//! whether the old file was one is known when it was taken out of the folder, not before.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{open, openat, renameat, renameat2, AtFlags, OFlag, RenameFlags};
use nix::sys::stat::{fstatat, Mode, SFlag};
use nix::unistd::{unlinkat, UnlinkatFlags};

/// How often something else may come in between.
const TRIES: usize = 8;

/// What is at a path is no regular file: it stays.
#[derive(Debug)]
pub struct NoFile(&'static str);

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is {} and no regular file", self.0)
    }
}

impl std::error::Error for NoFile {}

impl NoFile {
    /// Takes this reason out of `error`, if it is the reason.
    pub fn of(error: &io::Error) -> Option<&NoFile> {
        error.get_ref()?.downcast_ref()
    }
}

/// A file that is being written, under a name that is left as soon as it is dropped.
pub struct NewFile {
    folder: OwnedFd,
    /// What it will be called.
    name: OsString,
    /// What it is called now.
    temporary: OsString,
    file: File,
}

impl NewFile {
    /// Begins an empty file, which only its owner can read, next to where it will be.
    ///
    /// # Errors
    ///
    /// When `path` names no file, something is there that is no file or, unless it may be
    /// replaced, anything at all; when the folder cannot be written.
    pub fn begin(path: &Path, may_replace: bool) -> io::Result<NewFile> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        match is_file(&folder, name)? {
            Some(Ok(())) if !may_replace => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(Err(other)) => return Err(refusal(other, may_replace)),
            _ => {}
        }
        let mut random = [0; 8];
        let filled = getrandom::fill(&mut random);
        filled.map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = OsString::from(format!(".tmp{:016x}", u64::from_ne_bytes(random)));
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&folder, &temporary[..], flags, mode)?.into();
        Ok(NewFile {
            name: name.to_os_string(),
            folder,
            temporary,
            file,
        })
    }

    /// Lends the file, to be written.
    pub const fn file(&self) -> &File {
        &self.file
    }

    fn rename(&self, flags: RenameFlags) -> nix::Result<()> {
        let (from, to) = (&self.temporary[..], &self.name[..]);
        renameat2(&self.folder, from, &self.folder, to, flags)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// As [`NewFile::begin`]; nothing has changed then.
    pub fn keep(self, may_replace: bool) -> io::Result<()> {
        for _ in 0..TRIES {
            match self.rename(RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EEXIST) if may_replace => {}
                // Not every filesystem can do that.
                Err(Errno::EINVAL) => return self.keep_simply(may_replace),
                result => return Ok(result?),
            }
            match self.rename(RenameFlags::RENAME_EXCHANGE) {
                // It has just been removed.
                Err(Errno::ENOENT) => continue,
                Err(Errno::EINVAL) => return self.keep_simply(may_replace),
                result => result?,
            }
            // What was there has the other name now, which is left.
            let Some(Err(other)) = is_file(&self.folder, &self.temporary)? else {
                return Ok(());
            };
            self.rename(RenameFlags::RENAME_EXCHANGE)?;
            return Err(refusal(other, may_replace));
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// As [`NewFile::keep`], where names cannot be exchanged.
    fn keep_simply(&self, may_replace: bool) -> io::Result<()> {
        match is_file(&self.folder, &self.name)? {
            Some(Err(other)) => return Err(refusal(other, may_replace)),
            Some(Ok(())) if !may_replace => return Err(io::ErrorKind::AlreadyExists.into()),
            _ => {}
        }
        let (from, to) = (&self.temporary[..], &self.name[..]);
        Ok(renameat(&self.folder, from, &self.folder, to)?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is gone if it has its name.
        let _ = unlinkat(
            &self.folder,
            &self.temporary[..],
            UnlinkatFlags::NoRemoveDir,
        );
    }
}

fn refusal(other: NoFile, may_replace: bool) -> io::Error {
    match may_replace {
        true => io::Error::new(io::ErrorKind::InvalidInput, other),
        false => io::ErrorKind::AlreadyExists.into(),
    }
}

/// Whether `name` in `folder` is a file; nothing if there is nothing of that name.
fn is_file(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Result<(), NoFile>>> {
    let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(None),
        stat => stat?,
    };
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let what = match kind {
        SFlag::S_IFREG => return Ok(Some(Ok(()))),
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        _ => "a pipe or socket",
    };
    Ok(Some(Err(NoFile(what))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{symlink, PermissionsExt};

    use super::*;

    fn written(path: &Path, may_replace: bool) -> io::Result<NewFile> {
        let new = NewFile::begin(path, may_replace)?;
        new.file().write_all(b"new")?;
        Ok(new)
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut all: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn replaces_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        written(&path, false).unwrap().keep(false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(&path, "old").unwrap();
        let kind = written(&path, false).err().unwrap().kind();
        assert_eq!(kind, io::ErrorKind::AlreadyExists);
        drop(written(&path, true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        written(&path, true).unwrap().keep(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["x"]);
        for bad in ["/", "..", "x/y"] {
            assert!(written(&folder.path().join(bad), true).is_err(), "{bad}");
        }
    }

    /// Whatever comes in between: it stays what it is, under its name.
    #[test]
    fn leaves_what_came_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for simply in [false, true] {
            let put = |new: NewFile, may_replace| match simply {
                true => new.keep_simply(may_replace),
                false => new.keep(may_replace),
            };
            let new = written(&path, true).unwrap();
            symlink("/dev/null", &path).unwrap();
            let error = put(new, true).unwrap_err();
            let why = NoFile::of(&error).unwrap().to_string();
            assert_eq!(why, "is a symbolic link and no regular file");
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/null"));
            assert_eq!(names(folder.path()), ["x"]);
            fs::remove_file(&path).unwrap();

            let new = written(&path, true).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(NoFile::of(&put(new, true).unwrap_err()).is_some());
            assert!(path.is_dir());
            assert_eq!(names(folder.path()), ["x"]);
            fs::remove_dir(&path).unwrap();

            let new = written(&path, false).unwrap();
            fs::write(&path, "other").unwrap();
            let kind = put(new, false).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"other");
            assert_eq!(names(folder.path()), ["x"]);
            fs::remove_file(&path).unwrap();

            // A file that was there is none any more.
            fs::write(&path, "old").unwrap();
            let new = written(&path, true).unwrap();
            fs::remove_file(&path).unwrap();
            put(new, true).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            fs::remove_file(&path).unwrap();
        }
    }

    /// A folder that is another one now gets nothing.
    #[test]
    fn stays_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&here).unwrap();
        let new = written(&here.join("x"), true).unwrap();
        fs::rename(&here, &there).unwrap();
        fs::create_dir(&here).unwrap();
        fs::write(here.join("x"), "old").unwrap();
        new.keep(true).unwrap();
        assert_eq!(fs::read(here.join("x")).unwrap(), b"old");
        assert_eq!(fs::read(there.join("x")).unwrap(), b"new");
    }
}
