// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drivers stand between a kernel and the data partition, per machine. They have to be in the initramfs:
//! `modules_<release>.squashfs` lies on that partition.

use std::fmt;

use serde::Deserialize;

/// A named set of drivers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// QEMU's and other hypervisors' virtual machines.
    Virt,
    /// Every Raspberry Pi.
    Raspi,
    /// Any machine with UEFI: servers, boards, virtual machines, whatever their disk hangs on.
    Uefi,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Virt => "virt",
            Self::Raspi => "raspi",
            Self::Uefi => "uefi",
        })
    }
}

/// One driver, under all the names that kernels give it. Those that a kernel has are taken.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Names of the module.
    pub names: &'static [&'static str],
    /// Whether a kernel with none of them cannot boot this machine.
    pub required: bool,
}

const fn required(names: &'static [&'static str]) -> Driver {
    Driver { names, required: true }
}

const fn optional(names: &'static [&'static str]) -> Driver {
    Driver { names, required: false }
}

/// What every boot needs: images are loop-mounted squashfs files on an ext4 partition, under an overlay.
/// Not vfat: init never mounts a boot partition. Softdeps bring in crc32c, without which 6.12's ext4 loads
/// and then does not mount.
pub const ALWAYS: &[Driver] =
    &[required(&["loop"]), required(&["squashfs"]), required(&["ext4"]), required(&["overlay"])];

/// Disks and cards, by the drivers without which nothing of them is seen, as far as one word does not tell.
const DISKS: [&str; 11] = [
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "nvme_apple",
    "xen_blkfront",
    "hv_storvsc",
    "megaraid_sas",
    "mpt3sas",
    "usb_storage",
    "uas",
    // kernel: drivers/mmc/host/mtk-sd.c
    "mtk_sd",
];
/// What sounds like a card's host and is none: parts of the core, and hosts of a Raspberry Pi alone.
const NO_HOSTS: [&str; 7] = [
    "mmc_core",
    "mmc_block",
    "pwrseq_emmc",
    "sdhci_pltfm",
    "bcm2835_mmc",
    "sdhci_iproc",
    "sdhci_brcmstb",
];

/// Whether a module drives disks or the host of a card. There are more hosts than can be listed: dw_mmc_rockchip,
/// sdhci_of_arasan, renesas_sdhi_core, ufshcd_pci.
#[must_use]
pub fn is_disk(module: &str) -> bool {
    // kernel: drivers/clk/qcom/mmcc-msm8996.c is a clock
    let card = module.contains("mmc") && !module.starts_with("mmcc");
    let starts = ["sdhci_", "renesas_sdhi", "ufshcd_", "ufs_", "ahci", "sata_", "hisi_sas_"];
    let host = card || starts.iter().any(|start| module.starts_with(start));
    DISKS.contains(&module) || host && !NO_HOSTS.contains(&module)
}

impl Machine {
    /// Watchdogs: they are loaded, and the first one armed, before anything else.
    #[must_use]
    pub fn watchdogs(self) -> &'static [Driver] {
        match self {
            // The only hardware watchdog that -machine virt can have. Debian's 32-bit kernels lack it.
            Self::Virt => const { &[optional(&["i6300esb"])] },
            // kernel: drivers/watchdog/bcm2835_wdt.c serves Pi 0 to 5; it also restarts and powers off the board.
            // Built in by the vendor.
            Self::Raspi => const { &[required(&["bcm2835_wdt"])] },
            // Arm: Base System Architecture, which servers follow, has the former (ACPI table GTDT).
            Self::Uefi => const { &[optional(&["sbsa_gwdt"]), optional(&["i6300esb"])] },
        }
    }

    /// From the bus to the block device.
    #[must_use]
    pub fn storage(self) -> &'static [Driver] {
        match self {
            // QEMU: docs/system/arm/virt.rst: virtio on PCIe and on 32 MMIO transports.
            Self::Virt => {
                const {
                    &[
                        required(&["virtio_pci"]),
                        required(&["virtio_mmio"]),
                        required(&["virtio_blk"]),
                        // -device sdhci-pci -device sd-card: the card of a board without its controller
                        optional(&["sdhci_pci"]),
                        optional(&["mmc_block"]),
                    ]
                }
            }
            // Optional are buses that kernels for servers or virtual machines alone are built without.
            Self::Uefi => {
                const {
                    &[
                        required(&["virtio_pci"]),
                        optional(&["virtio_mmio"]),
                        required(&["virtio_blk"]),
                        required(&["virtio_scsi"]),
                        // the disks of SCSI, SATA and USB alike
                        required(&["sd_mod"]),
                        required(&["nvme"]),
                        required(&["ahci"]),
                        // SATA that is no PCI device but described by ACPI or a device tree
                        optional(&["ahci_platform"]),
                        required(&["xhci_pci"]),
                        optional(&["xhci_plat_hcd"]),
                        required(&["usb_storage"]),
                        optional(&["uas"]),
                        // cards and eMMC of boards
                        optional(&["sdhci_pci"]),
                        optional(&["sdhci_acpi"]),
                        optional(&["mmc_block"]),
                    ]
                }
            }
            // kernel: arch/arm/boot/dts/broadcom/bcm283x.dtsi, arch/arm64/boot/dts/broadcom/. The card of a Pi 4
            // (bcm2711-rpi-4-b.dts, &emmc2) and of a Pi 5 (bcm2712-rpi-5-b.dts) has two regulators behind GPIOs:
            // until their drivers are there, the host waits without a word.
            // `bcm2835` is the SD host of Pi 0 to 3 ("sdhost"); the vendor calls it bcm2835_sdhost and has a
            // second driver for the other controller, bcm2835_mmc. sdhci_iproc drives Pi 4, sdhci_brcmstb Pi 5.
            // Optional is what kernels for the other boards alone lack, or have no use for.
            Self::Raspi => {
                const {
                    &[
                        required(&["mmc_block"]),
                        optional(&["gpio_raspberrypi_exp"]),
                        optional(&["gpio_brcmstb"]),
                        optional(&["fixed"]),
                        optional(&["gpio_regulator"]),
                        required(&["bcm2835", "bcm2835_sdhost", "bcm2835_mmc"]),
                        optional(&["sdhci_iproc"]),
                        optional(&["sdhci_brcmstb"]),
                        // not storage, and nothing waits for it: kernel: drivers/nvmem/rmem.c shows the configuration
                        // in the EEPROM of a Pi 4 and 5 (bcm2711-rpi.dtsi, &blconfig) where there is no /dev/vcio
                        optional(&["nvmem_rmem"]),
                    ]
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks() {
        for module in [
            "nvme",
            "usb_storage",
            "sdhci_pci",
            "dw_mmc_rockchip",
            "meson_gx_mmc",
            "ufshcd_pci",
            "hv_storvsc",
            "ahci_xgene",
        ] {
            assert!(is_disk(module), "{module}");
        }
        // what all kernels have, file systems, and the hosts that only a Raspberry Pi has
        for module in [
            "mmc_block",
            "mmcc_msm8996",
            "libahci",
            "sdhci",
            "sd_mod",
            "squashfs",
            "ufs",
            "loop",
            "i6300esb",
        ] {
            assert!(!is_disk(module), "{module}");
        }
        let pi = Machine::Raspi.storage().iter().flat_map(|driver| driver.names);
        pi.for_each(|name| assert!(!is_disk(name), "{name}"));
        for machine in [Machine::Virt, Machine::Uefi] {
            let mut names = machine.storage().iter().flat_map(|driver| driver.names);
            assert!(names.any(|name| is_disk(name)), "{machine}");
        }
    }
}
