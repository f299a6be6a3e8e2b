// SPDX-License-Identifier: GPL-2.0

//! Header: round trip, refusals.

use dormouse_host::image::header::{
    unkey, Bystander, Facts, Header, HeaderBuilder, Mounted, Transform, TransformKind, ARCH_MAX,
    AREA_BYTES, BYSTANDERS_MAX, BYSTANDER_BYTES, MOUNTED_BYTES, MOUNTED_MAX, PARAMS_MAX,
};
use dormouse_host::image::{wire, Error, ImageId};
use dormouse_host::samples::{
    self, header_bytes, header_lists, header_mounted, header_with, BYSTANDER, FACTS, MOUNTED,
    TRANSFORMS,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NAME: &str = "[a-z0-9_-]{1,31}";

type Owned = (
    u32,
    Vec<u8>,
    [String; 3],
    Vec<u8>,
    [String; 2],
    u64,
    Vec<(bool, String, Vec<u8>)>,
);

fn any_header() -> impl Strategy<Value = Owned> {
    (
        0u32..4,
        vec(any::<u8>(), 0..=ARCH_MAX),
        ["[ -~]{0,64}", "[ -~]{0,128}", "[ -~é]{0,16}"].prop_map(|texts| texts),
        vec(any::<u8>(), 0..=32),
        [NAME, NAME],
        any::<u64>(),
        vec(
            (any::<bool>(), NAME, vec(any::<u8>(), 0..=PARAMS_MAX)),
            0..=8,
        ),
    )
}

fn transforms(owned: &Owned) -> Vec<Transform<'_>> {
    let make = |(encrypt, name, params)| Transform {
        kind: if encrypt {
            TransformKind::Encrypt
        } else {
            TransformKind::Compress
        },
        name,
        params,
    };
    owned
        .6
        .iter()
        .map(|(e, n, p)| make((*e, n.as_str(), p.as_slice())))
        .collect()
}

proptest! {
    #[test]
    fn round_trip(owned in any_header(), id: [u8; 16]) {
        let facts = Facts {
            image_id: ImageId(id),
            flags: owned.0,
            arch: &owned.1,
            release: &owned.2[0],
            kversion: &owned.2[1],
            machine: &owned.2[2],
            build_id: &owned.3,
            snapshot: &owned.4[0],
            writer: &owned.4[1],
            ram_pages: owned.5,
        };
        let transforms = transforms(&owned);
        let bytes = header_with(&facts, &transforms).unwrap();
        let header = Header::decode(&bytes).unwrap();
        prop_assert_eq!(header.facts, facts);
        prop_assert_eq!(header.transforms().collect::<Vec<_>>(), transforms);
        prop_assert_eq!(header.platform_mode(), owned.0 & 1 != 0);
        prop_assert_eq!(header.may_override(), owned.0 & 2 != 0);
        // A caller may pass the whole area, or less than the header.
        let mut longer = bytes.clone();
        longer.extend([7; 100]);
        prop_assert_eq!(Header::decode(&longer).unwrap().crc, header.crc);
        let cut = Header::decode(&bytes[..bytes.len() - 1]);
        prop_assert_eq!(cut.err(), Some(Error::Truncated));
    }

    #[test]
    fn without_its_keys(owned in any_header(), behind in 0usize..9) {
        let transforms = transforms(&owned);
        let mut facts = FACTS;
        facts.arch = &owned.1;
        let before = header_lists(&facts, &transforms, &[MOUNTED], &[BYSTANDER]).unwrap();
        let mut after = before.clone();
        after.resize(before.len() + behind, 0xee);
        let changed = unkey(&mut after).unwrap();
        prop_assert_eq!(&after[changed..before.len()], &before[changed..]);
        prop_assert!(after[before.len()..].iter().all(|&b| b == 0xee));
        let (was, is) = (Header::decode(&before).unwrap(), Header::decode(&after).unwrap());
        prop_assert_eq!(is.facts, was.facts);
        prop_assert!(is.mounted().eq(was.mounted()) && is.bystanders().eq(was.bystanders()));
        let mut secrets = 0;
        for (was, is) in was.transforms().zip(is.transforms()) {
            prop_assert_eq!((is.kind, is.name), (was.kind, was.name));
            prop_assert_eq!(is.params.len(), was.params.len());
            match is.kind {
                TransformKind::Compress => prop_assert_eq!(is.params, was.params),
                TransformKind::Encrypt => {
                    secrets += is.params.len();
                    prop_assert!(is.params.iter().all(|&b| b == 0));
                }
            }
        }
        prop_assert_eq!(is.transforms().count(), transforms.len());
        prop_assert_eq!(changed == 0, secrets == 0);
        prop_assert_eq!(is.crc == was.crc, after[..before.len()] == before[..]);
        // Nothing is left to do.
        let again = after.clone();
        prop_assert_eq!(unkey(&mut after), Ok(changed));
        prop_assert_eq!(after, again);
    }

    #[test]
    fn hostile_fields(at in 16usize..600, value: u8) {
        let mut bytes = header_bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        dormouse_host::fuzzing::header(&bytes);
    }
}

fn sealed(change: impl Fn(&mut Vec<u8>)) -> Option<Error> {
    let mut bytes = header_bytes();
    change(&mut bytes);
    wire::seal(&mut bytes, 12).unwrap();
    Header::decode(&bytes).err()
}

#[test]
fn refusals() {
    assert_eq!(sealed(|_| ()), None);
    assert_eq!(sealed(|b| b[0] = 0), Some(Error::BadMagic));
    assert_eq!(sealed(|b| b[8] = 0), Some(Error::UnknownVersion));
    assert_eq!(sealed(|b| b[16..20].fill(0)), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[16..20].fill(255)), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[20] |= 16), Some(Error::UnknownFeature));
    // A list that is not there.
    for list in [4, 8] {
        assert_eq!(sealed(|b| b[20] |= list), Some(Error::Truncated));
    }
    assert_eq!(sealed(|b| b[41] = 0x40), Some(Error::PageSize));
    assert_eq!(sealed(|b| b[46] = 1), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[48] = 33), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[52] = 9), Some(Error::BadCount));
    assert_eq!(sealed(|b| b[52] = 1), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[52] = 3), Some(Error::Truncated));
    assert_eq!(sealed(|b| b[311] = 1), Some(Error::NotZero));
    // A name that would make a module request of its own.
    assert_eq!(sealed(|b| b[345] = b'/'), Some(Error::BadText));
    assert_eq!(sealed(|b| b[344] = 0), Some(Error::BadText));
    let transform = 384 + 16;
    assert_eq!(sealed(|b| b[transform] = 3), Some(Error::UnknownFeature));
    assert_eq!(sealed(|b| b[transform + 5] = 5), Some(Error::BadLength));
    assert_eq!(sealed(|b| b[transform + 8] = b'A'), Some(Error::BadText));
    assert_eq!(sealed(|b| b[transform + 47] = 1), Some(Error::NotZero));
    assert_eq!(sealed(|b| b.extend([0; 8])), Some(Error::BadCrc));
}

#[test]
fn keys_are_not_looked_for_in_what_is_no_header() {
    let mut bytes = header_bytes();
    bytes[40] ^= 1;
    let before = bytes.clone();
    assert_eq!(unkey(&mut bytes), Err(Error::BadCrc));
    assert_eq!(bytes, before);
}

#[test]
fn a_header_that_could_not_be_read_is_not_built() {
    let build = |facts: &Facts<'_>| header_with(facts, &[]).err();
    let long = [0; ARCH_MAX + 1];
    assert_eq!(
        build(&Facts {
            arch: &long,
            ..FACTS
        }),
        Some(Error::TooLong)
    );
    assert_eq!(
        build(&Facts {
            build_id: &[1; 33],
            ..FACTS
        }),
        Some(Error::TooLong)
    );
    assert_eq!(
        build(&Facts { flags: 4, ..FACTS }),
        Some(Error::UnknownFeature)
    );
    assert_eq!(
        build(&Facts {
            release: &"6".repeat(65),
            ..FACTS
        }),
        Some(Error::TooLong)
    );
    assert_eq!(
        build(&Facts {
            machine: "x\n",
            ..FACTS
        }),
        Some(Error::BadText)
    );
    assert_eq!(
        build(&Facts {
            writer: "",
            ..FACTS
        }),
        Some(Error::BadText)
    );
    assert_eq!(
        build(&Facts {
            snapshot: "Atomic",
            ..FACTS
        }),
        Some(Error::BadText)
    );

    let nine = [TRANSFORMS[0]; 9];
    assert_eq!(header_with(&FACTS, &nine).err(), Some(Error::BadCount));
    let params = [0; PARAMS_MAX + 1];
    let long = Transform {
        params: &params,
        ..TRANSFORMS[0]
    };
    assert_eq!(header_with(&FACTS, &[long]).err(), Some(Error::TooLong));
    let name = Transform {
        name: "a b",
        ..TRANSFORMS[0]
    };
    assert_eq!(header_with(&FACTS, &[name]).err(), Some(Error::BadText));
}

#[test]
fn the_largest_header_fits_its_area() {
    let params = [9; PARAMS_MAX];
    let transform = Transform {
        params: &params,
        ..TRANSFORMS[0]
    };
    let facts = Facts {
        arch: &[1; ARCH_MAX],
        ..FACTS
    };
    let mounted = [MOUNTED; MOUNTED_MAX];
    let bystanders = [BYSTANDER; BYSTANDERS_MAX];
    let bytes = header_lists(&facts, &[transform; 8], &mounted, &bystanders).unwrap();
    assert!(bytes.len() <= AREA_BYTES);
    let header = Header::decode(&bytes).unwrap();
    assert_eq!(header.transform_count(), 8);
    assert_eq!(header.mounted().count(), MOUNTED_MAX);
    assert_eq!(header.bystanders().count(), BYSTANDERS_MAX);
}

#[test]
fn mounted_filesystems_come_back() {
    let other = Mounted {
        name: "",
        device: (u32::MAX, 0),
        ..MOUNTED
    };
    for list in [&[][..], &[MOUNTED], &[MOUNTED, other]] {
        let bytes = header_mounted(&FACTS, &TRANSFORMS, list).unwrap();
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(header.mounted().collect::<Vec<_>>(), list);
        // It is no fact: the builder says so by itself.
        assert_eq!(header.facts, FACTS);
        assert_eq!(header.transforms().count(), TRANSFORMS.len());
    }
    let none = header_with(&FACTS, &TRANSFORMS).unwrap();
    assert_eq!(header_mounted(&FACTS, &TRANSFORMS, &[]).unwrap(), none);
}

#[test]
fn lists_of_filesystems_that_are_refused() {
    let many = [MOUNTED; MOUNTED_MAX + 1];
    let built = header_mounted(&FACTS, &[], &many);
    assert_eq!(built.err(), Some(Error::BadCount));
    let long = "n".repeat(33);
    for (name, error) in [(long.as_str(), Error::TooLong), ("v\n", Error::BadText)] {
        let built = header_mounted(&FACTS, &[], &[Mounted { name, ..MOUNTED }]);
        assert_eq!(built.err(), Some(error));
    }
    let mut buf = vec![0; AREA_BYTES];
    let mut builder = HeaderBuilder::new(&mut buf, &FACTS).unwrap();
    builder.mounted(&MOUNTED).unwrap();
    assert_eq!(builder.transform(&TRANSFORMS[0]), Err(Error::BadOrder));

    let whole = header_mounted(&FACTS, &[], &[MOUNTED; 2]).unwrap();
    let list = whole.len() - 2 * MOUNTED_BYTES - 8;
    let sealed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        wire::seal(&mut bytes, 12).unwrap();
        Header::decode(&bytes).err()
    };
    assert_eq!(sealed(list, 2), None);
    assert_eq!(sealed(list, 0), Some(Error::BadCount));
    assert_eq!(sealed(list, 65), Some(Error::BadCount));
    assert_eq!(sealed(list, 1), Some(Error::BadLength));
    assert_eq!(sealed(list, 3), Some(Error::Truncated));
    assert_eq!(sealed(list + 4, 1), Some(Error::NotZero));
    assert_eq!(sealed(list + 8 + 28, 1), Some(Error::NotZero));
    assert_eq!(sealed(list + 8 + 32, 7), Some(Error::BadText));
    // Without the flag it is something that does not belong there.
    assert_eq!(sealed(20, 1), Some(Error::BadLength));
}

#[test]
fn bystanders_come_back() {
    let other = Bystander {
        is_virtual: true,
        device: (0, u32::MAX),
        block: u64::MAX,
        label: "",
        path: "",
        ..BYSTANDER
    };
    for mounted in [&[][..], &[MOUNTED]] {
        for list in [&[][..], &[BYSTANDER], &[BYSTANDER, other]] {
            let bytes = header_lists(&FACTS, &TRANSFORMS, mounted, list).unwrap();
            let header = Header::decode(&bytes).unwrap();
            assert_eq!(header.bystanders().collect::<Vec<_>>(), list);
            assert_eq!(header.mounted().collect::<Vec<_>>(), mounted);
            assert_eq!(header.facts, FACTS);
        }
    }
}

#[test]
fn lists_of_bystanders_that_are_refused() {
    let many = [BYSTANDER; BYSTANDERS_MAX + 1];
    let built = header_lists(&FACTS, &[], &[], &many);
    assert_eq!(built.err(), Some(Error::BadCount));
    let long = "n".repeat(65);
    let texts = [("", long.as_str()), (&long[..17], ""), ("a\n", "")];
    let errors = [Error::TooLong, Error::TooLong, Error::BadText];
    for ((label, path), error) in texts.into_iter().zip(errors) {
        let area = Bystander {
            label,
            path,
            ..BYSTANDER
        };
        let built = header_lists(&FACTS, &[], &[], &[area]);
        assert_eq!(built.err(), Some(error));
    }
    let mut buf = vec![0; AREA_BYTES];
    let mut builder = HeaderBuilder::new(&mut buf, &FACTS).unwrap();
    builder.bystander(&BYSTANDER).unwrap();
    assert_eq!(builder.transform(&TRANSFORMS[0]), Err(Error::BadOrder));
    assert_eq!(builder.mounted(&MOUNTED), Err(Error::BadOrder));

    let whole = header_lists(&FACTS, &[], &[MOUNTED], &[BYSTANDER; 2]).unwrap();
    let list = whole.len() - 2 * BYSTANDER_BYTES - 8;
    let sealed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        wire::seal(&mut bytes, 12).unwrap();
        Header::decode(&bytes).err()
    };
    assert_eq!(sealed(list, 2), None);
    assert_eq!(sealed(list, 0), Some(Error::BadCount));
    assert_eq!(sealed(list, 33), Some(Error::BadCount));
    assert_eq!(sealed(list, 1), Some(Error::BadLength));
    assert_eq!(sealed(list, 3), Some(Error::Truncated));
    assert_eq!(sealed(list + 4, 1), Some(Error::NotZero));
    assert_eq!(sealed(list + 8 + 32, 1), None);
    assert_eq!(sealed(list + 8 + 32, 2), Some(Error::UnknownFeature));
    assert_eq!(sealed(list + 8 + 36, 1), Some(Error::NotZero));
    assert_eq!(sealed(list + 8 + 40, 7), Some(Error::BadText));
    assert_eq!(sealed(list + 8 + 56, 7), Some(Error::BadText));
    // Without its flag a list is something that does not belong there.
    assert_eq!(sealed(20, 5), Some(Error::BadLength));
    assert_eq!(sealed(20, 1), Some(Error::BadLength));
}

#[test]
fn a_small_buffer_is_refused_without_damage() {
    let whole = samples::header_bytes();
    for len in 0..whole.len() {
        let mut buf = vec![0; len];
        let built = HeaderBuilder::new(&mut buf, &FACTS).and_then(|mut builder| {
            TRANSFORMS.iter().try_for_each(|t| builder.transform(t))?;
            builder.finish()
        });
        assert_eq!(built, Err(Error::NoRoom), "{len}");
    }
}
