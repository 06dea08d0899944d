//! From a dispatch to a combine: the rows of the segments that were let through go to the experts in one call.

use std::mem;
use std::time::Instant;

use counterfoil_model::{
    Activations as Quantised, Combined, ComputeError, ExpertBank, Pick, Routing, Rows, Share,
};
use counterfoil_session::frame::{Activations, Combine, Dispatch, Form, Outcome, RowVectors, Served};
use counterfoil_spec::refusal::Refusal;

/// Computes the segments whose outcome so far is `Ok`, and puts the refusals of the others beside them.
///
/// A value that no expert can take refuses its own segment and leaves the others served.
pub(crate) fn compute(bank: &ExpertBank, dispatch: &mut Dispatch, judged: &[Result<(), Refusal>]) -> Combine {
    let started = Instant::now();
    let mut judged = judged.to_vec();
    let mut values = forward(bank, dispatch, &judged);
    if values.is_err() {
        // One segment's fault; find whose.
        for at in 0..judged.len() {
            let mut alone = vec![Err(Refusal::Shape); judged.len()];
            if let (Some(one), Some(Ok(()))) = (alone.get_mut(at), judged.get(at)) {
                *one = Ok(());
                if let (Err(error), Some(verdict)) = (forward(bank, dispatch, &alone), judged.get_mut(at)) {
                    *verdict = Err(refusal(&error));
                }
            }
        }
        values = forward(bank, dispatch, &judged);
    }
    let values = values.unwrap_or_else(|error| {
        judged.fill(Err(refusal(&error)));
        Vec::new()
    });
    let mut combine = answer(dispatch, &judged, values);
    combine.compute_us = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
    combine
}

/// A combine of what was computed for the segments that were let through.
pub(crate) fn answer(dispatch: &Dispatch, judged: &[Result<(), Refusal>], values: Vec<f32>) -> Combine {
    let mut combine = Combine { hidden: dispatch.hidden, values, ..Combine::default() };
    let mut rows = dispatch.rows.iter();
    for (segment, verdict) in dispatch.segments.iter().zip(judged) {
        let asked = rows.by_ref().take(usize::from(segment.rows));
        let outcome = match verdict {
            Ok(()) => {
                combine.rows.extend(asked.map(|row| RowVectors {
                    vectors: u16::try_from(row.answer_vectors()).unwrap_or(u16::MAX),
                    form: row.form,
                }));
                Outcome::Served(segment.rows)
            }
            Err(refusal) => {
                asked.for_each(drop);
                Outcome::Refused(*refusal)
            }
        };
        combine.segments.push(Served { slot: segment.slot, outcome });
    }
    combine
}

/// The vectors of the segments that are let through.
fn forward(
    bank: &ExpertBank,
    dispatch: &mut Dispatch,
    judged: &[Result<(), Refusal>],
) -> Result<Vec<f32>, ComputeError> {
    let width = usize::try_from(dispatch.hidden).unwrap_or(usize::MAX);
    let whole = judged.iter().all(Result::is_ok);
    let mut routing = Routing::new();
    let mut chosen = Vec::new();
    let mut picks = Vec::new();
    let mut rows = dispatch.rows.iter().enumerate();
    let mut experts = dispatch.experts.iter();
    for (segment, verdict) in dispatch.segments.iter().zip(judged) {
        for (at, row) in rows.by_ref().take(usize::from(segment.rows)) {
            picks.clear();
            let own = experts.by_ref().take(usize::from(row.experts));
            picks.extend(own.map(|e| Pick { expert: e.expert, weight: e.weight }));
            if verdict.is_ok() {
                let share = if row.form == Form::Summed { Share::Whole } else { Share::Partial };
                routing.push(&picks, share)?;
                chosen.push(at);
            }
        }
    }
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let (given, sent) = Given::take(width, mem::take(&mut dispatch.activations))?;
    let combined = given.forward(bank, dispatch.layer, &routing, (!whole).then_some(&chosen));
    dispatch.activations = sent.unwrap_or_else(|| given.into_sent());
    Ok(combined?.into_vectors().into_values())
}

/// Rows as the experts take them.
enum Given {
    Floats(Rows),
    Quantised(Quantised),
}

impl Given {
    /// Takes what was sent, and keeps it beside where it is not what is computed with.
    fn take(width: usize, sent: Activations) -> Result<(Self, Option<Activations>), ComputeError> {
        match sent {
            Activations::F32(values) => Ok((Self::Floats(Rows::from_values(width, values)?), None)),
            Activations::Int8 { bytes, scales } => {
                let found = bytes.len();
                // The frame decoder refuses what is refused here.
                let shape =
                    |_| ComputeError::Shape { what: "values in blocks of 32", expected: width, found };
                Ok((Self::Quantised(Quantised::from_parts(width, bytes, scales).map_err(shape)?), None))
            }
            halves @ Activations::Bf16(_) => {
                Ok((Self::Floats(Rows::from_values(width, halves.to_floats())?), Some(halves)))
            }
        }
    }

    /// All rows, or the chosen ones.
    fn forward(
        &self,
        bank: &ExpertBank,
        layer: u32,
        routing: &Routing,
        chosen: Option<&Vec<usize>>,
    ) -> Result<Combined, ComputeError> {
        match (self, chosen) {
            (Self::Floats(rows), None) => bank.forward(layer, rows, routing),
            (Self::Floats(rows), Some(chosen)) => bank.forward(layer, &rows.gather(chosen)?, routing),
            //= spec/session.md#dispatch
            //# A node whose expert has quantised weights MUST multiply by the bytes and scales that it was sent, and does not quantise
            //# them anew; so the answer has the bits that f32 rows would have given.
            (Self::Quantised(rows), None) => bank.forward_quantised(layer, rows, routing),
            (Self::Quantised(rows), Some(chosen)) => {
                bank.forward_quantised(layer, &rows.gather(chosen)?, routing)
            }
        }
    }

    fn into_sent(self) -> Activations {
        match self {
            Self::Floats(rows) => Activations::F32(rows.into_values()),
            Self::Quantised(rows) => {
                let (bytes, scales) = rows.into_parts();
                Activations::Int8 { bytes, scales }
            }
        }
    }
}

const fn refusal(error: &ComputeError) -> Refusal {
    match error {
        ComputeError::NotLoaded { .. } => Refusal::Scope,
        _ => Refusal::Shape,
    }
}
