// SPDX-License-Identifier: MIT OR Apache-2.0

//! A list with room for a fixed number, which needs no allocator.

use core::ops::{Deref, DerefMut};

/// At most `N` of them, in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct List<T, const N: usize> {
    items: [T; N],
    length: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    /// None; what stands in the free places nobody sees.
    pub const fn new(filler: T) -> Self {
        Self { items: [filler; N], length: 0 }
    }

    /// One more; `false` where there is no room for it.
    pub fn push(&mut self, item: T) -> bool {
        let place = self.items.get_mut(self.length).map(|place| *place = item);
        self.length += usize::from(place.is_some());
        place.is_some()
    }

    /// One less: without the last.
    pub fn pop(&mut self) {
        self.length = self.length.saturating_sub(1);
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.items.get(..self.length).unwrap_or_default()
    }
}

impl<T, const N: usize> DerefMut for List<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.items.get_mut(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut list = List::<u8, 2>::new(9);
        assert!(list.is_empty());
        assert_eq!([1, 2, 3].map(|item| list.push(item)), [true, true, false]);
        list.reverse();
        assert_eq!(*list, [2, 1]);
        list.pop();
        assert!(list.push(4) && *list == [2, 4]);
    }
}
