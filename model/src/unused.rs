//! Tensors that lie in a model's files and have no place in the model that its configuration describes.
//!
//! A model of which a part is passed over computes something else without a word: a configuration with too few layers, a
//! bias that is not added, shared experts that were forgotten. So there must be none.

use std::collections::BTreeSet;

use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::names::{Naming, Role, Tensor};
use crate::weights::{Weights, malformed};

/// Angles that old checkpoints carry; they follow from the configuration.
const DERIVED: &str = "rotary_emb.inv_freq";

/// Their names, ascending.
pub(crate) fn unused(config: &ModelConfig, weights: &Weights, naming: Naming) -> Vec<String> {
    let experts = config.all_experts().flat_map(|(layer, expert)| {
        Role::ALL.into_iter().map(move |role| Tensor::Expert(layer, expert, role))
    });
    let known: BTreeSet<String> = Tensor::dense(config)
        .into_iter()
        .chain(experts)
        .flat_map(|tensor| naming.places(config, tensor))
        .map(|place| place.name)
        .collect();
    let head = naming.places(config, Tensor::Head).into_iter().map(|place| place.name);
    let spare: Vec<String> =
        head.filter(|name| config.tied && is_embedding(config, weights, (naming, name))).collect();
    let kept =
        |name: &&str| known.contains(*name) || name.ends_with(DERIVED) || spare.iter().any(|own| own == name);
    weights.names().filter(|name| !kept(name)).map(str::to_owned).collect()
}

/// Whether a head is stored that is the embedding once more.
fn is_embedding(config: &ModelConfig, weights: &Weights, (naming, head): (Naming, &str)) -> bool {
    let embedding = weights.locate(config, naming, Tensor::Embedding);
    let (Ok(embedding), Ok(head)) = (embedding, weights.find(head)) else { return false };
    embedding.stored.dtype == head.dtype && embedding.stored.bytes == head.bytes
}

/// Refuses a model with any of them.
pub(crate) fn expect_none(config: &ModelConfig, weights: &Weights, naming: Naming) -> Result<(), LoadError> {
    let found = unused(config, weights, naming);
    let Some(first) = found.first() else { return Ok(()) };
    let file = weights
        .find(first)
        .map_or_else(|_| weights.listing().to_path_buf(), |stored| stored.path.to_path_buf());
    let others = match found.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(malformed(
        &file,
        format!("tensor {first}{others} has no place in the model that the configuration describes"),
    ))
}
