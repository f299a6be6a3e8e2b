// SPDX-License-Identifier: GPL-2.0

//! How cases are written: as functions that return a [`Verdict`].
//!
//! A failed check reports itself and returns, so that everything is dropped: KUnit's own
//! assertions end the thread without that.

#![forbid(unsafe_code)]

use crate::glue;
use core::panic::Location;
use kernel::error::Error;

/// A case has failed, and KUnit knows why.
#[derive(Debug)]
pub(crate) struct Failed;

/// Outcome of a case, or of a part of one.
pub(crate) type Verdict<T = ()> = core::result::Result<T, Failed>;

impl From<Error> for Failed {
    #[track_caller]
    fn from(error: Error) -> Failed {
        glue::fail(
            Location::caller(),
            format_args!("unexpected error {error:?}"),
        );
        Failed
    }
}

impl From<kernel::alloc::AllocError> for Failed {
    #[track_caller]
    fn from(_: kernel::alloc::AllocError) -> Failed {
        glue::fail(Location::caller(), format_args!("out of memory"));
        Failed
    }
}

impl From<dormouse::image::Error> for Failed {
    #[track_caller]
    fn from(error: dormouse::image::Error) -> Failed {
        glue::fail(
            Location::caller(),
            format_args!("unexpected error: {error}"),
        );
        Failed
    }
}

/// Fails the case with a formatted reason.
macro_rules! fail {
    ($($why:tt)+) => {{
        $crate::glue::fail(core::panic::Location::caller(), format_args!($($why)+));
        return Err($crate::check::Failed);
    }};
}

/// Fails the case unless the condition holds; a reason may follow it.
macro_rules! check {
    ($condition:expr $(,)?) => {
        if !$condition {
            $crate::check::fail!("is not so: {}", stringify!($condition));
        }
    };
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            $crate::check::fail!(
                "is not so: {}: {}", stringify!($condition), format_args!($($why)+)
            );
        }
    };
}

/// Fails the case unless both sides are equal; a reason may follow them.
macro_rules! check_eq {
    ($left:expr, $right:expr $(,)?) => {
        $crate::check::check_eq!($left, $right, "")
    };
    ($left:expr, $right:expr, $($why:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    $crate::check::fail!(
                        "{} is {:?} and not {:?} {}",
                        stringify!($left), left, right, format_args!($($why)+)
                    );
                }
            }
        }
    };
}

/// Declares the `SUITE` of a file: its name and the functions that are its cases.
macro_rules! suite {
    ($name:literal: $($case:ident),+ $(,)?) => {
        /// The cases of this file.
        pub(crate) static SUITE: $crate::glue::Suite = {
            const COUNT: usize = [$(stringify!($case)),+].len();
            static CASES: $crate::glue::Cases<{ COUNT + 1 }> = $crate::glue::Cases::new([
                $({
                    extern "C" fn run(_: *mut kernel::bindings::kunit) {
                        $crate::glue::run($case);
                    }
                    $crate::glue::Case::new(kernel::c_str!(stringify!($case)), run)
                },)+
                $crate::glue::Case::end(),
            ]);
            $crate::glue::Suite::new($name, &CASES)
        };
    };
}

pub(crate) use {
    check,
    check_eq,
    fail,
    suite, //
};
