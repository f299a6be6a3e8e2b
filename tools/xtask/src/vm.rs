// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask vm`: experiments in a guest.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use dormouse_vm::agent::Progress;
use dormouse_vm::{Arrival, Display, System, Vm};
use vm_scenarios::debian::Boot;

use crate::debian;
use crate::kernel::Config;
use crate::paths::Paths;
use crate::system;

/// What to run, in what machine.
///
/// The script runs as root in the guest, with BOOT set to the number of the
/// boot. When it hibernates the machine, the next boot waits for its end if the
/// guest is resumed, and starts it anew if not. The guest has busybox and
/// `guest work` (a workload that can be verified). The exit code is the one of
/// the script that ended last; 3 when the kernel log reports a fault.
#[derive(clap::Args)]
pub struct Args {
    /// Shell script to run in the guest
    #[arg(long)]
    script: PathBuf,
    /// Memory in MiB
    #[arg(long, default_value_t = 512)]
    mem: u32,
    /// Number of processors
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Size of a disk made as swap space, /dev/vda first; may be repeated
    #[arg(long, default_values_t = ["1G".to_string()])]
    disk: Vec<String>,
    /// Further kernel arguments
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Number of boots, with the same disks
    #[arg(long, default_value_t = 1)]
    boots: u32,
    /// Boot this kernel instead of building one
    #[arg(long)]
    bzimage: Option<PathBuf>,
    /// Module to load, with --bzimage; may be repeated, in the order of loading
    #[arg(long, requires = "bzimage")]
    ko: Vec<PathBuf>,
    /// Which of our kernels to build and boot
    #[arg(long, value_enum, default_value = "guest")]
    config: Config,
    /// Boot the Debian guest: its own kernel, disk and initramfs, and 1024 MiB
    #[arg(long, conflicts_with_all = ["bzimage", "config", "mem", "disk", "file"])]
    debian: bool,
    /// Put a file into the guest: HOST_PATH=/guest/path
    #[arg(long)]
    file: Vec<String>,
    /// A network card; the host is 10.0.2.2
    #[arg(long)]
    net: bool,
    /// A screen, with a framebuffer, and a keyboard
    #[arg(long)]
    screen: bool,
    /// Show the kernel log while it comes
    #[arg(long)]
    log: bool,
    /// Keep kernel logs (boot1.log and so on) in this folder
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Seconds that one boot's script may take
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Further argument for QEMU; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    qemu: Vec<String>,
}

/// Runs the task.
///
/// # Errors
///
/// When the guest does not come up, or its script does not end.
pub fn run(paths: &Paths, args: Args) -> Result<bool> {
    let script = std::fs::read_to_string(&args.script)
        .with_context(|| format!("cannot read {}", args.script.display()))?;
    let mut vm = if args.debian {
        let mut made = debian::machine()?;
        made.system.logs = args.logs.clone();
        finished(&args, made.vm(Boot::InitramfsTools)?)
    } else {
        let mut system = match &args.bzimage {
            Some(kernel) => system::of(paths, kernel, &args.ko)?,
            None => system::built(paths, args.config)?,
        };
        system.logs = args.logs.clone();
        machine(&args, system)?.file("/script.sh", 0o755, script.clone())
    };
    // The disk of Debian is not made anew for a script.
    let start = match args.debian {
        true => script,
        false => "exec sh /script.sh".to_string(),
    };
    let timeout = Duration::from_secs(args.timeout);
    let mut code = 0;
    let mut pending = None;
    for boot in 1..=args.boots {
        let arrival = vm.boot()?;
        eprintln!("[boot {boot}: {arrival:?}]");
        let seq = match (arrival, pending) {
            (Arrival::Resumed, Some(seq)) => seq,
            _ => vm.send(&format!("export BOOT={boot}\n{start}"))?,
        };
        pending = Some(seq);
        match vm.wait(seq, timeout, print)? {
            Progress::Done(output) => {
                code = output.code;
                pending = None;
                eprintln!("[boot {boot}: the script ended with {code}]");
                vm.power_off()?;
            }
            Progress::Restarted => bail!("the guest restarted by itself\n{}", vm.log()?.tail(25)),
            Progress::Gone | Progress::Running => eprintln!("[boot {boot}: power off]"),
        }
    }
    if pending.is_some() {
        eprintln!("[the script had not ended in the last boot]");
    }
    vm.assert_clean()?;
    Ok(code == 0 && pending.is_none())
}

fn machine(args: &Args, system: System) -> Result<Vm> {
    let mut vm = Vm::new(system).mem(args.mem);
    for size in &args.disk {
        vm = vm.swap_disk(size)?;
    }
    for pair in &args.file {
        let (host, guest) = pair
            .split_once('=')
            .context("--file needs HOST_PATH=/guest/path")?;
        vm = vm.file(
            guest,
            0o755,
            std::fs::read(host).with_context(|| format!("no {host}"))?,
        );
    }
    Ok(finished(args, vm))
}

/// What both kinds of guest take.
fn finished(args: &Args, vm: Vm) -> Vm {
    // A task that refuses is the script's affair.
    let vm = vm.allow("refusing to freeze");
    let mut vm = vm.smp(args.smp).append(&args.append).echo(args.log);
    for argument in &args.qemu {
        vm = vm.qemu(argument);
    }
    if args.screen {
        vm = vm.display(Display::Graphics);
    }
    match args.net && !args.debian {
        true => vm.network(),
        false => vm,
    }
}

fn print(text: &str) {
    print!("{text}");
    let _ = std::io::stdout().flush();
}
