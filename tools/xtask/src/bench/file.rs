// SPDX-License-Identifier: GPL-2.0

//! An image file against a swap file, on the same ext4 of the same disk.

use anyhow::Result;
use dormouse_vm::Vm;
use serde_json::json;

use super::compare::Comparison;
use super::turns::{self, Setup, Turns};

/// The file may be a twentieth slower.
const LEAST: f64 = 0.95;

/// What the disk can do, in bytes per second: less than both. The host's page
/// cache, which it would be otherwise, differs by a fifth from one cycle to the
/// next, and no disk is like that.
const DISK_SPEED: u64 = 200_000_000;

/// Requests per second, twice as many as are needed for that: cut into smaller
/// ones they take longer.
const DISK_REQUESTS: u64 = 1000;

/// Chooses the file. What it was made with goes out of the page cache then.
const FILE: &str = "echo file > /sys/power/hibernate/writer
    echo /mnt/image > /sys/power/hibernate/target";

/// Measures.
///
/// # Errors
///
/// When a guest does not do what it is told, or a number cannot be read.
pub fn run(setup: &Setup, compressor: &str) -> Result<Vec<Comparison>> {
    let size = setup.mem_mib / 2;
    // Both, and what the filesystem keeps for itself.
    let mut vm = setup
        .machine()
        .disk(&format!("{}M", 2 * size + 200 + size / 4))?;
    vm.get_disk(0)?.mkfs()?;
    let commands = format!(
        "mkdir /mnt && mount -t ext4 /dev/vda /mnt
         fallocate -l {size}M /mnt/swap
         chmod 600 /mnt/swap && mkswap /mnt/swap > /dev/null && swapon /mnt/swap
         echo /mnt/image {size}M > /sys/power/hibernate/modules/file/create
         {FILE}
         echo {compressor} > /sys/power/hibernate/compressor"
    );
    turns::boot(&mut vm, &commands, setup.mem_mib / 4)?;
    limit(&mut vm)?;
    let turns = Turns {
        commands: [
            "echo swap > /sys/power/hibernate/writer
             echo auto > /sys/power/hibernate/target",
            FILE,
        ],
        row: Comparison {
            needed: Some(LEAST),
            ..setup.row("swap", compressor, "file")
        },
    };
    let rows = turns.take(&mut vm, setup.rounds)?;
    vm.assert_clean()?;
    vm.kill();
    Ok(rows)
}

/// Makes the disk as fast as [`DISK_SPEED`] and [`DISK_REQUESTS`] say.
fn limit(vm: &mut Vm) -> Result<()> {
    let limits = json!({
        "device": "virtio0",
        "bps": DISK_SPEED, "bps_rd": 0, "bps_wr": 0,
        "iops": DISK_REQUESTS, "iops_rd": 0, "iops_wr": 0,
    });
    vm.qmp()?.command("block_set_io_throttle", limits)?;
    Ok(())
}
