// SPDX-License-Identifier: GPL-2.0

//! The guest's root filesystem: busybox, the guest program, modules, extras.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{trailer, Builder, ModeFileType};

const INIT: &str = include_str!("init.sh");

/// What goes into an initramfs.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// A statically linked busybox.
    pub busybox: PathBuf,
    /// The guest program, statically linked.
    pub guest: PathBuf,
    /// The command of Dormouse, statically linked.
    pub client: PathBuf,
    /// Kernel modules, in the order of loading.
    pub modules: Vec<PathBuf>,
    /// More files: absolute path in the guest, mode, bytes.
    pub files: Vec<(String, u32, Vec<u8>)>,
}

struct Archive<W: Write> {
    out: W,
    inode: u32,
    folders: Vec<String>,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, path: &str, kind: ModeFileType, mode: u32, data: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if let Some((folder, _)) = path.rsplit_once('/') {
            if !self.folders.iter().any(|known| known == folder) {
                self.folders.push(folder.to_string());
                self.add(folder, ModeFileType::Directory, 0o755, b"")?;
            }
        }
        self.inode += 1;
        let size = u32::try_from(data.len()).context("file too large for an initramfs")?;
        let entry = Builder::new(path)
            .ino(self.inode)
            .mode(mode)
            .set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.add(path, ModeFileType::Regular, mode, data)
    }
}

/// Writes the initramfs as an uncompressed cpio archive to `path`.
///
/// # Errors
///
/// A part that cannot be read, or an archive that cannot be written.
pub fn write(contents: &Contents, path: &Path) -> Result<()> {
    let out = BufWriter::new(File::create(path)?);
    let mut archive = Archive {
        out,
        inode: 0,
        folders: Vec::new(),
    };
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("bin/busybox", 0o755, &read(&contents.busybox)?)?;
    archive.file("bin/guest", 0o755, &read(&contents.guest)?)?;
    archive.file("bin/dormouse", 0o755, &read(&contents.client)?)?;
    for applet in applets(&contents.busybox)? {
        if applet != "busybox" {
            archive.add(
                &format!("bin/{applet}"),
                ModeFileType::Symlink,
                0o777,
                b"busybox",
            )?;
        }
    }
    let mut order = String::new();
    for module in &contents.modules {
        let name = module
            .file_name()
            .context("module without a name")?
            .to_string_lossy();
        archive.file(&format!("modules/{name}"), 0o644, &read(module)?)?;
        order.push_str(&format!("{name}\n"));
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    for (name, mode, data) in &contents.files {
        archive.file(name, *mode, data)?;
    }
    let mut out = trailer(archive.out)?;
    // The kernel reads archives in units of four bytes.
    out.write_all(&[0; 512])?;
    out.flush()?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = std::process::Command::new(busybox)
        .arg("--list")
        .output()
        .with_context(|| format!("cannot run {}", busybox.display()))?;
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list.lines().map(str::to_string).collect())
}
