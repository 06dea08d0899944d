//! The rows of a dispatch in the encoding in which they travel.
//!
//! ```text
//! 0 f32    rows × hidden × f32
//! 1 int8   rows × hidden × i8 ‖ rows × hidden / 32 × f32 (the scale of each 32 values)
//! 2 bf16   rows × hidden × bf16
//! ```
//!
//! int8 is what the canonical kernel makes of a row before it multiplies by quantised weights, so that the node gets
//! the bits that it would have made itself, in 1.125 bytes a value.

use bytes::BufMut;

use super::header::FrameError;
use super::words::{f32_from, i8_from, put_bytes, put_floats, put_halves, take, u16_from};

/// Values that share a scale.
pub const BLOCK: usize = 32;

/// How the values of rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As they are.
    #[default]
    F32,
    /// As the kernel's signed bytes, with a scale for each 32.
    Int8,
    /// Rounded to the upper half of an f32.
    Bf16,
}

impl Encoding {
    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::Int8 => 1,
            Self::Bf16 => 2,
        }
    }

    /// Reads a number; `None` for one that is not assigned.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::F32),
            1 => Some(Self::Int8),
            2 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The bytes of a row of `hidden` values, which for int8 is a multiple of 32.
    #[must_use]
    pub fn row_bytes(self, hidden: u32) -> u64 {
        let values = u64::from(hidden);
        match self {
            Self::F32 => values * 4,
            Self::Int8 => values + values / 32 * 4,
            Self::Bf16 => values * 2,
        }
    }
}

/// Rows in one encoding, `(rows, hidden)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Activations {
    /// The values.
    F32(Vec<f32>),
    /// A value is its byte times its scale.
    Int8 {
        /// `(rows, hidden)`, within ±127
        bytes: Vec<i8>,
        /// `(rows, hidden / 32)`, finite and not negative
        scales: Vec<f32>,
    },
    /// The upper halves of the values.
    Bf16(Vec<u16>),
}

impl Default for Activations {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl Activations {
    /// Rounds values to bf16, ties to even.
    #[must_use]
    pub fn bf16(values: &[f32]) -> Self {
        Self::Bf16(values.iter().map(|v| upper_half(*v)).collect())
    }

    /// How they travel.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        match self {
            Self::F32(_) => Encoding::F32,
            Self::Int8 { .. } => Encoding::Int8,
            Self::Bf16(_) => Encoding::Bf16,
        }
    }

    /// The values themselves: those that were sent, the bytes times their scales, or the halves with zeros below.
    #[must_use]
    pub fn to_floats(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::Int8 { bytes, scales } => {
                let blocks = bytes.chunks(BLOCK).zip(scales);
                blocks.flat_map(|(block, scale)| block.iter().map(move |b| f32::from(*b) * scale)).collect()
            }
            Self::Bf16(halves) => halves.iter().map(|h| f32::from_bits(u32::from(*h) << 16)).collect(),
        }
    }

    /// How many bytes they take in a frame.
    pub(crate) fn wire_bytes(&self) -> usize {
        match self {
            Self::F32(values) => values.len() * 4,
            Self::Int8 { bytes, scales } => bytes.len() + scales.len() * 4,
            Self::Bf16(halves) => halves.len() * 2,
        }
    }

    /// Appends them.
    pub(super) fn put(&self, out: &mut impl BufMut) {
        match self {
            Self::F32(values) => put_floats(out, values),
            Self::Int8 { bytes, scales } => {
                put_bytes(out, bytes);
                put_floats(out, scales);
            }
            Self::Bf16(halves) => put_halves(out, halves),
        }
    }

    /// Appends one row of `hidden` values; nothing where it is not there.
    pub(crate) fn put_row(&self, out: &mut Vec<u8>, row: usize, hidden: usize) {
        let (at, to) = (row * hidden, (row + 1) * hidden);
        match self {
            Self::F32(values) => put_floats(out, values.get(at..to).unwrap_or_default()),
            Self::Int8 { bytes, scales } => {
                put_bytes(out, bytes.get(at..to).unwrap_or_default());
                put_floats(out, scales.get(at / BLOCK..to / BLOCK).unwrap_or_default());
            }
            Self::Bf16(halves) => put_halves(out, halves.get(at..to).unwrap_or_default()),
        }
    }

    /// Replaces them with those in `from`, whose length is the one that rows and hidden ask for; the buffers are used
    /// again where the encoding is the same.
    pub(super) fn read(&mut self, encoding: Encoding, from: &[u8], hidden: u32) -> Result<(), FrameError> {
        match encoding {
            Encoding::F32 => {
                let mut values = if let Self::F32(v) = self { std::mem::take(v) } else { Vec::new() };
                take(&mut values, from, f32_from);
                *self = Self::F32(values);
            }
            Encoding::Int8 => {
                let (mut bytes, mut scales) = match self {
                    Self::Int8 { bytes, scales } => (std::mem::take(bytes), std::mem::take(scales)),
                    _ => (Vec::new(), Vec::new()),
                };
                let (b, s) = from.split_at_checked(from.len() / 9 * 8).unwrap_or_default();
                take(&mut bytes, b, i8_from);
                take(&mut scales, s, f32_from);
                *self = Self::Int8 { bytes, scales };
            }
            Encoding::Bf16 => {
                let mut halves = if let Self::Bf16(v) = self { std::mem::take(v) } else { Vec::new() };
                take(&mut halves, from, u16_from);
                *self = Self::Bf16(halves);
            }
        }
        self.check(hidden)
    }

    /// What no kernel makes of a row: a byte of −128, or a scale that is negative or not finite.
    pub(super) fn check(&self, hidden: u32) -> Result<(), FrameError> {
        let Self::Int8 { bytes, scales } = self else { return Ok(()) };
        let width = usize::try_from(hidden).unwrap_or(usize::MAX).max(1);
        // Without an early end these loops run many values at a time; where something is wrong, it is looked for.
        if bytes.iter().fold(false, |bad, b| bad | (*b == i8::MIN)) {
            let at = bytes.iter().position(|b| *b == i8::MIN).unwrap_or(0);
            return Err(FrameError::Byte(at / width));
        }
        if scales.iter().fold(false, |bad, s| bad | is_no_scale(*s)) {
            let at = scales.iter().position(|s| is_no_scale(*s)).unwrap_or(0);
            return Err(FrameError::Scale(at * BLOCK / width));
        }
        Ok(())
    }
}

/// Negative (−0 too), infinite or no number.
const fn is_no_scale(scale: f32) -> bool {
    scale.to_bits() >= f32::INFINITY.to_bits()
}

/// The nearest bf16, ties to even; what is not finite stays so.
fn upper_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let up = if value.is_nan() { 0x0040_0000 } else { 0x7fff + (bits >> 16 & 1) };
    // A NaN keeps its sign and gets a bit that stays; the sum cannot pass 2^32 for any other value.
    let rounded = if value.is_nan() { bits | up } else { bits + up };
    u16::try_from(rounded >> 16).unwrap_or(u16::MAX)
}
