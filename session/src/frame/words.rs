//! Little-endian words in and out of byte slices, and floats in bulk.

use bytes::BufMut;

/// Reads two bytes at an offset; zero past the end, which callers exclude by checking lengths first.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// Reads four bytes at an offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Reads eight bytes at an offset.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Appends floats as little-endian bytes.
pub(crate) fn put_floats(out: &mut impl BufMut, values: &[f32]) {
    put(out, values, f32::to_le_bytes);
}

/// Appends halves of floats as little-endian bytes.
pub(super) fn put_halves(out: &mut impl BufMut, values: &[u16]) {
    put(out, values, u16::to_le_bytes);
}

/// Appends signed bytes.
pub(super) fn put_bytes(out: &mut impl BufMut, values: &[i8]) {
    put(out, values, i8::to_le_bytes);
}

/// Appends values by way of a piece of the stack: both passes compile to copies on little-endian machines, and the
/// second is one within the nearest cache.
fn put<T: Copy, const N: usize>(out: &mut impl BufMut, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let mut piece = [[0; N]; PIECE];
    for part in values.chunks(PIECE) {
        for (to, value) in piece.iter_mut().zip(part) {
            *to = bytes(*value);
        }
        out.put_slice(piece.get(..part.len()).unwrap_or_default().as_flattened());
    }
}

/// Values that are turned into bytes at a time.
const PIECE: usize = 512;

/// Replaces the content of `out` with the values in `bytes`, whose length is a multiple of theirs.
pub(super) fn take<T, const N: usize>(out: &mut Vec<T>, bytes: &[u8], value: impl Fn([u8; N]) -> T) {
    out.clear();
    let (chunks, _) = bytes.as_chunks::<N>();
    out.extend(chunks.iter().map(|b| value(*b)));
}

pub(super) const fn f32_from(bytes: [u8; 4]) -> f32 {
    f32::from_le_bytes(bytes)
}

pub(super) const fn u16_from(bytes: [u8; 2]) -> u16 {
    u16::from_le_bytes(bytes)
}

pub(super) const fn i8_from(bytes: [u8; 1]) -> i8 {
    i8::from_le_bytes(bytes)
}

/// A count that is known to be within a frame's limits, in the width in which it travels.
pub(super) fn count16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// A count that is known to be within a frame's limits, in the width in which it travels.
pub(super) fn count32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
