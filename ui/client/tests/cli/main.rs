// SPDX-License-Identifier: GPL-2.0

//! The command itself, over folders that look like those of a system with Dormouse. What needs
//! the kernel is tested in guests.

mod cycles;
mod fake;
mod key;
mod settings;
mod status;
