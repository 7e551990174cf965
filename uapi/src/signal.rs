// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rt_sigprocmask`: signals that wait until something was brought to its end.

use linux_raw_sys::general::{__NR_rt_sigprocmask, SIG_BLOCK, SIG_SETMASK};
use rustix::io::Result;
use rustix::process::Signal;

use crate::syscall::syscall;

/// The kernel's `sigset_t`, on machines of either width: signal 1 is the lowest bit. (All of ours are little-endian.)
type Set = u64;

/// Signals are held back in this thread; as long as it is there. What came meanwhile comes then.
#[derive(Debug)]
pub struct Blocked {
    before: Set,
}

/// Holds them back.
#[doc(alias = "sigprocmask")]
pub fn block(signals: &[Signal]) -> Result<Blocked> {
    let bit = |signal: &Signal| 1 << (signal.as_raw().unsigned_abs().saturating_sub(1) & 63);
    let set = signals.iter().fold(0, |set: Set, signal| set | bit(signal));
    mask(SIG_BLOCK, set).map(|before| Blocked { before })
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // with these arguments it does not fail
        let _ = mask(SIG_SETMASK, self.before);
    }
}

fn mask(how: u32, set: Set) -> Result<Set> {
    let mut before: Set = 0;
    let addresses = [(&raw const set).expose_provenance(), (&raw mut before).expose_provenance()];
    let [set, old] = addresses;
    // SAFETY: rt_sigprocmask reads one set and writes one, of the 8 bytes that are said; both outlive the call.
    unsafe { syscall(__NR_rt_sigprocmask, [how as usize, set, old, size_of::<Set>(), 0]) }?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal whose default is to end the process does not, as long as it is held back. One that is ignored then is
    /// forgotten.
    #[test]
    fn held_back() {
        let blocked = block(&[Signal::URG, Signal::WINCH]).unwrap();
        let now = mask(SIG_BLOCK, 0).unwrap();
        let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
        assert_eq!(now & bit(Signal::URG), bit(Signal::URG));
        assert_eq!(now & bit(Signal::WINCH), bit(Signal::WINCH));
        assert_eq!(now & bit(Signal::TERM), 0);
        drop(blocked);
        assert_eq!(mask(SIG_BLOCK, 0).unwrap() & (bit(Signal::URG) | bit(Signal::WINCH)), 0);
    }
}
