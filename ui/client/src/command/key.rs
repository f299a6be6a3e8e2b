// SPDX-License-Identifier: GPL-2.0

//! `dormouse key`.

use anyhow::{bail, Result};
use keyutils::keytypes::logon::{Description, Logon};
use keyutils::{Keyring, SpecialKeyring};
use serde::Serialize;

use crate::cli::Context;
use crate::control::{Control, Encrypted, Image};
use crate::failure::{Code, Failure};
use crate::hint::{Costs, Hint};
use crate::passphrase::{self, Passphrase};
use crate::settings::Change;

/// What the key is called in the kernel, after its type.
const SUBTYPE: &str = "dormouse";
const NAME: &str = "passphrase";
const KEY: &str = "logon:dormouse:passphrase";

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
fn configure(control: &Control, hint: &Hint, passphrase: &Passphrase) -> Result<()> {
    let key = hint.key(passphrase.as_bytes())?;
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
    // First, so that nobody thinks of a passphrase for an encryptor that is not there.
    let encryptor = [("encryptor".to_string(), args.encryptor.clone())];
    let change = Change::make(control, &encryptor)?;
    configure(control, &hint, &passphrase::new(args.stdin)?)?;
    change.keep();
    let done = format!("images are encrypted by {} from now on", args.encryptor);
    context.output.say(done)
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

fn unlock(context: &Context, args: &UnlockArgs) -> Result<()> {
    let control = &context.control;
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
    if key != KEY {
        bail!("the image needs the key {key}: load it into a keyring, and write that to /sys/power/hibernate/key");
    }
    let hint: Hint = hint.parse()?;
    configure(control, &hint, &passphrase::of_image(args.stdin)?)?;
    // An image that somebody put there in its place, in clear, is refused from now on.
    control.set("encryptor", &encryptor)
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
    context.output.say("images are not encrypted from now on")
}
