// SPDX-License-Identifier: MIT OR Apache-2.0

//! A release of the bootloader: its image and the recovery.bin that goes with it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::section::pad_to;
use crate::{Chip, Section, build, noise};

/// Where a Pi 5's image has the program that says which version it is.
const BOOTSYS: usize = 0x1_0000;
/// recovery.bin of a Pi 4 in 2026; that of a Pi 5 is larger by 5 %.
const RECOVERY_BYTES: usize = 100_140;
/// It begins with as many zeros.
const RECOVERY_ZEROS: usize = 0x200;

/// A day, as it stands in the names of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// In full.
    pub year: u32,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
}

impl Date {
    /// The day of a time in seconds since 1970, UTC.
    #[must_use]
    pub fn of(seconds: u32) -> Self {
        let (mut year, mut month, mut day) = (1970, 1, seconds / 86_400);
        let leap = |year: u32| {
            year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
        };
        loop {
            let days = match month {
                4 | 6 | 9 | 11 => 30,
                2 if leap(year) => 29,
                2 => 28,
                _ => 31,
            };
            if day < days {
                return Self { year, month, day: day + 1 };
            }
            day -= days;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
    }
}

/// `2026-05-17`
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A release.
#[derive(Clone, Debug)]
pub struct Release {
    /// For which processor.
    pub chip: Chip,
    /// When it was built, in seconds since 1970: its version.
    pub build_timestamp: u32,
    /// `MFG_VER`; not in images before 2026.
    pub manufacture: Option<u32>,
    /// The configuration that it comes with.
    pub bootconf: String,
}

impl Release {
    /// One with the configuration that boots from SD cards, USB and networks.
    /// (rpi-eeprom, `imager/*-config/boot-conf-sd.txt`)
    #[must_use]
    pub fn new(chip: Chip, build_timestamp: u32) -> Self {
        let bootconf = match chip {
            Chip::Bcm2711 => {
                "[all]\nBOOT_UART=0\nWAKE_ON_GPIO=1\nPOWER_OFF_ON_HALT=0\nBOOT_ORDER=0xf41\n"
            }
            Chip::Bcm2712 => "[all]\nBOOT_UART=1\nPOWER_OFF_ON_HALT=0\nBOOT_ORDER=0xf461\n",
        };
        Self { chip, build_timestamp, manufacture: None, bootconf: bootconf.to_owned() }
    }

    /// `pieeprom-2026-05-17.bin`
    #[must_use]
    pub fn name(&self) -> String {
        format!("pieeprom-{}.bin", Date::of(self.build_timestamp))
    }

    /// The image, sections and places as in those of 2026.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        build(self.chip.image_bytes(), &self.sections())
    }

    /// recovery.bin of the same day: the file names that it looks for, and the texts.
    #[must_use]
    pub fn recovery(&self) -> Vec<u8> {
        let bytes = match self.chip {
            Chip::Bcm2711 => RECOVERY_BYTES,
            Chip::Bcm2712 => RECOVERY_BYTES / 20 * 21,
        };
        let mut out = vec![0; RECOVERY_ZEROS];
        // what comes next is the same for both
        out.extend([0x00, 0xb0, 0x00, 0x01, 0xf0, 0x81, 0x00, 0xc0]);
        out.extend(b"\0RECOVERY.%03d\0recovery.bin\0pieeprom.bin\0pieeprom.upd\0pieeprom.sig\0");
        out.extend(self.texts());
        if self.chip == Chip::Bcm2711 {
            out.extend(b"vc_driver_sdram_init_2711\0");
        }
        out.extend(self.noise(7, bytes - out.len()));
        out
    }

    /// Adds both to a directory laid out as rpi-eeprom is, `firmware-2711/default/`; the path of the image.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, directory: &Path, channel: &str) -> io::Result<PathBuf> {
        let directory = directory.join(format!("firmware-{}", self.chip.number())).join(channel);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("recovery.bin"), self.recovery())?;
        let path = directory.join(self.name());
        fs::write(&path, self.image())?;
        Ok(path)
    }

    fn noise(&self, number: u32, bytes: usize) -> Vec<u8> {
        noise(self.build_timestamp.wrapping_add(number), bytes)
    }

    /// What the bootloader says of itself, between NULs.
    fn texts(&self) -> Vec<u8> {
        let Self { build_timestamp: time, manufacture, .. } = self;
        let Date { year, month, day } = Date::of(*time);
        let (hour, minute, second) = (time / 3600 % 24, time / 60 % 60, time % 60);
        let commit = time.rotate_left(16);
        let mut text = format!(
            "\0VERSION:{commit:08x}\0DATE: {year}/{month:02}/{day:02}\0TIME: {hour:02}:{minute:02}:{second:02}\0\
             BUILD_TIMESTAMP={time}\0"
        );
        if let Some(manufacture) = manufacture {
            text += &format!("MFG_VER: {manufacture}\0");
        }
        text.into_bytes()
    }

    fn sections(&self) -> Vec<Section> {
        // its upper half is as if it were erased
        let main = [self.noise(1, 200_000), vec![0xff; 200_000]].concat();
        let parts = [
            Section::part("bootmain", &main),
            Section::part("memsys00.bin", &self.noise(2, 20_000)),
            Section::new(0x55aa_f33f, "mcb.bin", &self.noise(3, 1_300)),
        ];
        let program = |bytes| [self.noise(4, bytes), self.texts(), self.noise(5, 1_000)].concat();
        let mut sections = match self.chip {
            Chip::Bcm2711 => vec![Section::bootcode(&program(50_000)), Section::padding(524)],
            Chip::Bcm2712 => {
                let code = Section::bootcode(&self.noise(6, 25_984));
                let mut sections =
                    vec![code, Section::padding(524), Section::file("updatetime", &[0; 8])];
                pad_to(&mut sections, BOOTSYS);
                sections.push(Section::file("bootsys", &program(60_000)));
                sections
            }
        };
        sections.extend(parts);
        sections.push(Section::file("updatetime", &[0; 8]));
        for (name, bytes) in [("pubkey.bin", 512), ("cacert.der", 2048), ("bootconf.sig", 1024)] {
            sections.push(Section::file(name, &vec![0; bytes]));
            sections.push(Section::padding(224));
        }
        sections.push(Section::file("bootconf.txt", self.bootconf.as_bytes()));
        if self.chip == Chip::Bcm2712 {
            // another part of the flash begins behind it
            pad_to(&mut sections, 0x10_7000);
            pad_to(&mut sections, self.chip.image_bytes() - crate::RESERVED * 2);
        }
        sections
    }
}

#[cfg(test)]
mod tests;
