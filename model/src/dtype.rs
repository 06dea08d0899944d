//! Element types: how the values of a tensor lie in a file.
//!
//! Float types store each value by itself. The others store blocks of values along a row, each block with its own
//! scales, as llama.cpp's `ggml-common.h` defines them; a row is a whole number of blocks.

use minicbor::{Decode, Encode};

/// An element type that is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum ElementType {
    /// IEEE 754 binary32.
    #[n(1)]
    F32,
    /// IEEE 754 binary16.
    #[n(2)]
    F16,
    /// The upper half of a binary32.
    #[n(3)]
    Bf16,
    /// 32 signed bytes and an f16 scale.
    #[n(4)]
    Q8_0,
    /// 32 values of 4 bits and an f16 scale.
    #[n(5)]
    Q4_0,
    /// 32 values of 5 bits and an f16 scale.
    #[n(6)]
    Q5_0,
    /// 32 values of 5 bits, an f16 scale and an f16 offset.
    #[n(7)]
    Q5_1,
    /// 256 values of 4 bits, with eight 6-bit scales and offsets, and an f16 scale for each kind.
    #[n(8)]
    Q4K,
    /// 256 values of 5 bits, with scales as [`Self::Q4K`].
    #[n(9)]
    Q5K,
    /// 256 values of 6 bits, with sixteen signed 8-bit scales and an f16 scale.
    #[n(10)]
    Q6K,
}

impl ElementType {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Those that are stored in blocks.
    pub const QUANTISED: [Self; 7] =
        [Self::Q8_0, Self::Q4_0, Self::Q5_0, Self::Q5_1, Self::Q4K, Self::Q5K, Self::Q6K];

    /// Its name in lower case, as llama.cpp's tools write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// Its number in a manifest.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Bf16 => 3,
            Self::Q8_0 => 4,
            Self::Q4_0 => 5,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q4K => 8,
            Self::Q5K => 9,
            Self::Q6K => 10,
        }
    }

    /// Values in one block; 1 for a float.
    #[must_use]
    pub const fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Whether values are stored one by one.
    #[must_use]
    pub const fn is_float(self) -> bool {
        self.block_values() == 1
    }

    /// Bytes of a row of this many values; `None` where that is no whole number of blocks or too much to count.
    #[must_use]
    pub const fn row_bytes(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_values()) {
            return None;
        }
        (values / self.block_values()).checked_mul(self.block_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_on_the_wire() {
        for (at, dtype) in ElementType::ALL.into_iter().enumerate() {
            assert_eq!(dtype.number(), u64::try_from(at).unwrap() + 1);
            assert_eq!(minicbor::to_vec(dtype).unwrap(), [u8::try_from(dtype.number()).unwrap()]);
        }
    }

    #[test]
    fn all_are_floats_or_quantised() {
        let blocks = ElementType::ALL.into_iter().filter(|dtype| !dtype.is_float());
        assert_eq!(blocks.collect::<Vec<_>>(), ElementType::QUANTISED);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(ElementType::Q4K.row_bytes(2048), Some(8 * 144));
        assert_eq!(ElementType::Q4K.row_bytes(1408), None);
        assert_eq!(ElementType::Q5_0.row_bytes(1408), Some(44 * 22));
        assert_eq!(ElementType::F32.row_bytes(3), Some(12));
        assert_eq!(ElementType::F32.row_bytes(usize::MAX), None);
    }
}
