// SPDX-License-Identifier: MIT OR Apache-2.0
//! A heap for programs of one thread without std: a free list in a fixed arena.
//!
//! musl's `malloc` would be 9 KB of the program, a seventh of it, for speed and hardening that a boot of some thousand
//! allocations has no use for. The arena lies in `.bss`: a page of it costs memory when it is first touched.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};

/// A free block, which holds its own description. Blocks are kept in the order of their addresses.
struct Free {
    size: usize,
    next: Option<NonNull<Free>>,
}

/// Sizes and addresses are multiples of this: no type of ours is aligned more strictly.
const UNIT: usize = 16;

const _: () = assert!(size_of::<Free>() <= UNIT && align_of::<Free>() <= UNIT);

#[repr(C, align(16))]
struct Arena<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

/// A heap of `BYTES`, a multiple of 16.
///
/// The first block that is large enough is taken, and neighbours are merged when one is given back: what is allocated
/// and freed over and over, as in a wait, never fills it.
// In this order: the addresses of the short fields are shorter to write before the long one.
#[repr(C)]
pub struct Heap<const BYTES: usize> {
    first: Cell<Option<NonNull<Free>>>,
    started: Cell<bool>,
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
    /// An empty heap.
    #[expect(clippy::new_without_default, reason = "it must be made in a constant expression")]
    pub const fn new() -> Self {
        assert!(BYTES.is_multiple_of(UNIT) && BYTES > 0);
        Self {
            arena: Arena(UnsafeCell::new([0; BYTES])),
            first: Cell::new(None),
            started: Cell::new(false),
        }
    }

    fn start(&self) {
        if !self.started.replace(true) {
            let whole = NonNull::new(self.arena.0.get().cast::<Free>());
            if let Some(block) = whole {
                // SAFETY: the arena is aligned to UNIT, at least UNIT long, and nobody has any of it yet.
                unsafe { block.write(Free { size: BYTES, next: None }) };
            }
            self.first.set(whole);
        }
    }

    /// Writes the link that led to the block after `before`.
    fn link(&self, before: Option<NonNull<Free>>, to: Option<NonNull<Free>>) {
        match before {
            None => self.first.set(to),
            // SAFETY: `before` is a block of the list, which only this function changes.
            Some(mut before) => unsafe { before.as_mut().next = to },
        }
    }

    fn take(&self, size: usize) -> *mut u8 {
        self.start();
        let (mut before, mut current) = (None, self.first.get());
        while let Some(block) = current {
            // SAFETY: every pointer of the list leads to an initialized free block of the arena.
            let Free { size: room, next } = unsafe { block.read() };
            if room >= size {
                let rest = room.wrapping_sub(size);
                let after = if rest == 0 { next } else { Some(Self::put(block, size, rest, next)) };
                self.link(before, after);
                return block.as_ptr().cast();
            }
            (before, current) = (current, next);
        }
        ptr::null_mut()
    }

    /// Describes the free block that begins `offset` bytes after `block`.
    fn put(
        block: NonNull<Free>,
        offset: usize,
        size: usize,
        next: Option<NonNull<Free>>,
    ) -> NonNull<Free> {
        // SAFETY: the caller owns `offset + size` bytes of the arena from `block` on.
        let place = unsafe { block.byte_add(offset) };
        // SAFETY: `place` is a multiple of UNIT in the arena and nobody else's.
        unsafe { place.write(Free { size, next }) };
        place
    }

    fn give(&self, block: NonNull<Free>, mut size: usize) {
        let (mut before, mut current): (Option<NonNull<Free>>, _) = (None, self.first.get());
        while let Some(other) = current.filter(|other| *other < block) {
            // SAFETY: as in `take`.
            (before, current) = (current, unsafe { other.as_ref() }.next);
        }
        let end = block.as_ptr().wrapping_byte_add(size);
        if let Some(after) = current.filter(|after| after.as_ptr() == end) {
            // SAFETY: as in `take`.
            let merged = unsafe { after.read() };
            (size, current) = (size.wrapping_add(merged.size), merged.next);
        }
        if let Some(mut previous) = before {
            // SAFETY: as in `take`.
            let previous = unsafe { previous.as_mut() };
            if ptr::from_mut(previous).wrapping_byte_add(previous.size) == block.as_ptr() {
                *previous = Free { size: previous.size.wrapping_add(size), next: current };
                return;
            }
        }
        self.link(before, Some(Self::put(block, 0, size, current)));
    }
}

fn rounded(layout: Layout) -> usize {
    // A Layout is at most isize::MAX long: this cannot overflow.
    layout.size().wrapping_add(UNIT - 1) & !(UNIT - 1)
}

// SAFETY: `take` returns null or a block of the arena of at least the size asked for, aligned to UNIT, that is in no
// free block and was given to nobody else; `give` puts it back.
unsafe impl<const BYTES: usize> GlobalAlloc for Heap<BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > UNIT { ptr::null_mut() } else { self.take(rounded(layout)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block.cast::<Free>()) {
            self.give(block, rounded(layout));
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    reason = "the test keeps the allocator's contract: a block is given back once, with its own size"
)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// Every block that is held carries its number in all its bytes: an overlap would show.
    #[test]
    fn blocks_never_overlap_and_all_comes_back() {
        let heap = Box::new(Heap::<{ 1 << 16 }>::new());
        let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
        let mut random = 1u64;
        for round in 0..20_000u32 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let size = 1 + (random >> 33) as usize % 700;
            if random >> 63 == 0 || held.len() > 60 {
                let index = (random >> 40) as usize % held.len().max(1);
                if index < held.len() {
                    let (block, size, tag) = held.swap_remove(index);
                    assert!((0..size).all(|i| unsafe { *block.add(i) } == tag), "round {round}");
                    unsafe { heap.dealloc(block, layout(size)) };
                }
                continue;
            }
            let block = unsafe { heap.alloc(layout(size)) };
            assert!(!block.is_null() && block.addr().is_multiple_of(UNIT));
            unsafe { block.write_bytes(round as u8, size) };
            held.push((block, size, round as u8));
        }
        for (block, size, _) in held {
            unsafe { heap.dealloc(block, layout(size)) };
        }
        assert!(
            !unsafe { heap.alloc(layout(1 << 16)) }.is_null(),
            "the arena did not come together again"
        );
    }

    #[test]
    fn a_full_heap_says_so() {
        let heap = Box::new(Heap::<64>::new());
        assert!(unsafe { heap.alloc(layout(65)) }.is_null());
        assert!(!unsafe { heap.alloc(layout(64)) }.is_null());
        assert!(unsafe { heap.alloc(layout(1)) }.is_null());
        assert!(unsafe { heap.alloc(Layout::from_size_align(1, 32).unwrap()) }.is_null());
    }
}
