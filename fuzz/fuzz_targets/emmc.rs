// SPDX-License-Identifier: MIT OR Apache-2.0
//! Of any register only the other boot partition is written and made active, and a note that is taken is the same when it
//! is written again.
#![no_main]

use bootsel::emmc::note::Note;
use bootsel::emmc::{Active, EXT_CSD_BYTES, ExtCsd, first_sector};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Some(note) = Note::parse(text)
    {
        assert_eq!(Note::parse(&note.to_string()), Some(note));
    }
    if let Some(first) = first_sector(bytes) {
        assert!(bytes[..first].iter().all(|byte| *byte == 0));
        assert!(bytes[first..].iter().take(512).any(|byte| *byte != 0));
    }
    let Some(register) = bytes.first_chunk::<EXT_CSD_BYTES>() else { return };
    let found = ExtCsd::parse(register);
    let may = found.may_write(found.boot_bytes(), |_| u64::MAX);
    assert!(may.is_err() || may.ok() == found.inactive().ok());
    let Ok(switch) = found.may_switch() else { return };
    assert_eq!(found.active(), Active::Boot(switch.to.other()));
    let then = ExtCsd { partition_config: switch.value, ..found };
    assert!(switch.is_done(&then) && then.ack() == found.ack() && then.access() == 0);
    assert_eq!(then.active(), Active::Boot(switch.to));
});
