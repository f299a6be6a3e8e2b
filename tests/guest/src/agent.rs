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
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dormouse_guest::wire::Message;

/// Bytes of output that go into one message.
const CHUNK: usize = 512;

/// How long output of background children is waited for after a command ended.
const LINGER: Duration = Duration::from_millis(200);

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

/// Sends the output of `child` while it runs; returns its exit code, 128 + n
/// when signal n ended it.
fn follow(mut child: Child, seq: u64, port: &Port, running: &Running) -> i32 {
    let groups = || running.lock().unwrap_or_else(PoisonError::into_inner);
    groups().insert(seq, child.id());
    let (done, finished) = mpsc::channel::<()>();
    if let Some(mut output) = child.stdout.take() {
        let port = port.clone();
        std::thread::spawn(move || {
            let _done = done;
            let mut buffer = [0; CHUNK];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                port.send(seq, "out", &buffer[..count]);
            }
        });
    }
    let code = match child.wait() {
        Ok(status) => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
        Err(_) => 127,
    };
    groups().remove(&seq);
    // A child left in the background may hold the pipe open for ever.
    let _ = finished.recv_timeout(LINGER);
    code
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
