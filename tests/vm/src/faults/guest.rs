// SPDX-License-Identifier: GPL-2.0

//! A guest in which failures can be made to happen, and what it says of them.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use dormouse_vm::Vm;

use super::{How, What};
use crate::netblock::servers::Server;
use crate::steps::{set, FOLDER, SMALL_MIB};
use crate::{encryption, netblock, Kernel, Lab};

/// Where failures are set up.
const INJECT: &str = "/sys/kernel/debug";
/// Programs of the guest.
const PROGRAMS: [(&str, &str); 3] = [
    ("/bin/inject", include_str!("inject.sh")),
    ("/bin/leaks", include_str!("leaks.sh")),
    ("/bin/loads", include_str!("loads.sh")),
];

/// Has pages that nobody touches again swapped out to the third disk, a swap area beside the image.
const SWAPPED: &str = "\
mkdir /ram && mount -t tmpfs -o size=800m none /ram &&
dd if=/dev/urandom of=/ram/kept bs=1M count=8 2> /dev/null && md5sum /ram/kept > /ram.sum &&
dd if=/dev/zero of=/ram/fill bs=1M 2> /dev/null \
	count=$(awk '/MemAvailable/ { print int($2 / 1024) + 24 }' /proc/meminfo) &&
rm /ram/fill && awk '$1 == \"/dev/vdc\" { used = $4 } END { exit used == 0 }' /proc/swaps";

/// The part of the kernel's code in which most of `symbols` lie beside each
/// other, lines as in /proc/kallsyms. Functions that are hardly ever called lie
/// apart.
fn range(symbols: &str) -> Result<(u64, u64)> {
    let mut all: Vec<u64> = symbols
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .collect();
    all.sort_unstable();
    let groups = all.chunk_by(|one, next| next - one < 0x8000);
    match groups.max_by_key(|group| group.len()) {
        Some([first, .., last]) if *first > 0 => Ok((*first, last + 0x1000)),
        _ => bail!("functions of the kernel are not where they were expected: {symbols}"),
    }
}

/// `vm` with a search for leaks and our programs, and with `append` for the kernel.
fn watched(vm: Vm, append: &str) -> Vm {
    let vm = vm
        .append(&format!("{append} page_owner=on kmemleak=on pci=noacpi"))
        .run_timeout(Duration::from_secs(300));
    let programs = PROGRAMS.iter();
    programs.fold(vm, |vm, (path, text)| vm.file(path, 0o755, *text))
}

/// A guest that is ready for failures, and the server that it needs.
pub fn ready(lab: &Lab, how: How) -> Result<(Vm, Option<Server>)> {
    let server = match how.writer {
        "netblock" => Some(Server::qemu("256M", &["--shared=8"])?),
        _ => None,
    };
    // Freed memory rests in KASAN's quarantine, and so in the image.
    let vm = lab.vm().mem(match lab.kernel {
        Kernel::Kasan => SMALL_MIB + 192,
        _ => SMALL_MIB,
    });
    let vm = match server {
        Some(_) => vm.network().append(netblock::STATIC),
        None => vm,
    };
    let vm = watched(vm, "resume=/dev/vda printk.devkmsg=on");
    let vm = vm.file("/etc/passphrase", 0o600, "a long tale\n");
    let vm = vm.swap_disk("256M")?.disk("320M")?;
    let mut vm = vm.swap_disk("64M")?;
    vm.get_disk(1)?.mkfs()?;
    vm.boot()?;
    vm.run(
        "swapon /dev/vdc && swapon /dev/vda && mkdir -p /mnt && mount -t ext4 /dev/vdb /mnt && echo here > /mnt/file",
    )?;
    vm.run("guest work start mib=8 file_mib=4")?;
    vm.run(SWAPPED)?;
    set(&mut vm, "target", "/dev/vda")?;
    set(&mut vm, "compressor", how.compressor)?;
    if how.encryptor != "none" {
        encryption::set_key(&mut vm, how.encryptor)?;
    }
    if how.writer == "file" {
        vm.run(&format!(
            "echo '/mnt/image 192M' > {FOLDER}/modules/file/create"
        ))?;
        set(&mut vm, "writer", "file")?;
        set(&mut vm, "target", "/mnt/image")?;
    }
    if let Some(server) = &server {
        netblock::choose(&mut vm, &server.target())?;
    }
    set(&mut vm, "enabled", "1")?;
    arm(&mut vm)?;
    Ok((vm, server))
}

/// Lets failures happen to what the core asks for, once there are any.
pub fn arm(vm: &mut Vm) -> Result<()> {
    let (from, to) = range(&vm.run("grep ' [tT] .*dormouse' /proc/kallsyms | grep -v '\\['")?)?;
    for what in [What::Slab, What::Pages, What::Requests] {
        vm.run(&format!(
            "cd {INJECT}/{what} && echo 0 > probability && echo 1 > verbose && \
             echo 0 > verbose_ratelimit_interval_ms && echo {from:#x} > require-start && \
             echo {to:#x} > require-end"
        ))?;
    }
    // Not what checks ask for in the name of the core.
    let (from, to) = range(&vm.run("grep ' [tT] kmemleak' /proc/kallsyms")?)?;
    vm.run(&format!(
        "cd {INJECT}/failslab && echo {from:#x} > reject-start && echo {to:#x} > reject-end && \
         echo N > ignore-gfp-wait"
    ))?;
    // Nor what a filesystem that is being held still writes of its own.
    let (from, to) = range(&vm.run("grep -E ' (freeze|thaw)_super$' /proc/kallsyms")?)?;
    vm.run(&format!(
        "cd {INJECT}/fail_make_request && echo {from:#x} > reject-start && \
         echo {to:#x} > reject-end"
    ))?;
    vm.run(&format!(
        "cd {INJECT}/fail_page_alloc && echo N > ignore-gfp-wait && \
         echo N > ignore-gfp-highmem && echo 0 > min-order && \
         for disk in vda vdb vdc; do echo 1 > /sys/block/$disk/make-it-fail; done"
    ))?;
    // What was there before is not ours to find.
    vm.run("echo scan > /sys/kernel/debug/kmemleak; echo clear > /sys/kernel/debug/kmemleak")?;
    Ok(())
}

/// Does not count the page frames of images, of which there are thousands: one
/// after the other fails in [`What::Pages`].
pub fn leave_out_frames(vm: &mut Vm, on: bool) -> Result<()> {
    let (from, to) = if on {
        let symbols = vm.run("grep -A 1 ' hibernation_alloc_pages$' /proc/kallsyms")?;
        let mut starts = symbols
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok());
        let found = starts.next().zip(starts.next());
        found.context("no hibernation_alloc_pages in the kernel")?
    } else {
        (0, 0)
    };
    vm.run(&format!(
        "cd {INJECT}/fail_page_alloc && echo {from:#x} > reject-start && \
         echo {to:#x} > reject-end"
    ))?;
    Ok(())
}

/// What the program `inject` says.
#[derive(Debug)]
pub struct Said {
    /// Exit code of the command.
    pub code: i32,
    /// What was left to count down; 0 if something has failed.
    pub left: i64,
    /// State of the engine.
    pub state: String,
    /// Use of the first swap area.
    pub swaps: String,
    /// Signatures on both of them.
    pub mark: String,
    /// First line about the image.
    pub image: String,
    /// Its `last_result`.
    pub result: String,
}

impl Said {
    pub fn parse(text: &str) -> Result<Said> {
        let parts: Vec<&str> = text.trim().splitn(6, '|').collect();
        let [numbers, state, swaps, mark, image, result] = parts[..] else {
            bail!("not a line of inject: {text}");
        };
        let (code, left) = numbers.trim().split_once(' ').context("no two numbers")?;
        Ok(Said {
            code: code.parse()?,
            left: left.parse()?,
            state: state.to_string(),
            swaps: swaps.to_string(),
            mark: mark.to_string(),
            image: image.to_string(),
            result: result.to_string(),
        })
    }

    /// The step of the result.
    pub fn step(&self) -> &str {
        self.result.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether the result has an error with a sentence.
    pub fn has_reason(&self) -> bool {
        let mut words = self.result.splitn(3, ' ');
        words.next().is_some_and(|errno| errno.starts_with('-'))
            && words.nth(1).is_some_and(|sentence| !sentence.is_empty())
    }
}

/// Pages of the core in use.
pub fn pages(vm: &mut Vm) -> Result<u64> {
    Ok(vm.run("leaks pages")?.trim().parse()?)
}

/// Memory is lost, and the search for leaks finds it.
pub fn lost(lab: &Lab) -> Result<()> {
    let (lab, _modules) = lab.with_module("tests/vm/leak", "dormouse_leak.ko")?;
    let mut vm = watched(lab.vm(), "");
    vm.boot()?;
    let lose = |what| format!("echo {what} > /sys/module/dormouse_leak/parameters/leak");
    vm.run("leaks > /dev/null; echo clear > /sys/kernel/debug/kmemleak")?;
    let before = pages(&mut vm)?;
    leaks(&mut vm, before).context("nothing was lost yet")?;
    vm.run(&lose("page"))?;
    let after = pages(&mut vm)?;
    ensure!(after == before + 1, "{before} pages, then {after}");
    ensure!(leaks(&mut vm, before).is_err(), "the page was not missed");
    // Some address may still lie on a stack.
    for _ in 0..20 {
        vm.run(&lose("object"))?;
    }
    let found = leaks(&mut vm, after);
    ensure!(found.is_err(), "no object was missed");
    Ok(())
}

/// Checks that the core has lost no memory since it had `before` pages.
pub fn leaks(vm: &mut Vm, before: u64) -> Result<()> {
    let objects: u64 = vm.run("leaks")?.trim().parse()?;
    let after = pages(vm)?;
    if objects > 0 || after > before {
        vm.run("leaks show")?;
    }
    ensure!(objects == 0, "kmemleak found {objects} objects of the core");
    ensure!(
        after <= before,
        "{after} pages of the core are in use, {before} were before"
    );
    Ok(())
}
