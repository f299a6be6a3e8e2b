// SPDX-License-Identifier: GPL-2.0

//! The NBD protocol, without any input or output: what is to be sent, how much
//! is to be received next, and what it means.
//!
//! Nothing here allocates, waits or trusts the server. The same files are built
//! and tested on the host.

#![forbid(unsafe_code)]

pub mod cover;
pub mod negotiate;
pub mod pieces;
pub mod replies;
pub mod terms;
pub mod wire;
