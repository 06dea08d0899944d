//! What banks answer, and how the router makes one row out of each row's answers.
//!
//! Floating-point addition is not associative, so the order is fixed: a row's weighted expert outputs are added in
//! ascending order of experts, starting from the first one itself. Whether one bank did that or the router does it
//! from the answers of several, the additions are the same.
#![expect(
    clippy::indexing_slicing,
    reason = "indices of vectors are counted from the routing that made the answer"
)]

use crate::error::ComputeError;
use crate::routing::{Part, Routing, Share};
use crate::rows::Rows;

/// The answer to a [`Routing`]: for each row in order one vector if it is whole, else one per expert. All finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    vectors: Rows,
}

impl Combined {
    /// Takes what a bank computed, or what a peer says that it did.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] for another count than the routing asks for, [`ComputeError::NonFinite`].
    pub fn of_rows(routing: &Routing, vectors: Rows) -> Result<Self, ComputeError> {
        if vectors.len() != routing.vectors() {
            return Err(ComputeError::Shape {
                what: "vectors of an answer",
                expected: routing.vectors(),
                found: vectors.len(),
            });
        }
        vectors.check_finite("vectors of an answer")?;
        Ok(Self { vectors })
    }

    /// The vectors, in the order of the rows and, within a row, of the experts.
    #[must_use]
    pub fn vectors(&self) -> &Rows {
        &self.vectors
    }

    /// The vectors, in the order of the rows and, within a row, of the experts.
    #[must_use]
    pub fn into_vectors(self) -> Rows {
        self.vectors
    }
}

/// Adds the answers of several banks: `(rows, width)`, the same bits however `routing` was split into parts.
///
/// # Errors
/// [`ComputeError::NoAnswer`] or [`ComputeError::TwoAnswers`] where the parts do not cover every pick once,
/// [`ComputeError::Shape`] where an answer does not fit its part, [`ComputeError::NonFinite`] for a sum.
pub fn combine(
    routing: &Routing,
    width: usize,
    answers: &[(&Part, &Combined)],
) -> Result<Rows, ComputeError> {
    let mut found = Found::new(routing);
    for (part, combined) in answers {
        if combined.vectors.len() != part.routing.vectors() {
            return Err(ComputeError::Shape {
                what: "vectors of an answer",
                expected: part.routing.vectors(),
                found: combined.vectors.len(),
            });
        }
        if !combined.vectors.is_empty() {
            combined.vectors.expect_width(width)?;
        }
        found.enter(routing, part, &combined.vectors)?;
    }
    let mut sums = Rows::zeros(routing.len(), width);
    for (row, (picks, _)) in routing.iter().enumerate() {
        let sum = sums.row_mut(row);
        if let Some(vector) = found.whole[row] {
            sum.copy_from_slice(vector);
            continue;
        }
        for (at, pick) in picks.iter().enumerate() {
            let vector = found.single[found.starts[row] + at];
            //= spec/model.md#combining
            //# The router MUST have exactly one answer for every expert of a row, and adds in the same order.
            let vector = vector.ok_or(ComputeError::NoAnswer { row, expert: pick.expert })?;
            if at == 0 {
                sum.copy_from_slice(vector);
            } else {
                sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
            }
        }
    }
    sums.check_finite("sums of answers")?;
    Ok(sums)
}

/// The vectors that arrived.
struct Found<'a> {
    /// By row: the sum of all its experts.
    whole: Vec<Option<&'a [f32]>>,
    /// By pick: one expert's weighted output.
    single: Vec<Option<&'a [f32]>>,
    /// By row: its first pick in `single`.
    starts: Vec<usize>,
}

impl<'a> Found<'a> {
    fn new(routing: &Routing) -> Self {
        let starts = routing.iter().scan(0, |next, (picks, _)| {
            let start = *next;
            *next += picks.len();
            Some(start)
        });
        Self {
            whole: vec![None; routing.len()],
            single: vec![None; routing.picks().len()],
            starts: starts.collect(),
        }
    }

    fn enter(&mut self, routing: &Routing, part: &Part, vectors: &'a Rows) -> Result<(), ComputeError> {
        let mut vectors = vectors.iter();
        let rows: Vec<_> = routing.iter().collect();
        for (row, (asked, share)) in part.rows.iter().zip(part.routing.iter()) {
            let row = *row;
            let (picks, _) = rows.get(row).copied().ok_or(ComputeError::Shape {
                what: "a row below the row count",
                expected: routing.len(),
                found: row,
            })?;
            let taken = |at: usize| ComputeError::TwoAnswers { row, expert: picks[at].expert };
            let span = self.starts[row]..self.starts[row] + picks.len();
            if self.whole[row].is_some() {
                return Err(taken(0));
            }
            if share == Share::Whole {
                if let Some(at) = self.single[span].iter().position(Option::is_some) {
                    return Err(taken(at));
                }
                if asked != picks {
                    return Err(ComputeError::Shape {
                        what: "experts of a whole row",
                        expected: picks.len(),
                        found: asked.len(),
                    });
                }
                self.whole[row] = vectors.next();
                continue;
            }
            for pick in asked {
                let at = picks.iter().position(|p| p.expert == pick.expert);
                let at = at.ok_or(ComputeError::NoAnswer { row, expert: pick.expert })?;
                if self.single[span.start + at].is_some() {
                    return Err(taken(at));
                }
                self.single[span.start + at] = vectors.next();
            }
        }
        Ok(())
    }
}
