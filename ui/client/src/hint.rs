// SPDX-License-Identifier: GPL-2.0

//! The hint: how a key was made from a passphrase.
//!
//! It is kept in the image in clear, so that the same key can be made again where nothing but the
//! image is there. Nobody vouches for it before the key has opened the image, so its costs are
//! held within limits.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

const SALT_BYTES: usize = 16;

/// Least memory, in KiB: with less a passphrase is guessed too cheaply (RFC 9106 asks for more;
/// this is what small machines can give).
const MEMORY_MIN: u32 = 16 * 1024;
/// Most memory, in KiB: 4 GiB.
const MEMORY_MAX: u32 = 4 * 1024 * 1024;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;
/// What is spent on the hint of an image from anywhere, unless somebody allows more: with it, a file
/// is checked in less than 64 MiB of memory and twice its size, and in less than a minute.
const UNASKED: Costs = Costs {
    memory: 48 * 1024,
    passes: 4,
    lanes: LANES_MAX,
};

/// What Argon2id is to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes that could be computed at the same time.
    pub lanes: u32,
}

impl Costs {
    fn check(self) -> Result<Self> {
        ensure!(
            (MEMORY_MIN..=MEMORY_MAX).contains(&self.memory),
            "the memory for Argon2id is {} KiB: {MEMORY_MIN} to {MEMORY_MAX} are allowed",
            self.memory
        );
        ensure!(
            (1..=PASSES_MAX).contains(&self.passes) && (1..=LANES_MAX).contains(&self.lanes),
            "Argon2id takes 1 to {PASSES_MAX} passes and 1 to {LANES_MAX} lanes, not {} and {}",
            self.passes,
            self.lanes
        );
        Ok(self)
    }
}

impl Costs {
    fn within(self, most: Costs) -> bool {
        self.memory <= most.memory && self.passes <= most.passes && self.lanes <= most.lanes
    }
}

/// How a key is made from a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    costs: Costs,
    salt: [u8; SALT_BYTES],
}

impl Hint {
    /// A new one, with a random salt.
    ///
    /// # Errors
    ///
    /// Costs out of their limits, or no random numbers.
    pub fn new(costs: Costs) -> Result<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        Ok(Hint {
            costs: costs.check()?,
            salt,
        })
    }

    /// Refuses costs that were not agreed to: what anybody's image may cost, what the key
    /// `configured` on this machine costs, or as many passes as there may be over `most_mib` MiB of
    /// memory that somebody has allowed with an option.
    ///
    /// # Errors
    ///
    /// When it costs more; the sentence names the option.
    pub fn affordable(&self, configured: Option<&Hint>, most_mib: Option<u32>) -> Result<()> {
        let costs = self.costs;
        let allowed = most_mib.is_some_and(|mib| costs.memory.div_ceil(1024) <= mib);
        let usual = configured.is_some_and(|hint| costs.within(hint.costs));
        ensure!(
            allowed || usual || costs.within(UNASKED),
            "the image says that its key takes {mib} MiB of memory and {} passes to make, and nothing vouches for that: if it is yours, allow it with --max-memory-mib {mib}",
            costs.passes,
            mib = costs.memory.div_ceil(1024)
        );
        Ok(())
    }

    /// Makes the key.
    ///
    /// # Errors
    ///
    /// When there is not enough memory.
    pub fn key(&self, passphrase: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
        let Costs {
            memory,
            passes,
            lanes,
        } = self.costs;
        let params = Params::new(memory, passes, lanes, Some(KEY_BYTES))
            .map_err(|error| anyhow::anyhow!("Argon2id: {error}"))?;
        let mut blocks: Vec<Block> = Vec::new();
        let count = params.block_count();
        if blocks.try_reserve_exact(count).is_err() {
            bail!("the key takes {} MiB of memory to make, and there is not as much: say less with --memory-mib when it is set", memory / 1024);
        }
        blocks.resize(count, Block::new());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let made =
            argon2.hash_password_into_with_memory(passphrase, &self.salt, &mut *key, &mut blocks);
        blocks.iter_mut().for_each(Zeroize::zeroize);
        made.map_err(|error| anyhow::anyhow!("Argon2id: {error}"))?;
        Ok(key)
    }
}

/// The form of PHC strings, with the salt in hexadecimal digits and without a hash.
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Costs {
            memory,
            passes,
            lanes,
        } = self.costs;
        write!(f, "argon2id:v=19,m={memory},t={passes},p={lanes},salt=")?;
        self.salt
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Hint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let fields = text
            .strip_prefix("argon2id:v=19,")
            .context("the image does not say how its key was made by this command: configure the key by hand, see the admin guide")?;
        let mut names = ["m", "t", "p", "salt"].into_iter();
        let mut values = Vec::new();
        for field in fields.split(',') {
            let (name, value) = field.split_once('=').context("the hint is damaged")?;
            ensure!(names.next() == Some(name), "the hint is damaged");
            values.push(value);
        }
        let [memory, passes, lanes, salt] = values[..] else {
            bail!("the hint is damaged");
        };
        let number = |text: &str| text.parse::<u32>().context("the hint is damaged");
        let costs = Costs {
            memory: number(memory)?,
            passes: number(passes)?,
            lanes: number(lanes)?,
        };
        ensure!(
            salt.len() == 2 * SALT_BYTES && salt.bytes().all(|b| b.is_ascii_hexdigit()),
            "the hint is damaged"
        );
        let mut bytes = [0; SALT_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(salt.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        }
        Ok(Hint {
            costs: costs.check()?,
            salt: bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Costs = Costs {
        memory: MEMORY_MIN,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn comes_back() {
        let hint = Hint::new(SMALL).unwrap();
        let text = hint.to_string();
        assert_eq!(text.parse::<Hint>().unwrap(), hint);
        assert!(text.len() <= 256);
        assert_ne!(Hint::new(SMALL).unwrap(), hint);
    }

    #[test]
    fn refuses_damage_and_costs_out_of_limits() {
        let salt = "00112233445566778899aabbccddeeff";
        let good = format!("argon2id:v=19,m=65536,t=3,p=4,salt={salt}");
        assert!(good.parse::<Hint>().is_ok());
        for bad in [
            "".to_string(),
            "$argon2id$".to_string(),
            good.replace("m=65536", "m=1024"),
            good.replace("m=65536", "m=999999999"),
            good.replace("t=3", "t=0"),
            good.replace("t=3", "t=65"),
            good.replace("p=4", "p=0"),
            good.replace("p=4,", ""),
            good.replace("ff", "f"),
            good.replace("ff", "fg"),
            format!("{good},x=1"),
        ] {
            assert!(bad.parse::<Hint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spends_no_more_than_agreed() {
        let hint = |costs: &str| -> Hint {
            let salt = "00112233445566778899aabbccddeeff";
            let text = format!("argon2id:v=19,{costs},salt={salt}");
            text.parse().unwrap()
        };
        let cheap = hint("m=49152,t=4,p=64");
        assert!(cheap.affordable(None, None).is_ok());
        let own = hint("m=262144,t=3,p=4");
        for dear in ["m=49153,t=1,p=1", "m=16384,t=5,p=1", "m=262144,t=3,p=4"] {
            let dear = hint(dear);
            let why = dear.affordable(None, None).unwrap_err().to_string();
            let mib = dear.costs.memory.div_ceil(1024);
            assert!(why.ends_with(&format!("--max-memory-mib {mib}")), "{why}");
            assert!(dear.affordable(None, Some(mib)).is_ok());
            assert!(dear.affordable(None, Some(mib - 1)).is_err());
        }
        assert!(own.affordable(Some(&own), None).is_ok());
        assert!(hint("m=262145,t=3,p=4")
            .affordable(Some(&own), None)
            .is_err());
        assert!(hint("m=262144,t=4,p=4")
            .affordable(Some(&own), None)
            .is_err());
        assert!(hint("m=1572864,t=1,p=1")
            .affordable(Some(&own), None)
            .is_err());
    }

    // `printf 'correct horse' | argon2 0123456789abcdef -id -k 16384 -t 2 -p 2 -l 32 -r` of the
    // reference implementation.
    #[test]
    fn makes_the_key_that_the_reference_makes() {
        let hint: Hint = "argon2id:v=19,m=16384,t=2,p=2,salt=30313233343536373839616263646566"
            .parse()
            .unwrap();
        let expected = "175f9bd87241d4476b8eadef1f240cbdce5feeb58e115ba535fb6bb40cfccfae";
        let key = hint.key(b"correct horse").unwrap();
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, expected);
    }
}
