//! Little-endian words in and out of byte slices, and floats in bulk.

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

/// Appends floats as little-endian bytes; one pass that compiles to a copy on little-endian machines.
pub(crate) fn put_floats(out: &mut Vec<u8>, values: &[f32]) {
    let at = out.len();
    out.resize(at + values.len() * 4, 0);
    let Some(to) = out.get_mut(at..) else { return };
    let (chunks, _) = to.as_chunks_mut::<4>();
    for (to, value) in chunks.iter_mut().zip(values) {
        *to = value.to_le_bytes();
    }
}

/// Replaces the content of `out` with the floats in `bytes`, whose length is a multiple of four.
pub(super) fn take_floats(out: &mut Vec<f32>, bytes: &[u8]) {
    out.clear();
    let (chunks, _) = bytes.as_chunks::<4>();
    out.extend(chunks.iter().map(|b| f32::from_le_bytes(*b)));
}

/// A count that is known to be within a frame's limits, in the width in which it travels.
pub(super) fn count16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// A count that is known to be within a frame's limits, in the width in which it travels.
pub(super) fn count32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
