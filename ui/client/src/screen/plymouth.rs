// SPDX-License-Identifier: GPL-2.0

//! What the splash screen is told, where one has the display.
//!
//! `plymouthd` listens on a socket. A request is a letter and a zero byte, or a letter, a byte 2,
//! the length of a text with the zero byte at its end, and that text; what it answers is one byte,
//! which nobody waits for. The program `plymouth` would have to be read from a disk first.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

/// Name of the socket, which is in no folder.
pub const SOCKET: &str = "/org/freedesktop/plymouthd";

/// How long it may take to say that it is there.
const PING: Duration = Duration::from_millis(500);

const ACKNOWLEDGED: u8 = 6;

/// A connection to the splash screen.
pub struct Plymouth {
    stream: UnixStream,
    pid: i32,
    /// The message that is shown.
    message: String,
    percent: Option<u64>,
}

/// A request with a text, which is cut off where it would be too long.
fn request(letter: u8, text: &str) -> Vec<u8> {
    let mut end = text.len().min(254);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text.as_bytes()[..end];
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    // It fits: at most 254 and one.
    let mut bytes = vec![letter, 2, text.len() as u8 + 1];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

impl Plymouth {
    /// The splash screen that listens on the socket `name`, if one is there.
    pub fn find(name: &str) -> Option<Plymouth> {
        let address = SocketAddr::from_abstract_name(name.as_bytes()).ok()?;
        let mut stream = UnixStream::connect_addr(&address).ok()?;
        stream.set_read_timeout(Some(PING)).ok()?;
        stream.set_write_timeout(Some(PING)).ok()?;
        stream.write_all(b"P\0").ok()?;
        let mut answer = [0];
        stream.read_exact(&mut answer).ok()?;
        if answer[0] != ACKNOWLEDGED {
            return None;
        }
        stream.set_nonblocking(true).ok()?;
        let peer = getsockopt(&stream, PeerCredentials).ok()?;
        // Anybody can listen under that name while the splash screen does not,
        // and who draws is kept running while everybody else is frozen.
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            return None;
        }
        Some(Plymouth {
            stream,
            pid: peer.pid(),
            message: String::new(),
            percent: None,
        })
    }

    /// The process that draws.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Says how far it is; only what has changed.
    pub fn say(&mut self, message: &str, percent: Option<u64>) {
        if percent != self.percent {
            self.percent = percent;
            if let Some(percent) = percent {
                self.send(&request(b'u', &percent.min(100).to_string()));
            }
        }
        if message != self.message {
            if !self.message.is_empty() {
                let before = request(b'm', &self.message);
                self.send(&before);
            }
            if !message.is_empty() {
                self.send(&request(b'M', message));
            }
            self.message = message.to_string();
        }
        // The answers, of which none matters.
        let mut room = [0; 256];
        while matches!(self.stream.read(&mut room), Ok(1..)) {}
    }

    /// What does not go at once is lost.
    fn send(&mut self, bytes: &[u8]) {
        if matches!(self.stream.write(bytes), Ok(count) if count < bytes.len()) {
            // Half a request would spoil all that follow.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Plymouth {
    fn drop(&mut self) {
        self.say("", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn requests() {
        assert_eq!(request(b'u', "73"), b"u\x02\x0373\0");
        assert_eq!(request(b'M', ""), b"M\x02\x01\0");
        assert_eq!(request(b'M', "a\0b"), b"M\x02\x02a\0");
        let long = request(b'M', &"ä".repeat(200));
        assert_eq!((long.len(), long[2]), (258, 255));
        assert!(std::str::from_utf8(&long[3..257]).is_ok());
    }

    /// Answers like the daemon, and says what it was asked in the end.
    fn daemon(name: &str, answer: u8) -> std::thread::JoinHandle<Vec<u8>> {
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 2];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&[answer]).unwrap();
            let _ = stream.read_to_end(&mut asked);
            asked
        })
    }

    #[test]
    fn tells_what_changes() {
        let name = format!("dormouse-test-{}", std::process::id());
        assert!(Plymouth::find(&name).is_none());
        let server = daemon(&name, ACKNOWLEDGED);
        let mut plymouth = Plymouth::find(&name).unwrap();
        assert_eq!(plymouth.pid(), std::process::id() as i32);
        plymouth.say("writing", None);
        plymouth.say("writing", Some(10));
        plymouth.say("writing", Some(10));
        plymouth.say("done", Some(1000));
        drop(plymouth);
        let mut expected = b"P\0".to_vec();
        for (letter, text) in [
            (b'M', "writing"),
            (b'u', "10"),
            (b'u', "100"),
            (b'm', "writing"),
            (b'M', "done"),
            (b'm', "done"),
        ] {
            expected.extend(request(letter, text));
        }
        assert_eq!(server.join().unwrap(), expected);
    }

    #[test]
    fn is_not_there_when_it_refuses() {
        let name = format!("dormouse-refuses-{}", std::process::id());
        let server = daemon(&name, 0x15);
        assert!(Plymouth::find(&name).is_none());
        assert_eq!(server.join().unwrap(), b"P\0");
    }
}
