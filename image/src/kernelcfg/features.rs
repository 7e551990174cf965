// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of pivot's features needs which of the kernel's options: what `pivot-image kernel check` asks, and the table in
//! docs/kernel.md.

use serde::Serialize;

/// When a feature is needed, which decides where a module may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before there is any module: built in or not at all.
    Kernel,
    /// Until the root is mounted: a module has to be an early one.
    Boot,
    /// By the system that was booted: a module of the modules image will do.
    System,
}

/// Who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum For {
    /// Every boot. A kernel without it is not for pivot.
    All,
    /// Every boot of this machine, as in `machines = ["virt"]`.
    Virt,
    /// Likewise.
    Raspi,
    /// Likewise.
    Uefi,
    /// Who uses it.
    Some,
}

/// One feature.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// A word for it.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// When it is needed.
    pub when: When,
    /// Who needs it.
    pub who: For,
    /// All of these; each is a list of which one is enough, the first of them the one to set.
    pub options: &'static [&'static [&'static str]],
    /// Which of `kernel/*.config` has it; none where upstream's Linux has no such option.
    pub fragment: Option<&'static str>,
}

const fn all(
    name: &'static str,
    what: &'static str,
    when: When,
    options: &'static [&'static [&'static str]],
) -> Feature {
    Feature { name, what, when, who: For::All, options, fragment: Some("base") }
}

const fn of(
    who: For,
    fragment: &'static str,
    name: &'static str,
    what: &'static str,
    when: When,
    options: &'static [&'static [&'static str]],
) -> Feature {
    Feature { name, what, when, who, options, fragment: Some(fragment) }
}

use When::{Boot, Kernel, System};

/// The table. Options are without `CONFIG_`.
pub const FEATURES: &[Feature] = &[
    all(
        "initramfs",
        "init is in an archive that the firmware loads",
        Kernel,
        &[&["BLK_DEV_INITRD"]],
    ),
    all("programs", "init is an ELF program", Kernel, &[&["BINFMT_ELF"]]),
    all(
        "pseudo-fs",
        "/dev, /proc, /sys and /run",
        Kernel,
        &[&["DEVTMPFS"], &["PROC_FS"], &["SYSFS"], &["TMPFS"]],
    ),
    all("uevents", "init waits for disks on a netlink socket", Kernel, &[&["NET"]]),
    all(
        "disks",
        "block devices, partitions of an MBR",
        Kernel,
        &[&["BLOCK"], &["MSDOS_PARTITION"]],
    ),
    all("loop", "images on the data partition are mounted", Boot, &[&["BLK_DEV_LOOP"]]),
    all("squashfs", "they are squashfs files", Boot, &[&["SQUASHFS"]]),
    all("data", "the data partition", Boot, &[&["EXT4_FS"]]),
    all("overlay", "pivot.overlay=volatile or persistent", Boot, &[&["OVERLAY_FS"]]),
    of(For::Some, "base", "modules", "drivers that are not built in", Kernel, &[&["MODULES"]]),
    of(For::Some, "base", "gpt", "a disk with a GPT", Kernel, &[&["EFI_PARTITION"]]),
    of(
        For::Some,
        "base",
        "watchdog",
        "a watchdog that the firmware armed is fed and taken over",
        Kernel,
        &[&["WATCHDOG"], &["WATCHDOG_HANDLE_BOOT_ENABLED"]],
    ),
    of(
        For::Some,
        "base",
        "initramfs-zstd",
        "compression = \"zstd\", the default",
        Kernel,
        &[&["RD_ZSTD"]],
    ),
    of(For::Some, "base", "initramfs-lz4", "compression = \"lz4\"", Kernel, &[&["RD_LZ4"]]),
    of(
        For::Some,
        "base",
        "squashfs-zstd",
        "images in zstd, the builder's first choice",
        Kernel,
        &[&["SQUASHFS_ZSTD"]],
    ),
    of(For::Some, "base", "squashfs-xz", "images in xz, its second", Kernel, &[&["SQUASHFS_XZ"]]),
    of(For::Some, "base", "squashfs-gzip", "images in gzip", Kernel, &[&["SQUASHFS_ZLIB"]]),
    of(
        For::Some,
        "base",
        "vfat-root",
        "a root on FAT, and boot partitions for the system",
        Boot,
        &[&["VFAT_FS"], &["NLS_CODEPAGE_437"], &["NLS_ISO8859_1", "NLS_ASCII", "NLS_UTF8"]],
    ),
    of(
        For::Some,
        "base",
        "evidence",
        "`bootsel` keeps a panic's last words",
        System,
        &[&["PSTORE"], &["PSTORE_RAM"]],
    ),
    of(
        For::Some,
        "base",
        "dm-verity",
        "a system that verifies its own images while it reads them",
        System,
        &[&["BLK_DEV_DM"], &["DM_VERITY"]],
    ),
    of(
        For::Some,
        "base",
        "systemd",
        "what systemd cannot start without",
        Kernel,
        &[
            &["CGROUPS"],
            &["INOTIFY_USER"],
            &["FHANDLE"],
            &["EPOLL"],
            &["SIGNALFD"],
            &["TIMERFD"],
            &["UNIX"],
        ],
    ),
    of(
        For::Some,
        "base",
        "services",
        "its PrivateNetwork=, PrivateUsers= and SystemCallFilter=",
        Kernel,
        &[
            &["NAMESPACES"],
            &["UTS_NS"],
            &["IPC_NS"],
            &["PID_NS"],
            &["NET_NS"],
            &["USER_NS"],
            &["SECCOMP_FILTER", "SECCOMP"],
        ],
    ),
    of(For::Some, "base", "config", "`kernel check` of the image alone", Kernel, &[&["IKCONFIG"]]),
    Feature {
        name: "armv6-init",
        what: "a 64-bit kernel runs 32-bit programs: init of ARMv6, and a root for all boards",
        when: Kernel,
        who: For::Some,
        options: &[&["COMPAT", "ARM"]],
        fragment: Some("rpi3"),
    },
    of(
        For::Virt,
        "virt",
        "virt-disk",
        "virtio, over PCIe and in memory",
        Boot,
        &[&["VIRTIO_PCI"], &["VIRTIO_MMIO"], &["VIRTIO_BLK"], &["PCI_HOST_GENERIC"]],
    ),
    of(For::Some, "virt", "virt-watchdog", "`-device i6300esb`", Boot, &[&["I6300ESB_WDT"]]),
    of(
        For::Some,
        "virt",
        "virt-card",
        "`-device sdhci-pci`",
        Boot,
        &[&["MMC_SDHCI_PCI"], &["MMC_BLOCK"]],
    ),
    of(For::Uefi, "virt", "uefi", "UEFI starts the kernel", Kernel, &[&["EFI_STUB"]]),
    Feature {
        name: "uefi-disks",
        what: "the disks of any computer: virtio, SCSI, NVMe, SATA and USB",
        when: Boot,
        who: For::Uefi,
        options: &[
            &["VIRTIO_PCI"],
            &["VIRTIO_BLK"],
            &["SCSI_VIRTIO"],
            &["BLK_DEV_SD"],
            &["BLK_DEV_NVME"],
            &["SATA_AHCI"],
            &["USB_XHCI_PCI"],
            &["USB_STORAGE"],
        ],
        fragment: None,
    },
    of(For::Some, "virt", "acpi", "machines that ACPI describes", Kernel, &[&["ACPI"]]),
    of(For::Some, "virt", "efivars", "`efibootmgr` and the like", System, &[&["EFIVAR_FS"]]),
    of(For::Some, "virt", "uefi-watchdog", "servers' watchdog", Boot, &[&["ARM_SBSA_WATCHDOG"]]),
    of(
        For::Raspi,
        "rpi3",
        "pi-watchdog",
        "also restarts the board and powers it off",
        Boot,
        &[&["BCM2835_WDT"]],
    ),
    of(
        For::Raspi,
        "rpi3",
        "pi-firmware",
        "clocks, power and pins of the VideoCore",
        Boot,
        &[&["BCM2835_MBOX"], &["RASPBERRYPI_FIRMWARE"]],
    ),
    of(
        For::Raspi,
        "rpi3",
        "pi3-card",
        "the card of a Raspberry Pi 0 to 3",
        Boot,
        &[&["MMC_BCM2835", "MMC_BCM2835_SDHOST", "MMC_BCM2835_MMC"], &["MMC_BLOCK"]],
    ),
    of(
        For::Some,
        "rpi3",
        "pi4-card",
        "the card of a Raspberry Pi 4",
        Boot,
        &[
            &["MMC_SDHCI_IPROC"],
            &["MMC_BLOCK"],
            &["REGULATOR_GPIO"],
            &["REGULATOR_FIXED_VOLTAGE"],
            &["GPIO_RASPBERRYPI_EXP"],
        ],
    ),
    Feature {
        name: "pi5-card",
        what: "the card of a Raspberry Pi 5",
        when: Boot,
        who: For::Some,
        options: &[&["MMC_SDHCI_BRCMSTB"], &["MMC_BLOCK"], &["GPIO_BRCMSTB"]],
        fragment: None,
    },
    of(
        For::Some,
        "rpi4",
        "pi-eeprom",
        "an EEPROM update knows the bootloader's configuration",
        System,
        &[&["NVMEM_RMEM", "BCM_VCIO"]],
    ),
    Feature {
        name: "pi-tryboot",
        what: "trials: the one-shot flag is set by /dev/vcio, which the vendor's kernels alone have",
        when: System,
        who: For::Some,
        options: &[&["BCM_VCIO"]],
        fragment: None,
    },
    of(
        For::Some,
        "containers",
        "containers",
        "an OCI runtime as root and rootless",
        System,
        &[
            &["USER_NS"],
            &["NET_NS"],
            &["SECCOMP_FILTER"],
            &["CGROUP_BPF"],
            &["CGROUP_PIDS"],
            &["MEMCG"],
            &["OVERLAY_FS"],
        ],
    ),
    of(
        For::Some,
        "containers",
        "container-networks",
        "bridges and addresses that are translated",
        System,
        &[&["VETH"], &["BRIDGE"], &["TUN"], &["NF_TABLES"], &["NFT_MASQ"], &["NFT_NAT"]],
    ),
    of(For::Some, "containers", "apparmor", "profiles for them", Kernel, &[&["SECURITY_APPARMOR"]]),
    of(
        For::Some,
        "small",
        "quick-crypto",
        "no self-tests of what nobody uses, which are most of a boot",
        Kernel,
        &[&["CRYPTO_MANAGER_DISABLE_TESTS"]],
    ),
];
