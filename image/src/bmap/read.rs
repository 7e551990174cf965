// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a block map, our own or that of bmaptool, and refuses whatever in it could go wrong on a card.

use anyhow::{Context, Result, bail, ensure};
use roxmltree::{Document, Node};
use sha2::{Digest, Sha256};

use super::{Bmap, Mapped, NO_CHECKSUM};
use crate::tree::hex;

/// A map of a full card in the worst order is smaller.
const MOST: usize = 64 << 20;

impl Bmap {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Where it is no map of version 2, its checksum is wrong, or its ranges are not in order.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() <= MOST, "too large for a block map");
        let text = std::str::from_utf8(bytes).context("not a block map: not UTF-8")?;
        let document = Document::parse(text).context("not a block map")?;
        let root = document.root_element();
        let version = root.attribute("version").unwrap_or_default();
        ensure!(root.has_tag_name("bmap"), "not a block map: no element bmap");
        ensure!(version.starts_with("2."), "block map of version {version:?}: only 2.x is read");
        let kind = field(root, "ChecksumType")?;
        ensure!(kind == "sha256", "checksums of type {kind:?}: only sha256 is read");
        check_itself(text, field(root, "BmapFileChecksum")?)?;
        let number = |name| -> Result<u64> {
            field(root, name)?.parse().with_context(|| format!("{name}: not a number"))
        };
        let (bytes, block) = (number("ImageSize")?, number("BlockSize")?);
        ensure!((512..=1 << 20).contains(&block) && block.is_power_of_two(), "BlockSize: {block}");
        let map = child(root, "BlockMap")?;
        let ranges = map.children().filter(|node| node.has_tag_name("Range"));
        let ranges = ranges.map(|node| range(node, bytes, block)).collect::<Result<_>>()?;
        Self { bytes, ranges }.ordered()
    }

    fn ordered(self) -> Result<Self> {
        for pair in self.ranges.windows(2) {
            let [one, two] = [&pair[0].bytes, &pair[1].bytes];
            ensure!(one.end <= two.start, "ranges are not in order at byte {}", two.start);
        }
        Ok(self)
    }
}

fn child<'a, 'input>(root: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>> {
    let found = root.children().find(|node| node.has_tag_name(name));
    found.with_context(|| format!("not a block map: no element {name}"))
}

fn field<'a>(root: Node<'a, '_>, name: &str) -> Result<&'a str> {
    Ok(child(root, name)?.text().unwrap_or_default().trim())
}

/// The sum is over the text with zeros where the sum is.
fn check_itself(text: &str, checksum: &str) -> Result<()> {
    ensure!(checksum.len() == NO_CHECKSUM.len(), "its own checksum has the wrong length");
    let before = text.replacen(checksum, NO_CHECKSUM, 1);
    let is = hex(&Sha256::digest(before));
    ensure!(is == checksum, "its own checksum does not match: the map was damaged or edited");
    Ok(())
}

fn range(node: Node<'_, '_>, bytes: u64, block: u64) -> Result<Mapped> {
    let text = node.text().unwrap_or_default().trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>();
    let (Ok(first), Ok(last)) = (number(first), number(last)) else {
        bail!("range {text:?}: expected FIRST-LAST");
    };
    let inside = first <= last && last < bytes.div_ceil(block);
    ensure!(inside, "range {text} is not inside the image");
    let sum = node.attribute("chksum").with_context(|| format!("range {text}: no checksum"))?;
    let sha256 = unhex(sum).with_context(|| format!("range {text}: checksum {sum:?}"))?;
    Ok(Mapped { bytes: first * block..((last + 1) * block).min(bytes), sha256 })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As bmaptool 3.6 writes it, less its explanations, for 4096 bytes of 07, a hole and 3808 bytes of 08.
    const BMAPTOOL: &str = r#"<?xml version="1.0" ?>
<!-- comment -->
<bmap version="2.0">
    <!-- Image size in bytes: 11.7 KiB -->
    <ImageSize> 12000 </ImageSize>

    <BlockSize> 4096 </BlockSize>
    <BlocksCount> 3 </BlocksCount>
    <MappedBlocksCount> 2 </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>

    <BmapFileChecksum> f49b28ff855725069ba49afbd43e20bfab7d51f298a3b166578fc6204c5b1346 </BmapFileChecksum>
    <BlockMap>
        <Range chksum="c9ac7b0624824f844f6c7f3d50fab9741a8914e878467e8daaedca143a34d90b"> 0 </Range>
        <Range chksum="6cc516d1009e7806812a2a4d30e3129289f8b1be82bccd7239e284060e8c6a74"> 2 </Range>
    </BlockMap>
</bmap>
"#;
    const OWN: &str = "f49b28ff855725069ba49afbd43e20bfab7d51f298a3b166578fc6204c5b1346";
    const FIRST: &str = "c9ac7b0624824f844f6c7f3d50fab9741a8914e878467e8daaedca143a34d90b";

    #[test]
    fn map_of_bmaptool() {
        let map = Bmap::parse(BMAPTOOL.as_bytes()).unwrap();
        assert_eq!(map.bytes, 12_000);
        let ranges: Vec<_> = map.ranges.iter().map(|range| range.bytes.clone()).collect();
        assert_eq!(ranges, [0..4096, 8192..12_000]);
        assert_eq!(hex(&map.ranges[0].sha256), FIRST);
    }

    /// With the map's own checksum made right again, so that what is meant is what is refused.
    #[track_caller]
    fn refused(from: &str, to: &str, why: &str) {
        assert!(BMAPTOOL.contains(from), "{from}");
        let changed = BMAPTOOL.replace(OWN, NO_CHECKSUM).replace(from, to);
        let sum = hex(&Sha256::digest(&changed));
        let error = format!(
            "{:#}",
            Bmap::parse(changed.replace(NO_CHECKSUM, &sum).as_bytes()).unwrap_err()
        );
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn refusals() {
        refused("version=\"2.0\"", "version=\"1.3\"", "block map of version \"1.3\"");
        refused("> sha256 <", "> sha1 <", "type \"sha1\"");
        refused("<BlockSize> 4096", "<BlockSize> 0", "BlockSize: 0");
        refused("> 0 <", "> 3 <", "range 3 is not inside");
        refused("> 0 <", "> 2 <", "not in order");
        refused("> 0 <", "> 1-0 <", "not inside");
        refused("> 0 <", "> 0-99999999999999999999 <", "expected FIRST-LAST");
        refused("chksum=\"", "chksum=\"0", "checksum \"0");
        refused("ImageSize", "Image", "not a block map");
        refused("<bmap", "<!DOCTYPE x []><bmap", "not a block map");
        let damaged = BMAPTOOL.replace("12000", "12001");
        let error = Bmap::parse(damaged.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("damaged or edited"), "{error}");
        for cut in 0..BMAPTOOL.trim_end().len() {
            assert!(Bmap::parse(&BMAPTOOL.as_bytes()[..cut]).is_err(), "{cut}");
        }
    }
}
