// SPDX-License-Identifier: GPL-2.0

//! Compressor, encryptor, place of the image, number of processors, and mode.

use std::fmt;

use anyhow::{Context, Result};
use dormouse_vm::{Arrival, Hibernated, Vm};

use super::Counts;
use crate::encryption::{set_key, unlocking, UNLOCK_OPTION};
use crate::netblock::servers::Server;
use crate::steps::{prepare, resume, set, went_on, with_program};
use crate::{files, netblock, Lab};

const COMPRESSORS: [&str; 4] = ["none", "lzo", "lz4", "zstd"];
const ENCRYPTORS: [&str; 2] = ["none", "aes-gcm"];
const MODES: [&str; 4] = ["platform", "shutdown", "reboot", "test_resume"];
const PROCESSORS: [u32; 3] = [1, 2, 4];
const PLACES: [Place; 5] = [
    Place::Partition,
    Place::SwapFile,
    Place::TwoAreas,
    Place::File,
    Place::Netblock,
];

/// Compressors times encryptors.
const CELLS: usize = COMPRESSORS.len() * ENCRYPTORS.len();

/// So many cells in each machine are all of them over the machines of a place.
const LEAST: usize = CELLS.div_ceil(PROCESSORS.len());

/// Where the image is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Writer `swap`, a partition.
    Partition,
    /// Writer `swap`, a file on ext4.
    SwapFile,
    /// Writer `swap`, two partitions of different priorities.
    TwoAreas,
    /// Writer `file`, on ext4.
    File,
    /// Writer `netblock`, to nbdkit.
    Netblock,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Partition => "swap-partition",
            Place::SwapFile => "swap-file",
            Place::TwoAreas => "swap-areas",
            Place::File => "file",
            Place::Netblock => "netblock",
        }
    }
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
        write!(f, "{}-{}", self.place.name(), self.processors)
    }
}

/// Every compressor with and without encryption in every place; from an `n` of
/// 29 on also with every number of processors. Each pair of any two of these
/// and the mode occurs then.
pub fn groups(n: u64) -> Vec<Group> {
    let per = usize::try_from(n.div_ceil(4)).unwrap_or(CELLS);
    let per = per.clamp(LEAST, CELLS);
    let mut groups = Vec::new();
    for (row, place) in PLACES.into_iter().enumerate() {
        for (column, processors) in PROCESSORS.into_iter().enumerate() {
            let cell = |number: usize| {
                let (compressor, encryptor) = (number % 4, number / 4 % 2);
                Cell {
                    compressor: COMPRESSORS[compressor],
                    encryptor: ENCRYPTORS[encryptor],
                    mode: MODES[(compressor + encryptor + row + column) % 4],
                }
            };
            let first = column * per;
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
        let server = match self.place {
            Place::Netblock => Some(Server::nbdkit("1G", &["file", "DISK"])?),
            _ => None,
        };
        let mut vm = match self.place {
            Place::Partition => partition(vm)?,
            Place::SwapFile => swap_file(vm)?,
            Place::TwoAreas => two_areas(vm)?,
            Place::File => file(vm)?,
            Place::Netblock => export(vm, server.as_ref().context("no server")?)?,
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

/// Boots again what was got ready, with the command line that finds its image:
/// a reboot keeps the one that QEMU was started with.
fn boot_again(vm: &mut Vm, block: u64) -> Result<()> {
    vm.power_off()?;
    vm.set_append(&format!(
        "resume=/dev/vda resume_offset={block} dm.resume=1 {UNLOCK_OPTION}"
    ));
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    Ok(())
}

fn swap_file(vm: Vm) -> Result<Vm> {
    let mut vm = vm.disk("512M")?;
    vm.get_disk(0)?.mkfs()?;
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    vm.run("fallocate -l 300M /mnt/swap && chmod 600 /mnt/swap")?;
    vm.run("mkswap /mnt/swap && sync")?;
    let block = vm.get_disk(0)?.first_block("/swap")?;
    vm.run("umount /mnt")?;
    boot_again(&mut vm, block)?;
    vm.run("swapon /mnt/swap")?;
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

fn file(vm: Vm) -> Result<Vm> {
    let mut vm = vm.mem(files::MEM_MIB).disk("640M")?;
    vm.get_disk(0)?.mkfs()?;
    vm.boot()?;
    vm.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")?;
    files::choose(&mut vm)?;
    vm.run("sync")?;
    let block = vm.get_disk(0)?.first_block("/image")?;
    set(&mut vm, "target", "auto")?;
    vm.run("umount /mnt")?;
    boot_again(&mut vm, block)?;
    set(&mut vm, "writer", "file")?;
    set(&mut vm, "target", "/mnt/image")?;
    Ok(vm)
}

fn export(vm: Vm, server: &Server) -> Result<Vm> {
    let target = server.target_of("");
    let mut vm = vm.mem(netblock::MEM_MIB).network();
    let address = netblock::STATIC;
    vm.set_append(&format!(
        "{address} dm.target={target} dm.resume=1 {UNLOCK_OPTION}"
    ));
    vm.boot()?;
    netblock::choose(&mut vm, &target)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Values of compressor, encryptor, place, processors and mode of each cell.
    fn tuples(n: u64) -> Vec<[String; 5]> {
        let groups = groups(n);
        let all = groups.iter().flat_map(|group| {
            let (place, count) = (group.place.name(), group.processors);
            group.cells.iter().map(move |cell| {
                let [a, b] = [place.to_string(), count.to_string()];
                let names = [cell.compressor, cell.encryptor, cell.mode];
                let [c, e, m] = names.map(str::to_string);
                [c, e, a, b, m]
            })
        });
        all.collect()
    }

    fn count(tuples: &[[String; 5]], columns: &[usize]) -> usize {
        let part = |tuple: &[String; 5]| columns.iter().map(|&c| tuple[c].clone()).collect();
        let set: BTreeSet<Vec<String>> = tuples.iter().map(part).collect();
        set.len()
    }

    #[test]
    fn every_compressor_and_encryptor_in_every_place_at_any_n() {
        for n in [1, 10, 29, 1000] {
            assert_eq!(count(&tuples(n), &[0, 1, 2]), 4 * 2 * 5, "n = {n}");
        }
        assert_eq!(count(&tuples(29), &[0, 1, 2, 3]), 4 * 2 * 5 * 3);
        assert_eq!(tuples(29).len(), tuples(1 << 60).len());
    }

    #[test]
    fn every_pair_occurs() {
        let all = tuples(50);
        let values = [4, 2, 5, 3, 4];
        for a in 0..5 {
            for b in a + 1..5 {
                assert_eq!(count(&all, &[a, b]), values[a] * values[b], "{a} and {b}");
            }
        }
    }
}
