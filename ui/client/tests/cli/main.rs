// SPDX-License-Identifier: GPL-2.0

//! The command itself, over folders that look like those of a system with Dormouse. What needs
//! the kernel is tested in guests.

use dormouse_host::image;

mod bench;
mod cycles;
mod disks;
mod doctor;
mod errors;
mod exports;
mod extract;
mod fake;
mod images;
mod key;
mod memory;
mod screen;
mod settings;
mod status;

#[path = "../../../../modules/file/page.rs"]
#[allow(dead_code)]
mod page;
#[path = "../../../../core/swapmark/sector.rs"]
#[allow(dead_code)]
mod sector;
