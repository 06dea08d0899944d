//! In which element type a split folder keeps each tensor.

use crate::dtype::ElementType;
use crate::names::Tensor;

/// What large matrices are quantised to on the way into a split folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quant {
    /// Nothing: every tensor keeps its element type.
    #[default]
    Keep,
    /// `q8_0`.
    Q8_0,
    /// `q4_k`, and `q5_0` where a row is not a multiple of 256 values; embeddings `q8_0`.
    Q4K,
}

impl Quant {
    /// The element type of a tensor with rows of `inner` values that is stored in `source`.
    ///
    /// Norms, biases and gates stay as they are, and so does what is no larger already, and a row that is no multiple
    /// of 32 values.
    pub(crate) fn of(self, tensor: Tensor, inner: usize, source: ElementType) -> ElementType {
        let wanted: &[ElementType] = match (self, tensor) {
            (Self::Keep, _) => &[],
            (Self::Q8_0, _) | (Self::Q4K, Tensor::Embedding) => &[ElementType::Q8_0],
            (Self::Q4K, _) => &[ElementType::Q4K, ElementType::Q5_0],
        };
        if !is_large(tensor) {
            return source;
        }
        let fits = |dtype: &&ElementType| dtype.row_bytes(inner).is_some();
        match (wanted.iter().find(fits), source.row_bytes(inner)) {
            (Some(dtype), Some(now)) if dtype.row_bytes(inner).is_some_and(|then| then < now) => *dtype,
            _ => source,
        }
    }

    /// Whether a tensor was to be quantised and its rows do not allow it.
    pub(crate) fn is_thwarted(self, tensor: Tensor, inner: usize, source: ElementType) -> bool {
        self != Self::Keep && is_large(tensor) && source.is_float() && !inner.is_multiple_of(32)
    }
}

/// Whether a tensor is a matrix that is worth quantising, rather than a norm, a bias or what chooses experts.
pub(crate) const fn is_large(tensor: Tensor) -> bool {
    match tensor {
        Tensor::Embedding
        | Tensor::Head
        | Tensor::Query(_)
        | Tensor::Key(_)
        | Tensor::Value(_)
        | Tensor::Output(_)
        | Tensor::QueryLatent(_)
        | Tensor::Latent(_)
        | Tensor::LatentKey(_)
        | Tensor::LatentValue(_)
        | Tensor::Shared(..)
        | Tensor::Dense(..)
        | Tensor::Expert(..) => true,
        Tensor::Norm
        | Tensor::AttentionNorm(_)
        | Tensor::QueryBias(_)
        | Tensor::KeyBias(_)
        | Tensor::ValueBias(_)
        | Tensor::QueryLatentNorm(_)
        | Tensor::LatentNorm(_)
        | Tensor::FeedNorm(_)
        | Tensor::Gate(_)
        | Tensor::SharedGate(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Role;

    const EXPERT: Tensor = Tensor::Expert(0, 0, Role::Down);

    #[test]
    fn rows_choose_among_q4_k_q5_0_and_what_was() {
        let of = |inner, source| Quant::Q4K.of(EXPERT, inner, source);
        assert_eq!(of(2048, ElementType::Bf16), ElementType::Q4K);
        assert_eq!(of(1408, ElementType::Bf16), ElementType::Q5_0);
        assert_eq!(of(1400, ElementType::Bf16), ElementType::Bf16);
        assert!(Quant::Q4K.is_thwarted(EXPERT, 1400, ElementType::Bf16));
        assert_eq!(Quant::Q8_0.of(EXPERT, 1408, ElementType::F32), ElementType::Q8_0);
    }

    #[test]
    fn nothing_grows() {
        assert_eq!(Quant::Q8_0.of(EXPERT, 2048, ElementType::Q4K), ElementType::Q4K);
        assert_eq!(Quant::Q4K.of(EXPERT, 2048, ElementType::Q6K), ElementType::Q4K);
        assert_eq!(Quant::Keep.of(EXPERT, 2048, ElementType::F32), ElementType::F32);
    }

    #[test]
    fn gates_and_norms_stay() {
        for tensor in [Tensor::Gate(0), Tensor::FeedNorm(0), Tensor::SharedGate(0), Tensor::QueryBias(0)] {
            assert_eq!(Quant::Q4K.of(tensor, 2048, ElementType::F32), ElementType::F32);
        }
        assert_eq!(Quant::Q4K.of(Tensor::Embedding, 2048, ElementType::F16), ElementType::Q8_0);
    }
}
