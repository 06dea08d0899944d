//! The tensor table: what lies where.

use std::path::Path;

use crate::dtype::ElementType;
use crate::error::LoadError;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its shape, the outermost dimension first.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub stored: Stored,
    /// Its first byte, from the beginning of the file.
    pub offset: usize,
    /// Its bytes; of a type whose size is not known, the bytes up to what follows it.
    pub bytes: usize,
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// In a type that is computed with.
    As(ElementType),
    /// In another type, by its number in ggml.
    Foreign(u32),
}

impl Entry {
    /// The element type.
    ///
    /// # Errors
    /// [`LoadError::TensorType`] where it is not computed with.
    pub fn element_type(&self, file: &Path) -> Result<ElementType, LoadError> {
        match self.stored {
            Stored::As(dtype) => Ok(dtype),
            Stored::Foreign(number) => Err(LoadError::TensorType {
                file: file.to_path_buf(),
                tensor: self.name.clone(),
                found: name(number),
            }),
        }
    }
}

impl Stored {
    pub(super) fn of(number: u32) -> Self {
        OURS.into_iter().find(|(n, _)| *n == number).map_or(Self::Foreign(number), |(_, d)| Self::As(d))
    }

    /// Values and bytes of one block; `None` for a type that nobody knew when this was written.
    pub(super) fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::As(dtype) => Some((dtype.block_values(), dtype.block_bytes())),
            Self::Foreign(number) => foreign(number).map(|(_, values, bytes)| (values, bytes)),
        }
    }
}

/// What a type is called that is not computed with.
pub(super) fn name(number: u32) -> String {
    foreign(number).map_or_else(|| format!("number {number}"), |(name, ..)| name.to_owned())
}

/// The number of a type in ggml.
pub(super) fn number(dtype: ElementType) -> u32 {
    OURS.into_iter().find(|(_, d)| *d == dtype).map_or(u32::MAX, |(n, _)| n)
}

const OURS: [(u32, ElementType); 10] = [
    (0, ElementType::F32),
    (1, ElementType::F16),
    (2, ElementType::Q4_0),
    (6, ElementType::Q5_0),
    (7, ElementType::Q5_1),
    (8, ElementType::Q8_0),
    (12, ElementType::Q4K),
    (13, ElementType::Q5K),
    (14, ElementType::Q6K),
    (30, ElementType::Bf16),
];

/// Name, values and bytes of a block of types that are not computed with. A file may hold such tensors as long as no
/// model needs them.
fn foreign(number: u32) -> Option<(&'static str, usize, usize)> {
    Some(match number {
        3 => ("q4_1", 32, 20),
        9 => ("q8_1", 32, 40),
        10 => ("q2_k", 256, 84),
        11 => ("q3_k", 256, 110),
        15 => ("q8_k", 256, 292),
        16 => ("iq2_xxs", 256, 66),
        17 => ("iq2_xs", 256, 74),
        18 => ("iq3_xxs", 256, 98),
        19 => ("iq1_s", 256, 50),
        20 => ("iq4_nl", 32, 18),
        21 => ("iq3_s", 256, 110),
        22 => ("iq2_s", 256, 82),
        23 => ("iq4_xs", 256, 136),
        24 => ("i8", 1, 1),
        25 => ("i16", 1, 2),
        26 => ("i32", 1, 4),
        27 => ("i64", 1, 8),
        28 => ("f64", 1, 8),
        29 => ("iq1_m", 256, 56),
        34 => ("tq1_0", 256, 54),
        35 => ("tq2_0", 256, 66),
        39 => ("mxfp4", 32, 17),
        40 => ("nvfp4", 64, 36),
        41 => ("q1_0", 128, 18),
        _ => return None,
    })
}
