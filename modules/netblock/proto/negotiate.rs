// SPDX-License-Identifier: GPL-2.0

//! From the greeting of a server to the first request.
//!
//! Whoever has the connection sends what [`Negotiation::output`] gives, fills
//! [`Negotiation::room`] completely, tells [`Negotiation::filled`], and begins
//! again until that is done.

#![forbid(unsafe_code)]

use super::terms::Terms;
use super::wire::{self, u16_at, u32_at, u64_at, Writer};
use core::fmt;

/// Longest name of an export.
pub const EXPORT_MAX: usize = 127;
/// Most bytes of an answer; texts are no longer than 4096.
const ANSWER_MAX: u32 = 8192;
/// Most facts that a server may tell.
const FACTS_MAX: u32 = 64;
/// Bytes of a server's message that are kept.
const TEXT: usize = 120;
const GREETING_BYTES: usize = 18;
const HEAD_BYTES: usize = 20;
const INBOX: usize = 256;
const OUTBOX: usize = 4 + 16 + 16 + 4 + EXPORT_MAX + 2 + 2;

/// Why there is no connection to the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What came is not this protocol.
    Garbage,
    /// A server of before 2011.
    OldStyle,
    /// There is no such export.
    Unknown,
    /// Only with TLS.
    Tls,
    /// The server is about to end, which may be different soon.
    Shutdown,
    /// The server does not know how to be asked for an export and its facts.
    Unsupported,
    /// Sizes of blocks that make no sense.
    BlockSizes,
    /// Any other error of the server.
    Other(u32),
    /// The name of the export is too long.
    Name,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Garbage => "what answers there does not speak NBD",
            Refusal::OldStyle => "the server only knows the negotiation of before 2011",
            Refusal::Unknown => "the server has no such export",
            Refusal::Tls => "the server wants TLS, which is not supported",
            Refusal::Shutdown => "the server is about to end",
            Refusal::Unsupported => "the server does not know NBD_OPT_GO",
            Refusal::BlockSizes => "the server names block sizes that make no sense",
            Refusal::Name => "the name of the export is too long",
            Refusal::Other(code) => {
                let code = code & !wire::REP_ERROR;
                return write!(f, "the server refuses the export (error {code})");
            }
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    /// The head of an answer.
    Head,
    /// Its contents, of which so many bytes are behind what is in the room.
    Answer(u32),
    /// Contents that are of no interest.
    Skip(u32),
}

/// A negotiation.
pub struct Negotiation<'a> {
    export: &'a str,
    stage: Stage,
    option: u32,
    /// Type of the answer whose contents are coming.
    answer: u32,
    facts: u32,
    size_known: bool,
    terms: Terms,
    inbox: [u8; INBOX],
    want: usize,
    outbox: [u8; OUTBOX],
    out: usize,
    text: [u8; TEXT],
    text_len: usize,
}

impl<'a> Negotiation<'a> {
    /// Begins one for `export`, whose name may be empty.
    pub fn new(export: &'a str) -> Self {
        Negotiation {
            export,
            stage: Stage::Greeting,
            option: 0,
            answer: 0,
            facts: 0,
            size_known: false,
            terms: Terms::new(),
            inbox: [0; INBOX],
            want: GREETING_BYTES,
            outbox: [0; OUTBOX],
            out: 0,
            text: [0; TEXT],
            text_len: 0,
        }
    }

    /// What is to be sent now; each byte is given once.
    pub fn output(&mut self) -> &[u8] {
        let len = core::mem::take(&mut self.out);
        self.outbox.get(..len).unwrap_or(&[])
    }

    /// Where the next bytes of the server belong, all of them.
    pub fn room(&mut self) -> &mut [u8] {
        self.inbox.get_mut(..self.want).unwrap_or(&mut [])
    }

    /// What the server said about its error, as far as it can be printed.
    pub fn text(&self) -> &str {
        let text = self.text.get(..self.text_len).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }

    /// Takes what is in the room. When the negotiation is over, it returns what
    /// was agreed on.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub fn filled(&mut self) -> Result<Option<Terms>, Refusal> {
        match self.stage {
            Stage::Greeting => self.greeting().map(|()| None),
            Stage::Head => self.head(),
            Stage::Answer(behind) => self.answer(behind),
            Stage::Skip(left) => {
                self.skip(left);
                self.after_answer()
            }
        }
    }

    fn greeting(&mut self) -> Result<(), Refusal> {
        if self.export.len() > EXPORT_MAX {
            return Err(Refusal::Name);
        }
        if u64_at(&self.inbox, 0) != wire::GREETING {
            return Err(Refusal::Garbage);
        }
        match u64_at(&self.inbox, 8) {
            wire::OPTION => {}
            wire::OLD_STYLE => return Err(Refusal::OldStyle),
            _ => return Err(Refusal::Garbage),
        }
        let flags = u16_at(&self.inbox, 16);
        if flags & wire::FIXED_NEWSTYLE == 0 {
            return Err(Refusal::OldStyle);
        }
        let ours = flags & (wire::FIXED_NEWSTYLE | wire::NO_ZEROES);
        self.option = wire::OPT_STRUCTURED_REPLY;
        self.out = Writer::new(&mut self.outbox)
            .u32(u32::from(ours))
            .u64(wire::OPTION)
            .u32(self.option)
            .u32(0)
            .written();
        self.expect_head();
        Ok(())
    }

    fn expect_head(&mut self) {
        self.stage = Stage::Head;
        self.want = HEAD_BYTES;
    }

    fn go(&mut self) {
        let name = self.export.as_bytes();
        let len = u32::try_from(name.len()).unwrap_or(0);
        self.option = wire::OPT_GO;
        self.out = Writer::new(&mut self.outbox)
            .u64(wire::OPTION)
            .u32(self.option)
            .u32(len.saturating_add(8))
            .u32(len)
            .bytes(name)
            .u16(1)
            .u16(wire::INFO_BLOCK_SIZE)
            .written();
        self.expect_head();
    }

    fn head(&mut self) -> Result<Option<Terms>, Refusal> {
        let len = u32_at(&self.inbox, 16);
        if u64_at(&self.inbox, 0) != wire::OPTION_REPLY
            || u32_at(&self.inbox, 8) != self.option
            || len > ANSWER_MAX
        {
            return Err(Refusal::Garbage);
        }
        self.answer = u32_at(&self.inbox, 12);
        let here = len.min(INBOX as u32);
        self.stage = Stage::Answer(len.saturating_sub(here));
        self.want = here as usize;
        if here == 0 {
            return self.answer(0);
        }
        Ok(None)
    }

    fn answer(&mut self, behind: u32) -> Result<Option<Terms>, Refusal> {
        if self.answer & wire::REP_ERROR != 0 {
            self.keep_text();
        } else if self.option == wire::OPT_GO && self.answer == wire::REP_INFO {
            self.fact(behind)?;
        }
        if behind != 0 {
            self.skip(behind);
            return Ok(None);
        }
        self.after_answer()
    }

    fn skip(&mut self, left: u32) {
        let here = left.min(INBOX as u32);
        self.want = here as usize;
        self.stage = Stage::Skip(left.saturating_sub(here));
    }

    fn after_answer(&mut self) -> Result<Option<Terms>, Refusal> {
        if let Stage::Skip(_) = self.stage {
            if self.want != 0 {
                return Ok(None);
            }
        }
        match (self.option, self.answer) {
            (wire::OPT_STRUCTURED_REPLY, answer) => {
                // A server may not know of it, and that is all right.
                if answer != wire::REP_ACK && answer & wire::REP_ERROR == 0 {
                    return Err(Refusal::Garbage);
                }
                self.terms.structured = answer == wire::REP_ACK;
                self.go();
                Ok(None)
            }
            (_, wire::REP_INFO) => {
                self.expect_head();
                Ok(None)
            }
            (_, wire::REP_ACK) if self.size_known => Ok(Some(self.terms)),
            (_, wire::REP_UNKNOWN) => Err(Refusal::Unknown),
            (_, wire::REP_TLS_REQUIRED) => Err(Refusal::Tls),
            (_, wire::REP_SHUTDOWN) => Err(Refusal::Shutdown),
            (_, wire::REP_UNSUPPORTED) => Err(Refusal::Unsupported),
            (_, answer) if answer & wire::REP_ERROR != 0 => Err(Refusal::Other(answer)),
            _ => Err(Refusal::Garbage),
        }
    }

    fn fact(&mut self, behind: u32) -> Result<(), Refusal> {
        self.facts = self.facts.saturating_add(1);
        let len = u64::from(behind).saturating_add(self.want as u64);
        if self.facts > FACTS_MAX || len < 2 {
            return Err(Refusal::Garbage);
        }
        let bytes = self.inbox.get(..self.want).unwrap_or(&[]);
        match u16_at(bytes, 0) {
            wire::INFO_EXPORT => {
                if len != 12 {
                    return Err(Refusal::Garbage);
                }
                self.terms.size = u64_at(bytes, 2);
                self.terms.flags = u16_at(bytes, 10);
                self.size_known = true;
            }
            wire::INFO_BLOCK_SIZE => {
                let (min, max) = (u32_at(bytes, 2), u32_at(bytes, 10));
                if len != 14 {
                    return Err(Refusal::Garbage);
                }
                if !min.is_power_of_two() || max < min {
                    return Err(Refusal::BlockSizes);
                }
                self.terms.min = min;
                self.terms.max = max;
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_text(&mut self) {
        let from = self.inbox.get(..self.want).unwrap_or(&[]);
        self.text_len = 0;
        for (to, &from) in self.text.iter_mut().zip(from) {
            let plain = from.is_ascii_graphic() || from == b' ';
            *to = if plain { from } else { b'?' };
            self.text_len = self.text_len.saturating_add(1);
        }
    }
}
