// SPDX-License-Identifier: GPL-2.0

//! A machine: disks that stay, and one boot after the other.

mod build;
mod fault;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::accel::Accel;
use crate::agent::{Output, Progress};
use crate::disk::Disk;
use crate::initramfs::{self, Contents};
use crate::log::Log;
use crate::qemu::{Display, Options, Qemu};
use crate::qmp::Qmp;

use fault::Fault;

/// What every kernel is told. Without a check of the timer interrupt: on a busy
/// host it comes too late, and the guest would panic. With one loop device and
/// one for NBD instead of 24, which take a quarter of a second.
const APPEND: &str = "console=ttyS0,115200 ignore_loglevel no_console_suspend no_timer_check \
                      panic=-1 loop.max_loop=1 nbd.nbds_max=1";

/// What a machine is made of that is not its own.
#[derive(Clone, Debug)]
pub struct System {
    /// Kernel to boot.
    pub kernel: PathBuf,
    /// Modules, in the order of loading.
    pub modules: Vec<PathBuf>,
    /// A statically linked busybox.
    pub busybox: PathBuf,
    /// The guest program, statically linked.
    pub guest: PathBuf,
    /// The command of Dormouse, statically linked.
    pub client: PathBuf,
    /// How processors are made.
    pub accel: Accel,
    /// Folder for kernel logs; the machine's own temporary one when `None`.
    pub logs: Option<PathBuf>,
    /// How many times longer things take than with a kernel that checks little.
    pub slowness: u32,
    /// Memory that the kernel's own checks take, in MiB.
    pub more_mib: u32,
}

/// How a boot ended up in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A new system.
    Fresh,
    /// One that hibernated before, in the last boot or an earlier one.
    Resumed,
}

/// What a command that hibernates led to.
#[derive(Debug)]
pub enum Hibernated {
    /// The machine is off.
    PoweredOff,
    /// The command came back: restored in the same QEMU, or not hibernated.
    Returned(Output),
    /// The same QEMU booted again without restoring.
    Restarted,
}

/// A machine with its disks, running or not.
pub struct Vm {
    system: System,
    mem_mib: u32,
    smp: u32,
    append: Vec<String>,
    files: Vec<(String, u32, Vec<u8>)>,
    missing: Vec<String>,
    initramfs: Option<PathBuf>,
    disks: Vec<Disk>,
    network: bool,
    display: Option<Display>,
    extra: Vec<String>,
    echo: bool,
    boot_timeout: Duration,
    run_timeout: Duration,
    allowed: Vec<String>,
    folder: Option<tempfile::TempDir>,
    running: Option<Qemu>,
    logs: Vec<Log>,
    /// Agents of all boots so far, by their ids.
    known: Vec<String>,
    seq: u64,
}

impl Vm {
    /// A machine of `system` with 512 MiB for use, two processors and no disk.
    pub fn new(system: System) -> Self {
        let patience = Duration::from_secs(180) * system.slowness;
        Vm {
            system,
            mem_mib: 512,
            smp: 2,
            append: Vec::new(),
            files: Vec::new(),
            missing: Vec::new(),
            initramfs: None,
            disks: Vec::new(),
            network: false,
            display: None,
            extra: Vec::new(),
            echo: false,
            boot_timeout: patience,
            run_timeout: patience,
            allowed: Vec::new(),
            folder: None,
            running: None,
            logs: Vec::new(),
            known: Vec::new(),
            seq: 0,
        }
    }

    /// Disk number `number`, to look into or to damage while no guest runs.
    ///
    /// # Errors
    ///
    /// When there is no such disk.
    pub fn get_disk(&self, number: usize) -> Result<&Disk> {
        self.disks
            .get(number)
            .with_context(|| format!("no disk {number}"))
    }

    /// Starts QEMU and waits until the guest answers; tells whether it is the
    /// same system as in the boot before.
    ///
    /// # Errors
    ///
    /// When it is running already, or does not come up in time.
    pub fn boot(&mut self) -> Result<Arrival> {
        self.start()?;
        match self.arrive(self.boot_timeout) {
            // Nothing of the guest has happened yet, so nothing is covered up.
            Err(error) if error.is::<Fault>() => {
                println!("{error}; QEMU is started again");
                // Its log is of the fault and of nothing else.
                self.logs.pop();
                self.start()?;
                self.arrive(self.boot_timeout)
            }
            result => result,
        }
    }

    /// Starts QEMU without waiting for the guest.
    ///
    /// # Errors
    ///
    /// When it is running already, or QEMU does not start.
    pub fn start(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("the machine is running");
        }
        let number = self.logs.len() + 1;
        let folder = self.folder()?;
        let initramfs = match &self.initramfs {
            Some(other) => other.clone(),
            None => {
                let own = folder.join("initramfs.cpio");
                initramfs::write(&self.contents(), &own)?;
                own
            }
        };
        let log = self.system.logs.clone().unwrap_or(folder);
        std::fs::create_dir_all(&log)?;
        let append = [APPEND.to_string(), self.append.join(" ")];
        let options = Options {
            kernel: self.system.kernel.clone(),
            initramfs,
            append: append.join(" "),
            mem_mib: self.mem_mib + self.system.more_mib,
            smp: self.smp,
            disks: self.disks.clone(),
            network: self.network,
            display: self.display,
            accel: self.system.accel,
            extra: self.extra.clone(),
        };
        let log = log.join(format!("boot{number}.log"));
        self.running = Some(Qemu::start(&options, &log, self.echo)?);
        Ok(())
    }

    /// Waits until the guest answers, in a QEMU that was started or reset.
    ///
    /// # Errors
    ///
    /// When it does not within `timeout`, or ends; a [`Fault`] when that is QEMU's own before
    /// the guest did anything that is tested.
    pub fn arrive(&mut self, timeout: Duration) -> Result<Arrival> {
        const LOOK: Duration = Duration::from_secs(20);
        let seq = self.next_seq();
        let deadline = Instant::now() + timeout;
        let qemu = self.running()?;
        let id = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(id) = qemu.agent.find(seq, left.min(LOOK), &mut Vec::new()) {
                break id;
            }
            let fault = Fault::of(qemu);
            if fault.is_none() && left > LOOK && qemu.ended()?.is_none() {
                continue;
            }
            let tail = qemu.log.tail(25);
            self.kill();
            match fault {
                Some(fault) => return Err(fault.into()),
                None => bail!("the guest did not come up\n{tail}"),
            }
        };
        if self.known.contains(&id) {
            return Ok(Arrival::Resumed);
        }
        self.known.push(id);
        Ok(Arrival::Fresh)
    }

    /// Runs a shell command in the guest and returns its output.
    ///
    /// # Errors
    ///
    /// When its exit code is not 0, or it does not end in time.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let output = self.try_run(command)?;
        if output.code != 0 {
            bail!("'{command}' gave {}: {}", output.code, output.text.trim());
        }
        Ok(output.text)
    }

    /// Runs a shell command in the guest, whatever its exit code.
    ///
    /// # Errors
    ///
    /// When it does not end in time, or the guest ends.
    pub fn try_run(&mut self, command: &str) -> Result<Output> {
        let seq = self.send(command)?;
        let timeout = self.run_timeout;
        self.wait(seq, timeout, |_| {})?.done(command)
    }

    /// Sends a shell command without waiting; returns its number.
    ///
    /// # Errors
    ///
    /// When no guest runs.
    pub fn send(&mut self, command: &str) -> Result<u64> {
        let seq = self.next_seq();
        self.running()?.agent.send(seq, command)?;
        Ok(seq)
    }

    /// Waits for the end of command `seq`, which may have been sent in an
    /// earlier boot of the same system; `each` gets its output as it comes.
    ///
    /// # Errors
    ///
    /// When no guest runs, or it says nothing in time: the machine is then
    /// killed, and the message holds the end of the kernel log.
    pub fn wait(
        &mut self,
        seq: u64,
        timeout: Duration,
        each: impl FnMut(&str),
    ) -> Result<Progress> {
        match self.look(seq, timeout, each)? {
            Progress::Running => {
                let qemu = self.running()?;
                let tail = qemu.log.tail(25);
                self.kill();
                bail!("a command did not end in {} s\n{tail}", timeout.as_secs());
            }
            other => Ok(other),
        }
    }

    /// The same, but leaves a command that still runs to itself.
    ///
    /// # Errors
    ///
    /// When no guest runs, or QEMU does not end.
    pub fn look(
        &mut self,
        seq: u64,
        timeout: Duration,
        each: impl FnMut(&str),
    ) -> Result<Progress> {
        let progress = self.running()?.agent.wait(seq, timeout, each);
        if matches!(progress, Progress::Gone) {
            self.finish(Duration::from_secs(10))?;
        }
        Ok(progress)
    }

    /// Hibernates by `echo disk > /sys/power/state` and waits for the power off.
    ///
    /// # Errors
    ///
    /// When the guest comes back instead.
    pub fn hibernate(&mut self) -> Result<()> {
        match self.hibernate_by("echo disk > /sys/power/state")? {
            Hibernated::PoweredOff => Ok(()),
            Hibernated::Restarted => bail!("the guest restarted instead\n{}", self.tail()),
            Hibernated::Returned(output) => bail!(
                "hibernation came back with {}: {}\n{}",
                output.code,
                output.text.trim(),
                self.tail()
            ),
        }
    }

    /// Runs a command that hibernates, in whatever way.
    ///
    /// # Errors
    ///
    /// When neither anything comes back nor the machine goes off in time.
    pub fn hibernate_by(&mut self, command: &str) -> Result<Hibernated> {
        let seq = self.send(command)?;
        let timeout = self.run_timeout + self.boot_timeout;
        Ok(match self.wait(seq, timeout, |_| {})? {
            Progress::Done(output) => Hibernated::Returned(output),
            Progress::Restarted => Hibernated::Restarted,
            Progress::Gone | Progress::Running => Hibernated::PoweredOff,
        })
    }

    /// Starts to hibernate by `command` and cuts the power when the kernel log
    /// shows `text`, or after `delay` from then.
    ///
    /// # Errors
    ///
    /// When the text does not come in time.
    pub fn cut_at(&mut self, command: &str, text: &str, delay: Duration) -> Result<()> {
        let from = self.log()?.len();
        self.send(command)?;
        let timeout = self.run_timeout;
        self.log()?.wait_for(text, from, timeout)?;
        self.cut_after(delay)
    }

    /// Cuts the power after `delay`, unless the machine went off before.
    ///
    /// # Errors
    ///
    /// When no guest runs.
    pub fn cut_after(&mut self, delay: Duration) -> Result<()> {
        let deadline = Instant::now() + delay;
        while Instant::now() < deadline && self.running()?.ended()?.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.kill();
        Ok(())
    }

    /// Cuts the power now.
    pub fn kill(&mut self) {
        if let Some(mut qemu) = self.running.take() {
            qemu.kill();
            self.keep(qemu);
        }
    }

    /// Waits at most `timeout` until the machine goes off by itself.
    ///
    /// # Errors
    ///
    /// When it does not; it is killed then.
    pub fn finish(&mut self, timeout: Duration) -> Result<()> {
        let result = self.running()?.wait(timeout);
        self.kill();
        result.map(|_| ())
    }

    /// Shuts the guest down.
    ///
    /// # Errors
    ///
    /// When it does not power off in time.
    pub fn power_off(&mut self) -> Result<()> {
        self.send("sync; poweroff -f")?;
        self.finish(self.run_timeout)
    }

    /// Types on the serial line that the kernel log comes from.
    ///
    /// # Errors
    ///
    /// When no guest runs.
    pub fn type_in(&mut self, bytes: &[u8]) -> Result<()> {
        self.running()?.type_in(bytes)
    }

    /// QEMU's control channel.
    ///
    /// # Errors
    ///
    /// When no guest runs.
    pub fn qmp(&mut self) -> Result<&mut Qmp> {
        Ok(&mut self.running()?.qmp)
    }

    /// The kernel log of the present boot, or of the last one.
    ///
    /// # Errors
    ///
    /// Before the first boot.
    pub fn log(&self) -> Result<&Log> {
        let present = self.running.as_ref().map(|qemu| &qemu.log);
        present
            .or(self.logs.last())
            .context("the machine was never started")
    }

    /// The kernel log of boot number `boot`, counted from 0.
    ///
    /// # Errors
    ///
    /// When there was no such boot.
    pub fn log_of(&self, boot: usize) -> Result<&Log> {
        let present = self.running.as_ref().map(|qemu| &qemu.log);
        let mut logs = self.logs.iter().chain(present);
        logs.nth(boot).with_context(|| format!("no boot {boot}"))
    }

    /// Checks that no boot until now reported a fault of the kernel.
    ///
    /// # Errors
    ///
    /// The lines that report one.
    pub fn assert_clean(&self) -> Result<()> {
        let present = self.running.iter().map(|qemu| &qemu.log);
        for log in self.logs.iter().chain(present) {
            log.assert_clean(&self.allowed)?;
        }
        Ok(())
    }

    fn tail(&self) -> String {
        self.log().map(|log| log.tail(25)).unwrap_or_default()
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Whether its QEMU was started and has not been seen to end.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn running(&mut self) -> Result<&mut Qemu> {
        self.running.as_mut().context("the machine is off")
    }

    fn keep(&mut self, mut qemu: Qemu) {
        let log = std::mem::replace(&mut qemu.log, Log::empty());
        self.logs.push(log);
    }

    fn folder(&mut self) -> Result<PathBuf> {
        if self.folder.is_none() {
            self.folder = Some(tempfile::Builder::new().prefix("dormouse-").tempdir()?);
        }
        let folder = self.folder.as_ref().context("no folder")?;
        Ok(folder.path().to_path_buf())
    }

    fn contents(&self) -> Contents {
        let stem = |path: &Path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let wanted = |path: &&PathBuf| !self.missing.contains(&stem(path));
        Contents {
            busybox: self.system.busybox.clone(),
            guest: self.system.guest.clone(),
            client: self.system.client.clone(),
            modules: self.system.modules.iter().filter(wanted).cloned().collect(),
            files: self.files.clone(),
        }
    }
}
