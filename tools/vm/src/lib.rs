// SPDX-License-Identifier: GPL-2.0

//! Driver for test guests.
//!
//! A [`Vm`] is a machine with disks that is booted any number of times. A
//! scenario reads as what happens to it:
//!
//! ```no_run
//! # fn scenario(system: dormouse_vm::System) -> anyhow::Result<()> {
//! use dormouse_vm::{Arrival, Vm};
//!
//! let mut vm = Vm::new(system).mem(512).smp(2).append("resume=/dev/vda").swap_disk("1G")?;
//! vm.boot()?;
//! vm.run("swapon /dev/vda; guest work start mib=100")?;
//! vm.hibernate()?;
//! assert_eq!(vm.boot()?, Arrival::Resumed);
//! vm.run("guest work verify")?;
//! vm.assert_clean()?;
//! # Ok(())
//! # }
//! ```
//!
//! Kernel messages come over the first serial port and are kept per boot
//! ([`log::Log`]); commands go over the second one ([`agent::Agent`]), so that
//! neither disturbs the other. Each QEMU is a child of this process and dies
//! with it.

pub mod accel;
pub mod agent;
pub mod disk;
pub mod initramfs;
pub mod log;
pub mod qemu;
pub mod qmp;
mod vm;

pub use agent::Output;
pub use disk::Disk;
pub use qemu::Display;
pub use vm::{Arrival, Hibernated, System, Vm};
