// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that a bundle is, and a bootloader in it.

use bootsel::manifest::{self, Manifest};

use super::{Made, sha256};

impl Made {
    /// The same for a device of that kind, with a bootloader.
    pub(crate) fn with_bootloader(mut self, soc: Option<&str>, image: Option<&[u8]>) -> Self {
        let mut made = Manifest::parse(&self.manifest).unwrap();
        made.keys.extend(soc.map(|soc| ("soc".to_owned(), soc.to_owned())));
        if let Some(image) = image {
            let (name, bytes) = ("bootloader.img".to_owned(), image.len() as u64);
            made.files.push(manifest::File { sha256: sha256(image), bytes, name: name.clone() });
            self.files.push((name, image.to_vec()));
        }
        self.manifest = made.to_string().into_bytes();
        self
    }
}

/// A member of a ustar archive.
pub(crate) fn member(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}
