// SPDX-License-Identifier: GPL-2.0

//! What the guest program and the host driver share: the line protocol of the
//! command channel, and the reproducible memory contents.

pub mod mix;
pub mod wire;
