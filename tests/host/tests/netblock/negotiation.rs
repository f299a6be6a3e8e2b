// SPDX-License-Identifier: GPL-2.0

//! Negotiations with servers that are written down here.

use dormouse_host::netblock::proto::negotiate::{Negotiation, Refusal};
use dormouse_host::netblock::proto::terms::{Terms, Unfit};
use dormouse_host::netblock::proto::wire::*;
use proptest::prelude::*;

/// Bytes of a server, put together.
#[derive(Clone, Default)]
struct Says(Vec<u8>);

impl Says {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn greeting() -> Self {
        Says::default().u64(GREETING).u64(OPTION).u16(3)
    }

    fn answer(self, option: u32, kind: u32, contents: &[u8]) -> Self {
        let says = self.u64(OPTION_REPLY).u32(option).u32(kind);
        says.u32(contents.len() as u32).bytes(contents)
    }

    fn structured(self) -> Self {
        self.answer(OPT_STRUCTURED_REPLY, REP_ACK, b"")
    }

    fn export(self, size: u64, flags: u16) -> Self {
        let fact = Says::default().u16(INFO_EXPORT).u64(size).u16(flags);
        self.answer(OPT_GO, REP_INFO, &fact.0)
    }

    fn sizes(self, min: u32, usual: u32, max: u32) -> Self {
        let fact = Says::default().u16(INFO_BLOCK_SIZE);
        let fact = fact.u32(min).u32(usual).u32(max);
        self.answer(OPT_GO, REP_INFO, &fact.0)
    }

    fn ack(self) -> Self {
        self.answer(OPT_GO, REP_ACK, b"")
    }

    fn refuses(self, code: u32) -> Self {
        self.structured().answer(OPT_GO, code, b"")
    }
}

/// What came of it, `None` when the server went silent; and all that was sent.
fn meet(says: &Says, export: &str) -> (Option<Result<Terms, Refusal>>, Vec<u8>) {
    let mut negotiation = Negotiation::new(export);
    let (mut sent, mut rest) = (Vec::new(), &says.0[..]);
    loop {
        sent.extend(negotiation.output());
        let room = negotiation.room();
        assert!(!room.is_empty());
        let Some((here, behind)) = rest.split_at_checked(room.len()) else {
            return (None, sent);
        };
        room.copy_from_slice(here);
        rest = behind;
        match negotiation.filled() {
            Ok(None) => {}
            Ok(Some(terms)) => return (Some(Ok(terms)), sent),
            Err(refusal) => return (Some(Err(refusal)), sent),
        }
    }
}

fn outcome(says: Says) -> Option<Result<Terms, Refusal>> {
    meet(&says, "export").0
}

#[test]
fn all_goes_well() {
    let flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | CAN_MULTI_CONN;
    let says = Says::greeting().structured();
    let says = says.export(12345, flags).sizes(512, 4096, 1 << 20).ack();
    let (result, sent) = meet(&says, "disk1");
    let terms = result.unwrap().unwrap();
    let wanted = Terms {
        size: 12345,
        flags,
        min: 512,
        max: 1 << 20,
        structured: true,
    };
    assert_eq!(terms, wanted);
    assert!(terms.flush() && terms.fua() && terms.multi() && !terms.read_only());
    let ours = Says::default().u32(3);
    let ours = ours.u64(OPTION).u32(OPT_STRUCTURED_REPLY).u32(0);
    let ours = ours.u64(OPTION).u32(OPT_GO).u32(4 + 5 + 2 + 2).u32(5);
    let ours = ours.bytes(b"disk1").u16(1).u16(INFO_BLOCK_SIZE);
    assert_eq!(sent, ours.0);
}

#[test]
fn a_plain_server_will_do() {
    let says = Says::greeting().answer(OPT_STRUCTURED_REPLY, REP_UNSUPPORTED, b"what?");
    let terms = outcome(says.export(1 << 30, 0).ack()).unwrap().unwrap();
    assert!(!terms.structured && !terms.flush());
    assert_eq!((terms.min, terms.max), (1, 32 << 20));
    // Without the flag that makes them count, no flags count.
    let says = Says::greeting().structured().export(1, SEND_FLUSH | 2);
    let terms = outcome(says.ack()).unwrap().unwrap();
    assert!(!terms.flush() && !terms.read_only());
}

#[test]
fn errors_have_reasons() {
    let cases = [
        (REP_UNKNOWN, Refusal::Unknown),
        (REP_TLS_REQUIRED, Refusal::Tls),
        (REP_SHUTDOWN, Refusal::Shutdown),
        (REP_UNSUPPORTED, Refusal::Unsupported),
        (REP_POLICY, Refusal::Other(REP_POLICY)),
        (REP_ERROR | 99, Refusal::Other(REP_ERROR | 99)),
    ];
    for (code, refusal) in cases {
        let result = outcome(Says::greeting().refuses(code));
        assert_eq!(result, Some(Err(refusal)));
        assert!(!refusal.to_string().is_empty());
    }
    let old = Says::default().u64(GREETING).u64(OLD_STYLE).u16(0);
    assert_eq!(outcome(old), Some(Err(Refusal::OldStyle)));
    let old = Says::default().u64(GREETING).u64(OPTION).u16(0);
    assert_eq!(outcome(old), Some(Err(Refusal::OldStyle)));
    let ssh = Says::default().bytes(b"SSH-2.0-OpenSSH_9.2p1 Debian");
    assert_eq!(outcome(ssh), Some(Err(Refusal::Garbage)));
    let long = "x".repeat(128);
    let (result, _) = meet(&Says::greeting(), &long);
    assert_eq!(result, Some(Err(Refusal::Name)));
}

#[test]
fn texts_are_kept_and_cleaned() {
    let text = b"no \x1b[31mway\xff".repeat(40);
    let says = Says::greeting().structured();
    let says = says.answer(OPT_GO, REP_POLICY, &text);
    let mut negotiation = Negotiation::new("");
    let mut rest = &says.0[..];
    let refusal = loop {
        negotiation.output();
        let room = negotiation.room();
        let (here, behind) = rest.split_at(room.len());
        room.copy_from_slice(here);
        rest = behind;
        if let Err(refusal) = negotiation.filled() {
            break refusal;
        }
    };
    assert_eq!(refusal, Refusal::Other(REP_POLICY));
    assert!(rest.is_empty(), "the text is read to its end");
    assert!(negotiation.text().starts_with("no ?[31mway?no "));
    assert_eq!(negotiation.text().len(), 120);
}

#[test]
fn hostile_answers() {
    let begin = || Says::greeting().structured();
    let garbage = [
        // An answer to another option, of another magic, too long, of no known kind.
        Says::greeting().answer(OPT_GO, REP_ACK, b""),
        Says::greeting().u64(1).u64(2).u64(3),
        Says::greeting()
            .u64(OPTION_REPLY)
            .u32(8)
            .u32(1)
            .u32(u32::MAX),
        begin().answer(OPT_GO, 77, b""),
        // Done without a size, facts without contents, of a wrong length.
        begin().ack(),
        begin().answer(OPT_GO, REP_INFO, b""),
        begin().answer(OPT_GO, REP_INFO, b"\0\0\0"),
        begin().answer(OPT_GO, REP_INFO, &[0; 300]),
        begin().answer(OPT_GO, REP_INFO, &[0, 3, 0, 0]),
    ];
    for says in garbage {
        assert_eq!(outcome(says), Some(Err(Refusal::Garbage)));
    }
    for (min, max) in [(0, 4096), (3, 4096), (4096, 512)] {
        let says = begin().export(1, 0).sizes(min, min, max).ack();
        assert_eq!(outcome(says), Some(Err(Refusal::BlockSizes)));
    }
    // Facts without end.
    let mut says = begin();
    for _ in 0..65 {
        says = says.export(1, 0);
    }
    assert_eq!(outcome(says), Some(Err(Refusal::Garbage)));
    // Facts that nobody asked for do no harm.
    let says = begin().answer(OPT_GO, REP_INFO, &[9; 2000]);
    assert!(outcome(says.export(1, 0).ack()).unwrap().is_ok());
}

#[test]
fn block_sizes() {
    let terms = |min, max| Terms {
        flags: HAS_FLAGS | SEND_FLUSH,
        min,
        max,
        ..Terms::new()
    };
    assert_eq!(terms(1, u32::MAX).piece(), Ok(u32::MAX - 4095));
    assert_eq!(terms(4096, 70_000).piece(), Ok(69_632));
    assert_eq!(terms(65_536, 1 << 20).check(), Err(Unfit::Coarse(65_536)));
    assert_eq!(terms(512, 2048).check(), Err(Unfit::Small(2048)));
    assert_eq!(terms(512, 4096).check(), Ok(()));
    let volatile = Terms {
        flags: HAS_FLAGS,
        ..Terms::new()
    };
    assert_eq!(volatile.check(), Err(Unfit::Volatile));
    // Reading needs no promise.
    let read_only = Terms {
        flags: HAS_FLAGS | READ_ONLY,
        ..volatile
    };
    assert_eq!(read_only.check(), Ok(()));
}

proptest! {
    #[test]
    fn cut_off_anywhere(at in 0usize..200, name in "[a-z]{0,100}") {
        let says = Says::greeting().structured();
        let says = says.export(1 << 40, HAS_FLAGS).sizes(512, 4096, 1 << 25).ack();
        let whole = says.0.len();
        let cut = Says(says.0[..at.min(whole)].to_vec());
        let (result, _) = meet(&cut, &name);
        prop_assert_eq!(result.is_some(), at >= whole);
    }

    // A flipped bit never gives anything but a refusal, silence or terms.
    #[test]
    fn flipped(bit in 0usize..1200, size in any::<u64>()) {
        let says = Says::greeting().structured();
        let mut says = says.export(size, HAS_FLAGS).sizes(1, 4096, 1 << 25).ack();
        let bit = bit % (says.0.len() * 8);
        says.0[bit / 8] ^= 1 << (bit % 8);
        let (result, sent) = meet(&says, "x");
        prop_assert!(sent.len() <= 300);
        if let Some(Ok(terms)) = result {
            prop_assert!(terms.min.is_power_of_two() && terms.min <= terms.max);
        }
    }
}
