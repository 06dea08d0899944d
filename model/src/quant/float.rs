//! 16-bit floats, in a form that compilers turn into vector code.

/// An f16 as f32, exactly. A NaN stays a NaN with its payload.
#[inline(always)]
pub(super) fn f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // The exponent's bias is 15 in f16 and 127 in f32. A subnormal is 2^-14 · (1 + fraction) − 2^-14, which is exact.
    let normal = magnitude + (112 << 23);
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let special = magnitude + (224 << 23);
    let finite = if magnitude < 1 << 23 { subnormal } else { normal };
    f32::from_bits(sign | if magnitude >= 31 << 23 { special } else { finite })
}

/// A bf16 as f32, exactly.
#[inline(always)]
pub(super) fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
