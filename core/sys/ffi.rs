// SPDX-License-Identifier: GPL-2.0

//! Declarations of the C shims, generated from `shim.h` when the kernel is built.
//!
//! Only the files of `core/sys/` may use this: everybody else goes through their safe wrappers.

#![allow(clippy::all)]
#![allow(clippy::undocumented_unsafe_blocks)]
#![allow(dead_code)]
#![allow(missing_docs)]
#![allow(non_camel_case_types)]
#![allow(non_upper_case_globals)]
#![allow(unreachable_pub)]
#![allow(unsafe_op_in_unsafe_fn)]

include!(env!("DORMOUSE_BINDINGS"));
