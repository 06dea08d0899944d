//! Whether weights are finite, by their bits: of floats every value, of blocks their scales.

use crate::dtype::ElementType;

/// The index of the first value that is NaN or infinite. In a block, whose other parts are integers, that is the
/// first value of a block with such a scale.
pub(crate) fn not_finite(dtype: ElementType, bytes: &[u8]) -> Option<usize> {
    let scales: &[usize] = match dtype {
        ElementType::F32 => return first(bytes.as_chunks::<4>().0, |v| bad_f32(*v)),
        ElementType::F16 => return first(bytes.as_chunks::<2>().0, |v| bad_f16(*v)),
        ElementType::Bf16 => return first(bytes.as_chunks::<2>().0, |v| bad_bf16(*v)),
        ElementType::Q8_0 | ElementType::Q4_0 | ElementType::Q5_0 => &[0],
        ElementType::Q5_1 | ElementType::Q4K | ElementType::Q5K => &[0, 2],
        ElementType::Q6K => &[208],
    };
    let blocks = bytes.chunks_exact(dtype.block_bytes());
    let bad =
        |block: &[u8], at: usize| block.get(at..).and_then(<[u8]>::first_chunk).is_some_and(|v| bad_f16(*v));
    let mut blocks = blocks.enumerate();
    blocks.find(|(_, block)| scales.iter().any(|at| bad(block, *at))).map(|(at, _)| at * dtype.block_values())
}

/// Looks at whole chunks without a branch for each value, and then for the value.
fn first<const N: usize>(values: &[[u8; N]], bad: impl Fn(&[u8; N]) -> bool) -> Option<usize> {
    let mut start = 0;
    for chunk in values.chunks(CHUNK) {
        if chunk.iter().fold(false, |any, value| any | bad(value)) {
            return chunk.iter().position(bad).map(|at| start + at);
        }
        start += chunk.len();
    }
    None
}

fn bad_f32(value: [u8; 4]) -> bool {
    u32::from_le_bytes(value) & 0x7f80_0000 == 0x7f80_0000
}

fn bad_f16(value: [u8; 2]) -> bool {
    u16::from_le_bytes(value) & 0x7c00 == 0x7c00
}

fn bad_bf16(value: [u8; 2]) -> bool {
    u16::from_le_bytes(value) & 0x7f80 == 0x7f80
}

/// Values that are looked at together.
const CHUNK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_numbers_are_finite_and_what_follows_them_is_not() {
        let f32s = |v: f32| not_finite(ElementType::F32, &[0f32.to_le_bytes(), v.to_le_bytes()].concat());
        assert_eq!((f32s(f32::MAX), f32s(-f32::MAX), f32s(1e-45)), (None, None, None));
        assert_eq!((f32s(f32::NAN), f32s(f32::NEG_INFINITY)), (Some(1), Some(1)));
        let narrow = |dtype, bits: u16| not_finite(dtype, &bits.to_le_bytes());
        assert_eq!((narrow(ElementType::F16, 0x7bff), narrow(ElementType::F16, 0x7c00)), (None, Some(0)));
        assert_eq!((narrow(ElementType::Bf16, 0xff7f), narrow(ElementType::Bf16, 0xff80)), (None, Some(0)));
    }

    #[test]
    fn a_value_far_into_a_tensor_is_found() {
        let mut values = vec![1f32; 10_000];
        values[9_000] = f32::INFINITY;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(not_finite(ElementType::F32, &bytes), Some(9_000));
    }

    #[test]
    fn every_scale_of_a_block_is_looked_at() {
        let scales: [(ElementType, &[usize]); 7] = [
            (ElementType::Q8_0, &[0]),
            (ElementType::Q4_0, &[0]),
            (ElementType::Q5_0, &[0]),
            (ElementType::Q5_1, &[0, 2]),
            (ElementType::Q4K, &[0, 2]),
            (ElementType::Q5K, &[0, 2]),
            (ElementType::Q6K, &[208]),
        ];
        for (dtype, scales) in scales {
            let size = dtype.block_bytes();
            for at in 0..size / 2 {
                let mut bytes = vec![0; 2 * size];
                bytes[size + 2 * at + 1] = 0x7c;
                let want = scales.contains(&(2 * at)).then_some(dtype.block_values());
                assert_eq!(not_finite(dtype, &bytes), want, "{} {at}", dtype.name());
            }
        }
    }
}
