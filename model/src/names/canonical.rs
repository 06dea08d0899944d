//! Our own names: every tensor whole, by itself, and the way round in which it is computed with.

use super::{Place, Role, Tensor};
use crate::config::ModelConfig;

/// Where the dense file of a split folder keeps a tensor.
pub(crate) fn place(config: &ModelConfig, tensor: Tensor) -> Place {
    let shape = tensor.shape(config);
    match shape {
        [1, width] => Place::vector(name(tensor), width),
        shape => Place::whole(name(tensor), &shape),
    }
}

/// What a tensor is called.
pub(crate) fn name(tensor: Tensor) -> String {
    let layer = |layer: u32, rest: &str| format!("layers.{layer}.{rest}");
    match tensor {
        Tensor::Embedding => "embedding".to_owned(),
        Tensor::Norm => "norm".to_owned(),
        Tensor::Head => "head".to_owned(),
        Tensor::AttentionNorm(l) => layer(l, "attention_norm"),
        Tensor::Query(l) => layer(l, "query"),
        Tensor::QueryBias(l) => layer(l, "query_bias"),
        Tensor::Key(l) => layer(l, "key"),
        Tensor::KeyBias(l) => layer(l, "key_bias"),
        Tensor::Value(l) => layer(l, "value"),
        Tensor::ValueBias(l) => layer(l, "value_bias"),
        Tensor::Output(l) => layer(l, "output"),
        Tensor::QueryLatent(l) => layer(l, "query_latent"),
        Tensor::QueryLatentNorm(l) => layer(l, "query_latent_norm"),
        Tensor::Latent(l) => layer(l, "latent"),
        Tensor::LatentNorm(l) => layer(l, "latent_norm"),
        Tensor::LatentKey(l) => layer(l, "latent_key"),
        Tensor::LatentValue(l) => layer(l, "latent_value"),
        Tensor::FeedNorm(l) => layer(l, "feed_norm"),
        Tensor::Gate(l) => layer(l, "gate"),
        Tensor::Shared(l, role) => layer(l, &format!("shared.{}", part(role))),
        Tensor::SharedGate(l) => layer(l, "shared_gate"),
        Tensor::Dense(l, role) => layer(l, &format!("dense.{}", part(role))),
        Tensor::Expert(l, expert, role) => layer(l, &format!("experts.{expert}.{}", part(role))),
    }
}

const fn part(role: Role) -> &'static str {
    match role {
        Role::Gate => "gate",
        Role::Up => "up",
        Role::Down => "down",
    }
}
