//! A lane's own code allocates nothing in the steady state, on neither side.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use counterfoil_session::bench::{Parts, answer, dispatch};
use counterfoil_session::frame::Encoding;

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any longer, and nobody reads it.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    run();
    COUNT.with(Cell::get) - before
}

/// The allocations of 1,000 rounds after a few that warm up.
fn in_the_steady_state(rows: u16, encoding: Encoding) -> u64 {
    let mut parts = Parts::new().expect("both ends are made");
    let dispatch = dispatch(rows, 256, encoding);
    let answer = answer(&dispatch);
    let mut rounds = |count: u32| {
        for _ in 0..count {
            let combine = parts.round(&dispatch, &answer).expect("a round passes");
            assert!(combine == answer);
            parts.restore(combine);
        }
    };
    rounds(10);
    allocations(|| rounds(1_000))
}

#[test]
fn a_token_in_any_encoding_allocates_nothing() {
    for encoding in [Encoding::F32, Encoding::Int8, Encoding::Bf16] {
        assert_eq!(in_the_steady_state(1, encoding), 0, "{encoding:?}");
    }
}

#[test]
fn a_prompt_allocates_nothing() {
    assert_eq!(in_the_steady_state(64, Encoding::F32), 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))), 1);
}
