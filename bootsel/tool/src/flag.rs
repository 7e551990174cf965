// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's one-shot tryboot flag, and the reboot that takes it along.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::Command;

use bootsel::state::Way;
use uapi::vcio::{TRYBOOT, reboot_flags, set_reboot_flags};

use crate::error::{Error, Result, failed, refused};
use crate::root::Root;
use crate::this_boot;

/// What a Raspberry Pi kernel makes the flag of. (Raspberry Pi's Linux: `drivers/firmware/raspberrypi.c`)
const ARGUMENT: &str = "0 tryboot";
/// The function in which it does; other kernels have no such one, whatever their version.
const SYMBOL: &str = "rpi_firmware_notify_reboot";
/// Where systemd-shutdown reads the argument of the reboot. `systemctl reboot` leaves the file as it is, the command
/// `reboot` without an argument removes it. (systemd 247 to 257: `systemctl-start-special.c`, `halt_parse_argv`,
/// `reboot_with_parameter`)
const PARAMETER: &str = "run/systemd/reboot-param";
/// There where systemd runs. (sd_booted(3))
const SYSTEMD: &str = "run/systemd/system";

/// How it is set here.
#[derive(Debug)]
pub(crate) struct Flag {
    root: Root,
    vcio: Option<File>,
    /// A kernel that passes the argument on. To look takes a tenth of a second.
    vendor: OnceCell<bool>,
    systemd: bool,
    /// To be handed to the kernel with the reboot.
    with_reboot: bool,
}

impl Flag {
    pub(crate) fn new(root: &Root) -> Self {
        let vcio = File::open(root.path("dev/vcio")).ok();
        Self {
            vcio: vcio.filter(|vcio| reboot_flags(vcio.as_fd()).is_ok()),
            vendor: OnceCell::new(),
            systemd: root.path(SYSTEMD).is_dir(),
            with_reboot: false,
            root: root.clone(),
        }
    }

    pub(crate) fn way(&self) -> Way {
        match &self.vcio {
            Some(_) => Way::Mailbox,
            None if *self.vendor.get_or_init(|| has_symbol(&self.root)) => Way::Reboot,
            None => Way::Unknown(format!(
                "there is no /dev/vcio that answers, and the kernel has no {SYMBOL}"
            )),
        }
    }

    /// Whether the next boot is a trial; `None` where that cannot be read.
    pub(crate) fn is_set(&self) -> Option<bool> {
        let parameter = self.root.text(PARAMETER).is_some_and(|text| text.contains(" tryboot"));
        match &self.vcio {
            Some(vcio) => {
                Some(parameter || reboot_flags(vcio.as_fd()).is_ok_and(|f| f & TRYBOOT != 0))
            }
            None => self.systemd.then_some(parameter),
        }
    }

    /// Refuses what could only be done together with a reboot.
    pub(crate) fn can_wait(&self) -> Result<()> {
        if self.vcio.is_some() || self.systemd {
            return Ok(());
        }
        refused(
            "without /dev/vcio the flag is set by the reboot itself, and no systemd runs that would keep it until \
             then: leave --no-reboot out",
        )
    }

    /// Sets it; says how.
    pub(crate) fn set(&mut self) -> Result<String> {
        let mut before = String::new();
        if let Some(vcio) = &self.vcio {
            set_reboot_flags(vcio.as_fd(), TRYBOOT).map_err(failed("/dev/vcio"))?;
            if reboot_flags(vcio.as_fd()).map_err(failed("/dev/vcio"))? & TRYBOOT != 0 {
                return Ok("tryboot flag set by /dev/vcio and read back".to_owned());
            }
            "/dev/vcio took the tryboot flag and does not give it back; ".clone_into(&mut before);
        }
        if self.systemd {
            let path = self.root.path(PARAMETER);
            let written = fs::write(&path, format!("{ARGUMENT}\n"));
            written.map_err(failed(format!("cannot write {}", path.display())))?;
            return Ok(format!(
                "{before}the reboot will have the argument {ARGUMENT:?}, by systemd; only `systemctl reboot` keeps it, the \
                 command `reboot` takes it away"
            ));
        }
        self.with_reboot = true;
        Ok(format!("{before}the reboot will have the argument {ARGUMENT:?}"))
    }

    /// Clears it, in every way in which it could be set.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.with_reboot = false;
        let path = self.root.path(PARAMETER);
        if self.root.text(PARAMETER).as_deref() == Some(ARGUMENT) {
            fs::remove_file(&path).map_err(failed(format!("cannot remove {}", path.display())))?;
        }
        if let Some(vcio) = &self.vcio {
            set_reboot_flags(vcio.as_fd(), 0).map_err(failed("/dev/vcio"))?;
            if reboot_flags(vcio.as_fd()).map_err(failed("/dev/vcio"))? & TRYBOOT != 0 {
                return Err(Error::Failed("/dev/vcio: the tryboot flag stays set".to_owned()));
            }
        }
        Ok(())
    }

    /// Restarts, with the flag where it is set by that.
    pub(crate) fn reboot(&self) -> Result<&'static str> {
        reboot(&self.root, self.with_reboot)
    }
}

/// Restarts: by systemd where it runs, so that services end in order. Not where the root is another one.
pub(crate) fn reboot(root: &Root, argument: bool) -> Result<&'static str> {
    if !root.is_real() {
        return Ok("not restarted: --root is another system");
    }
    if root.path(SYSTEMD).is_dir() {
        let status = Command::new("systemctl").arg("reboot").status();
        let status = status.map_err(failed("cannot run systemctl reboot"))?;
        return match status.success() {
            true => Ok("restarting"),
            false => Err(Error::Failed(format!("systemctl reboot: {status}"))),
        };
    }
    this_boot::restart(root, argument)
}

fn has_symbol(root: &Root) -> bool {
    let Ok(file) = File::open(root.path("proc/kallsyms")) else { return false };
    let mut lines = BufReader::new(file).lines().map_while(std::result::Result::ok);
    lines.any(|line| line.split_ascii_whitespace().nth(2) == Some(SYMBOL))
}
