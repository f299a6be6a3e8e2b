// SPDX-License-Identifier: GPL-2.0

//! Host side of the command channel; see [`dormouse_guest::wire`].

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use dormouse_guest::wire::Message;

/// What a command gave.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code, 128 + n after signal n.
    pub code: i32,
    /// Standard output and error together.
    pub text: String,
}

/// State of a command that was sent.
#[derive(Debug)]
pub enum Progress {
    /// It ended.
    Done(Output),
    /// It still ran when the time was over.
    Running,
    /// The connection ended: QEMU is gone.
    Gone,
    /// Another agent said hello: the guest was started anew.
    Restarted,
}

/// A connection to the agent in the guest.
///
/// Numbers of requests go on over all connections of a machine, so a late
/// answer is never taken for another one's.
pub struct Agent {
    port: UnixStream,
    messages: Receiver<Message>,
}

impl Agent {
    /// Talks over `port`, which QEMU has connected to the guest's serial port.
    ///
    /// # Errors
    ///
    /// When the socket cannot be shared with the reading thread.
    pub fn new(port: UnixStream) -> Result<Self> {
        let reader = BufReader::new(port.try_clone()?);
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                let message = Message::decode(&String::from_utf8_lossy(&line));
                if message.is_some_and(|message| sender.send(message).is_err()) {
                    break;
                }
            }
        });
        Ok(Agent { port, messages })
    }

    /// Repeats a ping until the guest answers; returns the agent's id, or `None`
    /// after `timeout` or when QEMU ended.
    ///
    /// Answers of commands of an earlier boot that arrive meanwhile are kept in
    /// `late`.
    pub fn find(&mut self, seq: u64, timeout: Duration, late: &mut Vec<Message>) -> Option<String> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            // The line end before it closes whatever the port had left over.
            let ping = format!("\n{}", Message::new(seq, "ping", b"").encode());
            self.port.write_all(ping.as_bytes()).ok()?;
            let next = Instant::now() + Duration::from_millis(250);
            loop {
                match self
                    .messages
                    .recv_timeout(next.saturating_duration_since(Instant::now()))
                {
                    Ok(message) if message.verb == "pong" && message.seq == seq => {
                        return Some(message.text());
                    }
                    Ok(message) if Instant::now() < deadline => late.push(message),
                    Ok(_) | Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        }
        None
    }

    /// Sends a shell command.
    ///
    /// # Errors
    ///
    /// When QEMU is gone.
    pub fn send(&mut self, seq: u64, command: &str) -> Result<()> {
        let line = Message::new(seq, "run", command.as_bytes()).encode();
        Ok(self.port.write_all(line.as_bytes())?)
    }

    /// Ends a command that runs, with all its children.
    ///
    /// # Errors
    ///
    /// When QEMU is gone.
    pub fn kill(&mut self, seq: u64) -> Result<()> {
        let line = Message::new(seq, "kill", b"").encode();
        Ok(self.port.write_all(line.as_bytes())?)
    }

    /// Waits until request `seq` ends, calling `each` with its output.
    pub fn wait(&mut self, seq: u64, timeout: Duration, mut each: impl FnMut(&str)) -> Progress {
        let deadline = Instant::now() + timeout;
        let mut text = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match self.messages.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => return Progress::Running,
                Err(RecvTimeoutError::Disconnected) => return Progress::Gone,
            };
            match (message.seq, message.verb.as_str()) {
                (0, "hello") => return Progress::Restarted,
                (from, "out") if from == seq => {
                    each(&message.text());
                    text.push_str(&message.text());
                }
                (from, "exit") if from == seq => {
                    let code = message.text().parse().unwrap_or(-1);
                    return Progress::Done(Output { code, text });
                }
                _ => {}
            }
            // A guest that never falls silent has no more time than others.
            if Instant::now() > deadline {
                return Progress::Running;
            }
        }
    }
}

impl Progress {
    /// The output of a command that had to end.
    ///
    /// # Errors
    ///
    /// When it did not.
    pub fn done(self, command: &str) -> Result<Output> {
        match self {
            Progress::Done(output) => Ok(output),
            Progress::Running => bail!("'{command}' did not end in time"),
            Progress::Gone => bail!("QEMU ended during '{command}'"),
            Progress::Restarted => bail!("the guest restarted during '{command}'"),
        }
    }
}
