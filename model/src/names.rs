//! The tensors of a model by what they are for, and where a file keeps each of them.
//!
//! Checkpoints call the same tensor differently, keep several in one, or keep one turned. A naming is a pure function
//! from a [`Tensor`] to the [`Place`]s where it may lie; what is computed knows only the [`Tensor`].

pub(crate) mod canonical;
pub(crate) mod gguf;
pub(crate) mod hf;

use crate::config::{Attention, ModelConfig};

/// One of the three matrices of a feed-forward part: `down · (silu(gate · x) ⊙ (up · x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `(inner, hidden)`
    Gate,
    /// `(inner, hidden)`
    Up,
    /// `(hidden, inner)`
    Down,
}

impl Role {
    /// All three, in the order in which a shard keeps them.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Up, Self::Down];

    /// `(outputs, inner)` of its matrix in a feed-forward part of this width.
    pub(crate) const fn shape(self, hidden: usize, inner: usize) -> [usize; 2] {
        match self {
            Self::Gate | Self::Up => [inner, hidden],
            Self::Down => [hidden, inner],
        }
    }
}

/// A tensor of a model. The number is its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tensor {
    /// `(vocab, hidden)`
    Embedding,
    /// `(1, hidden)`, before the head
    Norm,
    /// `(vocab, hidden)`; there is none where embeddings are tied
    Head,
    /// `(1, hidden)`, before attention
    AttentionNorm(u32),
    /// `(heads · head_dim, hidden)`; from the queries' latent where there is one
    Query(u32),
    /// `(1, heads · head_dim)`
    QueryBias(u32),
    /// `(kv_heads · head_dim, hidden)`
    Key(u32),
    /// `(1, kv_heads · head_dim)`
    KeyBias(u32),
    /// `(kv_heads · head_dim, hidden)`
    Value(u32),
    /// `(1, kv_heads · head_dim)`
    ValueBias(u32),
    /// `(hidden, heads · head_dim)`
    Output(u32),
    /// `(q_lora, hidden)`
    QueryLatent(u32),
    /// `(1, q_lora)`
    QueryLatentNorm(u32),
    /// `(kv_lora + rope, hidden)`
    Latent(u32),
    /// `(1, kv_lora)`
    LatentNorm(u32),
    /// `(heads · kv_lora, nope)`: of each head, the keys' projection turned
    LatentKey(u32),
    /// `(heads · value, kv_lora)`
    LatentValue(u32),
    /// `(1, hidden)`, before experts
    FeedNorm(u32),
    /// `(experts, hidden)`
    Gate(u32),
    /// One matrix of the shared expert.
    Shared(u32, Role),
    /// `(1, hidden)`
    SharedGate(u32),
    /// One matrix of a layer without experts.
    Dense(u32, Role),
    /// One matrix of a routed expert.
    Expert(u32, u16, Role),
}

impl Tensor {
    /// `(outputs, inner)` as it is computed with; a vector is one output.
    pub(crate) fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let hidden = config.hidden;
        let widths = Widths::of(&config.attention);
        match self {
            Self::Embedding | Self::Head => [config.vocab, hidden],
            Self::Norm | Self::AttentionNorm(_) | Self::FeedNorm(_) | Self::SharedGate(_) => [1, hidden],
            Self::Query(_) => [widths.query, widths.query_from.unwrap_or(hidden)],
            Self::QueryBias(_) => [1, widths.query],
            Self::Key(_) | Self::Value(_) => [widths.key, hidden],
            Self::KeyBias(_) | Self::ValueBias(_) => [1, widths.key],
            Self::Output(_) => [hidden, widths.output],
            Self::QueryLatent(_) => [widths.query_from.unwrap_or(0), hidden],
            Self::QueryLatentNorm(_) => [1, widths.query_from.unwrap_or(0)],
            Self::Latent(_) => [widths.latent + widths.rope, hidden],
            Self::LatentNorm(_) => [1, widths.latent],
            Self::LatentKey(_) => [widths.heads * widths.latent, widths.nope],
            Self::LatentValue(_) => [widths.output, widths.latent],
            Self::Gate(_) => [usize::try_from(config.experts).unwrap_or(usize::MAX), hidden],
            Self::Shared(_, role) => role.shape(hidden, config.shared.map_or(0, |shared| shared.inner)),
            Self::Dense(_, role) => role.shape(hidden, config.dense.as_ref().map_or(0, |dense| dense.inner)),
            Self::Expert(_, _, role) => role.shape(hidden, config.inner),
        }
    }

    /// Every tensor of a model that is no expert's, in one fixed order.
    pub(crate) fn dense(config: &ModelConfig) -> Vec<Self> {
        let mut all = vec![Self::Embedding];
        for layer in 0..config.layers {
            all.push(Self::AttentionNorm(layer));
            all.extend(Self::attention(config, layer));
            all.push(Self::FeedNorm(layer));
            if config.is_dense(layer) {
                all.extend(Role::ALL.map(|role| Self::Dense(layer, role)));
                continue;
            }
            all.push(Self::Gate(layer));
            if let Some(shared) = config.shared {
                all.extend(Role::ALL.map(|role| Self::Shared(layer, role)));
                all.extend(shared.gated.then_some(Self::SharedGate(layer)));
            }
        }
        all.push(Self::Norm);
        all.extend((!config.tied).then_some(Self::Head));
        all
    }

    fn attention(config: &ModelConfig, layer: u32) -> Vec<Self> {
        match config.attention {
            Attention::Grouped { bias, .. } => {
                let mut all = vec![Self::Query(layer), Self::Key(layer), Self::Value(layer)];
                if bias {
                    all.extend([Self::QueryBias(layer), Self::KeyBias(layer), Self::ValueBias(layer)]);
                }
                all.push(Self::Output(layer));
                all
            }
            Attention::Latent { q_lora, .. } => {
                let mut all = Vec::new();
                if q_lora.is_some() {
                    all.extend([Self::QueryLatent(layer), Self::QueryLatentNorm(layer)]);
                }
                all.extend([Self::Query(layer), Self::Latent(layer), Self::LatentNorm(layer)]);
                all.extend([Self::LatentKey(layer), Self::LatentValue(layer), Self::Output(layer)]);
                all
            }
        }
    }
}

/// The widths of attention.
struct Widths {
    heads: usize,
    query: usize,
    query_from: Option<usize>,
    key: usize,
    output: usize,
    latent: usize,
    nope: usize,
    rope: usize,
}

impl Widths {
    const fn of(attention: &Attention) -> Self {
        match *attention {
            Attention::Grouped { heads, kv_heads, head_dim, .. } => Self {
                heads,
                query: heads * head_dim,
                query_from: None,
                key: kv_heads * head_dim,
                output: heads * head_dim,
                latent: 0,
                nope: 0,
                rope: 0,
            },
            Attention::Latent { heads, q_lora, kv_lora, nope, rope, value } => Self {
                heads,
                query: heads * (nope + rope),
                query_from: q_lora,
                key: 0,
                output: heads * value,
                latent: kv_lora,
                nope,
                rope,
            },
        }
    }
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The name in the file.
    pub(crate) name: String,
    /// The shape in the file, outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// Which rows of it; a row is as long as the innermost dimension.
    pub(crate) cut: Cut,
    /// Whether the rows, or each band of them, are the columns of what is computed with.
    pub(crate) transposed: bool,
}

/// Some rows of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All of them.
    All,
    /// Rows that lie together.
    Range {
        /// The first.
        first: usize,
        /// How many.
        count: usize,
    },
    /// The same rows of several bands of equal height.
    Bands {
        /// How many bands.
        bands: usize,
        /// Rows of a band.
        height: usize,
        /// The first row of a band that is taken.
        first: usize,
        /// How many are taken.
        count: usize,
    },
    /// All rows, each head's with its pairs side by side; they are taken apart into halves.
    Paired {
        /// Rows of a head.
        height: usize,
    },
}

impl Place {
    /// All of a stored tensor.
    pub(crate) fn whole(name: String, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), cut: Cut::All, transposed: false }
    }

    /// All of a stored vector.
    pub(crate) fn vector(name: String, width: usize) -> Self {
        Self::whole(name, &[width])
    }

    /// The same with only some of the rows.
    pub(crate) fn cut(self, cut: Cut) -> Self {
        Self { cut, ..self }
    }

    /// The same turned.
    pub(crate) fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }
}

/// Who named the tensors of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Hugging Face transformers.
    Hf,
    /// llama.cpp.
    Gguf,
    /// We did, in a split folder.
    Canonical,
}

impl Naming {
    /// Where a tensor may lie; the first place of which the file has the name is the one. Never empty.
    pub(crate) fn places(self, config: &ModelConfig, tensor: Tensor) -> Vec<Place> {
        match self {
            Self::Hf => vec![hf::place(config, tensor)],
            Self::Gguf => gguf::places(config, tensor),
            Self::Canonical => vec![canonical::place(config, tensor)],
        }
    }
}

#[cfg(test)]
mod tests;
