//! Weights and outputs that lie against a page which may not be touched: one byte too far ends the test program.

use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::*;

/// Pages between two that may not be touched.
struct Guarded {
    start: NonNull<u8>,
    len: usize,
}

/// Where the bytes lie between the two.
#[derive(Debug, Clone, Copy)]
enum Against {
    Front,
    Back,
}

const PAGE: usize = 1 << 16;

impl Guarded {
    fn new(bytes: usize) -> Self {
        let len = bytes.div_ceil(PAGE) * PAGE + 2 * PAGE;
        // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing that is there.
        #[expect(unsafe_code, reason = "pages that may not be touched come from the system")]
        let start = unsafe {
            let start = mmap_anonymous(null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE).unwrap();
            mprotect(start.byte_add(PAGE), len - 2 * PAGE, MprotectFlags::READ | MprotectFlags::WRITE)
                .unwrap();
            start
        };
        Self { start: NonNull::new(start.cast()).unwrap(), len }
    }

    /// `bytes` bytes that begin, or end, where the pages do.
    fn bytes(&mut self, bytes: usize, against: Against) -> &mut [u8] {
        let at = match against {
            Against::Front => PAGE,
            Against::Back => self.len - PAGE - bytes,
        };
        // SAFETY: the range lies in the pages that may be read and written, which are zero at first and live as long
        // as `self`, which is borrowed.
        #[expect(unsafe_code, reason = "the pages are no memory of Rust's")]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), bytes)
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and no slice of it outlives it.
        #[expect(unsafe_code, reason = "the pages are no memory of Rust's")]
        unsafe {
            munmap(self.start.as_ptr().cast(), self.len).unwrap();
        }
    }
}

#[test]
fn nothing_outside_weights_and_outputs_is_touched() {
    for dtype in ElementType::QUANTISED {
        for blocks in [1, 2, 3, 5, 8] {
            let inner = blocks * dtype.block_values();
            for outputs in [1, 3, 4, 6] {
                let (w, x) = (weights(dtype, outputs, inner, 21), activations(9, inner, 22));
                let (mut w_pages, mut y_pages) = (Guarded::new(w.len()), Guarded::new(9 * outputs * 4));
                for against in [Against::Front, Against::Back] {
                    let w_there = w_pages.bytes(w.len(), against);
                    w_there.copy_from_slice(&w);
                    for rows in [1, 2, 3, 4, 6, 9] {
                        let packed = Packed::of(Activations::of(&x.slice(0, rows)).unwrap());
                        let want = run(Isa(Kind::Scalar), &x.slice(0, rows), &w, dtype);
                        for isa in Isa::available() {
                            let y = y_pages.bytes(rows * outputs * 4, against);
                            // SAFETY: every pattern of 32 bits is an f32; both ends are aligned, as the pages are.
                            #[expect(unsafe_code, reason = "the pages are bytes")]
                            let (before, y, after) = unsafe { y.align_to_mut::<f32>() };
                            assert!(before.is_empty() && after.is_empty());
                            quantised_product(isa, QuantisedProduct { x: &packed, w: w_there, dtype, y });
                            let bits: Vec<u32> = y.iter().map(|v| v.to_bits()).collect();
                            assert_eq!(bits, want, "{isa:?} {dtype:?} {inner} {outputs} {rows} {against:?}");
                        }
                    }
                }
            }
        }
    }
}
