// SPDX-License-Identifier: GPL-2.0

//! The numbers of the protocol, and the bytes of its messages. Everything is
//! big-endian.

#![forbid(unsafe_code)]

/// First bytes that a server sends.
pub const GREETING: u64 = 0x4e42_444d_4147_4943;
/// Follows it when options can be negotiated, and begins every option.
pub const OPTION: u64 = 0x4948_4156_454f_5054;
/// Follows it in the negotiation of old, which has no options.
pub const OLD_STYLE: u64 = 0x0000_4202_8186_1253;
/// Begins every answer to an option.
pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Begins every request.
pub const REQUEST: u32 = 0x2560_9513;
/// Begins a simple reply.
pub const SIMPLE_REPLY: u32 = 0x6744_6698;
/// Begins a chunk of a structured reply.
pub const CHUNK: u32 = 0x668e_33ef;

/// Handshake flag: options are answered one by one.
pub const FIXED_NEWSTYLE: u16 = 1 << 0;
/// Handshake flag: no padding behind the size of an export.
pub const NO_ZEROES: u16 = 1 << 1;

/// Option: ends the negotiation and begins the transmission.
pub const OPT_GO: u32 = 7;
/// Option: replies may have structure.
pub const OPT_STRUCTURED_REPLY: u32 = 8;

/// Answer to an option: done.
pub const REP_ACK: u32 = 1;
/// Answer to an option: one fact.
pub const REP_INFO: u32 = 3;
/// Bit of all answers that are errors.
pub const REP_ERROR: u32 = 1 << 31;
/// Error: the option is not known.
pub const REP_UNSUPPORTED: u32 = REP_ERROR | 1;
/// Error: forbidden by whoever runs the server.
pub const REP_POLICY: u32 = REP_ERROR | 2;
/// Error: first TLS has to be started.
pub const REP_TLS_REQUIRED: u32 = REP_ERROR | 5;
/// Error: there is no such export.
pub const REP_UNKNOWN: u32 = REP_ERROR | 6;
/// Error: the server is about to end.
pub const REP_SHUTDOWN: u32 = REP_ERROR | 7;

/// Fact: size and flags of the export.
pub const INFO_EXPORT: u16 = 0;
/// Fact: sizes that requests may have.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// Export flag: the other flags mean something.
pub const HAS_FLAGS: u16 = 1 << 0;
/// Export flag: it cannot be written.
pub const READ_ONLY: u16 = 1 << 1;
/// Export flag: [`Command::Flush`] is known.
pub const SEND_FLUSH: u16 = 1 << 2;
/// Export flag: [`FLAG_FUA`] is known.
pub const SEND_FUA: u16 = 1 << 3;
/// Export flag: [`Command::Trim`] is known.
pub const SEND_TRIM: u16 = 1 << 5;
/// Export flag: [`Command::WriteZeroes`] is known.
pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
/// Export flag: a flush on one connection covers all connections.
pub const CAN_MULTI_CONN: u16 = 1 << 8;

/// Request flag: the reply comes when the data are on the medium.
pub const FLAG_FUA: u16 = 1 << 0;
/// Request flag of [`Command::WriteZeroes`]: overwrite what is there, rather
/// than forget where it is.
pub const FLAG_NO_HOLE: u16 = 1 << 1;

/// Chunk flag: the last one of its reply.
pub const CHUNK_DONE: u16 = 1 << 0;
/// Chunk: nothing but its flags.
pub const CHUNK_NONE: u16 = 0;
/// Chunk: data and where they belong.
pub const CHUNK_DATA: u16 = 1;
/// Chunk: where there are only zeros.
pub const CHUNK_HOLE: u16 = 2;
/// Bit of all chunks that are errors.
pub const CHUNK_ERROR: u16 = 1 << 15;

/// Error of a request: the server is about to end.
pub const ESHUTDOWN: u32 = 108;

/// Bytes of a request without its data.
pub const REQUEST_BYTES: usize = 28;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Data from the export.
    Read,
    /// Data to the export.
    Write,
    /// The end of the connection; there is no reply.
    Disconnect,
    /// All writes that were replied to, on the medium.
    Flush,
    /// Nobody wants what is there any more; what a read gives is anything.
    Trim,
    /// Zeros to the export, without any being sent.
    WriteZeroes,
}

impl Command {
    const fn number(self) -> u16 {
        match self {
            Command::Read => 0,
            Command::Write => 1,
            Command::Disconnect => 2,
            Command::Flush => 3,
            Command::Trim => 4,
            Command::WriteZeroes => 6,
        }
    }
}

/// A request without its data.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What it asks for.
    pub command: Command,
    /// How.
    pub flags: u16,
    /// Comes back with the reply.
    pub cookie: u64,
    /// First byte on the export.
    pub offset: u64,
    /// Number of bytes.
    pub len: u32,
}

/// Puts messages together; what does not fit is left out.
pub struct Writer<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl<'a> Writer<'a> {
    /// Begins with nothing.
    pub fn new(out: &'a mut [u8]) -> Self {
        Writer { out, used: 0 }
    }

    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let end = self.used.saturating_add(bytes.len());
        if let Some(to) = self.out.get_mut(self.used..end) {
            to.copy_from_slice(bytes);
            self.used = end;
        }
        self
    }

    /// Appends a number of 16 bits.
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a number of 32 bits.
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a number of 64 bits.
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// How many bytes there are.
    pub fn written(self) -> usize {
        self.used
    }
}

impl Request {
    /// The bytes of the request.
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        Writer::new(&mut bytes)
            .u32(REQUEST)
            .u16(self.flags)
            .u16(self.command.number())
            .u64(self.cookie)
            .u64(self.offset)
            .u32(self.len);
        bytes
    }
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let part = bytes.get(from..).and_then(|rest| rest.first_chunk::<N>());
    part.copied().unwrap_or([0; N])
}

/// The number at byte `from`; 0 beyond the end.
pub fn u16_at(bytes: &[u8], from: usize) -> u16 {
    u16::from_be_bytes(at(bytes, from))
}

/// The number at byte `from`; 0 beyond the end.
pub fn u32_at(bytes: &[u8], from: usize) -> u32 {
    u32::from_be_bytes(at(bytes, from))
}

/// The number at byte `from`; 0 beyond the end.
pub fn u64_at(bytes: &[u8], from: usize) -> u64 {
    u64::from_be_bytes(at(bytes, from))
}
