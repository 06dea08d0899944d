//! Rows of several requests in one frame, a segment for each, and the answer taken apart again.

use std::sync::Arc;

use counterfoil_model::{Activations as Quantised, Combined, ComputeError, Rows, Share};
use counterfoil_session::frame::{
    Activations, Combine, Dispatch, Encoding, Form, Outcome, Routed, Row, Segment,
};

use crate::registry::Host;
use crate::work::{Dealt, Unserved};

/// One request's part of a frame.
#[derive(Debug)]
pub(super) struct Piece {
    /// Which of the round's members it belongs to.
    pub(super) member: usize,
    pub(super) slot: u32,
    pub(super) dealt: Dealt,
}

/// What goes to one node in one frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) host: Arc<Host>,
    pub(super) pieces: Vec<Piece>,
    pub(super) forwards: u64,
    /// Whether another node can answer for everything in it.
    pub(super) replaceable: bool,
}

/// Where a member's rows begin, in the round and in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) row: usize,
    pub(super) position: usize,
}

impl Frame {
    /// The frame as it travels; `starts` are those of the round's members.
    pub(super) fn dispatch(
        &self,
        (layer, encoding): (u32, Encoding),
        normed: &Rows,
        starts: &[Start],
    ) -> Result<Dispatch, ComputeError> {
        let rows = self.pieces.iter().map(|p| p.dealt.part.rows.len()).sum();
        let picks = self.pieces.iter().map(|p| p.dealt.part.routing.picks().len()).sum();
        let mut out = Dispatch {
            layer,
            hidden: u32::try_from(normed.width()).unwrap_or(u32::MAX),
            segments: Vec::with_capacity(self.pieces.len()),
            rows: Vec::with_capacity(rows),
            experts: Vec::with_capacity(picks),
            activations: Activations::default(),
        };
        let mut values = Vec::with_capacity(rows * normed.width());
        for Piece { member, slot, dealt } in &self.pieces {
            let part = &dealt.part;
            let start = starts.get(*member).copied().unwrap_or(Start { row: normed.len(), position: 0 });
            out.segments
                .push(Segment { slot: *slot, rows: u16::try_from(part.rows.len()).unwrap_or(u16::MAX) });
            for (row, (picks, share)) in part.rows.iter().zip(part.routing.iter()) {
                out.rows.push(Row {
                    position: u32::try_from(start.position + row).unwrap_or(u32::MAX),
                    experts: u16::try_from(picks.len()).unwrap_or(u16::MAX),
                    form: if share == Share::Whole { Form::Summed } else { Form::Separate },
                });
                out.experts.extend(picks.iter().map(|p| Routed { expert: p.expert, weight: p.weight }));
                let activations = normed.row(start.row + row).ok_or(ComputeError::Shape {
                    what: "a row below the row count",
                    expected: normed.len(),
                    found: start.row + row,
                })?;
                values.extend_from_slice(activations);
            }
        }
        out.activations = encoded(normed.width(), values, encoding);
        Ok(out)
    }

    /// What became of each piece.
    pub(super) fn take_apart(
        self,
        hidden: usize,
        answer: Result<Combine, Unserved>,
    ) -> Vec<(Piece, Result<Combined, Unserved>)> {
        let answer = answer.and_then(|combine| {
            let whole = combine.segments.len() == self.pieces.len();
            if whole { Ok(combine) } else { Err(Unserved::Shape) }
        });
        let Combine { segments, values, .. } = match answer {
            Ok(combine) => combine,
            Err(why) => return self.pieces.into_iter().map(|p| (p, Err(why.clone()))).collect(),
        };
        let mut rest = values;
        let mut first = 0;
        let mut out = Vec::with_capacity(self.pieces.len());
        for (piece, served) in self.pieces.into_iter().zip(segments) {
            let result = match served.outcome {
                Outcome::Refused(refusal) => Err(Unserved::Refused(refusal)),
                Outcome::Served(_) => {
                    let count = piece.dealt.part.routing.vectors() * hidden;
                    let own = if first == 0 && count == rest.len() {
                        Some(std::mem::take(&mut rest))
                    } else {
                        rest.get(first..first + count).map(<[f32]>::to_vec)
                    };
                    first += count;
                    own.and_then(|own| Rows::from_values(hidden, own).ok())
                        .and_then(|own| Combined::of_rows(&piece.dealt.part.routing, own).ok())
                        .ok_or(Unserved::Shape)
                }
            };
            out.push((piece, result));
        }
        out
    }
}

/// Rows as they travel. Rows that cannot be quantised, because one of them is not finite, travel as they are: the node
/// then refuses the segment of that one alone.
fn encoded(width: usize, values: Vec<f32>, encoding: Encoding) -> Activations {
    match encoding {
        Encoding::F32 => Activations::F32(values),
        Encoding::Bf16 => Activations::bf16(&values),
        Encoding::Int8 => {
            let Ok(rows) = Rows::from_values(width, values) else { return Activations::default() };
            match Quantised::of(&rows) {
                Ok(quantised) => {
                    let (bytes, scales) = quantised.into_parts();
                    Activations::Int8 { bytes, scales }
                }
                Err(_) => Activations::F32(rows.into_values()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_travels_as_the_bytes_that_the_kernel_makes_of_it() {
        let values: Vec<f32> = (0..64_u8).map(|i| f32::from(i) - 20.0).collect();
        let want = Quantised::of(&Rows::from_values(64, values.clone()).unwrap()).unwrap();
        let Activations::Int8 { bytes, scales } = encoded(64, values.clone(), Encoding::Int8) else {
            panic!("not int8")
        };
        assert_eq!((bytes.as_slice(), scales.as_slice()), (want.bytes(), want.scales()));
        assert_eq!(bytes[63], 127);
        assert_eq!(encoded(64, values.clone(), Encoding::F32), Activations::F32(values.clone()));
        assert_eq!(encoded(64, values.clone(), Encoding::Bf16), Activations::bf16(&values));
    }

    #[test]
    fn rows_that_are_not_finite_travel_as_they_are() {
        let mut values = vec![1.0; 64];
        values[40] = f32::INFINITY;
        assert_eq!(encoded(64, values.clone(), Encoding::Int8), Activations::F32(values));
    }
}
