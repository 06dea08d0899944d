//! From a dispatch to a combine: the rows of the segments that were let through go to the experts in one call.

use std::mem;
use std::time::Instant;

use counterfoil_model::{ComputeError, ExpertBank, Pick, Routing, Rows, Share};
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
    let (values, coded) = match mem::take(&mut dispatch.activations) {
        Activations::F32(values) => (values, None),
        coded => (coded.to_floats(), Some(coded)),
    };
    let all = Rows::from_values(width, values)?;
    let combined = if whole {
        bank.forward(dispatch.layer, &all, &routing)
    } else {
        all.gather(&chosen).and_then(|rows| bank.forward(dispatch.layer, &rows, &routing))
    };
    dispatch.activations = coded.unwrap_or_else(|| Activations::F32(all.into_values()));
    Ok(combined?.into_vectors().into_values())
}

const fn refusal(error: &ComputeError) -> Refusal {
    match error {
        ComputeError::NotLoaded { .. } => Refusal::Scope,
        _ => Refusal::Shape,
    }
}
