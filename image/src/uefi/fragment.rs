// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grub.cfg` of a slot: what GRUB boots from it. Three settings that the `grub.cfg` of partition 1 reads; equal in
//! both slots, since the letter of the slot comes from there.

use anyhow::{Context, Result, bail, ensure};

/// Its name, in the root directory.
pub const NAME: &str = "grub.cfg";

/// What a slot gives to GRUB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// File of the kernel.
    pub kernel: String,
    /// Parts of the initramfs, in their order.
    pub initrd: Vec<String>,
    /// The words of cmdline.txt but for `pivot.slot=`, and those for GRUB alone.
    pub cmdline: String,
}

/// Whether GRUB gives these words to a kernel as they are: its `linux` puts a backslash before quotes and
/// backslashes (grub: `grub-core/loader/../lib/cmdline.c`).
#[must_use]
pub fn is_plain(words: &str) -> bool {
    words.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"'\"\\".contains(&byte))
}

impl Fragment {
    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { kernel, initrd, cmdline } = self;
        let initrd: Vec<String> = initrd.iter().map(|name| format!("/{name}")).collect();
        format!(
            "# What GRUB boots from this slot; grub.cfg of partition 1 reads it.\n\
             set pivot_kernel='/{kernel}'\nset pivot_initrd='{}'\nset pivot_cmdline='{cmdline}'\n",
            initrd.join(" ")
        )
    }

    /// Reads what [`Fragment::text`] wrote, and nothing else.
    ///
    /// # Errors
    /// Names the line, or the setting that is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut kernel, mut initrd, mut cmdline) = (None, None, None);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let setting = line.strip_prefix("set ").and_then(|line| line.split_once("='"));
            let value = setting.and_then(|(name, value)| Some((name, value.strip_suffix('\'')?)));
            let Some((name, value)) = value.filter(|(_, value)| is_plain(value)) else {
                bail!("{line:?}: expected set NAME='VALUE'");
            };
            let place = match name {
                "pivot_kernel" => &mut kernel,
                "pivot_initrd" => &mut initrd,
                "pivot_cmdline" => &mut cmdline,
                _ => bail!("{line:?}: unknown setting"),
            };
            ensure!(place.replace(value).is_none(), "{name} is there twice");
        }
        let file = |path: &str| -> Result<String> {
            let name = path.strip_prefix('/').filter(|name| !name.is_empty());
            Ok(name.with_context(|| format!("{path:?}: expected a path like /vmlinuz"))?.to_owned())
        };
        let initrd = initrd.context("no pivot_initrd")?.split(' ').map(file);
        Ok(Self {
            kernel: file(kernel.context("no pivot_kernel")?)?,
            initrd: initrd.collect::<Result<_>>()?,
            cmdline: cmdline.context("no pivot_cmdline")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment() -> Fragment {
        Fragment {
            kernel: "vmlinuz0".to_owned(),
            initrd: vec!["initrd".to_owned(), "early0".to_owned()],
            cmdline: "pivot.revision=1 panic=5 gpt".to_owned(),
        }
    }

    #[test]
    fn written_and_read() {
        let text = fragment().text();
        assert_eq!(
            text,
            "# What GRUB boots from this slot; grub.cfg of partition 1 reads it.\n\
             set pivot_kernel='/vmlinuz0'\nset pivot_initrd='/initrd /early0'\n\
             set pivot_cmdline='pivot.revision=1 panic=5 gpt'\n"
        );
        assert_eq!(Fragment::parse(&text).unwrap(), fragment());
    }

    #[track_caller]
    fn refused(from: &str, to: &str, why: &str) {
        let text = fragment().text();
        assert!(text.contains(from));
        let error = Fragment::parse(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn refusals() {
        refused("set pivot_kernel='/vmlinuz0'\n", "", "no pivot_kernel");
        refused("set pivot_initrd='/initrd /early0'\n", "", "no pivot_initrd");
        refused("set pivot_cmdline", "# ", "no pivot_cmdline");
        refused("'/vmlinuz0'", "'vmlinuz0'", "expected a path");
        refused("'/vmlinuz0'", "/vmlinuz0", "expected set NAME='VALUE'");
        refused("panic=5", "panic='5", "expected set NAME='VALUE'");
        refused("pivot_kernel", "root", "unknown setting");
        refused("# What", "set pivot_kernel='/x'\n#", "pivot_kernel is there twice");
        refused("# What", "insmod ext2\n#", "expected set NAME='VALUE'");
    }

    #[test]
    fn words_that_grub_does_not_pass_on() {
        assert!(is_plain("console=ttyAMA0,115200 root=/dev/vda*"));
        for words in ["a=\"b c\"", "a='b'", "a\\b", "a\nb", "ä"] {
            assert!(!is_plain(words), "{words}");
        }
    }
}
