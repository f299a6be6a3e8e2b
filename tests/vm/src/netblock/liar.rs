// SPDX-License-Identifier: GPL-2.0

//! An NBD server that does one thing wrong.
//!
//! It keeps to the protocol, with simple replies, until the request that its
//! fault is about, and does everything right again after that.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure, Result};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Speaks another protocol from the beginning, always.
    Greeting,
    /// Says nothing from the beginning, always.
    Mute,
    /// A reply that begins with something else.
    Magic,
    /// A reply to another request.
    Cookie,
    /// A reply that has structure although none was agreed on.
    Chunk,
    /// One byte after the other from the beginning, always, each too early to be taken for silence.
    Trickle,
    /// No reply.
    Silence,
    /// The end of the connection, and of each one that writes from then on.
    Drops,
    /// The end of the connection in the middle of a reply.
    Half,
    /// The reply that the server is about to end, and the end.
    Shutdown,
    /// Forgets what it has taken since the last flush, and drops the connection.
    Forgets,
}

struct Shared {
    fault: Fault,
    /// Writes until the fault happens; then none.
    countdown: AtomicU32,
    happened: AtomicBool,
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    bytes: Vec<u8>,
    /// What was there before writes that no flush has covered.
    undo: Vec<(usize, Vec<u8>)>,
}

/// The server; it listens until the test ends.
pub struct Liar {
    port: u16,
    shared: Arc<Shared>,
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .fold(0, |n, &b| (n << 8) | u64::from(b))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |n, &b| (n << 8) | u32::from(b))
}

impl Liar {
    /// Exports `size` zeros, and does `fault` at write number `write`.
    ///
    /// # Errors
    ///
    /// When there is no port for it.
    pub fn new(size: usize, fault: Fault, write: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            fault,
            countdown: AtomicU32::new(write),
            happened: AtomicBool::new(false),
            store: Mutex::new(Store {
                bytes: vec![0; size],
                undo: Vec::new(),
            }),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                // What a client did wrong shows in what it gets.
                std::thread::spawn(move || serve(&shared, client));
            }
        });
        Ok(Liar { port, shared })
    }

    /// What a guest calls it.
    pub fn target(&self) -> String {
        format!("nbd://10.0.2.2:{}/lies", self.port)
    }

    /// Whether the fault happened.
    pub fn happened(&self) -> bool {
        self.shared.happened.load(Ordering::SeqCst)
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> Result<()> {
    match shared.fault {
        Fault::Greeting => {
            shared.happened.store(true, Ordering::SeqCst);
            client.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")?;
            std::thread::sleep(Duration::from_secs(2));
            return Ok(());
        }
        Fault::Mute => {
            shared.happened.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(600));
            return Ok(());
        }
        Fault::Trickle => {
            shared.happened.store(true, Ordering::SeqCst);
            for byte in b"NBDMAGICIHAVEOPT\0\x03".iter().cycle() {
                client.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_millis(150));
            }
            return Ok(());
        }
        _ => {}
    }
    negotiate(shared, &mut client)?;
    let mut head = [0; 28];
    loop {
        client.read_exact(&mut head)?;
        ensure!(be32(&head, 0) == 0x2560_9513, "no request");
        if !request(shared, &mut client, &head)? {
            return Ok(());
        }
    }
}

fn negotiate(shared: &Shared, client: &mut TcpStream) -> Result<()> {
    client.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    let mut flags = [0; 4];
    client.read_exact(&mut flags)?;
    loop {
        let mut head = [0; 16];
        client.read_exact(&mut head)?;
        ensure!(&head[..8] == b"IHAVEOPT", "no option");
        let mut contents = vec![0; be32(&head, 12) as usize];
        client.read_exact(&mut contents)?;
        let option = be32(&head, 8);
        let mut answer = |kind: u32, contents: &[u8]| -> Result<()> {
            let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
            for word in [option, kind, contents.len() as u32] {
                bytes.extend(word.to_be_bytes());
            }
            bytes.extend(contents);
            Ok(client.write_all(&bytes)?)
        };
        if option != 7 {
            answer((1 << 31) | 1, b"")?;
            continue;
        }
        let size = shared.lock().bytes.len() as u64;
        // Flags that count, a flush.
        let fact = [&[0, 0][..], &size.to_be_bytes(), &[0, 1 | 4]].concat();
        answer(3, &fact)?;
        answer(1, b"")?;
        return Ok(());
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the fault has happened.
    fn is_over(&self) -> bool {
        self.countdown.load(Ordering::SeqCst) == 0
    }

    /// Whether it is time for the fault.
    fn now(&self) -> bool {
        let left = self.countdown.load(Ordering::SeqCst);
        if left == 0 {
            return false;
        }
        self.countdown.store(left - 1, Ordering::SeqCst);
        left == 1
    }
}

/// Answers one request; false at the end of the connection.
fn request(shared: &Shared, client: &mut TcpStream, head: &[u8]) -> Result<bool> {
    let (command, cookie) = (be32(head, 4) & 0xffff, be64(head, 8));
    let (at, len) = (be64(head, 16) as usize, be32(head, 24) as usize);
    let reply = |magic: u32, error: u32, cookie: u64| {
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(error.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes
    };
    let good = reply(0x6744_6698, 0, cookie);
    match command {
        0 => {
            let data = shared.lock().bytes[at..at + len].to_vec();
            client.write_all(&[good, data].concat())?;
        }
        1 => {
            let mut data = vec![0; len];
            client.read_exact(&mut data)?;
            let faulty = shared.now() || (shared.fault == Fault::Drops && shared.is_over());
            {
                let mut store = shared.lock();
                let before = store.bytes[at..at + len].to_vec();
                store.undo.push((at, before));
                store.bytes[at..at + len].copy_from_slice(&data);
            }
            if !faulty {
                client.write_all(&good)?;
                return Ok(true);
            }
            shared.happened.store(true, Ordering::SeqCst);
            return lie(shared, client, cookie, &reply);
        }
        2 => return Ok(false),
        3 => {
            shared.lock().undo.clear();
            client.write_all(&good)?;
        }
        other => bail!("command {other}"),
    }
    Ok(true)
}

fn lie(
    shared: &Shared,
    client: &mut TcpStream,
    cookie: u64,
    reply: &dyn Fn(u32, u32, u64) -> Vec<u8>,
) -> Result<bool> {
    match shared.fault {
        Fault::Greeting | Fault::Mute | Fault::Trickle => {}
        Fault::Magic => client.write_all(&reply(0x1234_5678, 0, cookie))?,
        Fault::Cookie => client.write_all(&reply(0x6744_6698, 0, cookie ^ 0x1000))?,
        Fault::Chunk => client.write_all(&reply(0x668e_33ef, 0x0001_0000, cookie))?,
        Fault::Silence => std::thread::sleep(Duration::from_secs(600)),
        Fault::Drops => return Ok(false),
        Fault::Half => {
            client.write_all(&reply(0x6744_6698, 0, cookie)[..9])?;
            return Ok(false);
        }
        Fault::Shutdown => {
            client.write_all(&reply(0x6744_6698, 108, cookie))?;
            return Ok(false);
        }
        Fault::Forgets => {
            let mut store = shared.lock();
            while let Some((at, before)) = store.undo.pop() {
                store.bytes[at..at + before.len()].copy_from_slice(&before);
            }
            return Ok(false);
        }
    }
    Ok(true)
}
