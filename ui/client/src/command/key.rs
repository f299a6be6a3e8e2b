// SPDX-License-Identifier: GPL-2.0

//! `dormouse key`.

use anyhow::{bail, Result};
use keyutils::keytypes::logon::{Description, Logon};
use keyutils::{Keyring, SpecialKeyring};
use serde::Serialize;

use super::image::key::{self, Lock};
use super::image::{self, PlaceArgs};
use crate::cli::Context;
use crate::control::{Control, Encrypted, Image};
use crate::failure::{Code, Failure};
use crate::file;
use crate::hint::{Costs, Hint, KEY_BYTES};
use crate::output;
use crate::passphrase;
use crate::settings::Change;
use crate::signals;

/// What the key is called in the kernel, after its type.
const SUBTYPE: &str = "dormouse";
const NAME: &str = "passphrase";
const KEY: &str = "logon:dormouse:passphrase";

/// How many times somebody at a terminal is asked.
const TRIES: u32 = 3;

/// Subcommands of `key`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Ask for a passphrase, and encrypt images with it from now on
    Set(SetArgs),
    /// Ask for the passphrase of the image that waits, so that it can be resumed
    Unlock(UnlockArgs),
    /// Say which key is configured, and which one the image needs
    Status,
    /// Let go of the key, and encrypt no more
    Clear,
}

/// Options of `key set`.
#[derive(clap::Args)]
pub struct SetArgs {
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
    /// How to encrypt
    #[arg(long, default_value = "aes-gcm")]
    encryptor: String,
    /// Memory that making the key takes, in MiB
    #[arg(long, default_value_t = 256)]
    memory_mib: u32,
    /// Passes over that memory
    #[arg(long, default_value_t = 3)]
    passes: u32,
    /// Lanes of Argon2id
    #[arg(long, default_value_t = 4)]
    lanes: u32,
}

/// Options of `key unlock`.
#[derive(clap::Args)]
pub struct UnlockArgs {
    /// Where the image is; any form that the setting "target" takes. Without it, where a resume
    /// would look
    target: Option<String>,
    /// Find the image without the kernel, as "image info" does: on a device, in a file or on an
    /// export. A wrong passphrase is found out before the kernel gets a key
    #[arg(long, value_name = "PLACE", conflicts_with = "target")]
    device: Option<String>,
    /// Where on that device a file begins, in blocks of 4096 bytes
    #[arg(long, default_value_t = 0, requires = "device")]
    offset: u64,
    /// Read the passphrase from standard input, to the first newline
    #[arg(long)]
    stdin: bool,
}

/// Looks after the key.
///
/// # Errors
///
/// When there is nothing to do, or the kernel refuses.
pub fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Set(args) => set(context, args),
        Command::Unlock(args) => unlock(context, args),
        Command::Status => status(context),
        Command::Clear => clear(context),
    }
}

/// Gives the key to the kernel, which keeps it when this process and its keyring are gone.
fn configure(control: &Control, hint: &Hint, key: &[u8; KEY_BYTES]) -> Result<()> {
    let mut ring = Keyring::attach_or_create(SpecialKeyring::Process)
        .map_err(|error| anyhow::anyhow!("the kernel gives no keyring: {error}"))?;
    let description = Description {
        subtype: SUBTYPE.into(),
        description: NAME.into(),
    };
    ring.add_key::<Logon, _, _>(description, &key[..])
        .map_err(|error| anyhow::anyhow!("the kernel does not take the key: {error}"))?;
    control.set("key", KEY)?;
    control.set("hint", &hint.to_string())
}

fn set(context: &Context, args: &SetArgs) -> Result<()> {
    let control = &context.control;
    let costs = Costs {
        memory: args.memory_mib.saturating_mul(1024),
        passes: args.passes,
        lanes: args.lanes,
    };
    let hint = Hint::new(costs)?;
    // Put back what was changed, and the terminal, before a Ctrl-C takes effect.
    let _held = signals::hold()?;
    // First, so that nobody thinks of a passphrase for an encryptor that is not there.
    let encryptor = [("encryptor".to_string(), args.encryptor.clone())];
    let change = Change::make(control, &encryptor)?;
    let key = hint.key(passphrase::new(args.stdin)?.as_bytes())?;
    configure(control, &hint, &key)?;
    change.keep();
    let done = format!("images are encrypted by {} from now on", args.encryptor);
    context.output.say(done)?;
    warn_about_boot(context, &args.encryptor);
    Ok(())
}

/// Says so when the next boot will refuse images of `encryptor`.
fn warn_about_boot(context: &Context, encryptor: &str) {
    if let Some(demanded) = file::demanded(&context.system).filter(|one| one != encryptor) {
        output::complain(format_args!(
            "/{} says encryptor {demanded}, and a boot that goes by that refuses all other images: \
             before hibernating, do \"dormouse config save\" and make the initramfs again",
            file::DEFAULT
        ));
    }
}

fn find(control: &Control, target: Option<&str>) -> Result<Image> {
    let Some(target) = target else {
        return control.image();
    };
    let target = [("target".to_string(), target.to_string())];
    let mut change = Change::make(control, &target)?;
    let image = control.image();
    change.undo()?;
    image
}

/// Refuses a key that this command cannot make.
fn makes(key: &str) -> Result<()> {
    if key != KEY {
        bail!("the image needs the key {key}: load it into a keyring, and write that to /sys/power/hibernate/key");
    }
    Ok(())
}

fn unlock(context: &Context, args: &UnlockArgs) -> Result<()> {
    let control = &context.control;
    if let Some(device) = &args.device {
        return unlock_device(control, device, args);
    }
    let nothing = |why| Err(Failure::error(Code::Nothing, why));
    let Encrypted {
        encryptor,
        key,
        hint,
    } = match find(control, args.target.as_deref())? {
        Image::Encrypted(how) => how,
        Image::Plain => return nothing("the image is not encrypted"),
        Image::None => return nothing("there is no image to resume"),
    };
    makes(&key)?;
    let hint: Hint = hint.parse()?;
    let key = hint.key(passphrase::of_image(args.stdin)?.as_bytes())?;
    configure(control, &hint, &key)?;
    // An image that somebody put there in its place, in clear, is refused from now on.
    control.set("encryptor", &encryptor)
}

/// Unlocks what this process finds itself, with a key that is known to open it.
fn unlock_device(control: &Control, device: &str, args: &UnlockArgs) -> Result<()> {
    control.check()?;
    let place = image::find(&PlaceArgs::of(device, args.offset))?;
    let disks = image::disks(&place, &[])?;
    let opened = image::open(&place, &disks)?;
    let Some(lock) = Lock::of(&opened)? else {
        return Err(Failure::error(Code::Nothing, "the image is not encrypted"));
    };
    let params = lock.params()?;
    makes(&key::name(&params))?;
    let hint: Hint = params.hint.parse()?;
    let mut tries = match args.stdin {
        true => 1,
        false => TRIES,
    };
    let key = loop {
        let key = hint.key(passphrase::of_image(args.stdin)?.as_bytes())?;
        if lock.open(&key[..])?.is_some() {
            break key;
        }
        let wrong = "wrong passphrase, or the image was altered";
        tries -= 1;
        if tries == 0 {
            bail!(wrong);
        }
        output::complain(format_args!("{wrong}: try again"));
    };
    configure(control, &hint, &key)?;
    control.set("encryptor", lock.encryptor)
}

#[derive(Serialize)]
struct Status {
    encryptor: String,
    key: String,
    image: &'static str,
    image_encryptor: Option<String>,
    image_key: Option<String>,
}

fn status(context: &Context) -> Result<()> {
    let control = &context.control;
    let mut status = Status {
        encryptor: control.choice("encryptor")?.chosen,
        key: control.get("key")?,
        image: "none",
        image_encryptor: None,
        image_key: None,
    };
    let mut image = "none".to_string();
    match control.image()? {
        Image::None => {}
        Image::Plain => {
            status.image = "plain";
            image = "not encrypted".to_string();
        }
        Image::Encrypted(how) => {
            status.image = "encrypted";
            image = format!("encrypted by {}, needs {}", how.encryptor, how.key);
            status.image_encryptor = Some(how.encryptor);
            status.image_key = Some(how.key);
        }
    }
    context.output.print(&status, || {
        format!(
            "encryptor: {}\nkey: {}\nimage: {image}\n",
            status.encryptor, status.key
        )
    })
}

fn clear(context: &Context) -> Result<()> {
    context.control.set("encryptor", "none")?;
    context.control.set("key", "none")?;
    context.output.say("images are not encrypted from now on")?;
    warn_about_boot(context, "none");
    Ok(())
}
