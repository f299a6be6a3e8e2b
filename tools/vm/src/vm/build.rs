// SPDX-License-Identifier: GPL-2.0

//! What a machine consists of: set before its first boot, or between two.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Vm;
use crate::accel::Accel;
use crate::disk::{parse_size, Disk};
use crate::qemu::Display;

impl Vm {
    /// Sets the memory for later boots, in MiB, without what the kernel's own checks take.
    pub fn mem(mut self, mib: u32) -> Self {
        self.mem_mib = mib;
        self
    }

    /// Sets the number of processors for later boots.
    pub fn smp(mut self, count: u32) -> Self {
        self.smp = count;
        self
    }

    /// Adds to the kernel command line.
    pub fn append(mut self, arguments: &str) -> Self {
        self.append.push(arguments.to_string());
        self
    }

    /// Adds a file to the initramfs: absolute path, mode, contents.
    pub fn file(mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_string(), mode, contents.into()));
        self
    }

    /// Adds a network card; the host's loopback is 10.0.2.2 there.
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Adds a screen and a keyboard.
    pub fn display(mut self, display: Display) -> Self {
        self.display = Some(display);
        self
    }

    /// Adds an argument for QEMU itself.
    pub fn qemu(mut self, argument: &str) -> Self {
        self.extra.push(argument.to_string());
        self
    }

    /// Chooses how processors are made.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.system.accel = accel;
        self
    }

    /// Shows the kernel log on standard error while it comes.
    pub fn echo(mut self, on: bool) -> Self {
        self.echo = on;
        self
    }

    /// How long a boot may take, with a kernel that checks little.
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.boot_timeout = timeout * self.system.slowness;
        self
    }

    /// How long a command may take, with a kernel that checks little.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.run_timeout = timeout * self.system.slowness;
        self
    }

    /// Lets [`Vm::assert_clean`] accept log lines that contain `text`.
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_string());
        self
    }

    /// Adds an empty disk of a size such as `1G`; the first one is /dev/vda.
    ///
    /// # Errors
    ///
    /// A bad size, or no room for the file.
    pub fn disk(mut self, size: &str) -> Result<Self> {
        let path = self.folder()?.join(format!("disk{}", self.disks.len()));
        self.disks.push(Disk::create(&path, parse_size(size)?)?);
        Ok(self)
    }

    /// Adds a disk that is swap space as a whole.
    ///
    /// # Errors
    ///
    /// As [`Vm::disk`], and when mkswap fails.
    pub fn swap_disk(self, size: &str) -> Result<Self> {
        let vm = self.disk(size)?;
        vm.disks.last().context("no disk")?.mkswap()?;
        Ok(vm)
    }

    /// Adds a disk that is somewhere else, such as on a server.
    pub fn other_disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds a disk that begins as a copy of `image`.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn disk_from(mut self, image: &Disk) -> Result<Self> {
        let path = self.folder()?.join(format!("disk{}", self.disks.len()));
        self.disks.push(image.copy_to(&path)?);
        Ok(self)
    }

    /// Boots with an initramfs of another system, which has to start the agent by itself.
    pub fn initramfs(mut self, path: &Path) -> Self {
        self.initramfs = Some(path.to_path_buf());
        self
    }

    /// Replaces what was appended to the kernel command line, from the next boot on.
    pub fn set_append(&mut self, arguments: &str) {
        self.append = vec![arguments.to_string()];
    }

    /// Leaves modules with these names (such as `dormouse_lz4`) out of the next boots.
    pub fn set_missing(&mut self, names: &[&str]) {
        self.missing = names.iter().map(|name| name.to_string()).collect();
    }
}
