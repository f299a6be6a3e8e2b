// SPDX-License-Identifier: GPL-2.0

//! Error numbers that the `kernel` crate of 6.12 has no names for.

#![forbid(unsafe_code)]

use kernel::error::Error;

/// Too many symbolic links, or one where none is followed.
pub const ELOOP: i32 = 40;
/// There is no data.
pub const ENODATA: i32 = 61;
/// A name that means more than one thing.
pub const ENOTUNIQ: i32 = 76;
/// Data that is damaged or not what it claims to be.
pub const EBADMSG: i32 = 74;
/// A value that does not fit.
pub const EOVERFLOW: i32 = 75;
/// Something that this kernel or machine cannot do.
pub const EOPNOTSUPP: i32 = 95;
/// A peer that does not keep to its protocol.
pub const EPROTO: i32 = 71;
/// Something that is under way already.
pub const EALREADY: i32 = 114;
/// No answer in time.
pub const ETIMEDOUT: i32 = 110;
/// Nobody listens there.
pub const ECONNREFUSED: i32 = 111;
/// The other side has ended a connection without a word.
pub const ECONNRESET: i32 = 104;
/// The network is down.
pub const ENETDOWN: i32 = 100;
/// The network has no memory for it.
pub const ENOBUFS: i32 = 105;
/// No way leads to an address.
pub const ENETUNREACH: i32 = 101;
/// Nobody answers on the way to an address.
pub const EHOSTUNREACH: i32 = 113;
/// An address that is not ours.
pub const EADDRNOTAVAIL: i32 = 99;
/// Stopped because somebody asked for it.
pub const ECANCELED: i32 = 125;
/// There is nothing in a drive.
pub const ENOMEDIUM: i32 = 123;
/// A key that is not there.
pub const ENOKEY: i32 = 126;
/// A key that does not fit.
pub const EKEYREJECTED: i32 = 129;
/// An image of another kernel.
pub const ESTALE: i32 = 116;

/// The kernel error for the positive number `errno`. Any context.
pub fn error(errno: i32) -> Error {
    Error::from_errno(errno.wrapping_neg())
}

impl From<crate::image::Error> for Error {
    fn from(e: crate::image::Error) -> Error {
        error(e.errno())
    }
}
