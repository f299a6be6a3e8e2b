// SPDX-License-Identifier: GPL-2.0

//! `dormouse image` and `doctor` with exports of real NBD servers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dormouse_host::encrypted::{Cipher, USER_KEY};

use crate::disks;
use crate::fake::Fake;

/// A server that is killed when it is dropped.
struct Server {
    child: Child,
    /// What names its export.
    url: String,
}

impl Server {
    /// Starts `line`, in which `HOST` and `PORT` stand for where it is to listen.
    fn start(line: &str, host: &str) -> Server {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let line = line
            .replace("HOST", host)
            .replace("PORT", &port.to_string());
        let mut words = line.split_whitespace();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(words.by_ref())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect((host, port)).is_err() {
            let over = child.try_wait().unwrap();
            assert!(over.is_none(), "it has ended: {line}: {over:?}");
            assert!(Instant::now() < deadline, "it does not listen: {line}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_string(),
        };
        Server {
            child,
            url: format!("nbd://{host}:{port}/disk"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const QEMU: &str = "qemu-nbd --persistent --shared=8 -b HOST -p PORT -f raw -x disk";

/// A system with an image in `export`, and the path of that.
fn with(bytes: &[u8]) -> (Fake, String) {
    let fake = Fake::new();
    fake.put("key", USER_KEY);
    fake.put("export", bytes);
    let path = fake.root().join("export").display().to_string();
    (fake, path)
}

fn image(fake: &Fake, url: &str, args: &str) -> crate::fake::Ran {
    let key = fake.root().join("key").display().to_string();
    let args = args.replace("KEY", &format!("--key-file {key}"));
    let (word, rest) = args.split_once(' ').unwrap_or((&args, ""));
    let mut words = vec!["image", word, url];
    words.extend(rest.split_whitespace());
    fake.feed(&words, "")
}

#[test]
fn reads_and_erases_exports() {
    let good = disks::encrypted_export(Cipher::AesGcm);
    let servers = [
        (QEMU.to_string(), "127.0.0.1"),
        (QEMU.to_string(), "::1"),
        ("nbdkit -f -i HOST -p PORT file".to_string(), "127.0.0.1"),
        // No larger requests than one block, none smaller, and plain replies only.
        (
            "nbdkit -f -i HOST -p PORT --no-sr --filter=blocksize-policy file blocksize-minimum=4096 blocksize-maximum=4096 blocksize-error-policy=error"
                .to_string(),
            "127.0.0.1",
        ),
    ];
    for (line, host) in servers {
        let (fake, path) = with(&good);
        let server = Server::start(&format!("{line} {path}"), host);
        let ran = image(&fake, &server.url, "info");
        let place = format!("place           export on {}\n", server.url);
        assert!(ran.works().starts_with(&place), "{ran:?}");
        let ran = image(&fake, &server.url, "verify KEY");
        assert!(
            ran.works().contains("good: checked 6 frames with 18 pages"),
            "{ran:?}"
        );
        image(&fake, &server.url, "erase").fails(1, "say --yes");
        image(&fake, &server.url, "erase --yes").works();
        image(&fake, &server.url, "verify KEY").fails(3, "says \"empty\"");
        drop(server);
        // Nothing but the mark has changed.
        let after = fs::read(&path).unwrap();
        assert!(after[4096..] == good[4096..] && after[..4096] != good[..4096]);
    }
}

#[test]
fn says_what_is_wrong_with_a_server() {
    let (fake, path) = with(&disks::encrypted_export(Cipher::ChaCha20Poly1305));
    let url = {
        let server = Server::start(&format!("{QEMU} {path}"), "127.0.0.1");
        let other = server.url.replace("/disk", "/other");
        image(&fake, &other, "info").fails(1, "the server has no such export");
        server.url.clone()
    };
    image(&fake, &url, "info").fails(1, "nobody listens there");
    image(&fake, "nbd://192.0.2.1:x/disk", "info").fails(2, "a port is a number");
    image(&fake, "nbd:///disk", "info").fails(2, "a host is a name");
    image(&fake, "nbd://a.host.invalid/disk", "info").fails(1, "a.host.invalid: ");

    let server = Server::start(&format!("{QEMU} --read-only {path}"), "127.0.0.1");
    image(&fake, &server.url, "verify KEY").works();
    image(&fake, &server.url, "erase --yes").fails(1, "the export is read-only");

    // Every read behind the first blocks fails.
    let line = format!("nbdkit -f -i HOST -p PORT --filter=error file {path} error-pread=EIO error-pread-rate=100%");
    let server = Server::start(&line, "127.0.0.1");
    image(&fake, &server.url, "verify KEY").fails(1, "the server answered with error 5");
}

#[test]
fn doctor_asks_the_server() {
    let fake = Fake::new();
    fake.set("enabled", "1\n");
    fake.set("encryptor", "[none]\n");
    fake.set("writer", "swap [netblock]\n");
    fake.put("proc/modules", "dormouse_netblock 1\ndormouse_lz4 1\n");
    fake.put("sys/power/state", "disk\n");
    let zeros = fake.root().join("zeros");
    fs::File::create(&zeros).unwrap().set_len(1 << 30).unwrap();
    let line = format!("{QEMU} {}", zeros.display());
    let check = |url: &str, name: &str, part: &str| {
        fake.set("target", &format!("{url}\n"));
        let ran = fake.run("doctor");
        let mut lines = ran.out.lines();
        let line = lines.find(|line| line[6..].starts_with(name)).unwrap();
        assert!(line.contains(part), "no '{part}' in {line}");
    };
    let url = {
        let server = Server::start(&line, "127.0.0.1");
        check(&server.url, "target", " answers and holds 1023 MiB");
        check(
            &server.url,
            "room",
            "holds 1023 MiB, enough for all of memory",
        );
        fs::OpenOptions::new()
            .write(true)
            .open(&zeros)
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        server.url.clone()
    };
    check(&url, "target", "nobody listens there: start the server");
    check("nbd://localhost/x", "target", "no way to look up the name");
    fs::write(&zeros, [0x55; 1 << 16]).unwrap();
    let server = Server::start(&line, "127.0.0.1");
    check(&server.url, "target", "holds something else");
    drop(server);
    let server = Server::start(&format!("{line} --read-only"), "127.0.0.1");
    check(&server.url, "target", "the export is read-only");
}
