// SPDX-License-Identifier: GPL-2.0

//! A key that a TPM seals, with swtpm as the TPM.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::Vm;

use crate::encryption::resume_now;
use crate::steps::{
    boot_fresh, expect_result, expect_type, prepare, set, with_program, FIRST_DISK,
};
use crate::{Lab, Scenario};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[Scenario::new(
    "tpm-key",
    "a key sealed by a TPM: made, its blob kept, loaded again after power-off, resumed",
    tpm_key,
)];

/// Where `swtpm_setup` puts the storage key.
const PARENT: &str = "keyhandle=0x81000001";

/// A TPM that runs as long as the guest that is connected to it.
struct Tpm(Child);

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a TPM with a storage key.
fn manufacture(folder: &Path) -> Result<()> {
    let log = folder.join("setup.log");
    let file = std::fs::File::create(&log)?;
    // What it says goes to a file: it starts a TPM of its own, which would keep
    // a pipe open if it outlived it.
    let status = Command::new("timeout")
        .args(["--kill-after=5", "60", "swtpm_setup"])
        .args(["--tpm2", "--create-spk", "--overwrite", "--tpmstate"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("cannot run timeout")?;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    ensure!(status.success(), "swtpm_setup: {status}: {said}");
    Ok(())
}

impl Tpm {
    /// Switches the TPM on that `folder` keeps.
    fn start(folder: &Path) -> Result<Self> {
        let socket = folder.join("socket");
        let _ = std::fs::remove_file(&socket);
        let mut control = std::ffi::OsString::from("type=unixio,path=");
        control.push(&socket);
        let mut state = std::ffi::OsString::from("dir=");
        state.push(folder);
        // The kernel ends it when the thread that started it ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate"])
            .arg(&state)
            .arg("--ctrl")
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start swtpm")?;
        let tpm = Tpm(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            if Instant::now() > deadline {
                bail!("swtpm made no socket");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(tpm)
    }
}

/// A machine that is connected to the TPM in `folder`.
fn connected(vm: Vm, folder: &Path) -> Vm {
    let socket = folder.join("socket");
    vm.qemu("-chardev")
        .qemu(&format!("socket,id=tpm,path={}", socket.display()))
        .qemu("-tpmdev")
        .qemu("emulator,id=tpm0,chardev=tpm")
        .qemu("-device")
        .qemu("tpm-tis,tpmdev=tpm0")
}

fn tpm_key(lab: &Lab) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("dormouse-tpm-").tempdir()?;
    manufacture(folder.path())?;
    let vm = with_program(lab.small().swap_disk("512M")?, "/bin/keyctl")?;
    let mut vm = connected(vm, folder.path());

    let tpm = Tpm::start(folder.path())?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    prepare(&mut vm)?;
    vm.run(&format!(
        "/bin/keyctl add trusted dormouse 'new 32 {PARENT}' @u"
    ))?;
    let blob = vm.run("/bin/keyctl pipe %trusted:dormouse")?;
    let blob = blob.trim();
    ensure!(
        blob.len() > 100 && blob.bytes().all(|b| b.is_ascii_hexdigit()),
        "this is no sealed key: {blob}"
    );
    set(&mut vm, "key", "trusted:dormouse")?;
    set(&mut vm, "encryptor", "aes-gcm")?;
    vm.hibernate()?;
    expect_type(&vm, 0, "swsuspend")?;
    drop(tpm);

    let _tpm = Tpm::start(folder.path())?;
    vm.set_append(FIRST_DISK);
    boot_fresh(&mut vm)?;
    expect_result(&mut vm, -126, &["needs key trusted:dormouse", "it is kept"])?;
    vm.run(&format!(
        "/bin/keyctl add trusted dormouse 'load {blob} {PARENT}' @u"
    ))?;
    set(&mut vm, "key", "trusted:dormouse")?;
    set(&mut vm, "encryptor", "aes-gcm")?;
    resume_now(&mut vm)?;
    expect_type(&vm, 0, "swap")?;
    vm.assert_clean()
}
