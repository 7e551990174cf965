// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an option did not take: what Linux's Kconfig files say that it depends on, as far as that can be told. (kernel:
//! Documentation/kbuild/kconfig-language.rst)

use std::fs;
use std::path::{Path, PathBuf};

use crate::kconfig::Kconfig;

/// Deeper than any directory of Linux with a Kconfig file.
const DEPTH: usize = 12;
/// The longest Kconfig file has 100 KB.
const MAX: u64 = 4 << 20;

/// What of its conditions a configuration does not fulfil; none where no Kconfig file has the option.
pub(super) fn unmet(source: &Path, option: &str, config: &Kconfig) -> Option<Vec<String>> {
    let name = option.strip_prefix("CONFIG_").unwrap_or(option);
    let texts = files(source, 0).into_iter().filter_map(|file| {
        let small = fs::metadata(&file).ok()?.len() <= MAX;
        small.then(|| fs::read(&file).ok()).flatten()
    });
    let mut found: Option<Vec<String>> = None;
    for text in texts {
        let text = String::from_utf8_lossy(&text);
        for conditions in definitions(&text, name) {
            let open = conditions.into_iter().filter(|condition| !holds(condition, config));
            found.get_or_insert_default().extend(open);
        }
    }
    found
}

fn files(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth < DEPTH {
            // of other architectures nothing counts
            let other = directory.ends_with("arch") && name != "arm64";
            if !other {
                found.extend(files(&path, depth + 1));
            }
        } else if name.to_string_lossy().starts_with("Kconfig") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a line of a Kconfig file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// A menu, or the file.
    Block,
    /// The option that is looked for.
    Ours,
    /// Another one.
    Other,
}

/// The conditions of each definition of an option in a file, those of the blocks around it included.
fn definitions(text: &str, name: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut blocks: Vec<Vec<String>> = Vec::new();
    let (mut found, mut of, mut in_help): (Vec<Vec<String>>, _, _) = (Vec::new(), Of::Block, false);
    for line in text.lines() {
        let (word, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
        in_help &= line.starts_with([' ', '\t']) || word.is_empty() || word.starts_with('#');
        match word {
            _ if in_help => continue,
            "help" | "---help---" => in_help = true,
            "if" => blocks.push(vec![rest.to_owned()]),
            "menu" | "choice" => blocks.push(Vec::new()),
            "endif" | "endmenu" | "endchoice" => drop(blocks.pop()),
            "config" | "menuconfig" if rest.trim() == name => found.push(blocks.concat()),
            "depends" => {
                let condition = rest.trim_start().strip_prefix("on").unwrap_or(rest).trim();
                let to = match of {
                    Of::Block => blocks.last_mut(),
                    Of::Ours => found.last_mut(),
                    Of::Other => None,
                };
                to.into_iter().for_each(|conditions| conditions.push(condition.to_owned()));
            }
            _ => {}
        }
        of = match word {
            "if" | "menu" | "choice" | "endif" | "endmenu" | "endchoice" => Of::Block,
            "config" | "menuconfig" if rest.trim() == name => Of::Ours,
            "config" | "menuconfig" => Of::Other,
            _ => of,
        };
    }
    found
}

/// Whether the condition is true; one that is not understood is.
fn holds(condition: &str, config: &Kconfig) -> bool {
    let condition = condition.split('#').next().unwrap_or_default();
    let mut parser = Parser { rest: condition, config, depth: 0 };
    match parser.any() {
        Some(value) if parser.rest.trim().is_empty() => value,
        _ => true,
    }
}

/// Of `A && (!B || C = y)`.
struct Parser<'a> {
    rest: &'a str,
    config: &'a Kconfig,
    depth: u32,
}

impl Parser<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("||") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("&&") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        if self.take("!") {
            return Some(!self.one()?);
        }
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let name = self.word()?;
        let (built_in, enabled) = (self.is(&name, true), self.is(&name, false));
        if self.take("!=") {
            return Some(!equals(&self.word()?, built_in, enabled)?);
        }
        if self.take("=") {
            return equals(&self.word()?, built_in, enabled);
        }
        Some(enabled || name == "y")
    }

    fn is(&self, name: &str, built_in: bool) -> bool {
        let option = format!("CONFIG_{name}");
        if built_in { self.config.built_in(&option) } else { self.config.enabled(&option) }
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        // `!` is no part of `!=`
        let taken =
            rest.strip_prefix(token).filter(|after| token != "!" || !after.starts_with('='));
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = after;
        Some(word.to_owned())
    }
}

/// Of a tristate and a constant.
fn equals(value: &str, built_in: bool, enabled: bool) -> Option<bool> {
    match value {
        "y" => Some(built_in),
        "m" => Some(enabled && !built_in),
        "n" => Some(!enabled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "menu \"Watchdogs\"\n\tdepends on HAS_IOMEM\n\nif WATCHDOG\n\nconfig I6300ESB_WDT\n\
        \ttristate \"Intel\"\n\tdepends on (PCI && !S390) || \\\n\t\tCOMPILE_TEST\n\tselect X\n\thelp\n\t  depends on luck\n\
        \nconfig OTHER\n\tbool\n\tdepends on NEVER\n\nendif\nendmenu\nmenuconfig LAST\n\tbool\n";

    #[test]
    fn conditions_of_an_option_and_its_blocks() {
        let found = definitions(TEXT, "I6300ESB_WDT");
        let conditions = found.first().unwrap();
        assert_eq!(conditions[..2], ["HAS_IOMEM", "WATCHDOG"]);
        assert_eq!(
            conditions[2].split_whitespace().collect::<Vec<_>>().join(" "),
            "(PCI && !S390) || COMPILE_TEST"
        );
        assert_eq!((found.len(), conditions.len()), (1, 3));
        assert_eq!(definitions(TEXT, "LAST"), [Vec::<String>::new()]);
        assert!(definitions(TEXT, "UNKNOWN").is_empty());
    }

    #[track_caller]
    fn check(condition: &str, expected: bool) {
        let config = Kconfig::parse("CONFIG_A=y\nCONFIG_M=m\n");
        assert_eq!(holds(condition, &config), expected, "{condition}");
    }

    #[test]
    fn expressions() {
        check("A", true);
        check("A && B", false);
        check("A && (B || !B)", true);
        check("!A || M", true);
        check("M=y", false);
        check("M != y && A = y", true);
        check("B = n # because", true);
        // versions of compilers and the like are not known here
        check("$(cc-option,-x)", true);
        check("GCC_VERSION >= 90100", true);
    }

    #[test]
    fn of_a_tree() {
        let directory = tempfile::tempdir().unwrap();
        let watchdog = directory.path().join("drivers/watchdog");
        for (place, text) in [(&watchdog, TEXT), (&directory.path().join("arch/s390"), TEXT)] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join("Kconfig"), text).unwrap();
        }
        let config = Kconfig::parse("CONFIG_HAS_IOMEM=y\nCONFIG_PCI=y\n");
        let why = |option| unmet(directory.path(), option, &config);
        assert_eq!(why("CONFIG_I6300ESB_WDT"), Some(vec!["WATCHDOG".to_owned()]));
        assert_eq!(why("CONFIG_NO_SUCH"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[A-C()!&|= \n\tconfig depends on if menu]{0,200}") {
            definitions(&text, "A");
            holds(&text, &Kconfig::default());
        }
    }
}
