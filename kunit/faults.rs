// SPDX-License-Identifier: GPL-2.0

//! Suite `dormouse_faults`: whatever fails, and whenever, ends a job with its own error, with
//! nothing under way and nothing left.

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
    save,
    ID,
    PROGRESS, //
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
    failing,
    recipe, //
};
use crate::fixture::{
    self,
    lost_since,
    used_pages,
    Random,
    NOISE_PAGES, //
};
use dormouse::engine;
use dormouse::errno;
use dormouse::image::commit::Commit;
use dormouse::image::BLOCK;
use dormouse::patience;
use dormouse::pipeline::chain::Recipe;
use dormouse::pipeline::crew::Crew;
use dormouse::pipeline::save::{
    self as job,
    SaveJob,
    FIRST_BLOCK, //
};
use dormouse::transform::Kind;
use kernel::prelude::*;
use kernel::sync::Arc;

suite! { "dormouse_faults":
    every_write_fails_in_turn,
    every_read_fails_in_turn,
    every_frame_fails_in_turn,
    every_stage_fails_in_turn,
    every_page_is_missing_in_turn,
    every_size_is_too_small_or_enough,
    a_request_to_stop_ends_a_save,
    a_request_to_stop_ends_a_load,
    a_request_to_stop_comes_before_everything,
    a_crew_that_never_works_goes_home,
    a_storage_that_stands_still_is_given_up,
    damage_is_found,
    a_commit_record_of_another_image_is_refused,
}

/// Runs `body` and checks that it keeps neither memory nor objects.
fn leaving_nothing(body: impl FnOnce() -> Verdict) -> Verdict {
    let (live, used) = (fixture::live(), used_pages()?);
    body()?;
    check_eq!(fixture::live(), live, "(objects)");
    let lost = lost_since(used, 2 * NOISE_PAGES)?;
    // Less than the buffers of one job, of many that were run.
    check!(lost < 2 * NOISE_PAGES, "{lost} pages of memory are gone");
    Ok(())
}

fn crews() -> [(usize, Order); 4] {
    [
        (1, Order::AtOnce),
        (1, Order::Shuffled),
        (2, Order::Shuffled),
        (4, Order::Shuffled),
    ]
}

fn write_fails(recipe: &Recipe, workers: usize, order: Order) -> Verdict {
    let pages = model(1400, Mix::Noise, 1)?;
    let space = Ram::new(blocks_for(&pages, recipe, workers), order)?;
    save(&pages, &space, recipe, workers)?;
    let requests = space.seen().requests;
    check!(requests >= 9);
    for number in 1..=requests {
        let live = fixture::live();
        space.follow(Script {
            fail: Some((number, EDOM)),
            ..Script::good(order)
        });
        let result = save(&pages, &space, recipe, workers);
        let seen = space.seen();
        let met = seen.requests >= number;
        // Several workers may share the pages in another way, with fewer chunks.
        check!(met || workers > 1, "only {} requests", seen.requests);
        let expected = met.then_some(EDOM);
        check_eq!(result.err(), expected, "request {number} of {requests}");
        check_eq!(seen.impossible, 0);
        // A worker learns of it by the next buffer that it takes, at the latest when all others
        // have come round.
        let most = job::buffers(workers) + 2 * workers;
        check!(seen.after_failure <= most, "request {number}: {seen:?}");
        check_eq!(fixture::live(), live);
    }
    // Nothing of that stays behind.
    space.follow(Script::good(order));
    let commit = save(&pages, &space, recipe, workers)?;
    let loaded = load(&pages, &space, recipe, workers, &commit)?;
    check!(loaded.result.is_ok() && loaded.wrong.is_none());
    Ok(())
}

fn every_write_fails_in_turn() -> Verdict {
    let lz4 = compressor("lz4")?;
    write_fails(&lz4, 2, Order::Shuffled)?;
    leaving_nothing(|| {
        for (workers, order) in crews() {
            write_fails(&lz4, workers, order)?;
        }
        write_fails(&compressor("none")?, 2, Order::Shuffled)
    })
}

fn read_fails(recipe: &Recipe, workers: usize, order: Order) -> Verdict {
    let pages = model(1400, Mix::All, 2)?;
    let space = Ram::new(blocks_for(&pages, recipe, workers), order)?;
    let commit = save(&pages, &space, recipe, workers)?;
    space.follow(Script::good(order));
    check!(load(&pages, &space, recipe, workers, &commit)?
        .result
        .is_ok());
    let requests = space.seen().requests;
    check!(requests >= 6);
    for number in 1..=requests {
        let live = fixture::live();
        space.follow(Script {
            fail: Some((number, EDOM)),
            ..Script::good(order)
        });
        let loaded = load(&pages, &space, recipe, workers, &commit)?;
        check_eq!(loaded.result, Err(EDOM), "request {number} of {requests}");
        check!(loaded.wrong.is_none());
        check_eq!(space.seen().impossible, 0);
        check_eq!(fixture::live(), live);
    }
    Ok(())
}

fn every_read_fails_in_turn() -> Verdict {
    let lz4 = compressor("lz4")?;
    read_fails(&lz4, 2, Order::Shuffled)?;
    leaving_nothing(|| {
        for (workers, order) in crews() {
            read_fails(&lz4, workers, order)?;
        }
        read_fails(&compressor("none")?, 2, Order::Shuffled)
    })
}

fn every_frame_fails_in_turn() -> Verdict {
    let pages = model(700, Mix::All, 3)?;
    let (_registration, countdowns) = failing()?;
    let recipe = recipe(&[(Kind::Compress, "kunit-failing")])?;
    leaving_nothing(|| {
        for workers in [1, 2] {
            let space = Ram::new(blocks_for(&pages, &recipe, workers), Order::Shuffled)?;
            let commit = save(&pages, &space, &recipe, workers)?;
            let frames = commit.frames as usize;
            check!(frames > 15);
            for frame in 1..=frames {
                countdowns.forward.set(frame);
                let result = save(&pages, &space, &recipe, workers);
                check_eq!(result.err(), Some(ERANGE), "frame {frame} of {frames}");
            }
            let commit = save(&pages, &space, &recipe, workers)?;
            for frame in 1..=commit.frames as usize {
                countdowns.backward.set(frame);
                let loaded = load(&pages, &space, &recipe, workers, &commit)?;
                check_eq!(loaded.result, Err(ERANGE), "frame {frame} of {frames}");
                check!(loaded.wrong.is_none());
                check_eq!(countdowns.backward.left(), 0);
            }
            check!(load(&pages, &space, &recipe, workers, &commit)?
                .result
                .is_ok());
        }
        Ok(())
    })
}

fn every_stage_fails_in_turn() -> Verdict {
    let pages = model(100, Mix::All, 4)?;
    let (_registration, countdowns) = failing()?;
    let recipe = recipe(&[(Kind::Compress, "kunit-failing")])?;
    leaving_nothing(|| {
        let workers = 4;
        let space = Ram::new(blocks_for(&pages, &recipe, workers), Order::Shuffled)?;
        let commit = save(&pages, &space, &recipe, workers)?;
        for stage in 1..=workers {
            let live = fixture::live();
            countdowns.stages.set(stage);
            let result = save(&pages, &space, &recipe, workers);
            check_eq!(result.err(), Some(ERANGE), "stage {stage}");
            check_eq!(fixture::live(), live);
            countdowns.stages.set(stage);
            let loaded = load(&pages, &space, &recipe, workers, &commit)?;
            check_eq!(loaded.result, Err(ERANGE), "stage {stage}");
            check_eq!(fixture::live(), live);
        }
        Ok(())
    })
}

fn every_page_is_missing_in_turn() -> Verdict {
    let recipe = compressor("lz4")?;
    let space = Ram::new(
        blocks_for(&*model(90, Mix::Noise, 5)?, &recipe, 2),
        Order::Shuffled,
    )?;
    for place in 0..90 {
        let pages = Arc::new(Model::new(90, Mix::Noise, 5)?.without(place), GFP_KERNEL)?;
        check_eq!(
            save(&pages, &space, &recipe, 2).err(),
            Some(EFAULT),
            "page {place}"
        );
    }
    Ok(())
}

fn every_size_is_too_small_or_enough() -> Verdict {
    let recipe = compressor("lz4")?;
    for (workers, order) in crews() {
        let pages = model(600, Mix::Noise, 6)?;
        let most = blocks_for(&pages, &recipe, workers);
        let mut enough = None;
        let coarse = (30..most - 8).step_by(41);
        let all = Iterator::chain(Iterator::chain(0..30, coarse), most - 8..=most);
        for blocks in all {
            let live = fixture::live();
            let space = Ram::new(blocks, order)?;
            let result = save(&pages, &space, &recipe, workers);
            check_eq!(space.seen().impossible, 0, "in {blocks} blocks");
            match result {
                Ok(commit) => {
                    let loaded = load(&pages, &space, &recipe, workers, &commit)?;
                    check_eq!(loaded.result, Ok(()), "in {blocks} blocks");
                    check!(loaded.wrong.is_none());
                    enough = Some(blocks);
                }
                Err(e) => {
                    check_eq!(e, ENOSPC, "in {blocks} blocks");
                    check_eq!(enough, None, "(was enough for it), in {blocks} blocks");
                }
            }
            if blocks <= FIRST_BLOCK {
                check_eq!(space.seen().requests, 0);
            }
            drop(space);
            check_eq!(fixture::live(), live);
        }
        check!(enough.is_some_and(|blocks| blocks > 600));
    }
    Ok(())
}

fn canceled() -> Error {
    errno::error(errno::ECANCELED)
}

fn a_request_to_stop_ends_a_save() -> Verdict {
    let recipe = compressor("lz4")?;
    leaving_nothing(|| {
        for (workers, order) in crews() {
            let pages = model(1200, Mix::Noise, 7)?;
            let space = Ram::new(blocks_for(&pages, &recipe, workers), order)?;
            let requests = {
                save(&pages, &space, &recipe, workers)?;
                space.seen().requests
            };
            for number in 1..=requests {
                space.follow(Script {
                    abort: Some((number, &PROGRESS)),
                    ..Script::good(order)
                });
                match save(&pages, &space, &recipe, workers) {
                    Err(e) => {
                        check_eq!(e, canceled());
                        let seen = space.seen();
                        // Each worker may still send what it has in hand.
                        let most = number + 2 * workers;
                        check!(seen.requests <= most, "stop at {number}: {seen:?}");
                    }
                    Ok(commit) => {
                        // Asked too late, the image is complete.
                        check!(number + 2 * workers >= requests, "stop at {number}");
                        // The script would go on in the load.
                        space.follow(Script::good(order));
                        PROGRESS.clear_abort();
                        let loaded = load(&pages, &space, &recipe, workers, &commit)?;
                        check!(loaded.result.is_ok() && loaded.wrong.is_none());
                    }
                }
            }
        }
        Ok(())
    })
}

fn a_request_to_stop_ends_a_load() -> Verdict {
    let recipe = compressor("none")?;
    leaving_nothing(|| {
        for (workers, order) in crews() {
            let pages = model(1500, Mix::All, 8)?;
            let space = Ram::new(blocks_for(&pages, &recipe, workers), order)?;
            let commit = save(&pages, &space, &recipe, workers)?;
            space.follow(Script::good(order));
            check!(load(&pages, &space, &recipe, workers, &commit)?
                .result
                .is_ok());
            let requests = space.seen().requests;
            for number in 1..=requests {
                space.follow(Script {
                    abort: Some((number, &PROGRESS)),
                    ..Script::good(order)
                });
                let loaded = load(&pages, &space, &recipe, workers, &commit)?;
                check!(loaded.wrong.is_none());
                // The last one reads the index once more, and then all is known.
                let expected = [Err(canceled()), Ok(())];
                let last = number == requests;
                check!(
                    loaded.result == expected[0] || (last && loaded.result == expected[1]),
                    "stop at {number} of {requests}: {:?}",
                    loaded.result
                );
            }
        }
        PROGRESS.clear_abort();
        Ok(())
    })
}

fn a_request_to_stop_comes_before_everything() -> Verdict {
    let recipe = compressor("lz4")?;
    let pages = model(300, Mix::All, 9)?;
    let space = Ram::new(blocks_for(&pages, &recipe, 2), Order::Shuffled)?;
    PROGRESS.clear_abort();
    let job = SaveJob::new(pages, 300, space.clone(), &recipe, 2, ID, &PROGRESS)?;
    let crew = Crew::new(2)?;
    PROGRESS.request_abort();
    SaveJob::work(&job, crew)?;
    let result = job.finish();
    PROGRESS.clear_abort();
    check_eq!(result.err(), Some(canceled()));
    check_eq!(space.seen().requests, 0);
    Ok(())
}

fn a_crew_that_never_works_goes_home() -> Verdict {
    let recipe = compressor("lz4")?;
    leaving_nothing(|| {
        let pages = model(300, Mix::All, 10)?;
        let space = Ram::new(blocks_for(&pages, &recipe, 4), Order::Shuffled)?;
        for _ in 0..20 {
            let most = pages.len();
            let job = SaveJob::new(
                pages.clone(),
                most,
                space.clone(),
                &recipe,
                4,
                ID,
                &PROGRESS,
            )?;
            let crew = Crew::new(4)?;
            drop(crew);
            drop(job);
        }
        check_eq!(space.seen().requests, 0);
        Ok(())
    })
}

fn stands_still(workers: usize) -> Verdict {
    let timed_out = Some(errno::error(errno::ETIMEDOUT));
    let recipe = compressor("none")?;
    let pages = model(1400, Mix::Noise, 12)?;
    let space = Ram::new(blocks_for(&pages, &recipe, workers), Order::Shuffled)?;
    for number in [1, 5] {
        space.follow(Script {
            stall: Some(number),
            ..Script::good(Order::Shuffled)
        });
        let result = save(&pages, &space, &recipe, workers);
        check_eq!(result.err(), timed_out, "request {number}");
        // Nobody waits for what comes back now, and its buffers are still there.
        space.follow(Script::good(Order::Shuffled));
    }
    let commit = save(&pages, &space, &recipe, workers)?;
    space.follow(Script {
        stall: Some(3),
        ..Script::good(Order::Shuffled)
    });
    // The root is the first that is read.
    let result = load(&pages, &space, &recipe, workers, &commit).and_then(|l| l.result);
    check_eq!(result.err(), timed_out);
    space.follow(Script::good(Order::Shuffled));
    let loaded = load(&pages, &space, &recipe, workers, &commit)?;
    check!(loaded.result.is_ok() && loaded.wrong.is_none());
    Ok(())
}

fn a_storage_that_stands_still_is_given_up() -> Verdict {
    patience::set_limit(1);
    let result = leaving_nothing(|| {
        stands_still(1)?;
        stands_still(3)
    });
    patience::set_limit(patience::DEFAULT_S);
    // No cycle has anything to do with that.
    engine::get()?.progress.clear_abort();
    result
}

fn damage_is_found() -> Verdict {
    let pages = model(500, Mix::All, 11)?;
    for name in ["none", "lz4"] {
        let recipe = compressor(name)?;
        let space = Ram::new(blocks_for(&pages, &recipe, 2), Order::Shuffled)?;
        let commit = save(&pages, &space, &recipe, 2)?;
        let start = FIRST_BLOCK as usize * BLOCK;
        let end = commit.root_block as usize * BLOCK + commit.root_len()? as usize;
        let mut random = Random::new(12);
        let mut refused = 0;
        for _ in 0..300 {
            let at = start + random.below(end - start);
            let mask = 1 << random.below(8);
            space.flip(at, mask);
            let loaded = load(&pages, &space, &recipe, 2, &commit)?;
            check_eq!(loaded.wrong.as_ref().map(|w| w.as_str()), None, "byte {at}");
            match loaded.result {
                // The rest of a chunk's last block belongs to nobody.
                Ok(()) => {}
                Err(e) => {
                    check_eq!(e, errno::error(errno::EBADMSG), "byte {at}");
                    refused += 1;
                }
            }
            space.flip(at, mask);
        }
        check!(refused > 280, "only {refused} of 300 were found");
        check!(load(&pages, &space, &recipe, 2, &commit)?.result.is_ok());
    }
    Ok(())
}

fn a_commit_record_of_another_image_is_refused() -> Verdict {
    let recipe = compressor("lz4")?;
    let old = model(500, Mix::Noise, 13)?;
    let new = model(500, Mix::Noise, 14)?;
    let space = Ram::new(blocks_for(&old, &recipe, 1), Order::Shuffled)?;
    save(&old, &space, &recipe, 1)?;
    let commit = save(&new, &space, &recipe, 1)?;
    // The comparison itself is not blind: these are other pages in the same places.
    let loaded = load(&old, &space, &recipe, 1, &commit)?;
    check!(loaded.result.is_err() && loaded.wrong.is_some());
    let shorter = Commit {
        image_pages: commit.image_pages - 1,
        data_pages: commit.data_pages - 1,
        ..commit.clone()
    };
    check_eq!(load(&new, &space, &recipe, 1, &shorter)?.result, damaged());
    let other = Commit {
        root_crc: !commit.root_crc,
        ..commit.clone()
    };
    check_eq!(load(&new, &space, &recipe, 1, &other)?.result, damaged());
    Ok(())
}

fn damaged() -> Result {
    Err(errno::error(errno::EBADMSG))
}
