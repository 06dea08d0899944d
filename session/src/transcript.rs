//! The transcript of a request at one node: a keyed digest of every row that it answered, in and out.
//!
//! ```text
//! record     = u32 position ‖ u16 experts ‖ u8 form ‖ u8 encoding ‖ experts × { u16 expert, u16 zero, f32 weight }
//!            ‖ the row as it was sent ‖ vectors × hidden × f32 (the answer)            all little-endian
//! D[layer]   = zeros(32), then for each record of the layer in the order of the answers:
//!              D[layer] = BLAKE3 keyed with k over D[layer] ‖ record
//! transcript = BLAKE3 keyed with k over u32 layer ‖ D[layer] for each layer with a record, ascending
//! ```
//!
//! `k` travels in the grant and never reaches a log. Both sides can keep one; the node must.

use std::collections::BTreeMap;

use counterfoil_spec::ids::Hash;

use crate::frame::{Combine, Dispatch, Outcome};

/// The rows answered so far.
#[derive(Debug, Clone)]
pub struct Transcript {
    key: [u8; 32],
    layers: BTreeMap<u32, [u8; 32]>,
    /// Used again for each record.
    record: Vec<u8>,
}

impl Transcript {
    /// No rows yet.
    #[must_use]
    pub fn new(key: &Hash) -> Self {
        Self { key: *key.as_bytes(), layers: BTreeMap::new(), record: Vec::new() }
    }

    /// Adds the rows of one segment that were answered; nothing where the segment was refused or is not there.
    pub fn add(&mut self, dispatch: &Dispatch, combine: &Combine, segment: usize) {
        let Some(part) = SegmentRows::of(dispatch, combine, segment) else { return };
        let width = usize::try_from(dispatch.hidden).unwrap_or(usize::MAX);
        let mut experts = dispatch.experts.iter().skip(part.first_expert);
        let mut vectors = combine.values.get(part.first_vector * width..).unwrap_or_default();
        let encoding = dispatch.activations.encoding().number();
        let rows = dispatch.rows.iter().enumerate();
        let state = self.layers.entry(dispatch.layer).or_insert([0; 32]);
        for (at, row) in rows.skip(part.first_row).take(part.rows) {
            self.record.clear();
            self.record.extend_from_slice(state);
            self.record.extend_from_slice(&row.position.to_le_bytes());
            self.record.extend_from_slice(&row.experts.to_le_bytes());
            self.record.extend_from_slice(&[row.form.number(), encoding]);
            for expert in experts.by_ref().take(usize::from(row.experts)) {
                self.record.extend_from_slice(&expert.expert.to_le_bytes());
                self.record.extend_from_slice(&[0; 2]);
                self.record.extend_from_slice(&expert.weight.to_le_bytes());
            }
            let (answer, rest) = vectors.split_at_checked(row.answer_vectors() * width).unwrap_or_default();
            vectors = rest;
            dispatch.activations.put_row(&mut self.record, at, width);
            crate::frame::put_floats(&mut self.record, answer);
            *state = *blake3::keyed_hash(&self.key, &self.record).as_bytes();
        }
    }

    /// The digest of all rows so far.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for (layer, state) in &self.layers {
            hasher.update(&layer.to_le_bytes());
            hasher.update(state);
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// Where a segment's rows are in a dispatch and in its answer.
struct SegmentRows {
    first_row: usize,
    rows: usize,
    first_expert: usize,
    first_vector: usize,
}

impl SegmentRows {
    fn of(dispatch: &Dispatch, combine: &Combine, segment: usize) -> Option<Self> {
        let mut at = Self { first_row: 0, rows: 0, first_expert: 0, first_vector: 0 };
        for (i, (asked, served)) in dispatch.segments.iter().zip(&combine.segments).enumerate() {
            let rows = usize::from(asked.rows);
            let served = matches!(served.outcome, Outcome::Served(_));
            if i == segment {
                at.rows = rows;
                return served.then_some(at);
            }
            let passed = dispatch.rows.iter().skip(at.first_row).take(rows);
            for row in passed {
                at.first_expert += usize::from(row.experts);
                at.first_vector += if served { row.answer_vectors() } else { 0 };
            }
            at.first_row += rows;
        }
        None
    }
}

#[cfg(test)]
mod tests;
