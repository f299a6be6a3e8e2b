// SPDX-License-Identifier: GPL-2.0

//! Compressor, encryptor, place of the image, number of processors, and mode.

use std::fmt;

use anyhow::{Context, Result};
use dormouse_vm::{Arrival, Hibernated, Vm};

use super::Counts;
use crate::encryption::{set_key, unlocking, UNLOCK_OPTION};
use crate::steps::{prepare, resume, set, went_on, with_program};
use crate::Lab;

const COMPRESSORS: [&str; 4] = ["none", "lzo", "lz4", "zstd"];
const ENCRYPTORS: [&str; 2] = ["none", "aes-gcm"];
const MODES: [&str; 4] = ["platform", "shutdown", "reboot", "test_resume"];
const PROCESSORS: [u32; 3] = [1, 2, 4];
const PLACES: [Place; 3] = [Place::Partition, Place::File, Place::TwoAreas];

/// Where the image is to be.
#[derive(Clone, Copy, Debug)]
enum Place {
    Partition,
    File,
    TwoAreas,
}

/// What one hibernation is made with.
#[derive(Clone, Copy, Debug)]
struct Cell {
    compressor: &'static str,
    encryptor: &'static str,
    mode: &'static str,
}

/// Combinations that one machine can go through.
pub struct Group {
    place: Place,
    processors: u32,
    cells: Vec<Cell>,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}-{}", self.place, self.processors)
    }
}

/// All combinations for `n` from 46 on, otherwise a third of `n` in each
/// group, all of them different as long as there are.
pub fn groups(n: u64) -> Vec<Group> {
    let all = COMPRESSORS.len() * MODES.len();
    let per = usize::try_from(n.div_ceil(3)).unwrap_or(all).clamp(1, all);
    let mut groups = Vec::new();
    for place in PLACES {
        for processors in PROCESSORS {
            let first = groups.len() * per;
            // Neighbours differ in compressor and mode; each of these is seen with both encryptors.
            let cell = |number: usize| {
                let (column, row) = (number % 4, number / 4 % 4);
                Cell {
                    compressor: COMPRESSORS[column],
                    encryptor: ENCRYPTORS[(column / 2 + row + number / 16) % 2],
                    mode: MODES[(column + row) % 4],
                }
            };
            groups.push(Group {
                place,
                processors,
                cells: (first..first + per).map(cell).collect(),
            });
        }
    }
    groups
}

impl Group {
    /// Number of combinations.
    pub fn len(&self) -> u64 {
        self.cells.len() as u64
    }

    /// Goes through them.
    ///
    /// # Errors
    ///
    /// The first that fails.
    pub fn run(&self, lab: &Lab, counts: &Counts) -> Result<()> {
        let vm = unlocking(lab.small().smp(self.processors)).append(UNLOCK_OPTION);
        let mut vm = match self.place {
            Place::Partition => partition(vm)?,
            Place::File => file(vm)?,
            Place::TwoAreas => two_areas(vm)?,
        };
        prepare(&mut vm)?;
        for cell in &self.cells {
            one(&mut vm, cell, counts)
                .and_then(|()| vm.assert_clean())
                .with_context(|| format!("{cell:?}"))?;
            counts.combinations.good();
        }
        Ok(())
    }
}

fn partition(vm: Vm) -> Result<Vm> {
    let mut vm = vm.swap_disk("512M")?;
    vm.boot()?;
    vm.run("swapon /dev/vda")?;
    Ok(vm)
}

fn file(vm: Vm) -> Result<Vm> {
    let mut vm = vm.disk("512M")?;
    vm.get_disk(0)?.mkfs()?;
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    vm.run("fallocate -l 300M /mnt/swap && chmod 600 /mnt/swap")?;
    vm.run("mkswap /mnt/swap && swapon /mnt/swap && sync")?;
    let block = vm.get_disk(0)?.first_block("/swap")?;
    vm.set_append(&format!(
        "resume=/dev/vda resume_offset={block} dm.resume=1 {UNLOCK_OPTION}"
    ));
    // So that a reboot finds it, too.
    vm.run("swapoff /mnt/swap && umount /mnt")?;
    vm.power_off()?;
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt && swapon /mnt/swap")?;
    Ok(vm)
}

fn two_areas(vm: Vm) -> Result<Vm> {
    // The first one is too small for the image. busybox knows no priorities.
    let vm = vm.swap_disk("16M")?.swap_disk("512M")?;
    let mut vm = with_program(vm, "/sbin/swapon")?;
    vm.boot()?;
    vm.run("/sbin/swapon -p 10 /dev/vda && /sbin/swapon -p 1 /dev/vdb")?;
    Ok(vm)
}

fn one(vm: &mut Vm, cell: &Cell, counts: &Counts) -> Result<()> {
    let mode = cell.mode;
    set(vm, "compressor", cell.compressor)?;
    match cell.encryptor {
        "none" => drop(vm.run("dormouse key clear")?),
        encryptor => set_key(vm, encryptor)?,
    }
    vm.run(&format!("echo {mode} > /sys/power/disk"))?;
    if mode == "platform" || mode == "shutdown" {
        vm.hibernate()?;
        return counts.kept(resume(vm));
    }
    match vm.hibernate_by("echo disk > /sys/power/state")? {
        Hibernated::Returned(output) if output.code == 0 => {
            counts.kept(went_on(vm, Arrival::Resumed))
        }
        other => counts.kept(Err(anyhow::anyhow!("it ended in {other:?}"))),
    }
}
