// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ring 3: the bytes that ship, booted under QEMU; the test root's init says what it finds.

mod boards;
mod case;
mod checks;
mod cpio;
mod cuts;
mod debian;
pub(crate) mod disk;
mod eeprom;
mod emmc;
mod failures;
mod fixture;
mod grow;
mod kernel;
mod kill;
mod life;
mod roots;
mod seen;
mod success;
mod trials;
mod uefi;
mod watchdogs;

pub(crate) use case::Case;
pub(crate) use fixture::Fixture;

/// The cases; `all` adds those that others stand for. Those that take minutes are apart, so that others run beside them.
pub(crate) fn cases(all: bool) -> Vec<Case> {
    // The longest first: one that begins last has the machine for itself.
    let mut cases = life::cases();
    cases.extend(kill::cases(all));
    cases.extend([debian::trials(), debian::bookworm()]);
    cases.extend(success::cases());
    cases.push(debian::trixie());
    cases.push(debian::on_pi3());
    cases.extend(boards::cases());
    cases.extend(trials::cases());
    cases.extend(watchdogs::cases());
    cases.extend(failures::cases());
    cases.extend(grow::cases());
    cases.extend(cuts::cases(all));
    cases.extend(eeprom::cases());
    cases.extend(emmc::cases());
    cases.extend(uefi::cases());
    cases.extend(kernel::cases());
    cases
}

#[cfg(test)]
mod tests {
    /// A case works in a directory of its name.
    #[test]
    fn names_are_unique() {
        let cases = super::cases(true);
        let names: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
