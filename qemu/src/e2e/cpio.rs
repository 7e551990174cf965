// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cpio archive with one file: laid behind an initramfs it replaces that file there.

/// Archives follow each other at multiples of this.
const BLOCK: usize = 512;

/// The archive (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
pub(crate) fn with_program(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = entry(1, 0o100_755, name, content);
    archive.extend(entry(0, 0, "TRAILER!!!", &[]));
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive
}

fn entry(inode: u32, mode: u32, name: &str, content: &[u8]) -> Vec<u8> {
    let (length, name_length) = (content.len(), name.len() + 1);
    let mut entry = format!(
        "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}{:08x}{:08x}{:08x}\
         {name_length:08x}{:08x}{name}\0",
        0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    .into_bytes();
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_long_as_the_format_says() {
        let archive = with_program("init", b"#!");
        assert_eq!(archive.len() % BLOCK, 0);
        // 110 bytes of header and "init\0", rounded up to 4
        assert_eq!(archive.get(116..118), Some(&b"#!"[..]));
        assert_eq!(archive.get(120..126), Some(&b"070701"[..]));
    }
}
