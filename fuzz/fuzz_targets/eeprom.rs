// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image that begins with the input, erased flash behind it: what is parsed takes another configuration, and nothing
//! else in it changes.
#![no_main]

use bootsel::eeprom::{
    Chip,
    image::{Image, Kind, Section},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let chip = Chip::ALL[usize::from(first & 1)];
    let mut image = bytes.to_vec();
    image.resize(chip.image_bytes() as usize, 0xff);
    let Ok(old) = Image::parse(&image) else { return };
    assert_eq!(old.chip, chip);
    let _ = old.verify_parts(|_| [0; 32]);
    let config = &bytes[..usize::from(*first).min(bytes.len())];
    let Ok(new) = old.replace_bootconf(config) else { return };
    let new = Image::parse(&new).unwrap();
    assert_eq!((new.bootconf(), new.build_timestamp), (config, old.build_timestamp));
    let others = |image: &Image<'_>| -> Vec<(usize, Vec<u8>)> {
        let kept =
            |one: &Section<'_>| ![Kind::File("bootconf.txt"), Kind::Padding].contains(&one.kind);
        image.sections().filter(kept).map(|one| (one.at, one.content.to_vec())).collect()
    };
    assert_eq!(others(&new), others(&old));
});
