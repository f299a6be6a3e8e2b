// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask transcripts`: what the command says in a guest, for the documentation. Nothing of
//! it is changed afterwards, so numbers and times are those of the last run.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use dormouse_vm::Vm;

use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// Where they go, in the checkout.
const FOLDER: &str = "Documentation/transcripts";

/// Command lines for one file each; `$` before one that belongs to it and is not shown.
type Session = (&'static str, &'static [&'static str]);

const FIRST: &[Session] = &[
    ("doctor", &["dormouse doctor"]),
    (
        "command",
        &[
            "dormouse config set compressor=lz4 enabled=1",
            "dormouse config set compressor=zstd threads=65",
            "dormouse status",
            "dormouse hibernate --mode test_resume --compressor zstd",
            "dormouse abort",
            "dormouse resume",
            "swapoff /dev/vda",
            "dormouse hibernate",
            "$swapon /dev/vda",
        ],
    ),
    (
        "config",
        &[
            "dormouse config get",
            "$mkdir -p /etc",
            "dormouse config save",
            "cat /etc/dormouse.toml",
            "dormouse config apply",
        ],
    ),
    (
        "watch",
        &["dormouse watch & sleep 1; dormouse hibernate --mode test_resume; wait"],
    ),
    ("bench", &["dormouse bench --yes"]),
    (
        "by-hand",
        &[
            "echo test_resume > /sys/power/disk",
            "echo 1 > /sys/power/hibernate/start",
            "cat /sys/power/hibernate/last_result",
            "$echo platform > /sys/power/disk",
        ],
    ),
    (
        "key",
        &[
            "echo 'correct horse battery staple' | dormouse key set --stdin --memory-mib 32",
            "dormouse key status",
        ],
    ),
];

/// After a save with that key and a boot that does not resume.
const SECOND: &[Session] = &[
    (
        "image",
        &[
            "dormouse image info /dev/vda",
            "echo 'correct horse battery staple' | dormouse image verify /dev/vda --stdin",
            "echo 'correct horse battery staple' | dormouse image extract /dev/vda /tmp/core --stdin",
            "ls -ls /tmp/core",
        ],
    ),
    (
        "unlock",
        &[
            "echo 'wrong horse' | dormouse key unlock --device /dev/vda --stdin",
            "echo 'correct horse battery staple' | dormouse key unlock --device /dev/vda --stdin",
            "dormouse key status",
            "dormouse key clear",
        ],
    ),
    (
        "erase",
        &[
            "dormouse image erase /dev/vda --yes",
            "dormouse image info /dev/vda",
        ],
    ),
];

/// Runs the task; true when every session could be written down.
///
/// # Errors
///
/// When the guest does not come up, or a file cannot be written.
pub fn run(paths: &Paths) -> Result<bool> {
    let folder = paths.root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let system = system::built(paths, Config::Guest)?;
    // It knows where the image is, and nobody asks for it: the second boot looks at it.
    let mut vm = Vm::new(system).mem(512).append("resume=/dev/vda");
    vm = vm.swap_disk("1G")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    write_down(&mut vm, &folder, FIRST)?;
    vm.hibernate()?;
    vm.boot()?;
    write_down(&mut vm, &folder, SECOND)?;
    vm.power_off()?;
    Ok(true)
}

fn write_down(vm: &mut Vm, folder: &Path, sessions: &[Session]) -> Result<()> {
    for (name, lines) in sessions {
        let mut text = String::new();
        for line in *lines {
            if let Some(line) = line.strip_prefix('$') {
                vm.run(line)?;
                continue;
            }
            // One that fails says so, which is what is to be seen.
            let output = vm.try_run(line)?;
            write!(text, "# {line}\n{}", output.text)?;
        }
        let path = folder.join(format!("{name}.txt"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
