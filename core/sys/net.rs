// SPDX-License-Identifier: GPL-2.0

//! TCP connections that work while tasks are frozen and memory is short.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use super::ffi;
use core::mem;
use core::net::{IpAddr, SocketAddr};
use core::ptr::NonNull;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;

/// A TCP connection in the first network namespace. Dropping it forgets about it, without a word to
/// the other side that would have to be waited for.
///
/// # Invariants
///
/// `sock` comes from `dormouse_sock_new()` and is closed by nobody else.
pub struct Socket {
    sock: NonNull<ffi::dormouse_sock>,
}

// SAFETY: A socket has its own lock.
unsafe impl Send for Socket {}

// SAFETY: As above.
unsafe impl Sync for Socket {}

fn count(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::from_errno(result as i32))
}

impl Socket {
    /// What the C side has made, or its error. Any context.
    ///
    /// # Safety
    ///
    /// `sock` was just made by the C side, and is nobody else's.
    unsafe fn of(sock: *mut ffi::dormouse_sock) -> Result<Socket> {
        // INVARIANT: By the safety requirement.
        Ok(Socket {
            sock: NonNull::new(from_err_ptr(sock)?).ok_or(ENOMEM)?,
        })
    }

    /// A connection to `to` that is not made yet; see [`Socket::connect`]. When nothing is
    /// acknowledged on it for `timeout_ms` milliseconds, it is given up. May sleep; neither waits
    /// for memory to be written nor for user space.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` for a kernel without IPv6, `ENOMEM`, and others of socket(2).
    #[inline(never)]
    pub fn new(to: &SocketAddr, timeout_ms: u32) -> Result<Socket> {
        // SAFETY: This is process context.
        let sock = unsafe { ffi::dormouse_sock_new(to.is_ipv6(), timeout_ms) };
        // SAFETY: It has just been made.
        unsafe { Socket::of(sock) }
    }

    /// Connects to the server at `to`, always the same one. May sleep for a quarter of a second;
    /// neither waits for memory to be written nor for user space.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nobody has answered in that time, and it is to be called again; `ETIMEDOUT`,
    /// `ECONNREFUSED`, `ENETUNREACH`, `EHOSTUNREACH`, `ENOMEM`, and others of connect(2).
    #[inline(never)]
    pub fn connect(&self, to: &SocketAddr) -> Result {
        let mut address = ffi::dormouse_address {
            port: to.port(),
            is_v6: to.is_ipv6(),
            bytes: [0; 16],
        };
        match to.ip() {
            IpAddr::V4(ip) => {
                for (to, from) in address.bytes.iter_mut().zip(ip.octets()) {
                    *to = from;
                }
            }
            IpAddr::V6(ip) => address.bytes = ip.octets(),
        }
        // SAFETY: By the type invariants, and the address is valid for the call.
        to_result(unsafe { ffi::dormouse_sock_connect(self.sock.as_ptr(), &address) })
    }

    /// Sends a part of `bytes`, and says how many. `more` tells that others follow at once. May
    /// sleep for a quarter of a second.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nothing could be sent in that time; anything else when the connection is gone.
    #[inline(never)]
    pub fn send(&self, bytes: &[u8], more: bool) -> Result<usize> {
        let len = bytes.len().min(i32::MAX as usize);
        // SAFETY: By the type invariants, and the bytes are valid for the call.
        count(unsafe {
            ffi::dormouse_sock_send(self.sock.as_ptr(), bytes.as_ptr().cast(), len, more)
        })
    }

    /// Receives what there is, but no more than `bytes` has room for, and says how much; nothing
    /// when the other side has closed the connection. May sleep for a quarter of a second.
    ///
    /// # Errors
    ///
    /// As [`Socket::send`].
    #[inline(never)]
    pub fn receive(&self, bytes: &mut [u8]) -> Result<usize> {
        let len = bytes.len().min(i32::MAX as usize);
        // SAFETY: By the type invariants, and the bytes may be written during the call.
        count(unsafe {
            ffi::dormouse_sock_receive(self.sock.as_ptr(), bytes.as_mut_ptr().cast(), len)
        })
    }

    /// Ends the connection after all that was sent, without waiting for the other side. May sleep.
    #[inline(never)]
    pub fn finish(self) {
        // SAFETY: By the type invariants this closes the connection, and `forget` keeps it from
        // being closed again.
        unsafe { ffi::dormouse_sock_close(self.sock.as_ptr(), true) };
        mem::forget(self);
    }
}

impl Drop for Socket {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this closes the connection once.
        unsafe { ffi::dormouse_sock_close(self.sock.as_ptr(), false) };
    }
}

/// Waits for connections on the loopback, for tests.
#[cfg(CONFIG_DORMOUSE_KUNIT_TEST)]
pub struct Listener {
    /// Closed as a connection is.
    socket: Socket,
    port: u16,
}

#[cfg(CONFIG_DORMOUSE_KUNIT_TEST)]
impl Listener {
    /// Listens on a port that nobody else uses, and brings the loopback up for that. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and those of listen(2).
    #[inline(never)]
    pub fn new() -> Result<Listener> {
        let mut port = 0;
        // SAFETY: The port is ours to write.
        let sock = unsafe { ffi::dormouse_sock_listen(&mut port) };
        // SAFETY: It has just been made.
        let socket = unsafe { Socket::of(sock) }?;
        Ok(Listener { socket, port })
    }

    /// The port. Any context.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes a connection that somebody has made. May sleep for a quarter of a second.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when there was none in that time, `ENOMEM`.
    #[inline(never)]
    pub fn accept(&self) -> Result<Socket> {
        // SAFETY: By the type invariants.
        let sock = unsafe { ffi::dormouse_sock_accept(self.socket.sock.as_ptr()) };
        // SAFETY: It has just been made.
        unsafe { Socket::of(sock) }
    }
}
