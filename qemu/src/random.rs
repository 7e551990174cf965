// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same choice in every run.

/// A linear congruential generator with Knuth's constants, begun with a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// One of so many.
    pub(crate) fn of(&mut self, count: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % count.max(1)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.of(256)).unwrap_or(0)
    }

    /// Some of these, in their order: all where there are not more than `most`.
    pub(crate) fn some(&mut self, of: &[usize], most: usize) -> Vec<usize> {
        let mut left: Vec<usize> = of.to_vec();
        while left.len() > most {
            let one = self.of(left.len());
            left.remove(one);
        }
        left
    }
}
