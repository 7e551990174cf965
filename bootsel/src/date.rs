// SPDX-License-Identifier: MIT OR Apache-2.0

//! Days of the calendar, for people.

use alloc::format;
use alloc::string::String;

/// Year, month and day of seconds since 1970. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`: the year begins in March, an era has 400 years.)
pub fn date(seconds: u32) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{}-{month:02}-{day:02}", era * 400 + year + u32::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            // the first bootloader of the Pi 4 with tryboot_a_b
            (1_666_090_664, "2022-10-18"),
            (1_735_689_599, "2024-12-31"),
            (u32::MAX, "2106-02-07"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
