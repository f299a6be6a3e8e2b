// SPDX-License-Identifier: GPL-2.0

//! The one program in the test guest besides busybox.
//!
//! `guest agent TTY` runs commands for the host over a serial port.
//! `guest work ...` keeps memory, files and a counter that can be verified.
//! `guest hibernate` calls reboot(LINUX_REBOOT_CMD_SW_SUSPEND), and gets a signal meanwhile if it is
//! told to.
//! `guest load LIST` loads the kernel modules that a file lists.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use nix::errno::Errno;
use nix::kmod::{finit_module, ModuleInitFlags};
use nix::sys::reboot::{reboot, RebootMode};
use signal_hook::consts::SIGALRM;

mod agent;
mod work;

const USAGE: &str = "\
usage: guest agent TTY
       guest hibernate [alarm=SECONDS | killed=SECONDS]
       guest load LIST
       guest work start [mib=64] [seed=1] [file_mib=0]
       guest work verify | status | stop";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["agent", tty] => agent::serve(tty).map(|()| String::new()),
        ["hibernate"] => hibernate(),
        ["hibernate", option] => hibernate_alarmed(option),
        ["load", list] => load(Path::new(list)),
        ["work", "start", options @ ..] => work::start(options),
        ["work", "serve", options @ ..] => work::serve(options).map(|()| String::new()),
        ["work", request @ ("verify" | "status" | "stop")] => work::ask(request),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Hibernates by the system call, and returns in the restored system.
fn hibernate() -> io::Result<String> {
    Errno::clear();
    // Its type says that it never comes back; this request does.
    match reboot(RebootMode::RB_SW_SUSPEND) {
        Err(Errno::UnknownErrno) => Ok("back".to_string()),
        Err(error) => Err(error.into()),
    }
}

/// The same with a SIGALRM on the way, which waits for the end of the system call; `killed`: it ends
/// this process then, and hits a thread that does not hibernate.
fn hibernate_alarmed(option: &str) -> io::Result<String> {
    if let Some(Ok(seconds)) = option.strip_prefix("killed=").map(str::parse) {
        nix::unistd::alarm::set(seconds);
        let thread = std::thread::spawn(hibernate);
        return thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("it panicked")));
    }
    let seconds = option.strip_prefix("alarm=").and_then(|s| s.parse().ok());
    let seconds = seconds.ok_or(io::ErrorKind::InvalidInput)?;
    let rang = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGALRM, rang.clone())?;
    nix::unistd::alarm::set(seconds);
    let said = hibernate()?;
    match rang.load(Ordering::Relaxed) {
        true => Ok(said),
        false => Err(io::Error::other("it was over before the alarm")),
    }
}

/// Loads the modules in the lines of `list`, which lie beside it, in that
/// order: all in one process, since without KVM each program that is started
/// takes a boot 30 ms longer.
fn load(list: &Path) -> io::Result<String> {
    let mut bad = Vec::new();
    for name in fs::read_to_string(list)?.lines() {
        let file = File::open(list.with_file_name(name));
        let load = |file| Ok(finit_module(&file, c"", ModuleInitFlags::empty())?);
        if let Err(error) = file.and_then(load) {
            bad.push(format!("cannot load {name}: {error}"));
        }
    }
    if bad.is_empty() {
        return Ok(String::new());
    }
    Err(io::Error::other(bad.join("; ")))
}
