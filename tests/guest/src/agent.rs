// SPDX-License-Identifier: GPL-2.0

//! Runs shell commands for the host; see [`dormouse_guest::wire`].
//!
//! Commands run beside the loop that reads requests, so a ping is answered
//! while one of them hibernates the machine. The agent keeps no state that ties
//! it to one connection: after a resume it goes on talking to whatever host is
//! at the other end of the port.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_guest::wire::Message;
use nix::poll::{poll, PollFd, PollFlags};

/// Bytes of output that go into one message.
const CHUNK: usize = 512;

/// How often, in milliseconds, a command that says nothing is asked whether it has ended.
const TICK: u8 = 100;

/// The sending side of the port, shared by all commands.
#[derive(Clone)]
struct Port(Arc<Mutex<File>>);

impl Port {
    fn send(&self, seq: u64, verb: &str, data: &[u8]) {
        let line = Message::new(seq, verb, data).encode();
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A lost message is repeated on request; there is nobody to tell.
        let _ = file.write_all(line.as_bytes());
    }
}

/// Process groups of the commands that run, by the number of their request.
type Running = Arc<Mutex<HashMap<u64, u32>>>;

/// Serves the host at serial port `tty` (in raw mode) until the port fails.
///
/// # Errors
///
/// What opening or reading the port gives.
pub fn serve(tty: &str) -> io::Result<()> {
    let mut input = OpenOptions::new().read(true).write(true).open(tty)?;
    let port = Port(Arc::new(Mutex::new(input.try_clone()?)));
    let running = Running::default();
    let id = random_id()?;
    port.send(0, "hello", id.as_bytes());
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let count = input.read(&mut buffer)?;
        for &byte in &buffer[..count] {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if let Some(message) = Message::decode(&String::from_utf8_lossy(&line)) {
                handle(message, &port, &running, &id);
            }
            line.clear();
        }
    }
}

fn handle(message: Message, port: &Port, running: &Running, id: &str) {
    match message.verb.as_str() {
        "ping" => port.send(message.seq, "pong", id.as_bytes()),
        "run" => {
            let (port, running) = (port.clone(), running.clone());
            std::thread::spawn(move || run(&message, &port, &running));
        }
        "kill" => {
            let groups = running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(group) = groups.get(&message.seq) {
                let _ = Command::new("kill")
                    .args(["-9", "--", &format!("-{group}")])
                    .status();
            }
        }
        _ => {}
    }
}

fn run(message: &Message, port: &Port, running: &Running) {
    let code = match spawn(&message.text()) {
        Ok(child) => follow(child, message.seq, port, running),
        Err(error) => {
            port.send(message.seq, "out", format!("agent: {error}\n").as_bytes());
            127
        }
    };
    port.send(message.seq, "exit", code.to_string().as_bytes());
}

fn spawn(command: &str) -> io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("exec 2>&1\n{command}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Sends the output of `child`, all that it has written before its end; returns its exit code,
/// 128 + n when signal n ended it.
fn follow(mut child: Child, seq: u64, port: &Port, running: &Running) -> i32 {
    let groups = || running.lock().unwrap_or_else(PoisonError::into_inner);
    groups().insert(seq, child.id());
    if let Some(mut output) = child.stdout.take() {
        // A child left in the background may hold the pipe open for ever, and may write to it.
        if relay(&mut output, &mut child, seq, port) {
            std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        }
    }
    let code = match child.wait() {
        Ok(status) => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
        Err(_) => 127,
    };
    groups().remove(&seq);
    code
}

/// Sends `output` until its end, or until `child` has ended and nothing of it is left in the pipe:
/// `true`, somebody else holds it then.
fn relay(output: &mut ChildStdout, child: &mut Child, seq: u64, port: &Port) -> bool {
    let mut buffer = [0; CHUNK];
    loop {
        // Asked before the pipe is looked at, so that what it wrote last is not missed.
        let has_ended = !matches!(child.try_wait(), Ok(None));
        let wait = if has_ended { 0 } else { TICK };
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, wait) {
            Ok(0) if has_ended => return true,
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        match output.read(&mut buffer) {
            Ok(count @ 1..) => port.send(seq, "out", &buffer[..count]),
            _ => return false,
        }
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// What the host gets of `command`, in which order, when it reads a message every `pause`.
    fn answers(command: &str, pause: Duration) -> Vec<Message> {
        let (near, far) = UnixStream::pair().unwrap();
        let port = Port(Arc::new(Mutex::new(File::from(OwnedFd::from(near)))));
        let message = Message::new(3, "run", command.as_bytes());
        let agent = std::thread::spawn(move || run(&message, &port, &Running::default()));
        let mut found = Vec::new();
        for line in BufReader::with_capacity(1024, far).lines() {
            found.push(Message::decode(&line.unwrap()).unwrap());
            std::thread::sleep(pause);
        }
        agent.join().unwrap();
        found
    }

    /// More than pipe and socket hold: the command has ended long before the host has all of it.
    #[test]
    fn a_slow_port_loses_nothing() {
        let found = answers("head -c 200000 /dev/zero", Duration::from_millis(3));
        let (last, output) = found.split_last().unwrap();
        assert_eq!((last.verb.as_str(), last.text().as_str()), ("exit", "0"));
        assert_eq!(output.iter().map(|m| m.data.len()).sum::<usize>(), 200_000);
    }

    #[test]
    fn a_child_in_the_background_is_not_waited_for() {
        let begin = Instant::now();
        let found = answers("echo first; sleep 5 & exit 4", Duration::ZERO);
        assert!(begin.elapsed() < Duration::from_secs(4));
        let texts: Vec<_> = found.iter().map(Message::text).collect();
        assert_eq!(texts, ["first\n", "4"]);
    }
}
