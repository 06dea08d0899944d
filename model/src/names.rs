//! What the tensors of each family are called in Hugging Face checkpoints.

use crate::config::Family;

/// Names of one family's tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names(pub(crate) Family);

impl Names {
    pub(crate) fn embedding(self) -> &'static str {
        match self.0 {
            Family::Mixtral => "model.embed_tokens.weight",
        }
    }

    pub(crate) fn norm(self) -> &'static str {
        match self.0 {
            Family::Mixtral => "model.norm.weight",
        }
    }

    pub(crate) fn head(self) -> &'static str {
        match self.0 {
            Family::Mixtral => "lm_head.weight",
        }
    }

    pub(crate) fn attention_norm(self, layer: u32) -> String {
        match self.0 {
            Family::Mixtral => format!("model.layers.{layer}.input_layernorm.weight"),
        }
    }

    /// The prefix of the four projections.
    pub(crate) fn attention(self, layer: u32) -> String {
        match self.0 {
            Family::Mixtral => format!("model.layers.{layer}.self_attn"),
        }
    }

    pub(crate) fn gate_norm(self, layer: u32) -> String {
        match self.0 {
            Family::Mixtral => format!("model.layers.{layer}.post_attention_layernorm.weight"),
        }
    }

    pub(crate) fn gate(self, layer: u32) -> String {
        match self.0 {
            Family::Mixtral => format!("model.layers.{layer}.block_sparse_moe.gate.weight"),
        }
    }

    /// Gate, up and down projection of an expert: the order in which the manifest hashes them.
    pub(crate) fn expert(self, layer: u32, expert: u16) -> [String; 3] {
        match self.0 {
            Family::Mixtral => ["w1", "w3", "w2"]
                .map(|part| format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight")),
        }
    }
}
