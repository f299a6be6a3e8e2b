// SPDX-License-Identifier: GPL-2.0

//! Line protocol between the host driver and the agent in the guest.
//!
//! One message is one line, `@<seq> <verb> <data> <check>`, where data is
//! percent-escaped and never empty on the wire (`-` stands for nothing), and
//! check is a hash of all before it. A line that was cut by a reset of the
//! serial port, or mixed with something else, fails its check and is dropped:
//! both sides repeat what needs an answer.
//!
//! The host sends `ping`, `run <shell command>` and `kill`. The agent answers
//! `pong <agent id>`, `out <bytes>` any number of times, `exit <code>`, all with
//! the number of the request, and says `hello <agent id>` with number 0 when it
//! starts. The agent id is random, so a host that meets the same id in a later
//! boot knows that the guest was resumed, not started.

/// One message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of the request that this is, or answers.
    pub seq: u64,
    /// What is asked or answered.
    pub verb: String,
    /// Its data, of any bytes.
    pub data: Vec<u8>,
}

impl Message {
    /// Makes a message.
    pub fn new(seq: u64, verb: &str, data: &[u8]) -> Self {
        Message {
            seq,
            verb: verb.to_string(),
            data: data.to_vec(),
        }
    }

    /// The line for this message, newline included.
    pub fn encode(&self) -> String {
        let body = format!("@{} {} {}", self.seq, self.verb, escape(&self.data));
        format!("{body} {:08x}\n", check(body.as_bytes()))
    }

    /// Reads a line, with or without its newline.
    ///
    /// What stands before the first `@` is ignored, as it may be the rest of an
    /// earlier line. `None` for anything that is not a whole message.
    pub fn decode(line: &str) -> Option<Self> {
        let line = &line[line.find('@')?..];
        let (body, sum) = line.trim_end().rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != check(body.as_bytes()) {
            return None;
        }
        let mut parts = body[1..].splitn(3, ' ');
        let seq = parts.next()?.parse().ok()?;
        let verb = parts.next()?.to_string();
        let data = unescape(parts.next()?)?;
        Some(Message { seq, verb, data })
    }

    /// The data as text, damaged where it is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

fn check(bytes: &[u8]) -> u32 {
    // FNV-1a: short, and enough against lost or mixed characters.
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn escape(data: &[u8]) -> String {
    if data.is_empty() {
        return "-".into();
    }
    let mut text = String::with_capacity(data.len() + 16);
    for &byte in data {
        let plain = byte.is_ascii_graphic() && !matches!(byte, b'%' | b'@' | b'-');
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let mut data = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            data.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        data.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        for data in [&all[..], b"", b"-", b"%41"] {
            let message = Message::new(7, "out", data);
            let line = message.encode();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Message::decode(&line), Some(message));
        }
    }

    #[test]
    fn a_cut_or_mixed_line_is_dropped() {
        let line = Message::new(12, "exit", b"0").encode();
        for cut in 1..line.len() - 1 {
            assert_eq!(Message::decode(&line[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Message::decode(&line.replace("exit", "exot")), None);
        assert!(Message::decode(&format!("rest of it{line}")).is_some());
    }
}
