//! The transcript of a request at one node: a keyed digest of every row that it answered, in and out.
//!
//! ```text
//! record     = u32 position ‖ u16 experts ‖ u8 form ‖ u8 zero ‖ experts × { u16 expert, u16 zero, f32 weight }
//!            ‖ hidden × f32 (the row) ‖ vectors × hidden × f32 (the answer)            all little-endian
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
        let rows = dispatch.rows.iter().zip(dispatch.activations.chunks_exact(width.max(1)));
        let state = self.layers.entry(dispatch.layer).or_insert([0; 32]);
        for (row, values) in rows.skip(part.first_row).take(part.rows) {
            self.record.clear();
            self.record.extend_from_slice(state);
            self.record.extend_from_slice(&row.position.to_le_bytes());
            self.record.extend_from_slice(&row.experts.to_le_bytes());
            self.record.extend_from_slice(&[row.form.number(), 0]);
            for expert in experts.by_ref().take(usize::from(row.experts)) {
                self.record.extend_from_slice(&expert.expert.to_le_bytes());
                self.record.extend_from_slice(&[0; 2]);
                self.record.extend_from_slice(&expert.weight.to_le_bytes());
            }
            let (answer, rest) = vectors.split_at_checked(row.answer_vectors() * width).unwrap_or_default();
            vectors = rest;
            crate::frame::put_floats(&mut self.record, values);
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
mod tests {
    use super::*;
    use crate::frame::{Form, Routed, Row, RowVectors, Segment, Served};
    use counterfoil_spec::refusal::Refusal;

    fn pair(slots: &[u32], refused: Option<u32>) -> (Dispatch, Combine) {
        let mut d = Dispatch { layer: 2, hidden: 2, ..Dispatch::default() };
        let mut c = Combine { hidden: 2, ..Combine::default() };
        for slot in slots {
            let n = u16::try_from(*slot).unwrap();
            d.segments.push(Segment { slot: *slot, rows: 1 });
            d.rows.push(Row { position: slot * 10, experts: 2, form: Form::Separate });
            d.experts.push(Routed { expert: n, weight: 0.5 });
            d.experts.push(Routed { expert: n + 1, weight: 0.25 });
            d.activations.extend([f32::from(n), 1.0]);
            if refused == Some(*slot) {
                c.segments.push(Served { slot: *slot, outcome: Outcome::Refused(Refusal::Scope) });
            } else {
                c.segments.push(Served { slot: *slot, outcome: Outcome::Served(1) });
                c.rows.push(RowVectors { vectors: 2, form: Form::Separate });
                c.values.extend([f32::from(n), 2.0, f32::from(n), 3.0]);
            }
        }
        (d, c)
    }

    fn of(slots: &[u32], refused: Option<u32>, segment: usize) -> Hash {
        let (d, c) = pair(slots, refused);
        let mut t = Transcript::new(&Hash::from_bytes([7; 32]));
        t.add(&d, &c, segment);
        t.digest()
    }

    #[test]
    fn record_is_the_one_of_the_text() {
        let mut record = vec![0; 32];
        record.extend_from_slice(&30_u32.to_le_bytes());
        record.extend_from_slice(&[2, 0, 0, 0]);
        for (expert, weight) in [(3_u16, 0.5_f32), (4, 0.25)] {
            record.extend_from_slice(&expert.to_le_bytes());
            record.extend_from_slice(&[0, 0]);
            record.extend_from_slice(&weight.to_le_bytes());
        }
        for value in [3.0_f32, 1.0, 3.0, 2.0, 3.0, 3.0] {
            record.extend_from_slice(&value.to_le_bytes());
        }
        let state = blake3::keyed_hash(&[7; 32], &record);
        let mut all = 2_u32.to_le_bytes().to_vec();
        all.extend_from_slice(state.as_bytes());
        let want = Hash::from_bytes(*blake3::keyed_hash(&[7; 32], &all).as_bytes());
        assert_eq!(of(&[3], None, 0), want);
        let text: String = include_str!("../../spec/receipt.md").split_whitespace().collect();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        for bytes in [&record[32..], state.as_bytes(), want.as_bytes()] {
            assert!(text.contains(&hex(bytes)), "spec/receipt.md does not show {}", hex(bytes));
        }
    }

    #[test]
    fn neighbours_in_a_frame_leave_no_trace() {
        let alone = of(&[3], None, 0);
        assert_eq!(of(&[1, 3, 5], None, 1), alone);
        assert_eq!(of(&[1, 3, 5], Some(1), 1), alone);
    }

    #[test]
    fn refused_rows_are_left_out() {
        let nothing = Transcript::new(&Hash::from_bytes([7; 32])).digest();
        assert_eq!(of(&[1, 3], Some(3), 1), nothing);
        assert_ne!(of(&[1, 3], Some(3), 0), nothing);
    }

    #[test]
    fn order_of_layers_does_not_matter_and_order_of_rows_does() {
        let (a, ca) = pair(&[1], None);
        let (mut b, cb) = pair(&[2], None);
        let digest = |pairs: &[(&Dispatch, &Combine)]| {
            let mut t = Transcript::new(&Hash::from_bytes([7; 32]));
            pairs.iter().for_each(|(d, c)| t.add(d, c, 0));
            t.digest()
        };
        assert_ne!(digest(&[(&a, &ca), (&b, &cb)]), digest(&[(&b, &cb), (&a, &ca)]));
        b.layer = 9;
        assert_eq!(digest(&[(&a, &ca), (&b, &cb)]), digest(&[(&b, &cb), (&a, &ca)]));
    }
}
