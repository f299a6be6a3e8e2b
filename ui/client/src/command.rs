// SPDX-License-Identifier: GPL-2.0

//! The subcommands, one to a file.

pub mod abort;
pub mod bench;
pub mod config;
pub mod doctor;
pub mod generate;
pub mod hibernate;
pub mod image;
pub mod key;
pub mod resume;
pub mod status;
pub mod ui;
pub mod watch;
