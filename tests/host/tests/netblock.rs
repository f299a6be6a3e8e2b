// SPDX-License-Identifier: GPL-2.0

//! The pure parts of the netblock module: the mark on an export, and the NBD protocol against
//! servers in memory, honest and hostile.

#![forbid(unsafe_code)]

#[path = "netblock/mark.rs"]
mod mark;
#[path = "netblock/negotiation.rs"]
mod negotiation;
#[path = "netblock/pieces.rs"]
mod pieces;
#[path = "netblock/replies.rs"]
mod replies;
