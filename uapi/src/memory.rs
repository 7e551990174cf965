// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library's heap as Rust's global allocator, for programs without std.

use core::alloc::{GlobalAlloc, Layout};

/// The alignment that `malloc` guarantees on every target of ours: that of the largest C scalar, two words.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

/// `malloc` and its family.
#[derive(Clone, Copy, Debug)]
pub struct Malloc;

// SAFETY: malloc, calloc, realloc and aligned_alloc return blocks of at least the size asked for that nobody else
// has, aligned to MALLOC_ALIGN or to the alignment asked for, or null; free takes each of them.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: malloc takes any size.
            unsafe { libc::malloc(layout.size()).cast() }
        } else {
            // SAFETY: the alignment is a power of two (Layout), the padded size a multiple of it.
            unsafe { libc::aligned_alloc(layout.align(), layout.pad_to_align().size()).cast() }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: `block` came from one of the functions above (contract of GlobalAlloc).
        unsafe { libc::free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: `block` came from malloc or realloc, both with this alignment.
            return unsafe { libc::realloc(block.cast(), size).cast() };
        }
        // SAFETY: the caller guarantees that `size`, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `new` has a size that is not zero (contract of GlobalAlloc).
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: two blocks of at least the smaller size, which do not overlap.
            unsafe { core::ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: `block` came from this allocator and is not used again.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}
