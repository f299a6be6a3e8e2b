// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family `hibernate`.
//!
//! What there is to ask and to tell is in `Documentation/netlink/specs/hibernate.yaml`; all numbers
//! here come from the header that is generated from it.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)

use super::ffi;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::error::{from_result, to_result};
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// What is happening, and how far it is.
    State,
    /// What the user chose.
    Settings,
    /// What became of the last cycle.
    Result,
    /// Numbers of the last cycle.
    Stats,
}

/// What is told to all listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum News {
    /// Another step has begun.
    Step = ffi::HIBERNATE_CMD_STEP_NTF,
    /// Pages were written or loaded.
    Progress = ffi::HIBERNATE_CMD_PROGRESS_NTF,
    /// There is a new result.
    Result = ffi::HIBERNATE_CMD_RESULT_NTF,
    /// Something is not as it should be.
    Warning = ffi::HIBERNATE_CMD_WARNING_NTF,
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $module:ident { $($name:ident = $number:ident,)* })*) => {
        $($(#[$doc])* pub mod $module {
            use super::{ffi, Attribute};

            $(
                #[allow(missing_docs)]
                pub const $name: Attribute = Attribute(ffi::$number as u16);
            )*
        })*
    };
}

/// What a part of a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute(u16);

attributes! {
    /// Attributes of a state, as the specification explains them.
    state {
        STEP = HIBERNATE_A_STATE_STEP,
        PAGES_DONE = HIBERNATE_A_STATE_PAGES_DONE,
        PAGES_TOTAL = HIBERNATE_A_STATE_PAGES_TOTAL,
        STORED_BYTES = HIBERNATE_A_STATE_STORED_BYTES,
        ELAPSED_MS = HIBERNATE_A_STATE_ELAPSED_MS,
        RATE = HIBERNATE_A_STATE_RATE,
        AVERAGE_RATE = HIBERNATE_A_STATE_AVERAGE_RATE,
        REMAINING_MS = HIBERNATE_A_STATE_REMAINING_MS,
        TARGET = HIBERNATE_A_STATE_TARGET,
    }
    /// Attributes of the settings, as the specification explains them.
    settings {
        ENABLED = HIBERNATE_A_SETTINGS_ENABLED,
        COMPRESSOR = HIBERNATE_A_SETTINGS_COMPRESSOR,
        ENCRYPTOR = HIBERNATE_A_SETTINGS_ENCRYPTOR,
        WRITER = HIBERNATE_A_SETTINGS_WRITER,
        FREEZER = HIBERNATE_A_SETTINGS_FREEZER,
        SNAPSHOT = HIBERNATE_A_SETTINGS_SNAPSHOT,
        TARGET = HIBERNATE_A_SETTINGS_TARGET,
        THREADS = HIBERNATE_A_SETTINGS_THREADS,
        IMAGE_SIZE_LIMIT = HIBERNATE_A_SETTINGS_IMAGE_SIZE_LIMIT,
    }
    /// Attributes of a result, as the specification explains them.
    result {
        ERRNO = HIBERNATE_A_RESULT_ERRNO,
        STEP = HIBERNATE_A_RESULT_STEP,
        SENTENCE = HIBERNATE_A_RESULT_SENTENCE,
    }
    /// Attributes of the statistics, as the specification explains them.
    stats {
        SAVEABLE_PAGES = HIBERNATE_A_STATS_SAVEABLE_PAGES,
        FREED_PAGES = HIBERNATE_A_STATS_FREED_PAGES,
        IMAGE_PAGES = HIBERNATE_A_STATS_IMAGE_PAGES,
        FILL_PAGES = HIBERNATE_A_STATS_FILL_PAGES,
        FRAMES = HIBERNATE_A_STATS_FRAMES,
        STORED_BYTES = HIBERNATE_A_STATS_STORED_BYTES,
        ATOMIC_NS = HIBERNATE_A_STATS_ATOMIC_NS,
        WRITE_NS = HIBERNATE_A_STATS_WRITE_NS,
        LOAD_NS = HIBERNATE_A_STATS_LOAD_NS,
        IN_PLACE_PAGES = HIBERNATE_A_STATS_IN_PLACE_PAGES,
        WORKERS = HIBERNATE_A_STATS_WORKERS,
    }
}

/// The numbers of steps.
pub mod step {
    use super::ffi;

    /// Step `idle`; the others follow in the order of the specification.
    pub const FIRST: u32 = ffi::hibernate_step_HIBERNATE_STEP_IDLE;
    /// Step `resumed`.
    pub const LAST: u32 = ffi::hibernate_step_HIBERNATE_STEP_RESUMED;
}

/// A message that attributes are put into.
///
/// # Invariants
///
/// `msg` is valid for `'a`, and used by nobody else meanwhile.
pub struct Message<'a> {
    msg: NonNull<ffi::dormouse_genl_msg>,
    _borrow: PhantomData<&'a mut ffi::dormouse_genl_msg>,
}

impl Message<'_> {
    /// Puts a number of type `u8` into the message. Any context.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` when there is no room for it.
    #[inline(never)]
    pub fn put_u8(&mut self, attribute: Attribute, value: u8) -> Result {
        // SAFETY: By the type invariants the message is valid and ours alone.
        to_result(unsafe { ffi::dormouse_genl_put_u8(self.msg.as_ptr(), attribute.0, value) })
    }

    /// Puts a number of type `u32` into the message. Any context.
    ///
    /// # Errors
    ///
    /// As [`Message::put_u8`].
    #[inline(never)]
    pub fn put_u32(&mut self, attribute: Attribute, value: u32) -> Result {
        // SAFETY: By the type invariants the message is valid and ours alone.
        to_result(unsafe { ffi::dormouse_genl_put_u32(self.msg.as_ptr(), attribute.0, value) })
    }

    /// Puts a number of type `s32` into the message. Any context.
    ///
    /// # Errors
    ///
    /// As [`Message::put_u8`].
    #[inline(never)]
    pub fn put_s32(&mut self, attribute: Attribute, value: i32) -> Result {
        // SAFETY: By the type invariants the message is valid and ours alone.
        to_result(unsafe { ffi::dormouse_genl_put_s32(self.msg.as_ptr(), attribute.0, value) })
    }

    /// Puts a number of type `uint` into the message. Any context.
    ///
    /// # Errors
    ///
    /// As [`Message::put_u8`].
    #[inline(never)]
    pub fn put_uint(&mut self, attribute: Attribute, value: u64) -> Result {
        // SAFETY: By the type invariants the message is valid and ours alone.
        to_result(unsafe { ffi::dormouse_genl_put_uint(self.msg.as_ptr(), attribute.0, value) })
    }

    /// Puts a text into the message. Any context.
    ///
    /// # Errors
    ///
    /// As [`Message::put_u8`].
    #[inline(never)]
    pub fn put_text(&mut self, attribute: Attribute, text: &str) -> Result {
        // SAFETY: By the type invariants the message is valid and ours alone; so is the text for
        // the call.
        to_result(unsafe {
            ffi::dormouse_genl_put_text(
                self.msg.as_ptr(),
                attribute.0,
                text.as_ptr().cast(),
                text.len(),
            )
        })
    }
}

/// Whoever answers.
///
/// Both functions are called in process context, may sleep, may be called by several threads at
/// once, also while tasks are frozen.
pub trait Answers: Send + Sync {
    /// Puts the answer to `question` into `message`.
    ///
    /// # Errors
    ///
    /// Any is given to the asker.
    fn answer(&self, question: Question, message: &mut Message<'_>) -> Result;

    /// Stops the cycle that is under way. The asker may do that.
    ///
    /// # Errors
    ///
    /// Any is given to the asker.
    fn abort(&self) -> Result;
}

type Target = Arc<dyn Answers>;

/// # Safety
///
/// `ctx` is a boxed [`Target`]; `msg` is valid, and used by nobody else during the call.
unsafe extern "C" fn answer(
    ctx: *mut c_void,
    command: u32,
    msg: *mut ffi::dormouse_genl_msg,
) -> c_int {
    // SAFETY: By the safety requirement.
    let answers = unsafe { &*ctx.cast::<Target>() };
    from_result(|| {
        let question = match command {
            ffi::HIBERNATE_CMD_GET_STATE => Question::State,
            ffi::HIBERNATE_CMD_GET_SETTINGS => Question::Settings,
            ffi::HIBERNATE_CMD_GET_RESULT => Question::Result,
            ffi::HIBERNATE_CMD_GET_STATS => Question::Stats,
            _ => return Err(EINVAL),
        };
        // INVARIANT: By the safety requirement.
        let mut message = Message {
            msg: NonNull::new(msg).ok_or(EINVAL)?,
            _borrow: PhantomData,
        };
        answers.answer(question, &mut message).map(|()| 0)
    })
}

/// # Safety
///
/// `ctx` is a boxed [`Target`].
unsafe extern "C" fn abort(ctx: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement.
    let answers = unsafe { &*ctx.cast::<Target>() };
    from_result(|| answers.abort().map(|()| 0))
}

static OPS: ffi::dormouse_genl_ops = ffi::dormouse_genl_ops {
    answer: Some(answer),
    abort: Some(abort),
};

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// The family, as long as it is known to the kernel. Dropping it waits for requests that are under
/// way; none begins after that.
///
/// # Invariants
///
/// The family is registered with `ctx`, which is a boxed [`Target`], and there is no other
/// [`Family`].
pub struct Family {
    ctx: *mut Target,
}

// SAFETY: The family has its own locks, and the target is `Send` and `Sync`.
unsafe impl Send for Family {}

// SAFETY: As above.
unsafe impl Sync for Family {}

impl Family {
    /// Makes the family known in the first network namespace. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when it is known already, `EEXIST` when somebody else has its name, `ENOMEM`.
    #[inline(never)]
    pub fn register(answers: Arc<dyn Answers>) -> Result<Self> {
        let ctx = KBox::new(answers, GFP_KERNEL)?;
        if REGISTERED.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        let ctx = KBox::into_raw(ctx);
        // SAFETY: `REGISTERED` has let nobody else in; the table is static, and the target stays
        // until the family is unregistered.
        let result = to_result(unsafe { ffi::dormouse_genl_register(&OPS, ctx.cast()) });
        if let Err(e) = result {
            // SAFETY: It was not registered, so the box is still ours.
            drop(unsafe { KBox::from_raw(ctx) });
            REGISTERED.store(false, Ordering::Release);
            return Err(e);
        }
        // INVARIANT: It has just been registered.
        Ok(Family { ctx })
    }

    /// Tells all listeners what `fill` puts into the message. Does nothing when nobody listens, and
    /// when there is no memory at once. Waits for nobody. Any context but with interrupts off.
    #[inline(never)]
    pub fn tell(&self, news: News, fill: &mut dyn FnMut(&mut Message<'_>) -> Result) {
        // SAFETY: By the type invariants the family is registered.
        let Some(msg) = NonNull::new(unsafe { ffi::dormouse_genl_begin(news as u32) }) else {
            return;
        };
        // INVARIANT: The message was just made, and stays until its end below.
        let filled = fill(&mut Message {
            msg,
            _borrow: PhantomData,
        });
        // SAFETY: The message is valid and not used after this.
        unsafe { ffi::dormouse_genl_end(msg.as_ptr(), filled.is_ok()) };
    }
}

impl Drop for Family {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered.
        unsafe { ffi::dormouse_genl_unregister() };
        // SAFETY: By the type invariants this is a box, and nobody uses it after the call above.
        drop(unsafe { KBox::from_raw(self.ctx) });
        REGISTERED.store(false, Ordering::Release);
    }
}
