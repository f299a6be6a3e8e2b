// SPDX-License-Identifier: GPL-2.0

//! A whole Debian: systemd, sshd, PostgreSQL at work, initramfs-tools; our
//! kernel and our package installed as an administrator would install them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::{Arrival, Disk, System, Vm};
use serde_json::json;

use crate::netblock::servers::Server;
use crate::{Lab, Scenario};

mod display;
mod encrypted;
mod load;
mod modes;

use load::Load;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::long(
        "debian",
        "Debian with PostgreSQL at work goes through systemctl hibernate five times",
        cycles,
    ),
    Scenario::long(
        "debian-modes",
        "systemctl hybrid-sleep and suspend-then-hibernate of Debian",
        modes::run,
    ),
    Scenario::long(
        "debian-passphrase",
        "the initramfs of Debian asks for the passphrase of an image until it is right",
        encrypted::run,
    ),
    Scenario::long(
        "debian-dracut",
        "Debian hibernates and resumes with an initramfs made by dracut",
        dracut,
    ),
    Scenario::long(
        "debian-file",
        "Debian without swap space hibernates into a file",
        file,
    ),
    Scenario::long(
        "debian-nbd",
        "Debian hibernates to a server, which its initramfs finds by DHCP",
        |lab| to_server(lab, Boot::InitramfsTools, ""),
    ),
    Scenario::long(
        "debian-dracut-nbd",
        "the same with an initramfs made by dracut",
        |lab| to_server(lab, Boot::DracutNbd, "rd.neednet=1 ip=dhcp"),
    ),
    Scenario::long(
        "debian-screen",
        "systemctl hibernate shows the progress screen, and so does the initramfs; Esc stops",
        display::screen,
    ),
    Scenario::long(
        "debian-plymouth",
        "Plymouth asks for the passphrase, and shows how far the load is",
        display::plymouth,
    ),
    Scenario::long(
        "debian-noresume",
        "Debian comes up with noresume beside an image, which is of no use from then on",
        noresume,
    ),
];

/// Times that the database has to survive.
const CYCLES: u32 = 5;

/// What the guest is made of.
pub struct Machine {
    /// Kernel and accelerator.
    pub system: System,
    /// Its disk, which is copied.
    pub disk: PathBuf,
    /// The initramfs that its own update-initramfs has made.
    pub initramfs: PathBuf,
    /// The one that dracut has made there.
    pub dracut: PathBuf,
    /// Another one of dracut, made with settings that have images on a server.
    pub dracut_nbd: PathBuf,
}

/// What a machine boots with.
#[derive(Clone, Copy)]
pub enum Boot {
    /// What its own update-initramfs has made.
    InitramfsTools,
    /// What dracut has made, told where the swap space is.
    Dracut,
    /// What dracut has made for images on a server.
    DracutNbd,
}

/// How long Debian takes to come up without an accelerator, at most.
const BOOT: Duration = Duration::from_secs(900);
/// How long anything else in it takes.
const RUN: Duration = Duration::from_secs(600);
/// The root filesystem, as tools/xtask/src/debian/image.sh makes it.
const ROOT: &str = "root=UUID=d0e30000-0000-4000-8000-000000000001 ro";
/// The swap space. initramfs-tools finds it in a file of its own; dracut needs to be told.
const RESUME: &str = "resume=UUID=d0e30000-0000-4000-8000-000000000002";

impl Machine {
    /// A machine with a fresh copy of Debian.
    ///
    /// # Errors
    ///
    /// When the disk cannot be copied.
    pub fn vm(self, boot: Boot) -> Result<Vm> {
        let (initramfs, resume) = match boot {
            Boot::InitramfsTools => (self.initramfs, ""),
            Boot::Dracut => (self.dracut, RESUME),
            Boot::DracutNbd => (self.dracut_nbd, ""),
        };
        Vm::new(self.system)
            .mem(1024)
            .append(ROOT)
            .append(resume)
            .initramfs(&initramfs)
            .network()
            .boot_timeout(BOOT)
            .run_timeout(RUN)
            .disk_from(&Disk::open(&self.disk))
    }
}

fn machine(lab: &Lab, boot: Boot) -> Result<Vm> {
    let mut made = (lab.debian)()?;
    made.system.logs = lab.system.logs.clone();
    made.vm(boot)
}

/// Boots a system that comes up by itself, with nothing that failed.
fn boot_fresh(vm: &mut Vm) -> Result<()> {
    ensure!(vm.boot()? == Arrival::Fresh, "an old system came up");
    let state = vm.try_run("systemctl is-system-running --wait")?.text;
    if state.trim() != "running" {
        let failed = vm.run("systemctl --failed --no-pager; systemctl list-jobs --no-pager")?;
        bail!("the system is {}:\n{failed}", state.trim());
    }
    Ok(())
}

/// Lets systemd put the machine to sleep by `systemctl VERB` and waits until it is off.
fn sleep(vm: &mut Vm, verb: &str) -> Result<()> {
    // It comes back at once, or after the resume.
    vm.send(&format!("systemctl {verb}"))?;
    vm.finish(RUN).with_context(|| format!("systemctl {verb}"))
}

/// Boots, which has to bring the saved system back.
fn resume(vm: &mut Vm) -> Result<()> {
    ensure!(
        vm.boot()? == Arrival::Resumed,
        "a new system came up: {}",
        vm.run("cat /sys/power/hibernate/last_result; journalctl -b -k -g dormouse --no-pager")?
    );
    Ok(())
}

/// `dormouse doctor` has nothing to say but that images are not encrypted.
fn all_green(vm: &mut Vm, notes: &[&str]) -> Result<String> {
    let said = vm.run("dormouse doctor")?;
    let known = |line: &str| {
        line.starts_with("ok ")
            || notes.iter().any(|name| {
                let rest = line.strip_prefix("note ").unwrap_or_default();
                rest.trim_start().starts_with(name)
            })
    };
    ensure!(said.lines().all(known), "the doctor says\n{said}");
    for part in ["initrd.img-", "the next boot looks "] {
        ensure!(
            said.contains(part),
            "the doctor does not say {part}:\n{said}"
        );
    }
    Ok(said)
}

/// What the journal of this boot has of a resume, which is the kernel's own sentence.
fn journal(vm: &mut Vm, count: u32) -> Result<()> {
    let found =
        vm.run("journalctl -b -k --no-pager -g 'the system is back: saved' | grep -c 'loaded in'")?;
    ensure!(
        found.trim() == count.to_string(),
        "the journal tells of {} resumes instead of {count}",
        found.trim()
    );
    Ok(())
}

/// Goes to sleep, comes back, and has lost nothing of the `count`th resume of this boot.
fn cycle(vm: &mut Vm, load: &mut Load, verb: &str, count: u32) -> Result<()> {
    sleep(vm, verb)?;
    resume(vm)?;
    load.goes_on(vm)?;
    journal(vm, count)
}

fn cycles(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::InitramfsTools)?;
    boot_fresh(&mut vm)?;
    println!(
        "debian: {}",
        vm.run("systemd-analyze time | head -n 1")?.trim()
    );
    all_green(&mut vm, &["key"])?;
    let mut load = Load::start(&mut vm)?;
    for cycle in 1..=CYCLES {
        let start = Instant::now();
        sleep(&mut vm, "hibernate")?;
        let saved = start.elapsed();
        resume(&mut vm)?;
        let done = load
            .goes_on(&mut vm)
            .with_context(|| format!("after cycle {cycle}"))?;
        journal(&mut vm, cycle)?;
        all_green(&mut vm, &["key"])?;
        println!(
            "debian: cycle {cycle}: off after {} s, back after {} s; {done}; {}",
            saved.as_secs(),
            (start.elapsed() - saved).as_secs(),
            vm.run("cut -d' ' -f3- /sys/power/hibernate/last_result")?
                .trim()
        );
    }
    load.end(&mut vm)?;
    vm.assert_clean()?;
    vm.send("systemctl poweroff")?;
    vm.finish(RUN)
}

fn dracut(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::Dracut)?;
    boot_fresh(&mut vm)?;
    let mut load = Load::start(&mut vm)?;
    for count in 1..=2 {
        cycle(&mut vm, &mut load, "hibernate", count)?;
    }
    load.end(&mut vm)?;
    vm.assert_clean()
}

/// What an administrator does who has no swap space: as dist/systemd/no-swap.conf says.
const NO_SWAP: &str = "
set -e
swapoff -a
sed -i /swap/d /etc/fstab
echo /var/lib/dormouse.img 1G > /sys/power/hibernate/modules/file/create
dormouse config set writer=file target=/var/lib/dormouse.img
dormouse config save
cd /etc/systemd/system
mkdir systemd-hibernate.service.d systemd-logind.service.d
cp /usr/share/doc/dormouse/examples/no-swap.conf systemd-hibernate.service.d
printf '[Service]\\nEnvironment=SYSTEMD_BYPASS_HIBERNATION_MEMORY_CHECK=1\\n' > systemd-logind.service.d/no-swap.conf
";

fn file(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::InitramfsTools)?;
    boot_fresh(&mut vm)?;
    vm.run(NO_SWAP)?;
    let words = vm.run("head -n 1 /sys/power/hibernate/modules/file/resume")?;
    vm.send("systemctl poweroff")?;
    vm.finish(RUN)?;
    vm.set_append(&format!("{ROOT} {}", words.trim()));
    boot_fresh(&mut vm)?;
    let mut load = Load::start(&mut vm)?;
    cycle(&mut vm, &mut load, "hibernate", 1)?;
    load.end(&mut vm)?;
    vm.assert_clean()
}

/// Hibernates twice to a server, which the initramfs reaches with kernel arguments `network`.
fn to_server(lab: &Lab, boot: Boot, network: &str) -> Result<()> {
    let server = Server::qemu("2G", &["--shared=8", "--discard=unmap"])?;
    let mut vm = machine(lab, boot)?;
    let target = server.target();
    vm.set_append(&format!("{ROOT} {network} resume={target}"));
    // No image there: nobody waits for a device of that name.
    boot_fresh(&mut vm)?;
    let log = vm.run("dmesg")?;
    for waits in ["Gave up waiting", "Timed out waiting"] {
        ensure!(!log.contains(waits), "the boot was held up");
    }
    vm.run(&format!(
        "dormouse config set writer=netblock target={target} && dormouse config save"
    ))?;
    // It fails when something does; that its initramfs is older than the settings is a note.
    let said = vm.run("dormouse doctor")?;
    ensure!(
        said.contains(&format!("resume={target}")),
        "the doctor says\n{said}"
    );
    let mut load = Load::start(&mut vm)?;
    for count in 1..=2 {
        cycle(&mut vm, &mut load, "hibernate", count)?;
    }
    load.end(&mut vm)?;
    vm.assert_clean()
}

fn noresume(lab: &Lab) -> Result<()> {
    let mut vm = machine(lab, Boot::InitramfsTools)?;
    boot_fresh(&mut vm)?;
    sleep(&mut vm, "hibernate")?;
    vm.set_append(&format!("{ROOT} noresume"));
    boot_fresh(&mut vm)?;
    // The root filesystem was mounted, and swapon has taken the image's place back.
    vm.run("swapon --show=NAME --noheadings | grep -x /dev/vda2")?;
    vm.send("systemctl poweroff")?;
    vm.finish(RUN)?;
    vm.set_append(ROOT);
    boot_fresh(&mut vm)?;
    let said = vm.run("cat /sys/power/hibernate/image")?;
    ensure!(
        !said.contains("state: committed") || said.contains("discarded"),
        "an image still waits: {said}"
    );
    // And the next one is as good as any.
    sleep(&mut vm, "hibernate")?;
    resume(&mut vm)?;
    // Without the hooks no boot would find one.
    vm.run("dpkg --remove --no-triggers dormouse")?;
    let enabled = vm.run("cat /sys/power/hibernate/enabled")?;
    ensure!(enabled.trim() == "0", "enabled is {enabled}");
    vm.assert_clean()
}

/// Waits until QEMU says that the machine is in `state`, "suspended" for example.
fn wait_for_state(vm: &mut Vm, state: &str) -> Result<()> {
    let deadline = Instant::now() + RUN;
    loop {
        let status = vm.qmp()?.command("query-status", json!({}))?;
        if status.get("status").and_then(|text| text.as_str()) == Some(state) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the machine is not {state}: {status}\n{}",
                vm.log()?.tail(25)
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
