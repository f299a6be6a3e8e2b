// SPDX-License-Identifier: GPL-2.0

//! What a kernel says of itself to debuggers: the text VMCOREINFO, which lies in a page of its own.

#![forbid(unsafe_code)]

use super::x86::Map;
use crate::place::hex;

/// Most pages that look like it which are kept: copies are in files, too.
pub(super) const CANDIDATES_MAX: usize = 64;

/// The text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info(String);

/// How the text of a kernel of `release` begins.
pub(super) fn wanted(release: &str) -> String {
    format!("OSRELEASE={release}\n")
}

impl Info {
    /// The text in `page`, if there is one that begins with `wanted`.
    pub(super) fn of(page: &[u8], wanted: &str) -> Option<Info> {
        if !page.starts_with(wanted.as_bytes()) {
            return None;
        }
        let text = page.split(|&byte| byte == 0).next()?;
        let text = std::str::from_utf8(text).ok()?;
        let lines = |line: &str| {
            line.contains('=') && line.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        };
        // A copy that was cut off says less than the kernel.
        (text.ends_with('\n') && text.lines().all(lines)).then(|| Info(text.to_string()))
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// A number, in two's complement if it is negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.get(&format!("NUMBER({name})"))?;
        let signed = || text.parse::<i64>().ok().map(|number| number as u64);
        text.parse().ok().or_else(signed)
    }

    /// Virtual address of a symbol.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(&format!("SYMBOL({name})"))?, 16).ok()
    }

    /// How far the kernel lies from where it was linked.
    pub fn kernel_offset(&self) -> Option<u64> {
        u64::from_str_radix(self.get("KERNELOFFSET")?, 16).ok()
    }

    /// Whether it is the text of this very build, as far as it says so.
    fn is_of(&self, build_id: &[u8]) -> bool {
        let digits = hex(build_id);
        self.get("BUILD-ID")
            .is_none_or(|id| digits.is_empty() || id == digits)
    }
}

/// The first text of this build whose map `map` finds; without any, the first one at all.
pub(super) fn choose(
    mut all: Vec<Info>,
    build_id: &[u8],
    map: impl Fn(&Info) -> Option<Map>,
) -> (Option<Info>, Option<Map>) {
    all.retain(|info| info.is_of(build_id));
    for info in &all {
        if let Some(map) = map(info) {
            return (Some(info.clone()), Some(map));
        }
    }
    (all.into_iter().next(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "OSRELEASE=6.12\nBUILD-ID=0a0b\nPAGESIZE=4096\n\
                        SYMBOL(init_top_pgt)=ffffffff8220c000\nNUMBER(phys_base)=-4096\n\
                        KERNELOFFSET=1f000000\n";

    fn page(text: &str) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..text.len()].copy_from_slice(text.as_bytes());
        page
    }

    #[test]
    fn reads() {
        let info = Info::of(&page(TEXT), &wanted("6.12")).unwrap();
        assert_eq!(info.text(), TEXT);
        assert_eq!(info.symbol("init_top_pgt"), Some(0xffff_ffff_8220_c000));
        assert_eq!(info.number("phys_base"), Some(-4096i64 as u64));
        assert_eq!(info.kernel_offset(), Some(0x1f00_0000));
        assert_eq!(info.number("other"), None);
    }

    #[test]
    fn refuses() {
        let of = |text: &str| Info::of(&page(text), &wanted("6.12"));
        assert_eq!(of(&TEXT.replace("6.12", "6.13")), None);
        assert_eq!(of(TEXT.trim_end()), None);
        assert_eq!(of("OSRELEASE=6.12\nnothing\n"), None);
        assert_eq!(of("OSRELEASE=6.12\n\x1b=\n"), None);
        assert_eq!(Info::of(&[], &wanted("6.12")), None);
        // A page that is full of it has no end.
        assert_eq!(
            Info::of(&TEXT.as_bytes().repeat(100)[..4096], &wanted("6.12")),
            None
        );
    }

    #[test]
    fn chooses() {
        let info = |text: &str| Info::of(&page(text), &wanted("6.12")).unwrap();
        let other = info(&TEXT.replace("0a0b", "0a0c"));
        let old = info(&TEXT.replace("1f", "2f"));
        let all = vec![other, old.clone(), info(TEXT)];
        let fits = |found: &Info| {
            let map = Map {
                direct: 0,
                kernel: Vec::new(),
            };
            (found.kernel_offset() == Some(0x1f00_0000)).then_some(map)
        };
        let (found, map) = choose(all.clone(), &[10, 11], fits);
        assert_eq!((found, map.is_some()), (Some(info(TEXT)), true));
        let (found, map) = choose(all.clone(), &[10, 11], |_| None);
        assert_eq!((found, map.is_some()), (Some(old), false));
        assert_eq!(choose(all, &[9], |_| None).0, None);
    }
}
