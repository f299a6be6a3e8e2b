// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask screenshots`: pictures of the progress screen, from a guest.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use dormouse_vm::{Arrival, Display, Vm};

use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// Where the pictures go, in the checkout.
const FOLDER: &str = "Documentation/images";
/// Bytes in a second that the disk takes: there has to be time for a picture.
const SLOW: u64 = 16 << 20;
/// How long anything may take.
const LONG: Duration = Duration::from_secs(120);
/// How long the screen may take to show what is there.
const MOMENT: Duration = Duration::from_millis(400);

/// The initramfs asks for the image with the screen.
const UNLOCK: &str = "#!/bin/sh\ndormouse ui --load /dev/vda > /dev/kmsg 2>&1\n";

/// Makes the pictures anew.
///
/// # Errors
///
/// When the guest does not do what the pictures are to show.
pub fn make(paths: &Paths) -> Result<()> {
    let folder = paths.root.join(FOLDER);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let system = system::built(paths, Config::Guest)?;
    let mut vm = Vm::new(system)
        .append("resume=/dev/vda video=800x600")
        .display(Display::Graphics)
        .file("/etc/unlock", 0o755, UNLOCK)
        .swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda && guest work start mib=160 file_mib=32")?;
    vm.run("echo lz4 > /sys/power/hibernate/compressor")?;
    vm.qmp()?.throttle(0, SLOW)?;
    vm.send("dormouse ui --hibernate")?;
    picture(&mut vm, "write: 60%", &folder.join("ui-saving.png"))?;
    vm.qmp()?.press("v")?;
    picture(&mut vm, "write: 70%", &folder.join("ui-detail.png"))?;
    vm.qmp()?.throttle(0, 0)?;
    vm.finish(LONG)?;

    vm.start()?;
    vm.qmp()?.throttle(0, SLOW)?;
    picture(&mut vm, "load: 60%", &folder.join("ui-loading.png"))?;
    vm.qmp()?.throttle(0, 0)?;
    picture(
        &mut vm,
        "the system is back: saved",
        &folder.join("ui-restored.png"),
    )?;
    ensure!(vm.arrive(LONG)? == Arrival::Resumed, "it did not resume");
    vm.run("guest work verify")?;
    vm.assert_clean()
}

/// A picture of what is to be seen a moment after the kernel log says `text`.
fn picture(vm: &mut Vm, text: &str, file: &Path) -> Result<()> {
    vm.log()?.wait_for(text, 0, LONG)?;
    std::thread::sleep(MOMENT);
    vm.qmp()?.screenshot(file)?;
    println!("{}", file.display());
    Ok(())
}
