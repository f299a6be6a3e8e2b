// SPDX-License-Identifier: GPL-2.0

//! Which export is meant, and whether an image may go there.

#![forbid(unsafe_code)]

use crate::attempt;
use crate::link::{Deadline, Failure, Link, Server};
use crate::mark::{self, Found};
use crate::proto::terms::Terms;
use crate::session::Session;
use crate::settings;
use crate::space::NetSpace;
use crate::sweep::Sweeper;
use core::net::{IpAddr, SocketAddr};
use dormouse::engine;
use dormouse::errno;
use dormouse::image::superblock::Superblock;
use dormouse::image::{ImageId, BLOCK, CHUNK_BYTES};
use dormouse::patience;
use dormouse::storage::{Place, Room};
use dormouse::sys::buf::Buf;
use dormouse::target::Target;
use dormouse::text::Text;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How much is looked at, at either end of an export, for what others keep
/// there: superblocks of filesystems, partition tables, labels of volumes.
const LOOK: usize = 1 << 20;
/// Blocks per write that is noted until a flush; most are larger.
const BLOCKS_PER_WRITE: u64 = 48;
/// Writes that are noted beyond that.
const FEW_WRITES: usize = 256;

/// What the first look at an export has shown.
struct Seen {
    terms: Terms,
    found: Found,
    superblock: Option<Superblock>,
}

/// The server and export that `place` names.
///
/// # Errors
///
/// `EINVAL` for a place that is no NBD export, `ENODEV` for `auto`.
fn server(place: Place<'_>) -> Result<Server> {
    let Place::Target(text) = place else {
        return Err(EINVAL);
    };
    let nbd = match Target::parse(text) {
        Ok(Target::Nbd(nbd)) => nbd,
        _ => return Err(EINVAL),
    };
    let ip: IpAddr = nbd.host.parse().map_err(|_| {
        let host = nbd.host;
        engine::fail(
            EINVAL,
            format_args!("{host} is a name: the kernel has no way to look it up, so give an address, such as nbd://192.0.2.1/export"),
        )
    })?;
    Ok(Server {
        address: SocketAddr::new(ip, nbd.port),
        export: Text::format(format_args!("{}", nbd.export)),
        timeout_ms: patience::at_most_ms(settings::timeout_ms()),
    })
}

/// For a save; there has to be a target.
fn save_server(place: Place<'_>) -> Result<Server> {
    if let Place::Target("auto") = place {
        return Err(engine::fail(
            EINVAL,
            format_args!("netblock needs a target, such as nbd://192.0.2.1/export"),
        ));
    }
    server(place)
}

fn look(server: &Server) -> Result<Seen> {
    let mut block = Buf::new(BLOCK)?;
    let terms = attempt::alone(server, false, server.deadline(), |link, deadline| {
        if link.terms.size < BLOCK as u64 {
            return Err(Failure::Here(engine::fail(
                ENOSPC,
                format_args!("{server}: the export is empty"),
            )));
        }
        if let Err(unfit) = link.terms.check() {
            let e = errno::error(errno::EOPNOTSUPP);
            return Err(Failure::Here(engine::fail(
                e,
                format_args!("{server}: {unfit}"),
            )));
        }
        link.read(0, &mut block, deadline)?;
        Ok(link.terms)
    })?;
    let found = mark::decode(&block);
    let superblock = match found {
        Found::Ours { .. } => mark::superblock(&block)
            .and_then(|bytes| Superblock::decode(bytes).ok())
            .flatten(),
        _ => None,
    };
    Ok(Seen {
        terms,
        found,
        superblock,
    })
}

/// Whether both ends of the export are blank.
fn is_blank(link: &mut Link, buf: &mut [u8], deadline: Deadline) -> Result<bool, Failure> {
    let unit = BLOCK as u64;
    let size = (link.terms.size / unit).saturating_mul(unit);
    let len = u64::try_from(buf.len()).unwrap_or(0).min(size);
    let room = usize::try_from(len).ok().and_then(|len| buf.get_mut(..len));
    let room = room.ok_or(Failure::Here(EINVAL))?;
    for at in [0, size.saturating_sub(len)] {
        link.read(at, room, deadline)?;
        if room.iter().any(|&b| b != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes sure that an image may go to the export.
fn check_free(server: &Server, seen: &Seen) -> Result {
    if seen.terms.read_only() {
        return Err(engine::fail(
            EROFS,
            format_args!("{server}: the export is read-only"),
        ));
    }
    match seen.found {
        Found::Ours { image, .. } => {
            let held = seen
                .superblock
                .as_ref()
                .is_some_and(|sb| sb.state.is_image());
            if image && (held || seen.superblock.is_none()) {
                return Err(engine::fail(
                    EBUSY,
                    format_args!("{server}: the export holds an image that was not resumed; write \"erase\" to /sys/power/hibernate/image if nobody wants it"),
                ));
            }
            return Ok(());
        }
        Found::Blank if settings::claims() => return Ok(()),
        Found::Foreign if settings::claims() => {
            pr_notice!(
                "{}: taking the export with what it holds, as asked\n",
                server
            );
            return Ok(());
        }
        Found::Blank | Found::Foreign => {}
    }
    let mut buf = Buf::new(LOOK)?;
    let blank = seen.found == Found::Blank
        && attempt::alone(server, true, server.deadline(), |link, deadline| {
            is_blank(link, &mut buf, deadline)
        })?;
    if blank {
        return Ok(());
    }
    Err(engine::fail(
        EEXIST,
        format_args!("{server}: the export holds something else, such as a filesystem; write 1 to /sys/power/hibernate/modules/netblock/claim if it may be lost"),
    ))
}

/// How much the export could hold. May sleep.
///
/// # Errors
///
/// As [`Storage::room`](dormouse::storage::Storage::room); the reason is
/// recorded.
pub(crate) fn room(place: Place<'_>) -> Result<Room> {
    let server = save_server(place)?;
    let seen = look(&server)?;
    check_free(&server, &seen)?;
    let mut room = Room::new();
    let name = Text::<31>::format(format_args!("{}", server.export));
    let name = match name.is_empty() {
        true => "export",
        false => name.as_str(),
    };
    room.add(name, mark::blocks(seen.terms.size));
    Ok(room)
}

/// Takes the export for an image. May sleep.
///
/// # Errors
///
/// As [`Storage::reserve`](dormouse::storage::Storage::reserve); the reason is
/// recorded.
pub(crate) fn reserve(
    sweeper: &Arc<Sweeper>,
    place: Place<'_>,
    want: u64,
    at_least: u64,
) -> Result<NetSpace> {
    let reserved = sweeper.reserve();
    let server = save_server(place)?;
    let seen = look(&server)?;
    check_free(&server, &seen)?;
    let blocks = mark::blocks(seen.terms.size);
    if blocks < at_least {
        return Err(ENOSPC);
    }
    let blocks = blocks.min(want);
    let writes = usize::try_from(blocks / BLOCKS_PER_WRITE).unwrap_or(usize::MAX);
    let writes = writes.saturating_add(FEW_WRITES);
    let space = make(sweeper, server, &seen, blocks, writes)?;
    space.keep(reserved)?;
    settings::claimed();
    Ok(space)
}

/// Opens the export to load what it holds. May sleep.
///
/// # Errors
///
/// As [`Storage::open`](dormouse::storage::Storage::open); the reason is
/// recorded.
pub(crate) fn open(sweeper: &Arc<Sweeper>, place: Place<'_>) -> Result<NetSpace> {
    let server = server(place)?;
    let seen = look(&server)?;
    let Found::Ours { size, .. } = seen.found else {
        return Err(ENODEV);
    };
    if size > seen.terms.size {
        return Err(engine::fail(
            errno::error(errno::ESTALE),
            format_args!(
                "{server}: the export has shrunk from {size} bytes to {}, and the image with it",
                seen.terms.size
            ),
        ));
    }
    let blocks = mark::blocks(seen.terms.size);
    make(sweeper, server, &seen, blocks, FEW_WRITES)
}

fn make(
    sweeper: &Arc<Sweeper>,
    server: Server,
    seen: &Seen,
    blocks: u64,
    writes: usize,
) -> Result<NetSpace> {
    let lanes = match seen.terms.multi() {
        true => settings::connections(),
        false => 1,
    };
    let session = Session::new(server, lanes, seen.terms.multi(), writes)?;
    let session = Arc::pin_init(session, GFP_KERNEL)?;
    let known: Option<ImageId> = seen.superblock.as_ref().map(|sb| sb.image_id);
    NetSpace::new(
        session,
        lanes,
        blocks,
        seen.terms.size,
        known,
        Buf::new(CHUNK_BYTES)?,
        sweeper.clone(),
    )
}
