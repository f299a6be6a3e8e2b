// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_registry`: what may be registered, how it is found, and how long it stays.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use crate::fixture::space::RamStorage;
use crate::fixture::transform::{
    mix,
    unmix,
    Fake, //
};
use crate::fixture::{self};
use dormouse::errno;
use dormouse::registry::{
    self,
    Registration,
    Table, //
};
use dormouse::storage::Place;
use dormouse::text::Text;
use dormouse::transform::{
    Kind,
    Transform, //
};
use kernel::c_str;
use kernel::prelude::*;

suite! { "dormouse_registry":
    what_is_registered_is_found,
    what_is_dropped_is_gone,
    a_name_is_taken_once,
    kinds_have_their_own_names,
    refuses_invalid_names,
    refuses_more_than_the_table_holds,
    lists_as_a_block_scheduler_does,
    unknown_names_are_not_found,
    a_pin_keeps_the_object,
    all_pins_everything_in_order,
    a_storage_is_found_and_reserves,
    accepts_a_transform_that_declines,
    accepts_a_transform_that_grows_frames,
    refuses_one_that_corrupts,
    refuses_one_that_corrupts_one_byte_of_long_frames,
    refuses_one_that_returns_too_little,
    refuses_one_that_overruns_its_worst_case,
    refuses_one_that_claims_more_than_there_is_room,
    refuses_one_that_fails_to_undo,
    passes_errors_of_the_transform_on,
    refuses_worst_cases_that_make_no_sense,
    refuses_expectations_that_make_no_sense,
    refuses_parameters_that_are_too_long,
}

/// Of a kernel without modules.
const ENOSYS: i32 = 38;
const NAME: &CStr = c_str!("kunit-one");
const OTHER: &CStr = c_str!("kunit-two");

fn table() -> Result<&'static Table<dyn Transform>> {
    Ok(&registry::get()?.compressors)
}

fn honest(name: &'static CStr) -> Result<Fake> {
    Fake::new(name, Kind::Compress)
}

fn listed(selected: &str, none: bool) -> Result<Text<512>> {
    let mut text = Text::new();
    table()?.list(&mut text, selected, none)?;
    Ok(text)
}

/// Tries to register `fake`, which must be refused with `expected` and leave nothing behind.
fn refused(fake: Fake, expected: Error) -> Verdict {
    let name = fake.name;
    let live = fixture::live();
    check_eq!(fake.register().err(), Some(expected));
    check_eq!(fixture::live(), live - 1, "(objects left)");
    let name = name.to_str().map_err(|_| EINVAL)?;
    check!(table()?.find_loaded(name).is_none());
    Ok(())
}

fn what_is_registered_is_found() -> Verdict {
    let _registration = honest(NAME)?.register()?;
    let found = table()?.find("kunit-one")?;
    check_eq!(found.name(), "kunit-one");
    check_eq!(found.kind(), Kind::Compress);
    check!(table()?.find_loaded("kunit-one").is_some());
    check!(table()?.find_loaded("kunit-on").is_none());
    Ok(())
}

fn what_is_dropped_is_gone() -> Verdict {
    let live = fixture::live();
    drop(honest(NAME)?.register()?);
    check!(table()?.find_loaded("kunit-one").is_none());
    check_eq!(fixture::live(), live);
    // The name is free again.
    drop(honest(NAME)?.register()?);
    Ok(())
}

fn a_name_is_taken_once() -> Verdict {
    let live = fixture::live();
    let registration = honest(NAME)?.register()?;
    let second = honest(NAME)?.register();
    check_eq!(second.err(), Some(EEXIST));
    // The refusal took nothing away from the first.
    check!(table()?.find_loaded("kunit-one").is_some());
    let _other = honest(OTHER)?.register()?;
    drop(registration);
    check!(table()?.find_loaded("kunit-two").is_some());
    check_eq!(fixture::live(), live + 1);
    Ok(())
}

fn kinds_have_their_own_names() -> Verdict {
    let _compressor = honest(NAME)?.register()?;
    let _encryptor = Fake::new(NAME, Kind::Encrypt)?.register()?;
    let registry = registry::get()?;
    for kind in [Kind::Compress, Kind::Encrypt] {
        check_eq!(registry.transforms(kind).find("kunit-one")?.kind(), kind);
    }
    check!(registry.writers.find_loaded("kunit-one").is_none());
    check_eq!(registry.compressors.kind(), "compress");
    check_eq!(registry.encryptors.kind(), "encrypt");
    Ok(())
}

fn refuses_invalid_names() -> Verdict {
    let names = [
        c_str!(""),
        c_str!("none"),
        c_str!("Upper"),
        c_str!("two words"),
        c_str!("../../lib"),
        c_str!("dot.ted"),
        c_str!("new\nline"),
        c_str!("percent%s"),
        c_str!("um\u{fc}laut"),
        c_str!("a-name-that-has-thirty-two-bytes"),
    ];
    for name in names {
        refused(honest(name)?, EINVAL)?;
    }
    let _longest = honest(c_str!("a-name-that-has-31-bytes_012345"))?.register()?;
    Ok(())
}

fn refuses_more_than_the_table_holds() -> Verdict {
    const NAMES: [&CStr; 33] = {
        const ALL: &[u8; 33 * 3] = b"a0\0a1\0a2\0a3\0a4\0a5\0a6\0a7\0a8\0a9\0\
            b0\0b1\0b2\0b3\0b4\0b5\0b6\0b7\0b8\0b9\0c0\0c1\0c2\0c3\0c4\0c5\0c6\0c7\0c8\0c9\0\
            d0\0d1\0d2\0";
        let mut names = [c_str!(""); 33];
        let mut i = 0;
        while i < names.len() {
            let (_, rest) = ALL.split_at(i * 3);
            let (name, _) = rest.split_at(3);
            names[i] = match CStr::from_bytes_with_nul(name) {
                Ok(name) => name,
                Err(_) => c_str!(""),
            };
            i += 1;
        }
        names
    };
    let live = fixture::live();
    let mut kept: KVec<Registration> = KVec::new();
    let mut refusal = None;
    for name in NAMES {
        match Fake::new(name, Kind::Encrypt)?.register() {
            Ok(registration) => kept.push(registration, GFP_KERNEL)?,
            Err(e) => {
                refusal = Some(e);
                break;
            }
        }
    }
    check_eq!(refusal, Some(ENOSPC));
    drop(kept);
    check_eq!(fixture::live(), live);
    check!(registry::get()?.encryptors.find_loaded("a0").is_none());
    Ok(())
}

fn lists_as_a_block_scheduler_does() -> Verdict {
    // Others may be registered already; ours come behind them.
    let before = listed("", false)?;
    let before = before.as_str().trim_end();
    let first: Text<512> = Text::format(format_args!("{before} "));
    let first = first.as_str().trim_start();

    let _one = honest(NAME)?.register()?;
    let _two = honest(OTHER)?.register()?;
    let expect = |text: core::fmt::Arguments<'_>| Text::<512>::format(text);
    check_eq!(
        listed("", false)?.as_str(),
        expect(format_args!("{first}kunit-one kunit-two\n")).as_str()
    );
    check_eq!(
        listed("kunit-two", false)?.as_str(),
        expect(format_args!("{first}kunit-one [kunit-two]\n")).as_str()
    );
    check_eq!(
        listed("none", true)?.as_str(),
        expect(format_args!("[none] {first}kunit-one kunit-two\n")).as_str()
    );
    check_eq!(
        listed("kunit-one", true)?.as_str(),
        expect(format_args!("none {first}[kunit-one] kunit-two\n")).as_str()
    );
    // A reader that has no room gets an error and not half a list.
    struct Full;
    impl core::fmt::Write for Full {
        fn write_str(&mut self, _: &str) -> core::fmt::Result {
            Err(core::fmt::Error)
        }
    }
    check!(table()?.list(&mut Full, "", true).is_err());
    Ok(())
}

fn unknown_names_are_not_found() -> Verdict {
    // Asking for a module is all that is left to do, where there are modules.
    let absent = if cfg!(CONFIG_MODULES) {
        ENOENT
    } else {
        errno::error(ENOSYS)
    };
    check_eq!(table()?.find("kunit-absent").err(), Some(absent));
    for name in ["", "No-Such", "a/b", "a-name-that-has-thirty-two-bytes"] {
        check_eq!(table()?.find(name).err(), Some(EINVAL), "for {name:?}");
    }
    Ok(())
}

fn a_pin_keeps_the_object() -> Verdict {
    let live = fixture::live();
    let registration = honest(NAME)?.register()?;
    let pin = table()?.find("kunit-one")?;
    drop(registration);
    check!(table()?.find_loaded("kunit-one").is_none());
    check_eq!(fixture::live(), live + 1, "(pinned)");
    check_eq!(pin.name(), "kunit-one");
    check_eq!(pin.worst_case(1234), 1234);

    // A new entry of that name is another one.
    let _again = honest(NAME)?.register()?;
    drop(pin);
    check_eq!(fixture::live(), live + 1, "(only the new one)");
    check!(table()?.find_loaded("kunit-one").is_some());
    Ok(())
}

fn all_pins_everything_in_order() -> Verdict {
    let before = table()?.all()?.len();
    let one = honest(NAME)?.register()?;
    let two = honest(OTHER)?.register()?;
    let all = table()?.all()?;
    check_eq!(all.len(), before + 2);
    check_eq!(all[before].name(), "kunit-one");
    check_eq!(all[before + 1].name(), "kunit-two");
    let live = fixture::live();
    drop((one, two));
    check_eq!(fixture::live(), live, "(pinned)");
    drop(all);
    check_eq!(fixture::live(), live - 2);
    Ok(())
}

fn a_storage_is_found_and_reserves() -> Verdict {
    let live = fixture::live();
    let name = c_str!("kunit-ram");
    let registration = registry::register_storage(RamStorage::new(name, 100)?, crate::owner())?;
    let twice = registry::register_storage(RamStorage::new(name, 1)?, crate::owner());
    check_eq!(twice.err(), Some(EEXIST));
    let invalid = RamStorage::new(c_str!("none"), 1)?;
    let invalid = registry::register_storage(invalid, crate::owner());
    check_eq!(invalid.err(), Some(EINVAL));

    let storage = registry::get()?.writers.find("kunit-ram")?;
    let place = Place::Target("auto");
    let room = storage.room(place)?;
    check_eq!(room.blocks(), 100);
    let text: Text<64> = Text::format(format_args!("{room}"));
    check_eq!(text.as_str(), "ram 400 kB");
    check_eq!(storage.reserve(place, 200, 101).err(), Some(ENOSPC));
    let space = storage.reserve(place, 200, 50)?;
    check_eq!(space.blocks(), 100);
    check_eq!(storage.open(place).err(), Some(ENODEV));
    drop((registration, storage, space));
    check_eq!(fixture::live(), live);
    Ok(())
}

fn accepts_a_transform_that_declines() -> Verdict {
    let fake = Fake {
        forward: |_, _, _| Ok(None),
        backward: |_, _, _| Err(EINVAL),
        ..honest(NAME)?
    };
    let _registration = fake.register()?;
    Ok(())
}

fn accepts_a_transform_that_grows_frames() -> Verdict {
    let _registration = Fake::growing(NAME, Kind::Encrypt)?.register()?;
    Ok(())
}

fn damaged() -> Error {
    errno::error(errno::EBADMSG)
}

fn refuses_one_that_corrupts() -> Verdict {
    let fake = Fake {
        backward: |place, src, dst| {
            let len = unmix(place, src, dst)?;
            dst.reverse();
            Ok(len)
        },
        ..honest(NAME)?
    };
    refused(fake, damaged())
}

fn refuses_one_that_corrupts_one_byte_of_long_frames() -> Verdict {
    let fake = Fake {
        forward: |place, src, dst| {
            let len = mix(place, src, dst)?;
            if src.len() > 100_000 {
                dst[99_999] ^= 1;
            }
            Ok(len)
        },
        ..honest(NAME)?
    };
    refused(fake, damaged())
}

fn refuses_one_that_returns_too_little() -> Verdict {
    let short = Fake {
        backward: |place, src, dst| Ok(unmix(place, src, dst)? - 1),
        ..honest(NAME)?
    };
    refused(short, damaged())?;
    // It says so itself, but the rest of the frame is not there.
    let cut = Fake {
        forward: |place, src, dst| Ok(mix(place, src, dst)?.map(|len| len / 2)),
        backward: |place, src, dst| {
            unmix(place, src, dst)?;
            Ok(dst.len())
        },
        ..honest(NAME)?
    };
    refused(cut, damaged())
}

fn refuses_one_that_overruns_its_worst_case() -> Verdict {
    let fake = Fake {
        // Short frames leave room behind their own worst case.
        forward: |place, src, dst| {
            mix(place, src, dst)?;
            Ok(Some(if src.len() < 10_000 {
                src.len() + 1
            } else {
                src.len()
            }))
        },
        backward: |place, src, dst| unmix(place, &src[..dst.len()], dst),
        ..honest(NAME)?
    };
    refused(fake, E2BIG)
}

fn refuses_one_that_claims_more_than_there_is_room() -> Verdict {
    let fake = Fake {
        forward: |_, _, dst| Ok(Some(dst.len() + 1)),
        ..honest(NAME)?
    };
    refused(fake, E2BIG)?;
    let fake = Fake {
        forward: |_, _, _| Ok(Some(usize::MAX)),
        ..honest(NAME)?
    };
    refused(fake, E2BIG)
}

fn refuses_one_that_fails_to_undo() -> Verdict {
    let fake = Fake {
        backward: |_, _, _| Err(EDOM),
        ..honest(NAME)?
    };
    refused(fake, EDOM)
}

fn passes_errors_of_the_transform_on() -> Verdict {
    let forward = Fake {
        forward: |_, _, _| Err(EDOM),
        ..honest(NAME)?
    };
    refused(forward, EDOM)?;
    let parameters = Fake {
        parameters: |_| Err(EACCES),
        ..honest(NAME)?
    };
    refused(parameters, EACCES)?;
    for stage in [1, 2] {
        let fake = honest(NAME)?;
        fake.countdowns.stages.set(stage);
        refused(fake, ERANGE)?;
    }
    Ok(())
}

fn refuses_worst_cases_that_make_no_sense() -> Verdict {
    let bounds: [fn(usize) -> usize; 3] = [|_| 0, |len| 2 * len + 1, |_| usize::MAX];
    for worst_case in bounds {
        let fake = Fake {
            worst_case,
            ..honest(NAME)?
        };
        refused(fake, EINVAL)?;
    }
    Ok(())
}

fn refuses_expectations_that_make_no_sense() -> Verdict {
    for percent in [0, 101, u32::MAX] {
        let fake = Fake {
            percent,
            ..honest(NAME)?
        };
        refused(fake, EINVAL)?;
    }
    Ok(())
}

fn refuses_parameters_that_are_too_long() -> Verdict {
    let fake = Fake {
        parameters: |out| Ok(out.len() + 1),
        ..honest(NAME)?
    };
    refused(fake, EINVAL)
}
