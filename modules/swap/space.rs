// SPDX-License-Identifier: GPL-2.0

//! A space made of swap areas.
//!
//! The first area is the primary: its header carries the superblock, and a
//! single write of its last sector is what makes an image exist or not. The
//! order of writes leaves, wherever the power goes, a primary that is not
//! committed and members that are marked in vain, which the next
//! [`open`](crate::open) puts right; never a committed primary whose members
//! somebody may swap to.

#![forbid(unsafe_code)]

use crate::image::superblock::{self, State, Superblock};
use crate::image::{self, ImageId};
use crate::mark::Part;
use core::sync::atomic::{AtomicUsize, Ordering};
use dormouse::blockspace::BlockSpace;
use dormouse::errno;
use dormouse::storage::{Op, Private, Signature, Space, WHO};
use dormouse::swapmark::sector::{self, Found, Role};
use dormouse::sys::block::DevT;
use dormouse::sys::ioq::IoBuf;
use dormouse::sys::swap::SwapSlots;
use dormouse::text::Text;
use kernel::prelude::*;

/// Spaces of this kernel that have areas reserved: their members are marked
/// for a moment before there is an image.
static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// Counts a reserved space while it lives.
pub(crate) struct Reserved {
    // Dropped after the space is not used any more.
    _slots: KVec<SwapSlots>,
}

impl Reserved {
    pub(crate) fn new(slots: KVec<SwapSlots>) -> Self {
        RESERVED.fetch_add(1, Ordering::AcqRel);
        Reserved { _slots: slots }
    }

    /// Whether a save of this kernel has areas reserved. Any context.
    pub(crate) fn any() -> bool {
        RESERVED.load(Ordering::Acquire) != 0
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        RESERVED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A space made of swap areas.
pub(crate) struct SwapSpace {
    // Field order matters: the devices go before the slots that pin them.
    pub(crate) space: BlockSpace,
    /// The primary, then the members; as many as the space has devices.
    pub(crate) parts: KVec<Part>,
    pub(crate) map: ImageId,
    /// First map block, on the primary.
    pub(crate) chain: u64,
    /// Some area was put to use since the image was complete, whatever the
    /// signature of the primary says.
    pub(crate) dead: bool,
    /// A member is not there, and only the block map tells of it.
    pub(crate) missing: bool,
    pub(crate) _reserved: Option<Reserved>,
}

impl SwapSpace {
    fn primary(&self) -> Result<&Part> {
        self.parts.first().ok_or(EINVAL)
    }

    fn members(&self) -> &[Part] {
        self.parts.get(1..).unwrap_or(&[])
    }

    /// Takes the marks off the first `count` members; tries all of these and
    /// returns the first error. May sleep.
    fn unmark_first(&self, count: usize) -> Result {
        let mut result = Ok(());
        for member in self.members().iter().take(count) {
            let unmarked = member.unmark_member();
            if let Err(e) = unmarked {
                let name = member.header.name();
                pr_err!(
                    "{}: the mark of an image could not be taken off ({})\n",
                    name,
                    e.to_errno()
                );
            }
            result = result.and(unmarked);
        }
        result
    }

    /// Takes the marks off all members; tries all and returns the first
    /// error. May sleep.
    fn unmark_members(&self) -> Result {
        self.unmark_first(self.members().len())
    }

    /// Members first: once the primary says that there is an image, nobody
    /// may use any of them.
    fn mark(&self, bytes: &[u8; superblock::BYTES]) -> Result {
        for (before, member) in self.members().iter().enumerate() {
            if let Err(e) = member.mark_member() {
                // An image that is there already must not lose the others.
                if self._reserved.is_some() {
                    // After an error the mark may be there; a device that does
                    // not answer would only be waited for again.
                    let _ = match e == errno::error(errno::ETIMEDOUT) {
                        true => self.unmark_first(before),
                        false => self.unmark_first(before.saturating_add(1)),
                    };
                }
                return Err(e);
            }
        }
        self.primary()?.write_primary(bytes, true)
    }

    /// The primary first: from then on there is no image, whatever the members
    /// say. So a member that keeps its mark is no error of this: the superblock
    /// stays, and with it the next boot finds that member, see
    /// [`heal`](Self::heal).
    fn unmark(&self, bytes: &[u8; superblock::BYTES], state: State) -> Result {
        self.primary()?.write_primary(bytes, false)?;
        match self.unmark_members() {
            Ok(()) => self.clear(state),
            // It is in the log.
            Err(_) => Ok(()),
        }
    }

    /// Takes an empty superblock off, unless a member needs it to be found.
    fn clear(&self, state: State) -> Result {
        match state == State::Empty && !self.missing {
            true => self.primary()?.clear_primary(),
            false => Ok(()),
        }
    }

    /// Takes marks off that a power cut, or a device that did not answer, left on
    /// areas without an image. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when a device is in use by somebody else, I/O errors.
    pub(crate) fn heal(&self, sb: &Superblock, image: bool) -> Result {
        if image {
            let mut bytes = [0; superblock::BYTES];
            sb.encode(&mut bytes)?;
            return self.unmark(&bytes, sb.state);
        }
        self.unmark_members()?;
        self.clear(sb.state)
    }
}

impl Space for SwapSpace {
    fn blocks(&self) -> u64 {
        self.space.blocks()
    }

    fn submit(&self, op: Op, block: u64, buf: IoBuf) {
        self.space.submit(op, block, buf);
    }

    fn waits_for(&self) -> Text<WHO> {
        self.space.waits_for()
    }

    fn probe(&self, ms: u32) -> Result {
        self.space.probe(ms)
    }

    fn is_gone(&self) -> bool {
        // That is where the mark is that counts.
        self.primary()
            .is_ok_and(|part| part.header.device.is_gone())
    }

    fn flush(&self) -> Result {
        self.space.flush()
    }

    fn read_superblock(&self, out: &mut [u8; superblock::BYTES]) -> Result<Signature> {
        let now = self.primary()?.header.look()?;
        *out = [0; superblock::BYTES];
        match sector::decode(&now) {
            Found::Ours { record, image } if record.role == Role::Primary => {
                *out = *sector::superblock(&now).ok_or(EINVAL)?;
                if image && !self.dead {
                    return Ok(Signature::Image);
                }
                Ok(Signature::Own)
            }
            _ => Ok(Signature::Own),
        }
    }

    fn write_superblock(&self, bytes: &[u8; superblock::BYTES], signature: Signature) -> Result {
        let sb = Superblock::decode(bytes)?.ok_or(EINVAL)?;
        match signature {
            Signature::Image if self.dead => Err(errno::error(errno::ESTALE)),
            Signature::Image => self.mark(bytes),
            Signature::Own => self.unmark(bytes, sb.state),
        }
    }

    fn has_area(&self, dev: DevT, block: u64) -> bool {
        let is_it = |part: &Part| part.header.device.dev() == dev && part.header.block == block;
        self.parts.iter().any(is_it)
    }

    fn private(&self) -> Private {
        let mut bytes = [0; image::superblock::PRIVATE_BYTES];
        for (to, from) in bytes.iter_mut().zip(self.map.0) {
            *to = from;
        }
        Private {
            words: [self.chain, 0],
            bytes,
        }
    }
}
