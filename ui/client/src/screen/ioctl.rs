// SPDX-License-Identifier: GPL-2.0

//! What is asked of a terminal by `ioctl`: the only unsafe code of the command.
//!
//! C header: `include/uapi/linux/vt.h`, `include/uapi/linux/tiocl.h`

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, c_int, c_ushort};
use nix::Result;

/// `struct vt_stat`.
#[repr(C)]
#[derive(Default)]
struct State {
    active: c_ushort,
    signal: c_ushort,
    state: c_ushort,
}

nix::ioctl_read_bad!(vt_getstate, 0x5603, State);
nix::ioctl_write_int_bad!(vt_activate, 0x5606);
nix::ioctl_readwrite_bad!(tioclinux, 0x541c, [u8; 2]);
nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);

const SETKMSGREDIRECT: u8 = 11;
const GETKMSGREDIRECT: u8 = 17;

/// The number of the console that is to be seen.
///
/// # Errors
///
/// `ENOTTY` when `fd` is no console.
pub fn seen_console(fd: impl AsFd) -> Result<u32> {
    let mut state = State::default();
    // SAFETY: The argument points to a struct vt_stat, to which the kernel writes.
    unsafe { vt_getstate(fd.as_fd().as_raw_fd(), &mut state) }?;
    Ok(state.active.into())
}

/// Asks for console `number` to be seen. Does not wait for that.
///
/// # Errors
///
/// When it does not exist.
pub fn show_console(fd: impl AsFd, number: u32) -> Result<()> {
    // SAFETY: The argument is a number.
    unsafe { vt_activate(fd.as_fd().as_raw_fd(), number as c_int) }.map(drop)
}

/// The console that gets the kernel's messages; 0 for the one that is to be seen.
///
/// # Errors
///
/// `ENOTTY` when `fd` is no console, `EPERM`.
pub fn messages(fd: impl AsFd) -> Result<u8> {
    let mut request = [GETKMSGREDIRECT, 0];
    // SAFETY: The argument points to a byte that says what is wanted, where the kernel writes one.
    unsafe { tioclinux(fd.as_fd().as_raw_fd(), &mut request) }?;
    Ok(request[0])
}

/// Sends the kernel's messages to console `number`; see [`messages`].
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn set_messages(fd: impl AsFd, number: u8) -> Result<()> {
    let mut request = [SETKMSGREDIRECT, number];
    // SAFETY: The argument points to the two bytes that this request reads.
    unsafe { tioclinux(fd.as_fd().as_raw_fd(), &mut request) }.map(drop)
}

/// Columns and lines of a terminal; zero where it does not know.
///
/// # Errors
///
/// `ENOTTY` when `fd` is none.
pub fn size(fd: impl AsFd) -> Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: The argument points to a struct winsize, to which the kernel writes.
    unsafe { tiocgwinsz(fd.as_fd().as_raw_fd(), &mut size) }?;
    Ok((size.ws_col, size.ws_row))
}
