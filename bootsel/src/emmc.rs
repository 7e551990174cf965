// SPDX-License-Identifier: MIT OR Apache-2.0

//! The boot partitions of an eMMC: what its EXT_CSD register says of them, which of the two may be written, and what one
//! byte makes the other one active.
//!
//! Fields and bits are those of JESD84-B51, 7.4, under the names that `linux/mmc/mmc.h` and mmc-utils give them. The
//! standard counts boot partitions 1 and 2, the kernel boot0 and boot1; here it is the kernel's way.

mod decide;
pub mod note;
pub mod shipped;

use core::fmt;
use core::str::FromStr;

pub use decide::{Refusal, SECTOR, Switch, first_sector};

/// Bytes of the register.
pub const EXT_CSD_BYTES: usize = 512;
/// BOOT_SIZE_MULT counts in these.
const BOOT_SIZE_UNIT: u64 = 128 << 10;
/// EXT_CSD_REV of version 4.3, the first with boot partitions.
const FIRST_WITH_BOOT: u8 = 3;

// `EXT_CSD_*`: where a field is
const RST_N_FUNCTION: usize = 162;
const BOOT_WP: usize = 173;
const BOOT_WP_STATUS: usize = 174;
const BOOT_BUS_CONDITIONS: usize = 177;
const BOOT_CONFIG_PROT: usize = 178;
/// `EXT_CSD_PART_CONFIG`, the one that is written, too.
const PARTITION_CONFIG: u8 = 179;
const REV: usize = 192;
/// `EXT_CSD_BOOT_MULT`
const BOOT_SIZE_MULT: usize = 226;

/// `EXT_CSD_PART_CONFIG_ACC_ACK` of mmc-utils: the eMMC sends an acknowledge before it sends what it boots, which the SoC's
/// ROM waits for, or does not know.
const BOOT_ACK: u8 = 1 << 6;
/// BOOT_PARTITION_ENABLE
const ENABLE_SHIFT: u8 = 3;
/// `EXT_CSD_PART_CONFIG_ACC_MASK`
const ACCESS_MASK: u8 = 7;

/// One of the two boot partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// `mmcblkNboot0`
    Boot0,
    /// `mmcblkNboot1`
    Boot1,
}

impl Boot {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Boot0, Self::Boot1];

    /// As the kernel's name for it ends.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot0 => "boot0",
            Self::Boot1 => "boot1",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Boot0 => Self::Boot1,
            Self::Boot1 => Self::Boot0,
        }
    }

    /// BOOT_PARTITION_ENABLE when it is active.
    fn enable(self) -> u8 {
        match self {
            Self::Boot0 => 1,
            Self::Boot1 => 2,
        }
    }

    /// That of two things which belongs to it.
    pub fn of<T>(self, both: [T; 2]) -> T {
        let [first, second] = both;
        match self {
            Self::Boot0 => first,
            Self::Boot1 => second,
        }
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Boot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::BOTH.into_iter().find(|boot| boot.as_str() == text).ok_or(())
    }
}

/// From where the eMMC boots. What the SoC's ROM makes of that is the ROM's: the standard's boot sends this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// Not enabled, as it leaves the factory. Some ROMs then read the user area.
    None,
    /// A boot partition.
    Boot(Boot),
    /// What holds the partition table.
    User,
    /// 3 to 6
    Reserved(u8),
}

impl Active {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Boot(boot) => boot.as_str(),
            Self::User => "user",
            Self::Reserved(_) => "reserved",
        }
    }
}

/// Whether something can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// It can.
    None,
    /// Not before the power was off.
    PowerOn,
    /// Never again.
    Permanent,
}

impl Protection {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PowerOn => "power-on",
            Self::Permanent => "permanent",
        }
    }
}

/// The fields that matter here, as they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtCsd {
    /// EXT_CSD_REV
    pub revision: u8,
    /// PARTITION_CONFIG
    pub partition_config: u8,
    /// BOOT_SIZE_MULT
    pub boot_size_mult: u8,
    /// BOOT_WP
    pub boot_wp: u8,
    /// BOOT_WP_STATUS
    pub boot_wp_status: u8,
    /// BOOT_CONFIG_PROT
    pub boot_config_prot: u8,
    /// BOOT_BUS_CONDITIONS
    pub boot_bus_conditions: u8,
    /// RST_n_FUNCTION
    pub rst_n_function: u8,
}

impl ExtCsd {
    /// Reads the register.
    pub fn parse(bytes: &[u8; EXT_CSD_BYTES]) -> Self {
        let field = |place: usize| bytes.get(place).copied().unwrap_or_default();
        Self {
            revision: field(REV),
            partition_config: field(PARTITION_CONFIG.into()),
            boot_size_mult: field(BOOT_SIZE_MULT),
            boot_wp: field(BOOT_WP),
            boot_wp_status: field(BOOT_WP_STATUS),
            boot_config_prot: field(BOOT_CONFIG_PROT),
            boot_bus_conditions: field(BOOT_BUS_CONDITIONS),
            rst_n_function: field(RST_N_FUNCTION),
        }
    }

    /// The version of the standard; some numbers were never given.
    pub fn version(&self) -> Option<&'static str> {
        Some(match self.revision {
            0 => "4.0",
            1 => "4.1",
            2 => "4.2",
            3 => "4.3",
            5 => "4.41",
            6 => "4.5",
            7 => "5.0",
            8 => "5.1",
            _ => return None,
        })
    }

    /// From where it boots.
    pub fn active(&self) -> Active {
        match self.partition_config >> ENABLE_SHIFT & 7 {
            0 => Active::None,
            1 => Active::Boot(Boot::Boot0),
            2 => Active::Boot(Boot::Boot1),
            7 => Active::User,
            other => Active::Reserved(other),
        }
    }

    /// BOOT_ACK
    pub fn ack(&self) -> bool {
        self.partition_config & BOOT_ACK != 0
    }

    /// PARTITION_ACCESS: to what reads and writes go. It is the kernel's, which puts it back to 0, the user area.
    pub fn access(&self) -> u8 {
        self.partition_config & ACCESS_MASK
    }

    /// Bytes of each boot partition; 0 where it has none.
    pub fn boot_bytes(&self) -> u64 {
        let has = self.revision >= FIRST_WITH_BOOT;
        if has { u64::from(self.boot_size_mult) * BOOT_SIZE_UNIT } else { 0 }
    }

    /// Whether a boot partition can be written. BOOT_WP_STATUS tells it for each, in newer eMMCs; what was set is in BOOT_WP,
    /// whose bits are for both, or with B_SEC_WP_SEL for the one that the SEC_SEL bits name.
    pub fn write_protection(&self, boot: Boot) -> Protection {
        let told = match boot.of([self.boot_wp_status, self.boot_wp_status >> 2]) & 3 {
            0 => Protection::None,
            1 => Protection::PowerOn,
            _ => Protection::Permanent,
        };
        let bit = |number: u8| self.boot_wp >> number & 1 == 1;
        let is_meant = |selector: u8| !bit(7) || bit(selector) == (boot == Boot::Boot1);
        let set = match (bit(2) && is_meant(3), bit(0) && is_meant(1)) {
            (true, _) => Protection::Permanent,
            (false, true) => Protection::PowerOn,
            (false, false) => Protection::None,
        };
        told.max(set)
    }

    /// Whether PARTITION_CONFIG can be changed: PERM_BOOT_CONFIG_PROT, PWR_BOOT_CONFIG_PROT.
    pub fn config_protection(&self) -> Protection {
        match (self.boot_config_prot & 1 << 4 != 0, self.boot_config_prot & 1 != 0) {
            (true, _) => Protection::Permanent,
            (false, true) => Protection::PowerOn,
            (false, false) => Protection::None,
        }
    }

    /// The bus while it boots: timing, width in bits, and whether these stay for the system that boots.
    pub fn boot_bus(&self) -> (&'static str, Option<u8>, bool) {
        let mode = match self.boot_bus_conditions >> 3 & 3 {
            0 => "sdr",
            1 => "sdr-high-speed",
            2 => "ddr",
            _ => "reserved",
        };
        // in double data rate one bit is not possible, and 0 means four
        let width = match (self.boot_bus_conditions & 3, mode) {
            (0, "ddr") | (1, _) => Some(4),
            (0, _) => Some(1),
            (2, _) => Some(8),
            _ => None,
        };
        (mode, width, self.boot_bus_conditions & 1 << 2 != 0)
    }

    /// What the signal RST_n does.
    pub fn rst_n(&self) -> &'static str {
        match self.rst_n_function & 3 {
            0 => "disabled",
            1 => "enabled",
            2 => "disabled-for-good",
            _ => "reserved",
        }
    }
}

#[cfg(test)]
mod tests;
