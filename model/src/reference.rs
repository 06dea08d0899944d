//! The whole model in one process: the path that every distributed one must agree with, bit for bit.

use counterfoil_spec::limits::MAX_FRAME_ROWS;

use crate::bank::ExpertBank;
use crate::combine::combine;
use crate::decoder::{Decoder, Feed, Sequence};
use crate::error::ComputeError;
use crate::routing::Routing;
use crate::rows::Rows;
use crate::sampler::Sampler;

/// Whoever computes experts: a bank in this process, or nodes.
pub trait Experts {
    /// What can go wrong besides the arithmetic.
    type Error: From<ComputeError>;

    /// `(rows, hidden)` normed rows to the sums of their weighted experts, in the canonical order.
    ///
    /// # Errors
    /// What the implementation says.
    fn forward(&mut self, layer: u32, rows: &Rows, routing: &Routing) -> Result<Rows, Self::Error>;
}

impl Experts for &ExpertBank {
    type Error = ComputeError;

    fn forward(&mut self, layer: u32, rows: &Rows, routing: &Routing) -> Result<Rows, ComputeError> {
        Ok(ExpertBank::forward(self, layer, rows, routing)?.into_vectors())
    }
}

/// Experts spread over several banks of this process, as they are over nodes.
pub struct Spread<'a>(pub Vec<&'a ExpertBank>);

impl Experts for Spread<'_> {
    type Error = ComputeError;

    fn forward(&mut self, layer: u32, rows: &Rows, routing: &Routing) -> Result<Rows, ComputeError> {
        let holder = |expert| self.0.iter().position(|bank| bank.has(layer, expert));
        let mut answers = Vec::with_capacity(self.0.len());
        for (at, bank) in self.0.iter().enumerate() {
            let part = routing.part(|_, expert| holder(expert) == Some(at));
            let combined = bank.forward(layer, &part.select(rows)?, &part.routing)?;
            answers.push((part, combined));
        }
        let answers: Vec<_> = answers.iter().map(|(part, combined)| (part, combined)).collect();
        combine(routing, rows.width(), &answers)
    }
}

/// The next token ids of a sequence through all layers: `(ids, hidden)`. The sequence advances.
///
/// # Errors
/// What the decoder or the experts say; then the sequence stands where it stood.
pub fn step<E: Experts>(
    decoder: &Decoder,
    experts: &mut E,
    sequence: &mut Sequence,
    ids: &[u32],
) -> Result<Rows, E::Error> {
    let mut rows = decoder.embed(ids)?;
    for layer in 0..decoder.config().layers {
        decoder.attend(sequence, layer, &mut rows)?;
        if let Feed::Experts { normed, routing } = decoder.gate(layer, &mut rows)? {
            let mut sums = experts.forward(layer, &normed, &routing)?;
            if let Some(shared) = decoder.shared(layer, &normed)? {
                sums.add(&shared)?;
            }
            rows.add(&sums)?;
        }
    }
    decoder.advance(sequence, ids.len());
    Ok(rows)
}

/// The logits of every position, `(ids, vocab)`.
///
/// # Errors
/// As [`step`].
pub fn logits<E: Experts>(decoder: &Decoder, experts: &mut E, ids: &[u32]) -> Result<Rows, E::Error> {
    let mut sequence = decoder.begin(ids.len())?;
    let mut all = Rows::default();
    for chunk in ids.chunks(MAX_FRAME_ROWS) {
        let rows = step(decoder, experts, &mut sequence, chunk)?;
        all.append(&decoder.logits(&rows)?)?;
    }
    Ok(all)
}

/// Continues a prompt until an end-of-answer id (which is not part of the result) or `max_ids`.
///
/// # Errors
/// As [`step`]; [`ComputeError::Shape`] for an empty prompt.
pub fn generate<E: Experts>(
    decoder: &Decoder,
    experts: &mut E,
    prompt: &[u32],
    max_ids: usize,
    sampler: &mut Sampler,
) -> Result<Vec<u32>, E::Error> {
    let room = (prompt.len() + max_ids).min(decoder.config().context.max(prompt.len()));
    let mut sequence = decoder.begin(room)?;
    let mut last = Rows::default();
    for chunk in prompt.chunks(MAX_FRAME_ROWS) {
        last = step(decoder, experts, &mut sequence, chunk)?;
    }
    let mut made = Vec::new();
    loop {
        let end = last.len();
        let row = last.gather(&[end.wrapping_sub(1)])?;
        let id = sampler.sample(decoder.logits(&row)?.values());
        if made.len() >= max_ids || decoder.config().eos.contains(&id) {
            return Ok(made);
        }
        made.push(id);
        if made.len() >= max_ids || sequence.position() >= sequence.room() {
            return Ok(made);
        }
        last = step(decoder, experts, &mut sequence, &[id])?;
    }
}
