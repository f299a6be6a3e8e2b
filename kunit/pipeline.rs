// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_pipeline`: pages go to a storage and come back, all of them and unchanged.

#![forbid(unsafe_code)]

use crate::check::{
    check,
    check_eq,
    suite,
    Verdict, //
};
use crate::fixture::image::{
    blocks_for,
    load,
    load_with,
    save, //
};
use crate::fixture::pages::{
    model,
    Mix,
    Model, //
};
use crate::fixture::space::{
    Order,
    Ram,
    Script, //
};
use crate::fixture::transform::{
    compressor,
    recipe,
    Fake, //
};
use crate::fixture::{
    self,
    Random, //
};
use dormouse::errno;
use dormouse::image::{
    frame,
    ImageId,
    BLOCK,
    CHUNK_BYTES,
    FRAME_RAW_MAX, //
};
use dormouse::pipeline::chain::Recipe;
use dormouse::pipeline::{
    io,
    save as job, //
};
use dormouse::storage::Space;
use dormouse::sys::buf::Buf;
use dormouse::sys::ioq::IoQueue;
use dormouse::transform::{
    Direction,
    Kind,
    Place, //
};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

suite! { "dormouse_pipeline":
    saves_and_loads_none,
    saves_and_loads_lzo,
    saves_and_loads_lz4,
    saves_and_loads_zstd,
    saves_and_loads_two_transforms,
    saves_and_loads_what_grows,
    saves_and_loads_few_pages,
    saves_and_loads_many_entries,
    loads_with_any_number_of_buffers,
    keeps_several_requests_under_way,
    same_image_whatever_the_order,
    writes_and_reads_parts,
    refuses_parts_beyond_the_end,
    chain_refuses_what_it_did_not_apply,
    chain_insists_on_its_encryptor,
    recipe_has_two_places,
}

/// Saves and loads `model`, and checks every count of the commit record.
fn there_and_back(model: &Arc<Model>, recipe: &Recipe, workers: usize, order: Order) -> Verdict {
    let live = fixture::live();
    let space = Ram::new(blocks_for(model, recipe, workers), order)?;
    let commit = save(model, &space, recipe, workers)?;
    let counts = model.counts();
    check_eq!(commit.image_pages, counts.pages);
    check_eq!(commit.fill_pages, counts.fill);
    check_eq!(commit.data_pages, counts.pages - counts.fill);
    let data_frames = commit.frames - commit.index_frames;
    let fewest = commit.data_pages.div_ceil(32);
    check!((fewest..=fewest + workers as u64).contains(&data_frames));
    let seen = space.seen();
    check_eq!(seen.impossible, 0);
    // The root takes one request here.
    let root = usize::from(commit.chunks != 0);
    check_eq!(seen.requests, commit.chunks as usize + root);

    let loaded = load(model, &space, recipe, workers, &commit)?;
    check_eq!(loaded.wrong.as_ref().map(|w| w.as_str()), None);
    check_eq!(loaded.result, Ok(()));
    check_eq!(space.seen().impossible, 0);
    drop(space);
    check_eq!(fixture::live(), live);
    Ok(())
}

fn saves_and_loads(recipe: &Recipe) -> Verdict {
    for workers in [1, 2, 4] {
        for order in [Order::Shuffled, Order::AtOnce] {
            let pages = model(1500, Mix::All, workers as u64)?;
            there_and_back(&pages, recipe, workers, order)?;
        }
    }
    let pages = Arc::new(Model::new(700, Mix::All, 9)?.scattered(), GFP_KERNEL)?;
    there_and_back(&pages, recipe, 3, Order::Shuffled)?;
    for mix in [Mix::Noise, Mix::Fill, Mix::Alternate] {
        there_and_back(&model(600, mix, 5)?, recipe, 2, Order::Shuffled)?;
    }
    Ok(())
}

fn saves_and_loads_none() -> Verdict {
    saves_and_loads(&compressor("none")?)
}

fn saves_and_loads_lzo() -> Verdict {
    saves_and_loads(&compressor("lzo")?)
}

fn saves_and_loads_lz4() -> Verdict {
    saves_and_loads(&compressor("lz4")?)
}

fn saves_and_loads_zstd() -> Verdict {
    saves_and_loads(&compressor("zstd")?)
}

fn saves_and_loads_two_transforms() -> Verdict {
    let _registration = Fake::new(c_str!("kunit-mix"), Kind::Encrypt)?.register()?;
    let both = recipe(&[(Kind::Compress, "lz4"), (Kind::Encrypt, "kunit-mix")])?;
    saves_and_loads(&both)?;
    // Each compressor may decline.
    let declining = Fake {
        forward: |_, _, _| Ok(None),
        ..Fake::new(c_str!("kunit-declines"), Kind::Compress)?
    };
    let _registration = declining.register()?;
    let both = recipe(&[(Kind::Compress, "lz4"), (Kind::Compress, "kunit-declines")])?;
    there_and_back(&model(500, Mix::All, 6)?, &both, 2, Order::Shuffled)
}

fn saves_and_loads_what_grows() -> Verdict {
    let _first = Fake::growing(c_str!("kunit-grows"), Kind::Compress)?.register()?;
    let _second = Fake::growing(c_str!("kunit-grows"), Kind::Encrypt)?.register()?;
    saves_and_loads(&recipe(&[(Kind::Compress, "kunit-grows")])?)?;
    saves_and_loads(&recipe(&[
        (Kind::Compress, "kunit-grows"),
        (Kind::Encrypt, "kunit-grows"),
    ])?)
}

fn saves_and_loads_few_pages() -> Verdict {
    let recipe = compressor("lz4")?;
    for pages in [0, 1, 2, 31, 32, 33, 63, 64, 65] {
        for mix in [Mix::All, Mix::Noise, Mix::Fill] {
            for workers in [1, 4] {
                let pages = model(pages, mix, pages as u64)?;
                there_and_back(&pages, &recipe, workers, Order::Shuffled)?;
            }
        }
    }
    Ok(())
}

fn saves_and_loads_many_entries() -> Verdict {
    // More entries than one index frame holds.
    let pages = model(13_000, Mix::Alternate, 1)?;
    there_and_back(&pages, &compressor("lz4")?, 1, Order::Shuffled)
}

fn loads_with_any_number_of_buffers() -> Verdict {
    let recipe = compressor("lz4")?;
    let pages = model(1200, Mix::Noise, 3)?;
    let space = Ram::new(blocks_for(&pages, &recipe, 2), Order::Shuffled)?;
    let commit = save(&pages, &space, &recipe, 2)?;
    for (workers, buffers) in [(1, 1), (1, 2), (4, 1), (4, 2), (4, 40), (2, 3), (8, 8)] {
        let loaded = load_with(&pages, &space, &recipe, (workers, buffers), &commit)?;
        check_eq!(
            loaded.result,
            Ok(()),
            "{workers} workers, {buffers} buffers"
        );
        check!(loaded.wrong.is_none());
    }
    Ok(())
}

fn keeps_several_requests_under_way() -> Verdict {
    let recipe = compressor("none")?;
    let pages = model(3000, Mix::Noise, 4)?;
    let space = Ram::new(blocks_for(&pages, &recipe, 2), Order::Shuffled)?;
    let commit = save(&pages, &space, &recipe, 2)?;
    let seen = space.seen();
    check!(seen.under_way >= 3, "{seen:?}");
    check!(seen.overtaken > 0, "{seen:?}");
    space.follow(Script::good(Order::Shuffled));
    check_eq!(load(&pages, &space, &recipe, 2, &commit)?.result, Ok(()));
    let seen = space.seen();
    check!(seen.under_way >= 3, "{seen:?}");
    check!(seen.overtaken > 0, "{seen:?}");
    Ok(())
}

fn same_image_whatever_the_order() -> Verdict {
    let recipe = compressor("lz4")?;
    let pages = model(900, Mix::All, 8)?;
    let mut stored = [0; 2];
    for (order, stored) in [Order::AtOnce, Order::Shuffled]
        .into_iter()
        .zip(&mut stored)
    {
        let space = Ram::new(blocks_for(&pages, &recipe, 1), order)?;
        *stored = save(&pages, &space, &recipe, 1)?.stored_bytes;
    }
    check_eq!(stored[0], stored[1]);
    Ok(())
}

fn writes_and_reads_parts() -> Verdict {
    const BLOCKS: usize = 700;
    let ram = Ram::new(BLOCKS as u64, Order::Shuffled)?;
    let space: Arc<dyn Space> = ram.clone();
    let queue = IoQueue::new(3, 16 * BLOCK)?;
    let mut bytes = Buf::new(BLOCKS * BLOCK)?;
    Random::new(5).fill(&mut bytes);
    for len in [
        1,
        8,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        16 * BLOCK,
        99 * BLOCK + 5,
        690 * BLOCK,
    ] {
        let at = 10;
        io::write_all(&space, &queue, at, &bytes[..len])?;
        // The rest of the last block is zero.
        let whole = len.next_multiple_of(BLOCK);
        let mut back = Buf::new(whole)?;
        io::read_all(&space, &queue, at, &mut back)?;
        check!(back[..len] == bytes[..len], "{len} bytes");
        check!(back[len..].iter().all(|b| *b == 0), "behind {len} bytes");
        let mut part = Buf::new(len)?;
        io::read_all(&space, &queue, at, &mut part)?;
        check!(part[..] == bytes[..len]);
    }
    io::write_all(&space, &queue, 3, &[])?;
    check_eq!(ram.seen().impossible, 0);
    Ok(())
}

fn refuses_parts_beyond_the_end() -> Verdict {
    let ram = Ram::new(20, Order::Shuffled)?;
    let space: Arc<dyn Space> = ram.clone();
    let queue = IoQueue::new(2, CHUNK_BYTES)?;
    let mut bytes = Buf::new(3 * BLOCK)?;
    for at in [18, 20, u64::MAX - 1, u64::MAX] {
        let written = io::write_all(&space, &queue, at, &bytes);
        check_eq!(written, Err(ENOSPC), "from {at}");
        let read = io::read_all(&space, &queue, at, &mut bytes);
        check_eq!(read, Err(ENXIO), "from {at}");
    }
    check_eq!(ram.seen().requests, 0);
    io::write_all(&space, &queue, 17, &bytes)?;
    Ok(())
}

fn chain_refuses_what_it_did_not_apply() -> Verdict {
    let _first = Fake::growing(c_str!("kunit-a"), Kind::Compress)?.register()?;
    let _second = Fake::new(c_str!("kunit-b"), Kind::Encrypt)?.register()?;
    let place = |applied| Place {
        image_id: ImageId([1; 16]),
        frame_no: 2,
        kind: frame::Kind::Data,
        applied,
        raw_len: FRAME_RAW_MAX as u32,
        extents: &[],
    };
    let mut plain = Buf::new(FRAME_RAW_MAX)?;
    Random::new(6).fill(&mut plain);
    let mut back = Buf::new(FRAME_RAW_MAX)?;
    let one = recipe(&[(Kind::Compress, "kunit-a")])?;
    let two = recipe(&[(Kind::Compress, "kunit-a"), (Kind::Encrypt, "kunit-b")])?;
    let bad = Err(errno::error(errno::EBADMSG));
    for (recipe, applied) in [(&Recipe::new(), 0), (&one, 1), (&two, 3)] {
        let mut stored = Buf::new(recipe.worst_case(plain.len()))?;
        let mut save = recipe.chain(Direction::Save)?;
        let mut load = recipe.chain(Direction::Load)?;
        let frame = save.forward(&place(0), &plain, &mut stored)?;
        check_eq!(frame.applied, applied);
        let src = &stored[..frame.len];
        load.backward(&place(applied), src, &mut back)?;
        check!(back[..] == plain[..]);
        for unknown in [applied + 1, 4, 0x80, 0xff] {
            check_eq!(load.backward(&place(unknown), src, &mut back), bad);
        }
        let mut short = Buf::new(plain.len() - 1)?;
        check!(load.backward(&place(applied), src, &mut short).is_err());
        // Stored as is, and not as long as it should be.
        check_eq!(load.backward(&place(0), &plain[1..], &mut back), bad);
        // No room for the worst case.
        let mut little = Buf::new(100)?;
        check!(save.forward(&place(0), &plain, &mut little).is_err());
    }
    Ok(())
}

fn chain_insists_on_its_encryptor() -> Verdict {
    let _first = Fake::new(c_str!("kunit-a"), Kind::Compress)?.register()?;
    let _second = Fake::new(c_str!("kunit-b"), Kind::Encrypt)?.register()?;
    let both = &recipe(&[(Kind::Compress, "kunit-a"), (Kind::Encrypt, "kunit-b")])?;
    let mut load = both.chain(Direction::Load)?;
    let plain = Buf::new(BLOCK)?;
    let mut back = Buf::new(BLOCK)?;
    let mut place = Place {
        image_id: ImageId([1; 16]),
        frame_no: 2,
        kind: frame::Kind::Data,
        applied: 2,
        raw_len: BLOCK as u32,
        extents: &[],
    };
    load.backward(&place, &plain, &mut back)?;
    for without in [0, 1] {
        place.applied = without;
        let result = load.backward(&place, &plain, &mut back);
        check_eq!(result, Err(errno::error(errno::EBADMSG)));
    }
    // This one has nothing that could vouch for an image.
    check_eq!(both.authenticator().err(), Some(EINVAL));
    // One that lets frames go as they are does not even register.
    let lazy = Fake {
        forward: |_, _, _| Ok(None),
        ..Fake::new(c_str!("kunit-lazy"), Kind::Encrypt)?
    };
    check_eq!(lazy.register().err(), Some(EINVAL));
    Ok(())
}

fn recipe_has_two_places() -> Verdict {
    let names = [(Kind::Compress, "lz4"); 3];
    check_eq!(recipe(&names).err(), Some(E2BIG));
    let both = recipe(&names[..2])?;
    let one = compressor("lz4")?;
    check!(both.worst_case(4096) > one.worst_case(4096));
    check!(both.expected_percent() < one.expected_percent());
    check_eq!(compressor("none")?.expected_percent(), 100);
    check_eq!(compressor("none")?.worst_case(77), 77);
    check!(job::buffers(2) > job::buffers(1));
    Ok(())
}
