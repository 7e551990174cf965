// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pieces of a kernel's configuration, and what comes of several of them: `scripts/kconfig/merge_config.sh` in Linux's
//! sources does the same, and takes the same files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::kconfig::Kconfig;

/// Those that pivot brings, in the order of the documentation.
pub const FRAGMENTS: &[(&str, &str)] = &[
    ("base", include_str!("../../../kernel/base.config")),
    ("virt", include_str!("../../../kernel/virt.config")),
    ("rpi3", include_str!("../../../kernel/rpi3.config")),
    ("rpi4", include_str!("../../../kernel/rpi4.config")),
    ("containers", include_str!("../../../kernel/containers.config")),
    ("small", include_str!("../../../kernel/small.config")),
];

/// No fragment is longer.
const MAX: u64 = 1 << 20;

/// One option of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// `CONFIG_BLK_DEV_LOOP`
    pub(super) name: String,
    /// `y`, `m`, `n`, a number, or a text in quotes.
    pub(super) value: String,
    /// Which fragment has it.
    pub(super) from: String,
    /// Whether a Linux that does not know it will do: written `#? CONFIG_X=y`, a comment for other programs.
    pub(super) optional: bool,
}

/// A fragment by its name, or a file of the user's: what has a slash or ends in `.config`.
pub(super) fn open(word: &str) -> Result<Vec<Setting>> {
    if let Some((name, text)) = FRAGMENTS.iter().find(|(name, _)| *name == word) {
        return parse(name, text);
    }
    let path = Path::new(word);
    if !word.contains('/') && !word.ends_with(".config") {
        let names: Vec<&str> = FRAGMENTS.iter().map(|(name, _)| *name).collect();
        bail!("no fragment {word:?}: expected one of {} or a file", names.join(", "));
    }
    let cannot = || format!("cannot read fragment {word}");
    ensure!(
        fs::metadata(path).with_context(cannot)?.len() <= MAX,
        "{word} is no fragment: too long"
    );
    parse(word, &fs::read_to_string(path).with_context(cannot)?)
}

/// The word that a fragment adds to the name of a kernel.
pub(super) fn short(word: &str) -> String {
    let stem = Path::new(word).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn parse(from: &str, text: &str) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let (rest, optional) = match line.strip_prefix("#? ") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        let setting =
            match rest.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
                Some(name) => Some((name, "n")),
                None if rest.is_empty() || rest.starts_with('#') => continue,
                None => rest.split_once('='),
            };
        let good = setting.filter(|(name, value)| is_option(name) && is_value(value));
        let (name, value) = good.with_context(|| {
            format!(
                "{from}, line {number}: expected CONFIG_NAME=VALUE or a comment, found {line:?}"
            )
        })?;
        let (name, value, from) = (name.to_owned(), value.to_owned(), from.to_owned());
        settings.push(Setting { name, value, from, optional });
    }
    Ok(settings)
}

fn is_option(name: &str) -> bool {
    let word = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.strip_prefix("CONFIG_").is_some_and(word)
}

fn is_value(value: &str) -> bool {
    let number = |digits: &str| {
        let hex = digits.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16).is_ok());
        hex.unwrap_or_else(|| digits.parse::<i64>().is_ok())
    };
    let text = |value: &str| {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.is_some_and(|inner| !inner.contains(['"', '\\']))
    };
    matches!(value, "y" | "m" | "n") || number(value) || text(value)
}

/// All settings, one for each option: of two the later counts. Also says where they differ.
pub(super) fn merge(all: Vec<Setting>) -> (Vec<Setting>, Vec<String>) {
    let (mut merged, mut said): (Vec<Setting>, Vec<String>) = (Vec::new(), Vec::new());
    for setting in all {
        match merged.iter_mut().find(|known| known.name == setting.name) {
            Some(known) if known.value == setting.value => {
                known.optional &= setting.optional;
            }
            Some(known) => {
                let Setting { name, value, from, .. } = &*known;
                let (later, by) = (&setting.value, &setting.from);
                said.push(format!("{name}={later} of {by} counts, not {value} of {from}"));
                *known = setting;
            }
            None => merged.push(setting),
        }
    }
    (merged, said)
}

/// What `conf` of Linux's Kconfig reads.
pub(super) fn text(settings: &[Setting]) -> String {
    settings.iter().map(|Setting { name, value, .. }| format!("{name}={value}\n")).collect()
}

/// The settings that a finished configuration does not have as they were asked for, with what it has.
pub(super) fn lost<'a>(settings: &'a [Setting], config: &str) -> Vec<(&'a Setting, String)> {
    let parsed = Kconfig::parse(config);
    let found = |name: &str| -> String {
        let line = config.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        match line {
            Some(value) => value.to_owned(),
            None if parsed.enabled(name) => "y".to_owned(),
            None => "n".to_owned(),
        }
    };
    let found = settings.iter().map(|setting| (setting, found(&setting.name)));
    found.filter(|(setting, value)| *value != setting.value).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn one(line: &str, expected: Option<(&str, &str, bool)>) {
        let found = parse("x", line).unwrap();
        let found = found.first().map(|s| (&*s.name, &*s.value, s.optional));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn lines() {
        one("CONFIG_A=y", Some(("CONFIG_A", "y", false)));
        one("  CONFIG_A=64 ", Some(("CONFIG_A", "64", false)));
        one("CONFIG_A=0x1f", Some(("CONFIG_A", "0x1f", false)));
        one("CONFIG_A=\"a b\"", Some(("CONFIG_A", "\"a b\"", false)));
        one("# CONFIG_A is not set", Some(("CONFIG_A", "n", false)));
        one("#? CONFIG_A=y", Some(("CONFIG_A", "y", true)));
        one("# a comment with CONFIG_A=y", None);
        one("", None);
    }

    #[track_caller]
    fn refused(line: &str) {
        let error = format!("{:#}", parse("mine", &format!("\n{line}")).unwrap_err());
        assert!(error.starts_with("mine, line 2: expected CONFIG_NAME=VALUE"), "{error}");
    }

    #[test]
    fn what_is_no_option() {
        refused("A=y");
        refused("CONFIG_=y");
        refused("CONFIG_A B=y");
        refused("CONFIG_A=yes");
        refused("CONFIG_A=");
        refused("CONFIG_A=\"x\"y\"");
        refused("CONFIG_A");
        refused("#? nothing");
    }

    #[test]
    fn unknown_names_get_the_list() {
        let error = format!("{:#}", open("vrit").unwrap_err());
        assert!(error.contains("base, virt, rpi3, rpi4, containers, small"), "{error}");
        assert!(format!("{:#}", open("./no.config").unwrap_err()).contains("cannot read fragment"));
    }

    #[test]
    fn ours_parse_and_agree() {
        let all = FRAGMENTS.iter().flat_map(|(name, _)| open(name).unwrap()).collect();
        let (merged, said) = merge(all);
        assert_eq!(said, Vec::<String>::new());
        assert!(merged.len() > 200);
    }

    /// A comment above each group, with its reason.
    #[test]
    fn every_group_says_why() {
        for (name, text) in FRAGMENTS {
            for group in text.split("\n\n").skip(1) {
                assert!(group.trim_start().starts_with("# "), "{name}: no comment above\n{group}");
            }
        }
    }

    #[test]
    fn the_later_one_counts() {
        let settings = |from: &str, text| parse(from, text).unwrap();
        let all =
            [settings("a", "CONFIG_A=y\nCONFIG_B=4"), settings("b", "CONFIG_B=8\nCONFIG_A=y")];
        let (merged, said) = merge(all.concat());
        assert_eq!(text(&merged), "CONFIG_A=y\nCONFIG_B=8\n");
        assert_eq!(said, ["CONFIG_B=8 of b counts, not 4 of a"]);
    }

    #[test]
    fn what_did_not_take() {
        let wanted =
            parse("a", "CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=8\nCONFIG_D=y\nCONFIG_E=n").unwrap();
        let config = "CONFIG_A=m\nCONFIG_B=y\nCONFIG_C=8\n# CONFIG_D is not set\n";
        let found: Vec<_> = lost(&wanted, config).into_iter().map(|(s, v)| (&*s.name, v)).collect();
        let expected = [("CONFIG_A", "m"), ("CONFIG_B", "y"), ("CONFIG_D", "n")];
        assert_eq!(found, expected.map(|(name, value)| (name, value.to_owned())));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[#? CONFIG_AB=yn0x\"\n]{0,80}") {
            if let Ok(settings) = parse("x", &text) {
                let (merged, _) = merge(settings);
                let again = parse("x", &super::text(&merged)).unwrap();
                prop_assert_eq!(again.len(), merged.len());
                prop_assert!(lost(&merged, &super::text(&merged)).is_empty());
            }
        }
    }
}
