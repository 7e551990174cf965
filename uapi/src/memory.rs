// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of a boot: what is taken is never given back.
//!
//! A boot makes some hundred short texts, and the next program takes all of their memory away. So nobody has to say when a
//! text ends: that, and not an allocator, was an eighth of the program. What runs over and over, as a wait does, works
//! on its stack.

extern crate alloc;

use alloc::alloc::alloc_zeroed;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::slice;

/// Zeros, as many as asked for.
///
/// # Panics
/// Where there is no memory left.
pub fn bytes(length: usize) -> &'static mut [u8] {
    let Ok(layout) = Layout::array::<u8>(length.max(1)) else { return &mut [] };
    // SAFETY: the layout has a length.
    let place = unsafe { alloc_zeroed(layout) };
    assert!(!place.is_null(), "out of memory");
    // SAFETY: so many zeros were just allocated; they are nobody else's and never given back.
    unsafe { slice::from_raw_parts_mut(place, length) }
}

/// A value that is there until the end.
///
/// # Panics
/// Where there is no memory left.
pub fn keep<T: Copy>(value: T) -> &'static T {
    let layout = const { Layout::new::<T>() };
    assert!(size_of::<T>() > 0, "a value of no size");
    // SAFETY: the layout has a length.
    let place = unsafe { alloc_zeroed(layout) }.cast::<T>();
    assert!(!place.is_null(), "out of memory");
    // SAFETY: it was just allocated for a T, and is nobody else's.
    unsafe { place.write(value) };
    // SAFETY: it is a T, and never given back.
    unsafe { &*place }
}

/// Addresses are multiples of this: no type of ours is aligned more strictly.
const UNIT: usize = 16;

#[repr(C, align(16))]
struct Arena<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

/// An allocator of one thread without std. Its arena lies in `.bss`: a page of it costs memory when it is first touched.
// In this order: the address of the short field is shorter to write before the long one.
#[repr(C)]
pub struct Heap<const BYTES: usize> {
    taken: Cell<usize>,
    arena: Arena<BYTES>,
}

// SAFETY: every program that uses it has one thread; a forked child has a copy of its own.
unsafe impl<const BYTES: usize> Sync for Heap<BYTES> {}

impl<const BYTES: usize> core::fmt::Debug for Heap<BYTES> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Heap of {BYTES} bytes")
    }
}

impl<const BYTES: usize> Heap<BYTES> {
    /// All of it is free.
    #[expect(clippy::new_without_default, reason = "it must be made in a constant expression")]
    pub const fn new() -> Self {
        Self { taken: Cell::new(0), arena: Arena(UnsafeCell::new([0; BYTES])) }
    }
}

// SAFETY: a block is null, or it lies in the arena behind all that were given before and begins at a multiple of UNIT.
unsafe impl<const BYTES: usize> GlobalAlloc for Heap<BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.taken.get();
        // A Layout is at most isize::MAX long: this cannot overflow.
        let end = start.wrapping_add(layout.size()).wrapping_add(UNIT - 1) & !(UNIT - 1);
        if end > BYTES || layout.align() > UNIT {
            return ptr::null_mut();
        }
        self.taken.set(end);
        self.arena.0.get().cast::<u8>().wrapping_add(start)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says. Nothing is given twice: it is zero as the arena was.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[cfg(test)]
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the test keeps the allocator's contract: a block is used within its own size"
)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    /// Every block carries its number in all its bytes: an overlap would show.
    #[test]
    fn blocks_never_overlap() {
        let heap = Box::new(Heap::<{ 1 << 16 }>::new());
        let mut held: Vec<(&mut [u8], u8)> = Vec::new();
        for (tag, size) in (1..=u8::MAX).zip([1, 15, 16, 17, 700].into_iter().cycle()) {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let block = unsafe { heap.alloc_zeroed(layout) };
            if block.is_null() {
                break;
            }
            assert!(block.addr().is_multiple_of(UNIT));
            let block = unsafe { slice::from_raw_parts_mut(block, size) };
            assert!(block.iter().all(|byte| *byte == 0), "block {tag}");
            block.fill(tag);
            held.push((block, tag));
        }
        assert!(held.len() > 200, "{}", held.len());
        for (block, tag) in held {
            assert!(block.iter().all(|byte| *byte == tag), "block {tag}");
        }
    }

    #[test]
    fn a_full_heap_says_so() {
        let heap = Box::new(Heap::<64>::new());
        let alloc = |size, align| unsafe {
            heap.alloc(Layout::from_size_align(size, align).unwrap()).is_null()
        };
        assert!(alloc(65, 1) && alloc(1, 32));
        assert!(!alloc(63, 1));
        assert!(alloc(1, 1) && !alloc(0, 1));
    }

    #[test]
    fn zeros() {
        for length in [0, 1, 4096] {
            let bytes = bytes(length);
            assert_eq!(bytes.len(), length);
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(0xff);
        }
    }
}
