// SPDX-License-Identifier: GPL-2.0

//! Tests of the pure parts. One binary, so that they link once.

mod encryption;
mod extents;
mod filesystems;
mod flips;
mod format_doc;
mod frames;
mod fuzz_replay;
mod golden;
mod headers;
mod indexes;
mod ledgers;
mod maps;
mod plans;
mod random;
mod rates;
mod roots;
mod sentences;
mod silence;
mod stacks;
mod superblocks;
mod targets;
