// SPDX-License-Identifier: GPL-2.0

//! Cores of images, as readelf reads them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use dormouse_vm::Vm;

/// A segment as readelf shows it: place in the file, virtual and physical address, bytes.
type Segment = [u64; 4];

/// Fields of a segment.
const VIRTUAL: usize = 1;
const PHYSICAL: usize = 2;

fn segments(core: &Path) -> Result<Vec<Segment>> {
    let output = Command::new("readelf").arg("-lW").arg(core).output()?;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && err.is_empty(),
        "readelf says: {err}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let segment = |line: &str| -> Option<Segment> {
        let mut words = line.trim().strip_prefix("LOAD ")?.split_whitespace();
        let mut next = || number(words.next()?);
        Some([next()?, next()?, next()?, next()?])
    };
    Ok(text.lines().filter_map(segment).collect())
}

/// Where things are that a core is to have.
pub(super) struct Planted {
    /// Addresses of symbols.
    symbols: HashMap<String, u64>,
    /// Physical address of the symbol `_text`.
    text_at: u64,
}

/// What the guest is called, and where its kernel keeps that.
const NAME: &str = "planted-by-a-test";
const KEPT_IN: &str = "init_uts_ns";

fn hex(text: &str) -> Result<u64> {
    u64::from_str_radix(text, 16).with_context(|| format!("'{text}' is no address"))
}

/// Gives the guest a name, and asks its kernel where that is in memory.
///
/// # Errors
///
/// When it does not say.
pub(super) fn plant(vm: &mut Vm) -> Result<Planted> {
    vm.run(&format!("hostname {NAME}"))?;
    let lines = vm.run(&format!(
        "grep -E ' (_text|linux_banner|{KEPT_IN})$' /proc/kallsyms"
    ))?;
    let mut symbols = HashMap::new();
    for line in lines.lines() {
        if let [address, _, name] = line.split_whitespace().collect::<Vec<_>>()[..] {
            symbols.insert(name.to_string(), hex(address)?);
        }
    }
    let code = vm.run("grep ': Kernel code' /proc/iomem")?;
    let start = code.trim().split('-').next().unwrap_or_default();
    Ok(Planted {
        symbols,
        text_at: hex(start)?,
    })
}

/// Finds in the core at `path` what `planted` says, by virtual and by physical addresses.
///
/// # Errors
///
/// When something is not where it was.
pub(super) fn check(path: &Path, planted: &Planted) -> Result<()> {
    let all = segments(path)?;
    let core = File::open(path)?;
    // Bytes at an address, by the number of the field that it is compared with.
    let read = |field: usize, address: u64| -> Result<String> {
        let holds = |s: &&Segment| address.checked_sub(s[field]).is_some_and(|at| at < s[3]);
        let segment = all.iter().find(holds);
        let segment = segment.with_context(|| format!("{address:#x} is in no segment"))?;
        let mut bytes = [0; 256];
        core.read_exact_at(&mut bytes, segment[0] + (address - segment[field]))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let at = |name: &str| {
        let found = planted.symbols.get(name);
        found.copied().with_context(|| format!("no symbol {name}"))
    };
    for (name, text) in [("linux_banner", "Linux version "), (KEPT_IN, NAME)] {
        let physical = at(name)? - at("_text")? + planted.text_at;
        for (field, address) in [(VIRTUAL, at(name)?), (PHYSICAL, physical)] {
            ensure!(
                read(field, address)?.contains(text),
                "no '{text}' at {address:#x}"
            );
        }
    }
    let meta = core.metadata()?;
    ensure!(meta.blocks() * 512 < meta.len(), "the core has no holes");
    Ok(())
}
