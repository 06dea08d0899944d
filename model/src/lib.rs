//! Mixture-of-Experts arithmetic on candle: weights, tokenizer, dense decoder, gate, expert, sampler.
//!
//! A model is split in two. The [`Decoder`] (embedding, attention and its cache, gate, logits) stays at the router;
//! the experts lie in [`ExpertBank`]s at nodes. One step of a sequence is
//!
//! ```text
//! rows = embed(ids)
//! for each layer:  attend(sequence, layer, rows)
//!                  a layer without experts is done with gate(layer, rows), else that gives (normed, routing)
//!                  for each bank: part = routing.part(…); answer = bank.forward(layer, part.select(normed), part.routing)
//!                  rows += combine(routing, answers) + shared(layer, normed)
//! advance(sequence); logits(the rows that are wanted)
//! ```
//!
//! Products of quantised weights are integers within a block, all else is f32, and every sum has one order: a row's bits depend neither on which bank held which expert, nor on
//! the other rows of a frame, nor on the processor. [`reference`] runs the same code in one process.

mod angle;
mod arithmetic;
mod attention;
mod bank;
pub mod bench;
mod checkpoint;
mod combine;
mod config;
mod decoder;
mod dtype;
mod durable;
mod error;
mod expert;
mod gate;
pub mod gguf;
mod inventory;
mod kernel;
mod layout;
mod manifest;
mod mapping;
mod matrix;
mod names;
mod norm;
pub mod quant;
pub mod reference;
mod resident;
mod rope;
mod routing;
mod rows;
mod safetensors;
mod sampler;
mod shard;
mod shard_hash;
mod sizes;
mod split;
mod stop;
mod store;
mod stream;
mod strftime;
mod synth;
mod template;
mod threads;
mod tojson;
mod unused;
mod vocabulary;
mod weights;

pub use arithmetic::{Arithmetic, Computing};
pub use bank::ExpertBank;
pub use checkpoint::Checkpoint;
pub use combine::{Combined, combine};
pub use config::{
    Attention, DenseLayers, Family, GateRule, Groups, ModelConfig, NormKind, Pairing, RopeShape, Shared, Yarn,
};
pub use decoder::{Decoder, Feed, Sequence};
pub use dtype::ElementType;
pub use error::{ComputeError, LoadError};
pub use expert::{ExpertPart, ExpertSource};
pub use inventory::{Fit, Inventory, LayerSize, TypeSize};
pub use kernel::{Activations, BadActivations};
pub use manifest::{
    ExpertRecord, FileRecord, KeptManifests, MANIFEST_VERSION, Manifest, PartRecord, Progress,
};
pub use names::Role;
pub use resident::Residence;
pub use routing::{Part, Pick, Routing, Share};
pub use rows::Rows;
pub use sampler::{Sampler, SamplerError, argmax};
pub use shard::{Shard, ShardPart};
pub use shard_hash::{BadShard, ShardVerifier, check_shard};
pub use sizes::{Parameters, WeightBytes};
pub use split::{Existing, Quant, SplitError, SplitPlan, split};
pub use stop::{Shown, StopMatcher, TooManyStops};
pub use store::ShardFolder;
pub use stream::TextStream;
pub use synth::{Like, NoSuchDepth, Synthetic};
pub use template::{ChatTemplate, Ending, Message, TemplateError};
pub use threads::Threads;
pub use vocabulary::{TokenizeError, Vocabulary};
