// SPDX-License-Identifier: GPL-2.0

//! What encryption costs: in a whole cycle, and beside the kernel's own cipher
//! on the same bytes.

use std::path::Path;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

use super::compare::Comparison;
use super::cycle;
use super::lines::Lines;
use super::turns::{self, Setup, Turns};

/// Modules that encrypt the same bytes, the peer's first.
const MODULES: [&str; 2] = ["aead_raw", "aead_stage"];

/// The cipher may cost what the kernel's costs and a tenth more.
const LEAST: f64 = 1.0 / 1.1;

/// Folder of the guest with the modules.
const FOLDER: &str = "/bench";

/// Measures; `build` is kbuild's folder of the guest's kernel.
///
/// # Errors
///
/// When the modules do not build, when a guest does not do what it is told, or
/// a number cannot be read.
pub fn run(setup: &Setup, compressor: &str, build: &Path) -> Result<Vec<Comparison>> {
    let mut rows = cycles(setup, compressor)?;
    rows.extend(ciphers(setup, build)?);
    Ok(rows)
}

/// Whole cycles with encryption and without.
fn cycles(setup: &Setup, compressor: &str) -> Result<Vec<Comparison>> {
    let vm = setup
        .machine()
        .file("/etc/passphrase", 0o600, "a passphrase for the bench");
    let mut vm = vm.swap_disk(&format!("{}M", setup.mem_mib))?;
    let set_key = vm_scenarios::set_key_script("aes-gcm");
    let commands = format!(
        "swapon /dev/vda
         echo {compressor} > /sys/power/hibernate/compressor
         {set_key}"
    );
    turns::boot(&mut vm, &commands, setup.mem_mib / 4)?;
    let turns = Turns {
        commands: [
            "echo none > /sys/power/hibernate/encryptor",
            "echo aes-gcm > /sys/power/hibernate/encryptor",
        ],
        row: Comparison {
            encryptor: "aes-gcm",
            ..setup.row("none", compressor, "swap")
        },
    };
    let rows = turns.take(&mut vm, setup.rounds)?;
    vm.assert_clean()?;
    vm.kill();
    Ok(rows)
}

/// Bytes in a second that a module says, encrypting and decrypting.
fn cipher(vm: &mut Vm, name: &str) -> Result<[f64; 2]> {
    let from = vm.log()?.len();
    let output = vm.try_run(&format!("insmod {FOLDER}/{name}.ko"))?;
    // It has nothing else to do, and says so.
    ensure!(
        output.text.contains("Operation canceled"),
        "module {name}: {}",
        output.text
    );
    let mark = format!("{name}: measured ");
    let log = vm.log()?;
    log.wait_for(&mark, from, std::time::Duration::from_secs(10))?;
    let lines = log.lines();
    let lines = Lines::new(lines.get(from..).unwrap_or_default());
    let [bytes, encrypt_ns, decrypt_ns] = lines.find(&mark)?.numbers(&mark)?;
    Ok([encrypt_ns, decrypt_ns].map(|ns| bytes as f64 / ns as f64 * 1e9))
}

/// The kernel's cipher, and the stage that makes use of it, in a guest of their
/// own that counts instructions. In time, QEMU's translation is a fifth faster
/// for one or for the other, depending on where in memory they came to be.
fn ciphers(setup: &Setup, build: &Path) -> Result<Vec<Comparison>> {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vm/bench/aead");
    let folder = vm_scenarios::build_modules(Path::new(sources), build)?;
    let setup = Setup {
        vcpus: 1,
        ..setup.clone()
    };
    let mut vm = cycle::counting(setup.machine());
    for name in MODULES {
        let module = std::fs::read(folder.path().join(format!("{name}.ko")))?;
        vm = vm.file(&format!("{FOLDER}/{name}.ko"), 0o644, module);
    }
    vm.boot()?;
    let mut speeds = Vec::new();
    for _ in 0..setup.rounds {
        speeds.push([cipher(&mut vm, MODULES[0])?, cipher(&mut vm, MODULES[1])?]);
    }
    vm.assert_clean()?;
    vm.kill();
    let mut rows = Vec::new();
    for (at, direction) in ["save", "load"].into_iter().enumerate() {
        let rounds: Vec<_> = speeds.iter().map(|both| both.map(|of| of[at])).collect();
        let row = Comparison {
            encryptor: "aes-gcm",
            direction,
            needed: Some(LEAST),
            ..setup.row("gcm(aes)", "none", "none")
        };
        rows.push(row.measured(&rounds).context("no rounds")?);
    }
    Ok(rows)
}
