// SPDX-License-Identifier: GPL-2.0

//! How storage is made to stand still, and to go on.

use anyhow::Result;
use dormouse_vm::Vm;

use crate::netblock::servers::Server;

/// What a storage is stopped with.
pub enum Brake {
    /// QEMU lets nothing through to the disk of this number.
    Disk(usize),
    /// The server stops: that of a disk of QEMU, or of the guest itself.
    Server(Server),
}

impl Brake {
    /// Stops it: what is asked of it is not done any more.
    ///
    /// # Errors
    ///
    /// When QEMU or the server does not run.
    pub fn stop(&self, vm: &mut Vm) -> Result<()> {
        match self {
            Brake::Disk(number) => vm.qmp()?.stop_disk(*number),
            Brake::Server(server) => server.pause(),
        }
    }

    /// What there is to know of the server that is stopped.
    pub fn evidence(&mut self) -> String {
        match self {
            Brake::Disk(_) => String::new(),
            Brake::Server(server) => server.evidence(),
        }
    }

    /// Starts a server again that has ended by itself. Returns whether it had.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<bool> {
        let Brake::Server(server) = self else {
            return Ok(false);
        };
        let has_ended = server.has_ended();
        if has_ended {
            server.start()?;
        }
        Ok(has_ended)
    }

    /// Lets it go on, with all that was asked of it meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Brake::stop`].
    pub fn go_on(&self, vm: &mut Vm) -> Result<()> {
        match self {
            Brake::Disk(number) => vm.qmp()?.throttle(*number, 0),
            Brake::Server(server) => server.go_on(),
        }
    }
}
