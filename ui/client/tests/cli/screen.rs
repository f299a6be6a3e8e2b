// SPDX-License-Identifier: GPL-2.0

//! `dormouse ui`, on a terminal that the test holds the other end of, and with a stand-in for the
//! splash screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::unistd::ttyname;

use crate::fake::Fake;

const LONG: Duration = Duration::from_secs(30);

/// The other end of the terminal that the command draws on.
struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts the command with `args` on a terminal of 80 columns, as a service of `manager` if
    /// there is one.
    fn start(fake: &Fake, args: &[&str], manager: Option<&Path>) -> (Terminal, Child) {
        let size = nix::pty::Winsize {
            ws_row: 25,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).unwrap();
        let path = ttyname(pair.slave.as_fd()).unwrap();
        let child = fake
            .command()
            .args(["ui", "--tty"])
            .arg(path)
            .args(args)
            .envs(manager.map(|path| ("NOTIFY_SOCKET", path)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let keyboard = File::from(pair.master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            // Lives as long as somebody may write to it.
            let _slave = pair.slave;
            let mut room = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut room) {
                if sender.send(room[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let terminal = Terminal {
            keyboard,
            screen,
            seen: String::new(),
        };
        (terminal, child)
    }

    /// Waits until `part` was drawn since the last time.
    #[track_caller]
    fn shows(&mut self, part: &str) {
        let until = Instant::now() + LONG;
        while !self.seen.contains(part) {
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no '{part}' in {:?}", self.seen),
            }
        }
        self.seen.clear();
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }
}

/// Writes a file of the control folder as the kernel changes it: those who have it open see it.
fn put(fake: &Fake, name: &str, text: &str) {
    fake.put(&format!("sys/power/hibernate/{name}"), text);
}

#[track_caller]
fn becomes(fake: &Fake, name: &str, wanted: &str) {
    let until = Instant::now() + LONG;
    while !fake.get(name).starts_with(wanted) {
        assert!(Instant::now() < until, "{name} is {:?}", fake.get(name));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn ends(child: Child, code: i32, part: &str) {
    let output = child.wait_with_output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "no '{part}' in {text}");
}

#[test]
fn shows_a_save_that_others_begin() {
    let fake = Fake::new();
    let (mut terminal, child) = Terminal::start(&fake, &[], None);
    let pid = child.id().to_string();
    becomes(&fake, "keep_running", &pid);
    put(&fake, "progress", "write 256 1024 524288 500\n");
    terminal.shows("Writing the image");
    terminal.types("v");
    terminal.shows("workers 2");
    terminal.types("r");
    becomes(&fake, "after_save", "reboot");
    // A key that begins like Esc, and then Esc.
    terminal.types("\x1b[A");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fake.get("abort"), "");
    terminal.types("\x1b");
    becomes(&fake, "abort", "1");
    terminal.shows("stopping");
    put(&fake, "last_result", "-125 write stopped on request\n");
    put(&fake, "progress", "idle 256 1024 524288 500\n");
    terminal.shows("stopped");
    // The cursor is back.
    terminal.shows("\x1b[?25h");
    ends(child, 1, "stopped on request (-125)");
    assert_eq!(fake.get("keep_running").trim(), "");
}

#[test]
fn begins_a_save() {
    let fake = Fake::new();
    put(
        &fake,
        "last_result",
        "0 resumed the system is back: saved 4 kB in 1 ms\n",
    );
    let (mut terminal, child) = Terminal::start(&fake, &["--hibernate"], None);
    terminal.shows("Getting ready");
    ends(child, 0, "the system is back: saved 4 kB in 1 ms");
    assert_eq!(fake.get("start"), "1");
}

#[test]
fn asks_before_a_session_is_lost() {
    let fake = Fake::new();
    let (mut terminal, child) = Terminal::start(&fake, &[], None);
    becomes(&fake, "keep_running", &child.id().to_string());
    put(&fake, "progress", "load 256 1024 524288 500\n");
    terminal.shows("Loading the image");
    // A key that is held down.
    for _ in 0..40 {
        terminal.types("\x1b");
        std::thread::sleep(Duration::from_millis(30));
    }
    terminal.shows("Esc again");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(fake.get("abort"), "");
    terminal.types("\x1b");
    becomes(&fake, "abort", "1");
    terminal.shows("stopping");
    put(
        &fake,
        "last_result",
        "-125 load stopped; the image is kept\n",
    );
    put(&fake, "progress", "idle 256 1024 524288 500\n");
    ends(child, 1, "stopped; the image is kept (-125)");
}

#[test]
fn a_boot_without_an_image_sees_nothing() {
    let fake = Fake::new();
    fake.put("dev/vda2", "");
    let (terminal, child) = Terminal::start(&fake, &["--load", "/dev/vda2"], None);
    ends(child, 0, "nothing was restored");
    assert_eq!(fake.get("resume"), "/dev/vda2");
    assert!(terminal.screen.try_recv().is_err());
    fake.run("ui --load here --tty /dev/null")
        .fails(2, "a target is auto, a path");
    fake.run("ui --tty /dev/null").fails(1, "is no terminal");
    fake.run("ui --no-plymouth").fails(1, "cannot open");
    assert_eq!(fake.run("ui --retry").code, 2);
}

#[test]
fn tells_plymouth() {
    let name = format!("dormouse-plymouth-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let fake = Fake::new();
    let child = fake
        .command()
        .args(["ui", "--plymouth", &name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut asked = vec![0; 2];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(asked, b"P\0");
    stream.write_all(b"\x06").unwrap();
    // Both are kept running: the command and the one who draws, which is this process.
    let both = format!("{} {}", child.id(), std::process::id());
    becomes(&fake, "keep_running", &both);
    put(&fake, "progress", "load 512 1024 524288 500\n");
    let mut room = [0; 512];
    let mut told = String::new();
    while !told.contains("Loading the image: 50 %") {
        let count = stream.read(&mut room).unwrap();
        assert_ne!(count, 0, "{told:?}");
        told.push_str(&String::from_utf8_lossy(&room[..count]));
    }
    assert!(told.contains("u\x02\x0350\0"), "{told:?}");
    put(
        &fake,
        "last_result",
        "-5 load the image could not be loaded; it is kept\n",
    );
    put(&fake, "progress", "idle 512 1024 524288 500\n");
    drop(stream);
    ends(child, 1, "the image could not be loaded; it is kept (-5)");
    assert_eq!(fake.get("keep_running").trim(), "");
}

fn terminate(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

/// A socket as the service manager has it, and its path.
fn manager(fake: &Fake) -> (UnixDatagram, PathBuf) {
    let path = fake.root().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    (socket, path)
}

#[track_caller]
fn is_told(socket: &UnixDatagram) {
    let mut room = [0; 64];
    let count = socket.recv(&mut room).unwrap();
    assert_eq!(room[..count].trim_ascii(), b"READY=1");
}

#[test]
fn takes_the_console_before_the_cycle() {
    let fake = Fake::new();
    let (socket, path) = manager(&fake);
    let (mut terminal, child) = Terminal::start(&fake, &["--now"], Some(&path));
    terminal.shows("Getting ready");
    is_told(&socket);
    assert!(fake
        .get("keep_running")
        .starts_with(&child.id().to_string()));
    // The service manager takes it away again when nothing comes of it.
    terminate(&child);
    terminal.shows("\x1b[?25h");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15), "{output:?}");
    assert_eq!(fake.get("keep_running").trim(), "");
}

#[test]
fn says_what_came_of_it_when_it_is_taken_away() {
    let fake = Fake::new();
    let (mut terminal, child) = Terminal::start(&fake, &["--now"], None);
    terminal.shows("Getting ready");
    put(&fake, "progress", "write 256 1024 524288 500\n");
    terminal.shows("Writing the image");
    put(&fake, "last_result", "-5 write the disk is broken\n");
    put(&fake, "progress", "idle 256 1024 524288 500\n");
    terminate(&child);
    ends(child, 1, "the disk is broken (-5)");
    assert_eq!(fake.get("keep_running").trim(), "");
}

#[test]
fn does_without_a_display() {
    let fake = Fake::new();
    fake.put("dev/vda2", "");
    let (socket, path) = manager(&fake);
    let alone = "no-such-dormouse-splash";
    let output = fake
        .command()
        .args(["ui", "--if-display", "--now", "--plymouth", alone])
        .env("NOTIFY_SOCKET", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.contains("there is no display"), "{said}");
    is_told(&socket);

    // A resume is what counts, and it begins without a word of the screen, or with one.
    for (more, complaint) in [
        ("--if-display", ""),
        ("--no-plymouth", "no progress screen"),
    ] {
        fake.put("sys/power/hibernate/resume", "");
        let words = format!("ui --plymouth {alone} {more} --load /dev/vda2");
        let ran = fake.run(&words);
        assert_eq!((ran.code, fake.get("resume").as_str()), (0, "/dev/vda2"));
        assert!(ran.out.contains("nothing was restored"), "{ran:?}");
        assert_eq!(ran.err.is_empty(), complaint.is_empty(), "{ran:?}");
        assert!(ran.err.contains(complaint), "{ran:?}");
        assert_eq!(fake.get("keep_running").trim(), "");
    }
}
