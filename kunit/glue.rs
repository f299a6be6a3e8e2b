// SPDX-License-Identifier: GPL-2.0

//! KUnit's tables, made of safe functions.
//!
//! This is the vtable glue of the crate and its only file with `unsafe` code: 6.12's `kernel`
//! crate reports failures of its own doctests to KUnit, but has no way to declare a suite.
//!
//! C header: [`include/kunit/test.h`](srctree/include/kunit/test.h)

use crate::check::{
    Failed,
    Verdict, //
};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt;
use core::mem;
use core::panic::Location;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;
use kernel::str::{
    CStr,
    CString, //
};

/// What KUnit calls for a case.
pub(crate) type RunCase = extern "C" fn(test: *mut bindings::kunit);

/// One case, for [`Cases::new`].
pub(crate) struct Case(bindings::kunit_case);

impl Case {
    /// The case `name`, which is `run`.
    pub(crate) const fn new(name: &'static CStr, run: RunCase) -> Self {
        // SAFETY: The structure consists of numbers and of pointers that may be null.
        let mut case: bindings::kunit_case = unsafe { mem::zeroed() };
        case.run_case = Some(run);
        case.name = name.as_char_ptr();
        Case(case)
    }

    /// What KUnit takes for the end of a list.
    pub(crate) const fn end() -> Self {
        // SAFETY: As in `new`.
        Case(unsafe { mem::zeroed() })
    }
}

/// The cases of a suite; KUnit keeps their results in it.
#[repr(transparent)]
pub(crate) struct Cases<const N: usize>(UnsafeCell<[Case; N]>);

// SAFETY: Only KUnit uses the cases, under its own lock.
unsafe impl<const N: usize> Sync for Cases<N> {}

impl<const N: usize> Cases<N> {
    /// The list `cases`, which must end with [`Case::end`]; checked when the kernel is built.
    pub(crate) const fn new(cases: [Case; N]) -> Self {
        assert!(N != 0 && cases[N - 1].0.run_case.is_none());
        Cases(UnsafeCell::new(cases))
    }
}

/// A suite, which KUnit writes to as it runs.
#[repr(transparent)]
pub(crate) struct Suite(UnsafeCell<bindings::kunit_suite>);

// SAFETY: Only KUnit uses the suite, under its own lock.
unsafe impl Sync for Suite {}

impl Suite {
    /// The suite `name` with `cases`. A name that is too long does not build.
    pub(crate) const fn new<const N: usize>(name: &str, cases: &'static Cases<N>) -> Self {
        // SAFETY: The structure consists of numbers and of pointers that may be null.
        let mut suite: bindings::kunit_suite = unsafe { mem::zeroed() };
        let bytes = name.as_bytes();
        assert!(bytes.len() < suite.name.len());
        let mut i = 0;
        while i < bytes.len() {
            suite.name[i] = bytes[i] as _;
            i += 1;
        }
        suite.test_cases = cases.0.get().cast();
        Suite(UnsafeCell::new(suite))
    }
}

/// An entry of the section that KUnit looks into.
#[repr(transparent)]
struct Entry(*mut bindings::kunit_suite);

// SAFETY: Only KUnit uses what it points to, under its own lock.
unsafe impl Sync for Entry {}

impl Entry {
    const fn of(suite: &'static Suite) -> Self {
        Entry(suite.0.get())
    }
}

// The section holds nothing but pointers to suites, in the kernel as in a module.
#[link_section = ".kunit_test_suites"]
#[used(compiler)]
static SUITES: [Entry; 9] = [
    Entry::of(&crate::registry::SUITE),
    Entry::of(&crate::format::SUITE),
    Entry::of(&crate::transforms::SUITE),
    Entry::of(&crate::encryption::SUITE),
    Entry::of(&crate::pipeline::SUITE),
    Entry::of(&crate::faults::SUITE),
    Entry::of(&crate::budget::SUITE),
    Entry::of(&crate::observer::SUITE),
    Entry::of(&crate::file::SUITE),
];

/// The same for a kernel with a network.
#[cfg(CONFIG_DORMOUSE_NET)]
#[link_section = ".kunit_test_suites"]
#[used(compiler)]
static NET: [Entry; 1] = [Entry::of(&crate::net::SUITE)];

/// Runs the body of a case.
pub(crate) fn run(body: fn() -> Verdict) {
    // Failures are reported where they are found, unless another thread found them.
    if let Err(Failed) = body() {
        // SAFETY: No requirements.
        let test = unsafe { bindings::kunit_get_current_test() };
        // SAFETY: The test is the one that runs this function.
        if test.is_null() || unsafe { (*test).status } != bindings::kunit_status_KUNIT_FAILURE {
            fail(Location::caller(), format_args!("see the log above"));
        }
    }
}

/// Makes the running case fail at `place` and says why. Process context.
pub(crate) fn fail(place: &Location<'_>, why: fmt::Arguments<'_>) {
    // SAFETY: No requirements.
    let test = unsafe { bindings::kunit_get_current_test() };
    let file = CString::try_from_fmt(format_args!("{}", place.file()));
    let (false, Ok(file)) = (test.is_null(), file) else {
        pr_err!("{}:{}: {}\n", place.file(), place.line(), why);
        return;
    };
    let location = bindings::kunit_loc {
        line: place.line() as _,
        file: file.as_char_ptr(),
    };
    let assert = bindings::kunit_assert {};
    // SAFETY: The test is the running one; all pointers are valid for the call, which prints and
    // keeps none of them; `%pA` takes the pointer to `fmt::Arguments` that follows.
    unsafe {
        bindings::__kunit_do_failed_assertion(
            test,
            &location,
            bindings::kunit_assert_type_KUNIT_EXPECTATION,
            &assert,
            Some(bindings::kunit_fail_assert_format),
            c"%pA\n".as_ptr().cast(),
            ptr::from_ref(&why).cast::<c_void>(),
        );
    }
}

/// Lets the kernel free what it frees later, such as ended threads. May sleep.
pub(crate) fn settle() {
    // SAFETY: Process context is all that is required.
    unsafe { bindings::msleep(60) };
}

fn memory() -> bindings::sysinfo {
    // SAFETY: The structure consists of numbers.
    let mut info: bindings::sysinfo = unsafe { mem::zeroed() };
    // SAFETY: The structure is ours to write.
    unsafe { bindings::si_meminfo(&mut info) };
    info
}

/// Pages of memory that are in nobody's hands. Any context.
pub(crate) fn free_pages() -> usize {
    memory().freeram
}

/// Pages of memory in all. Any context.
pub(crate) fn total_pages() -> usize {
    memory().totalram
}
