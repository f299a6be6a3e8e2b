// SPDX-License-Identifier: GPL-2.0

//! Where the image would go.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use dormouse_image::export::{Export, Link};
use dormouse_image::image::BLOCK;
use dormouse_image::netblock::mark::{self, Found};
use dormouse_image::target::Target;

use super::Check;
use crate::cli::Context;
use crate::file;
use crate::room::Room;
use crate::text;

pub(super) fn checks(context: &Context) -> Result<Vec<Check>> {
    let mut room = Room::now(context)?;
    let writer = context.control.choice("writer")?.chosen;
    let target = context.control.get("target")?;
    let mut all = vec![match writer.as_str() {
        "swap" => swap(context, &room),
        "file" => file(context, &target),
        _ => netblock(context, &target, &mut room),
    }];
    if let Some(holds) = room.holds {
        all.push(enough(&room, holds));
    }
    all.push(key(context)?);
    Ok(all)
}

fn swap(context: &Context, room: &Room) -> Check {
    let name = "target";
    let all = context.system.swaps();
    let unusable: Vec<String> = all
        .iter()
        .filter_map(|area| Some(format!("{} {}", area.path, area.unusable()?)))
        .collect();
    let skipped = match unusable.is_empty() {
        true => String::new(),
        false => format!(" ({})", unusable.join(", ")),
    };
    match room.holds {
        Some(0) => Check::fail(
            name,
            format!("there is no free swap space that can take an image{skipped}"),
            "activate a swap partition or swap file, or use the writer \"file\"",
        ),
        // Only the writer itself, once it is loaded, knows what they are made of.
        Some(_) if all.iter().all(|area| area.verdict.is_none()) => Check::note(
            name,
            format!(
                "{}, of which the kernel has not said yet whether it can take an image",
                room.place
            ),
            "modprobe dormouse_swap, and look again",
        ),
        Some(bytes) => {
            let free = text::bytes(bytes);
            Check::ok(name, format!("{}, {free} free{skipped}", room.place))
        }
        None => Check::unknown(name, format!("swap area {}", room.place)),
    }
}

fn file(context: &Context, target: &str) -> Check {
    let name = "target";
    let Ok(Target::File(path)) = Target::parse(target) else {
        let found = format!("the writer is \"file\" and the target {target}, which is no file");
        return Check::fail(name, found, "dormouse config set target=/PATH");
    };
    match fs::metadata(context.system.path(path)) {
        Ok(meta) => Check::ok(name, format!("{path}, {}", text::bytes(meta.len()))),
        Err(error) => Check::fail(
            name,
            format!("{path}: {error}"),
            "make it: echo PATH SIZE > /sys/power/hibernate/modules/file/create",
        ),
    }
}

/// How long a server is waited for: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server, as the kernel will.
fn netblock(context: &Context, target: &str, room: &mut Room) -> Check {
    let name = "target";
    let Ok(Target::Nbd(nbd)) = Target::parse(target) else {
        return Check::fail(
            name,
            format!("the writer is \"netblock\" and the target {target}, which is no export"),
            "dormouse config set target=nbd://HOST/EXPORT",
        );
    };
    let fail = |why: &str, advice| Check::fail(name, format!("{target}: {why}"), advice);
    if nbd.host.parse::<IpAddr>().is_err() {
        return fail(
            "the kernel has no way to look up the name of the host",
            "give its address",
        );
    }
    let mut link = match Link::open(&Export::new(&nbd, PATIENCE)) {
        Ok(link) => link,
        Err(error) => {
            return fail(
                &error.to_string(),
                "start the server, or name another export",
            )
        }
    };
    if let Err(unfit) = link.terms.check() {
        return fail(&unfit.to_string(), "set the server up differently");
    }
    if link.terms.read_only() {
        return fail("the export is read-only", "allow writing to it");
    }
    let mut first = [0; BLOCK];
    if let Err(error) = link.read(0, &mut first) {
        return fail(&error.to_string(), "look into the log of the server");
    }
    let claims = context.control.get_if_there("modules/netblock/claim");
    let claims = claims.is_ok_and(|claim| claim.as_deref() == Some("1"));
    if mark::decode(&first) == Found::Foreign && !claims {
        return fail(
            "the export holds something else, such as a filesystem",
            "name another one; if it may be lost, dormouse config set netblock.claim=1",
        );
    }
    let holds = mark::blocks(link.terms.size).saturating_mul(BLOCK as u64);
    room.holds = Some(holds);
    Check::ok(
        name,
        format!("{target} answers and holds {}", text::bytes(holds)),
    )
}

fn enough(room: &Room, holds: u64) -> Check {
    let name = "room";
    let found = room.sentence();
    // As the memory in use is stored, so would be all of it.
    let part = u128::from(room.needed) * u128::from(room.memory.total);
    let full = part / u128::from(room.memory.without_caches.max(1));
    if holds < room.needed {
        Check::fail(
            name,
            found,
            "give it more room, take a compressor that saves more (zstd), or end something large",
        )
    } else if u128::from(holds) < full {
        let full = text::bytes(u64::try_from(full).unwrap_or(u64::MAX));
        let advice = format!("enough for now; when memory is full it takes about {full}");
        Check::note(name, found, advice)
    } else {
        Check::ok(name, format!("{found}, enough for all of memory"))
    }
}

fn key(context: &Context) -> Result<Check> {
    let name = "key";
    let encryptor = context.control.choice("encryptor")?.chosen;
    if let Some(demanded) = file::demanded(&context.system).filter(|one| *one != encryptor) {
        let found = format!(
            "encryptor is {encryptor}, and /{} says {demanded}: a boot that goes by that refuses the image",
            file::DEFAULT
        );
        let advice = "dormouse config apply; or dormouse config save, and make the initramfs again";
        return Ok(Check::fail(name, found, advice));
    }
    if encryptor == "none" {
        let found = "images are not encrypted";
        return Ok(Check::note(name, found, "dormouse key set encrypts them"));
    }
    Ok(match context.control.get_if_there("key")?.as_deref() {
        None | Some("none") => Check::fail(
            name,
            format!("encryptor {encryptor} has no key"),
            "dormouse key set, or write the name of a key to /sys/power/hibernate/key",
        ),
        Some(key) => Check::ok(name, format!("{encryptor} with {key}")),
    })
}
