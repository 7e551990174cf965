// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of partitions.

use serde::Deserialize;

/// A number of bytes: `"128M"`, `"1G"`, in units of 1024; whole MiB, as partitions are.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// The end of an MBR; nobody has a card of that size.
const MOST: u64 = 2 << 40;

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected = || format!("size {text:?}: expected a number and M or G, as in \"128M\"");
        let (number, unit) = match (text.strip_suffix('M'), text.strip_suffix('G')) {
            (Some(number), _) => (number, 1_u64 << 20),
            (_, Some(number)) => (number, 1 << 30),
            _ => return Err(expected()),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        // what has too many digits is too large, too
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
            Some(0) => Err(format!("size {text:?}: expected 1M or more")),
            Some(bytes) if bytes <= MOST => Ok(Self(bytes)),
            _ => {
                Err(format!("size {text:?}: expected 2048G or less, where a partition table ends"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = Size::try_from(text.to_owned()).unwrap_err();
        assert!(error.contains(why) && error.contains(&format!("{text:?}")), "{error}");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1M", 1 << 20), ("128M", 128 << 20), ("2048G", 2 << 40)] {
            assert_eq!(Size::try_from(text.to_owned()).unwrap().0, bytes, "{text}");
        }
        for bad in ["", "M", "128", "128K", "-1M", "+1M", "1.5G", "1 M"] {
            refused(bad, "expected a number and M or G");
        }
        refused("0M", "expected 1M or more");
        for large in ["3000G", "2097153M", "99999999999G", "99999999999999999999G"] {
            refused(large, "expected 2048G or less");
        }
    }
}
