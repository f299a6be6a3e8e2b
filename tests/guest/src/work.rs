// SPDX-License-Identifier: GPL-2.0

//! A workload whose every byte can be verified: anonymous memory, page cache
//! of tmpfs files, and a task that counts.

use std::fs::{self, File};
use std::io::ErrorKind::{ConnectionRefused, NotFound};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use dormouse_guest::mix::{self, PAGE};

const SOCKET: &str = "/run/work.sock";
const FOLDER: &str = "/tmp/work";
const MIB: usize = 1 << 20;
/// Size of one tmpfs file.
const FILE_MIB: u64 = 4;
/// Pages of memory and of files come from different parts of the sequence.
const FILES_FROM: u64 = 1 << 32;

/// What is held and how it was made.
#[derive(Clone, Copy)]
struct Plan {
    mib: usize,
    file_mib: u64,
    seed: u64,
}

impl Plan {
    fn parse(options: &[&str]) -> io::Result<Self> {
        let mut plan = Plan {
            mib: 64,
            file_mib: 0,
            seed: 1,
        };
        for option in options {
            let bad = || io::Error::other(format!("bad option {option}"));
            let (key, value) = option.split_once('=').ok_or_else(bad)?;
            match key {
                "mib" => plan.mib = value.parse().map_err(|_| bad())?,
                "file_mib" => plan.file_mib = value.parse().map_err(|_| bad())?,
                "seed" => plan.seed = value.parse().map_err(|_| bad())?,
                _ => return Err(bad()),
            }
        }
        Ok(plan)
    }

    fn files(&self) -> impl Iterator<Item = (String, u64)> {
        (0..self.file_mib.div_ceil(FILE_MIB)).map(|number| {
            let first = FILES_FROM + number * FILE_MIB * (MIB / PAGE) as u64;
            (format!("{FOLDER}/file.{number}"), first)
        })
    }
}

/// Starts the workload in the background and returns when all of it is in
/// memory, with its status line.
///
/// # Errors
///
/// Bad options, or a workload that ended while it filled its memory.
pub fn start(options: &[&str]) -> io::Result<String> {
    Plan::parse(options)?;
    let _ = fs::remove_file(SOCKET);
    let mut child = Command::new(std::env::current_exe()?)
        .args(["work", "serve"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    loop {
        match ask("status") {
            // The file of the socket is there a moment before anybody listens.
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => {}
            result => return result,
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("workload ended: {status}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends one request to the running workload and returns its answer.
///
/// # Errors
///
/// The answer as an error when it does not begin with `ok`.
pub fn ask(request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(SOCKET)?;
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("ok") {
        true => Ok(answer),
        false => Err(io::Error::other(answer)),
    }
}

/// The workload itself.
///
/// # Errors
///
/// No memory, no room in tmpfs, or no socket.
pub fn serve(options: &[&str]) -> io::Result<()> {
    let plan = Plan::parse(options)?;
    // Contents alternate by pages: unless they lie as pages of the machine, no
    // page of it would be all zero or all one word.
    let mut room = vec![0; plan.mib * MIB + PAGE];
    let aligned = room.as_ptr().align_offset(PAGE);
    let memory = &mut room[aligned..aligned + plan.mib * MIB];
    fill_pages(plan.seed, 0, memory);
    fs::create_dir_all(FOLDER)?;
    for (path, first) in plan.files() {
        let mut data = vec![0; FILE_MIB as usize * MIB];
        fill_pages(plan.seed, first, &mut data);
        File::create(path)?.write_all(&data)?;
    }
    let sum = checksum(memory);
    let count = Arc::new(AtomicU64::new(0));
    let ticks = count.clone();
    std::thread::spawn(move || loop {
        ticks.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    });
    let listener = UnixListener::bind(SOCKET)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut request = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut request)?;
        let state = format!(
            "pages={} count={}",
            memory.len() / PAGE,
            count.load(Ordering::Relaxed)
        );
        let answer = match request.trim() {
            "status" => format!("ok {state} sum={sum:016x}"),
            "verify" => verify(plan, memory, sum, &state),
            "stop" => "ok stopped".to_string(),
            _ => "unknown request".to_string(),
        };
        stream.write_all(answer.as_bytes())?;
        if request.trim() == "stop" {
            break;
        }
    }
    fs::remove_dir_all(FOLDER)?;
    fs::remove_file(SOCKET)
}

fn verify(plan: Plan, memory: &[u8], sum: u64, state: &str) -> String {
    if let Some(page) = mix::first_wrong_page(plan.seed, 0, memory) {
        return format!("memory differs in page {page}");
    }
    let now = checksum(memory);
    if now != sum {
        return format!("checksum {now:016x} was {sum:016x}");
    }
    let mut files = 0;
    for (path, first) in plan.files() {
        match fs::read(&path) {
            Ok(data) if data.len() != FILE_MIB as usize * MIB => {
                return format!("{path} has {} bytes", data.len());
            }
            Ok(data) => {
                if let Some(page) = mix::first_wrong_page(plan.seed, first, &data) {
                    return format!("{path} differs in page {}", page - first);
                }
            }
            Err(error) => return format!("{path}: {error}"),
        }
        files += 1;
    }
    format!("ok {state} sum={now:016x} files={files}")
}

fn fill_pages(seed: u64, first: u64, out: &mut [u8]) {
    for (page, chunk) in (first..).zip(out.chunks_mut(PAGE)) {
        mix::fill(seed, page, chunk);
    }
}

fn checksum(memory: &[u8]) -> u64 {
    memory
        .chunks_exact(8)
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23)
        })
}
