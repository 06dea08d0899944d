//! How rows travel to nodes.

use counterfoil_model::{Arithmetic, Checkpoint};
use counterfoil_session::frame::Encoding;

/// How an operator wants rows to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowsAs {
    /// In the fewest bytes that leave the answer's bits alone: the kernel's int8 where all experts of a layer are
    /// quantised, else f32.
    #[default]
    Exact,
    /// Always f32.
    F32,
    /// Always bf16, which changes the answer.
    Bf16,
}

impl RowsAs {
    /// What that means for each layer of a model, dense ones included.
    pub(crate) fn of(self, checkpoint: &Checkpoint) -> Vec<Encoding> {
        let config = checkpoint.config();
        let plain = if self == Self::Bf16 { Encoding::Bf16 } else { Encoding::F32 };
        let mut out = vec![plain; usize::try_from(config.layers).unwrap_or(0)];
        if self != Self::Exact || checkpoint.arithmetic() == Arithmetic::Widened {
            return out;
        }
        let mut quantised = vec![true; out.len()];
        for ((layer, _), record) in checkpoint.manifest().experts() {
            let [gate, up, _] = &record.parts;
            if let Some(all) = usize::try_from(layer).ok().and_then(|layer| quantised.get_mut(layer)) {
                *all &= !gate.dtype.is_float() && !up.dtype.is_float();
            }
        }
        for layer in config.moe_layers() {
            let at = usize::try_from(layer).unwrap_or(usize::MAX);
            if let (Some(encoding), Some(true)) = (out.get_mut(at), quantised.get(at)) {
                *encoding = Encoding::Int8;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn quantised() -> Checkpoint {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/gguf");
        Checkpoint::open(&fixtures.join("deepseek-quantised.gguf")).unwrap()
    }

    #[test]
    fn quantised_experts_get_int8_and_dense_layers_nothing() {
        let checkpoint = quantised();
        let moe: Vec<u32> = checkpoint.config().moe_layers().collect();
        let want: Vec<Encoding> = (0..checkpoint.config().layers)
            .map(|layer| if moe.contains(&layer) { Encoding::Int8 } else { Encoding::F32 })
            .collect();
        assert_eq!(RowsAs::Exact.of(&checkpoint), want);
        assert!(want.contains(&Encoding::F32) && want.contains(&Encoding::Int8));
    }

    #[test]
    fn float_experts_and_widened_arithmetic_get_f32() {
        let guide = Checkpoint::guide().unwrap();
        assert_eq!(RowsAs::Exact.of(&guide), vec![Encoding::F32; RowsAs::F32.of(&guide).len()]);
        let widened = quantised().with_arithmetic(Arithmetic::Widened);
        assert_eq!(RowsAs::Exact.of(&widened), RowsAs::F32.of(&widened));
    }

    #[test]
    fn what_an_operator_asks_for_holds_for_all_layers() {
        let checkpoint = quantised();
        assert!(RowsAs::F32.of(&checkpoint).iter().all(|e| *e == Encoding::F32));
        assert!(RowsAs::Bf16.of(&checkpoint).iter().all(|e| *e == Encoding::Bf16));
    }
}
