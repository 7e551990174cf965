// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the parts of a FAT volume lie, and its first sectors.

use anyhow::{Result, bail, ensure};

use super::{Kind, SECTOR, SECTOR_BYTES, Volume};

/// Two copies of the table: every driver expects them.
const TABLES: u8 = 2;
/// Tables, root directory and data begin at multiples of 4 KiB.
const ALIGN: u32 = 8;
/// Entries in the root directory of FAT16.
const ROOT_ENTRIES: u16 = 512;
/// At 32 bytes an entry.
const ROOT_SECTORS: u32 = 32;
/// The limits between FAT12, FAT16 and FAT32, in clusters.
const FAT16: u32 = 4_085;
const FAT32: u32 = 65_525;
const FAT32_MAX: u32 = 0x0fff_fff5;
/// Largest volume: sectors are numbered by 32 bits.
const MAX_BYTES: u64 = u32::MAX as u64 * SECTOR;

/// The sizes of a volume's parts, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) kind: Kind,
    pub(super) sectors: u32,
    pub(super) cluster_sectors: u8,
    pub(super) reserved: u16,
    pub(super) table_sectors: u32,
    pub(super) clusters: u32,
}

impl Geometry {
    /// The smallest clusters that make this kind of FAT: FAT32 from 1 KiB on, FAT16 from 2 KiB on (32 MiB of
    /// FAT16 then have 16 KiB of table), smaller ones where the volume is too small for those.
    pub(super) fn new(kind: Kind, bytes: u64) -> Result<Self> {
        ensure!(
            bytes.is_multiple_of(SECTOR) && bytes <= MAX_BYTES,
            "{bytes} bytes: no size for FAT"
        );
        let sectors = u32::try_from(bytes / SECTOR)?;
        let sizes: &[u8] = match kind {
            Kind::Fat12 => bail!("FAT12 is not written here"),
            Kind::Fat16 => &[4, 8, 16, 32, 64, 2, 1],
            Kind::Fat32 => &[2, 4, 8, 16, 32, 64, 1],
        };
        let fits = |size: &u8| Self::with_clusters(kind, sectors, *size);
        let Some(geometry) = sizes.iter().find_map(fits) else {
            let limit = match kind {
                Kind::Fat32 => "FAT32 needs at least 34 MiB",
                _ => "FAT16 needs 3 MiB to 2 GiB",
            };
            bail!("{} MiB are not possible: {limit}", bytes >> 20);
        };
        Ok(geometry)
    }

    /// The geometry with clusters of this many sectors, if their number belongs to the kind.
    fn with_clusters(kind: Kind, sectors: u32, cluster_sectors: u8) -> Option<Self> {
        let (reserved, entry) = match kind {
            Kind::Fat32 => (32_u16, 4),
            _ => (8, 2),
        };
        let root = root_sectors(kind);
        let room = sectors.checked_sub(u32::from(reserved) + root)?;
        // Upper bound of the clusters first; the table for that many is never too small.
        let most = room / u32::from(cluster_sectors);
        let table_bytes = (u64::from(most) + 2) * entry;
        let table_sectors =
            u32::try_from(table_bytes.div_ceil(SECTOR)).ok()?.next_multiple_of(ALIGN);
        let clusters =
            room.checked_sub(u32::from(TABLES) * table_sectors)? / u32::from(cluster_sectors);
        let range = match kind {
            Kind::Fat12 => 1..FAT16,
            Kind::Fat16 => FAT16..FAT32,
            Kind::Fat32 => FAT32..FAT32_MAX,
        };
        let geometry = Self { kind, sectors, cluster_sectors, reserved, table_sectors, clusters };
        range.contains(&clusters).then_some(geometry)
    }

    pub(super) fn cluster_bytes(self) -> u64 {
        u64::from(self.cluster_sectors) * SECTOR
    }

    /// Of the fixed root directory.
    pub(super) fn root_bytes(self) -> u64 {
        u64::from(root_sectors(self.kind)) * SECTOR
    }

    pub(super) fn table_bytes(self) -> usize {
        usize::try_from(u64::from(self.table_sectors) * SECTOR).unwrap_or(usize::MAX)
    }

    pub(super) fn table_offset(self, copy: u8) -> u64 {
        (u64::from(self.reserved) + u64::from(copy) * u64::from(self.table_sectors)) * SECTOR
    }

    /// Of a cluster.
    pub(super) fn offset(self, cluster: u32) -> u64 {
        let data = self.table_offset(TABLES) + self.root_bytes();
        data + u64::from(cluster.saturating_sub(2)) * self.cluster_bytes()
    }

    /// Of a file or directory; the root of FAT16 has no cluster.
    pub(super) fn place(self, root: bool, first: u32) -> u64 {
        if root && self.kind == Kind::Fat16 {
            self.table_offset(TABLES)
        } else {
            self.offset(first)
        }
    }

    /// The length of a directory to the end of its last cluster.
    pub(super) fn directory_bytes(self, root: bool, clusters: u32) -> u64 {
        if root && self.kind == Kind::Fat16 {
            self.root_bytes()
        } else {
            u64::from(clusters) * self.cluster_bytes()
        }
    }

    /// The reserved sectors: boot sector, and on FAT32 the count of free clusters and copies of both.
    pub(super) fn head(self, volume: &Volume, free: u32) -> Vec<u8> {
        let boot = self.boot_sector(volume);
        let mut head = boot.clone();
        if self.kind == Kind::Fat32 {
            let information = self.information(free);
            head.extend(&information);
            head.resize(6 * SECTOR_BYTES, 0);
            head.extend(boot);
            head.extend(information);
        }
        head.resize(usize::from(self.reserved) * SECTOR_BYTES, 0);
        head
    }

    fn boot_sector(self, volume: &Volume) -> Vec<u8> {
        // a jump over the fields, into `hlt` loops of nobody: nothing here boots a PC
        let mut out = vec![0xeb, 0x58, 0x90];
        out.extend(b"PIVOT   ");
        out.extend(512_u16.to_le_bytes());
        out.push(self.cluster_sectors);
        out.extend(self.reserved.to_le_bytes());
        out.push(TABLES);
        let root_entries = if self.kind == Kind::Fat16 { ROOT_ENTRIES } else { 0 };
        out.extend(root_entries.to_le_bytes());
        let small = u16::try_from(self.sectors).ok().filter(|_| self.kind == Kind::Fat16);
        out.extend(small.unwrap_or(0).to_le_bytes());
        out.push(0xf8); // media: a fixed disk
        let table = u16::try_from(self.table_sectors).unwrap_or(0);
        out.extend(if self.kind == Kind::Fat16 { table } else { 0 }.to_le_bytes());
        out.extend(63_u16.to_le_bytes());
        out.extend(255_u16.to_le_bytes());
        out.extend(volume.hidden.to_le_bytes());
        out.extend(if small.is_some() { 0 } else { self.sectors }.to_le_bytes());
        if self.kind == Kind::Fat32 {
            out.extend(self.table_sectors.to_le_bytes());
            out.extend([0; 4]); // both tables are active, version 0
            out.extend(2_u32.to_le_bytes()); // the root directory's cluster
            out.extend(1_u16.to_le_bytes()); // the information sector
            out.extend(6_u16.to_le_bytes()); // the copy of this one
            out.extend([0; 12]);
        }
        out.extend([0x80, 0, 0x29]); // drive, reserved, "three fields follow"
        out.extend(volume.id.to_le_bytes());
        out.extend(format!("{:<11}", volume.label).bytes());
        out.extend(if self.kind == Kind::Fat16 { b"FAT16   " } else { b"FAT32   " });
        out.resize(510, 0);
        out.extend([0x55, 0xaa]);
        out
    }

    /// "FSInfo": how many clusters are free, and the first of them.
    fn information(self, free: u32) -> Vec<u8> {
        let mut out = b"RRaA".to_vec();
        out.resize(484, 0);
        out.extend(b"rrAa");
        out.extend((self.clusters - (free - 2)).to_le_bytes());
        out.extend(free.to_le_bytes());
        out.resize(508, 0);
        out.extend([0, 0, 0x55, 0xaa]);
        out
    }
}

fn root_sectors(kind: Kind) -> u32 {
    match kind {
        Kind::Fat12 | Kind::Fat16 => ROOT_SECTORS,
        Kind::Fat32 => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, mib: u64, cluster_sectors: u8) {
        let geometry = Geometry::new(kind, mib << 20).unwrap();
        assert_eq!(geometry.cluster_sectors, cluster_sectors);
        let entry = if kind == Kind::Fat16 { 2 } else { 4 };
        assert!(geometry.table_bytes() >= (geometry.clusters as usize + 2) * entry);
        let end = geometry.offset(2 + geometry.clusters);
        assert!(end <= mib << 20 && (mib << 20) - end < geometry.cluster_bytes());
        assert_eq!(geometry.offset(2) % 4096, 0);
    }

    #[test]
    fn sizes_of_clusters() {
        check(Kind::Fat16, 32, 4);
        check(Kind::Fat16, 128, 4);
        check(Kind::Fat16, 256, 8);
        check(Kind::Fat16, 257, 16);
        check(Kind::Fat16, 5, 2);
        check(Kind::Fat16, 4, 1);
        check(Kind::Fat32, 128, 2);
        check(Kind::Fat32, 64, 1);
        check(Kind::Fat32, 34, 1);
        check(Kind::Fat32, 512, 2);
    }

    /// The boot ROMs up to Pi 3 were seen not to start from fewer sectors.
    #[test]
    fn every_fat16_is_large_enough_for_the_boot_rom() {
        for mib in 3..2048 {
            let geometry = Geometry::new(Kind::Fat16, mib << 20).unwrap();
            assert!(geometry.clusters * u32::from(geometry.cluster_sectors) >= 4160, "{mib}");
        }
    }

    #[test]
    fn impossible_sizes() {
        // 64,496 clusters: fewer than FAT32 must have
        let error = Geometry::new(Kind::Fat32, 32 << 20).unwrap_err().to_string();
        assert_eq!(error, "32 MiB are not possible: FAT32 needs at least 34 MiB");
        assert!(Geometry::new(Kind::Fat16, 1 << 20).is_err());
        assert!(Geometry::new(Kind::Fat16, 4 << 30).is_err());
        assert!(Geometry::new(Kind::Fat32, 3 << 40).is_err());
        assert!(Geometry::new(Kind::Fat32, 0).is_err());
    }
}
