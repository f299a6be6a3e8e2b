// SPDX-License-Identifier: GPL-2.0

//! Exports of servers that are written down here, and do not mean well.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use dormouse_image::device::{Device, Where};
use dormouse_image::export::{Export, Link};

const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
/// Bytes of the export.
const SIZE: u64 = 1 << 20;
/// Flags of the export that count: the flags themselves, read-only, flush.
const PLAIN: u16 = 1;
const READ_ONLY: u16 = 1 | 2;
const FLUSH: u16 = 1 | 4;

/// What becomes of a client that `serve` talks to.
fn server(serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> Export {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // A client that goes away is seen by the client.
            let _ = serve(&mut client);
        }
    });
    Export {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        name: "x".to_string(),
        timeout: Duration::from_millis(500),
    }
}

fn skip(client: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
    client.read_exact(&mut vec![0; bytes])
}

fn answer(option: u32, kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    for word in [option, kind, contents.len() as u32] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(contents);
    bytes
}

/// Negotiates as it should be, without structured replies.
fn negotiate(client: &mut TcpStream, flags: u16) -> std::io::Result<()> {
    client.write_all(GREETING)?;
    // Flags, and the option for structured replies.
    skip(client, 4 + 16)?;
    client.write_all(&answer(8, (1 << 31) | 1, b""))?;
    // The export "x" and one fact.
    skip(client, 16 + 4 + 1 + 2 + 2)?;
    let fact = [&[0, 0][..], &SIZE.to_be_bytes(), &flags.to_be_bytes()].concat();
    client.write_all(&answer(7, 3, &fact))?;
    client.write_all(&answer(7, 1, b""))
}

/// Reads the head of a request; returns its cookie.
fn request(client: &mut TcpStream) -> std::io::Result<[u8; 8]> {
    let mut head = [0; 28];
    client.read_exact(&mut head)?;
    Ok(head[8..16].try_into().unwrap())
}

fn reply(error: u32, cookie: [u8; 8]) -> Vec<u8> {
    let mut bytes = 0x6744_6698_u32.to_be_bytes().to_vec();
    bytes.extend(error.to_be_bytes());
    bytes.extend(cookie);
    bytes
}

#[track_caller]
fn refuses(export: &Export, part: &str) {
    let Err(error) = Link::open(export) else {
        panic!("it is taken");
    };
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn negotiations_that_fail() {
    let nobody = server(|_| Ok(()));
    refuses(&nobody, "the server closes the connection");
    let ssh = server(|client| client.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian"));
    refuses(&ssh, "does not speak NBD");
    let none = server(|client| {
        client.write_all(GREETING)?;
        skip(client, 4 + 16)?;
        client.write_all(&answer(8, 1, b""))?;
        skip(client, 16 + 4 + 1 + 2 + 2)?;
        client.write_all(&answer(7, (1 << 31) | 6, b"no \x1bsuch thing"))
    });
    refuses(
        &none,
        "the server has no such export; it says: no ?such thing",
    );
    let gone = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Export {
            port: listener.local_addr().unwrap().port(),
            ..nobody
        }
    };
    refuses(&gone, "nobody listens there");
}

#[test]
fn waits_for_so_long_and_no_longer() {
    let mute = server(|_| {
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    let begun = Instant::now();
    refuses(&mute, "no answer within 0.5 s");
    // A byte now and then is no answer either.
    let slow = server(|client| {
        for byte in GREETING {
            client.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    refuses(&slow, "no answer within 0.5 s");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// What a read of two blocks comes to, and another one behind it.
fn reads(
    serve: impl Fn(&mut TcpStream, [u8; 8]) -> std::io::Result<()> + Send + 'static,
) -> [Result<Vec<u8>, String>; 2] {
    let export = server(move |client| {
        negotiate(client, PLAIN)?;
        let cookie = request(client)?;
        serve(client, cookie)?;
        // What is asked after that is answered well.
        let cookie = request(client)?;
        client.write_all(&reply(0, cookie))?;
        client.write_all(&[7; 8192])?;
        skip(client, 28)
    });
    let device = Device::open(&Where::Export(export), false).unwrap();
    assert_eq!(device.blocks, SIZE / 4096);
    [1, 3].map(|block| {
        let mut out = vec![0xee; 8192];
        let result = device.read(block, &mut out);
        result.map(|()| out).map_err(|error| error.to_string())
    })
}

#[test]
fn replies_that_are_not_right() {
    let [first, second] = reads(|client, cookie| {
        client.write_all(&reply(0, cookie))?;
        client.write_all(&[9; 8192])
    });
    assert_eq!(first.unwrap(), [9; 8192]);
    assert_eq!(second.unwrap(), [7; 8192]);

    // The server could not do it; the connection is good.
    let [first, second] = reads(|client, cookie| client.write_all(&reply(5, cookie)));
    assert_eq!(first.unwrap_err(), "the server answered with error 5");
    assert_eq!(second.unwrap(), [7; 8192]);

    // What follows on these connections is never taken for an answer.
    type Serve = fn(&mut TcpStream, [u8; 8]) -> std::io::Result<()>;
    let all: [(Serve, &str); 4] = [
        (
            |client, mut cookie| {
                cookie[3] ^= 1;
                client.write_all(&reply(0, cookie))
            },
            "it replied to something that was not asked",
        ),
        (
            |client, cookie| {
                let mut bytes = reply(0, cookie);
                bytes[0] = 0;
                client.write_all(&bytes)
            },
            "what it sent is no reply",
        ),
        (
            |client, cookie| {
                client.write_all(&reply(0, cookie))?;
                client.write_all(&[9; 5000])?;
                Err(std::io::ErrorKind::BrokenPipe.into())
            },
            "the server closes the connection",
        ),
        (
            |client, cookie| {
                client.write_all(&reply(0, cookie))?;
                client.write_all(&[9; 5000])?;
                thread::sleep(Duration::from_secs(3));
                client.write_all(&[9; 3192])
            },
            "no answer within 0.5 s",
        ),
    ];
    for (serve, why) in all {
        let [first, second] = reads(serve).map(Result::unwrap_err);
        assert!(first.contains(why), "{first}");
        assert_eq!(first, second);
    }
}

#[test]
fn writes_only_where_that_is_safe() {
    let write = |flags: u16| {
        let export = server(move |client| {
            negotiate(client, flags)?;
            let cookie = request(client)?;
            skip(client, 4096)?;
            client.write_all(&reply(0, cookie))?;
            // The flush.
            let cookie = request(client)?;
            client.write_all(&reply(28, cookie))
        });
        let device = Device::open(&Where::Export(export), true).unwrap();
        device.write(0, 0, &[1; 4096]).unwrap_err().to_string()
    };
    assert_eq!(write(READ_ONLY), "the export is read-only");
    assert!(write(PLAIN).contains("neither FLUSH nor FUA"));
    // A write is not done before the flush is.
    assert_eq!(write(FLUSH), "the server answered with error 28");
}

#[test]
fn nothing_is_read_behind_the_end() {
    let export = server(|client| {
        negotiate(client, PLAIN)?;
        skip(client, 28)
    });
    let device = Device::open(&Where::Export(export), false).unwrap();
    for block in [SIZE / 4096, SIZE / 4096 - 1, u64::MAX / 4096, u64::MAX] {
        assert!(device.read(block, &mut [0; 8192]).is_err());
    }
}
