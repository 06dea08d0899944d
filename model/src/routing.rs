//! Which experts each row goes to, and how much of a row's experts one bank was asked for.
#![expect(clippy::indexing_slicing, reason = "ranges are the ones that `push` made")]

use counterfoil_spec::limits::MAX_ROW_EXPERTS;

use crate::error::ComputeError;
use crate::rows::Rows;

/// One expert of a row and what its output is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The expert, numbered within its layer.
    pub expert: u16,
    /// The gate's weight.
    pub weight: f32,
}

/// Whether a row's picks are all that the gate chose for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All: whoever computes them adds them and answers with one vector.
    Whole,
    /// Some: the answer is one weighted vector per expert.
    Partial,
}

/// The picks of each row, experts strictly ascending within a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    picks: Vec<Pick>,
    rows: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    start: usize,
    end: usize,
    share: Share,
}

/// Some rows of a frame, and of each some experts: what one bank is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// For each row of `routing`, its index in the whole frame, ascending.
    pub rows: Vec<usize>,
    /// The picks of those rows.
    pub routing: Routing,
}

impl Routing {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] for no expert or more than [`MAX_ROW_EXPERTS`], [`ComputeError::ExpertOrder`],
    /// [`ComputeError::NonFinite`] for a weight.
    pub fn push(&mut self, picks: &[Pick], share: Share) -> Result<(), ComputeError> {
        let row = self.rows.len();
        if picks.is_empty() || picks.len() > MAX_ROW_EXPERTS {
            return Err(ComputeError::Shape {
                what: "experts of a row, at least one and at most",
                expected: MAX_ROW_EXPERTS,
                found: picks.len(),
            });
        }
        if !picks.is_sorted_by(|a, b| a.expert < b.expert) {
            return Err(ComputeError::ExpertOrder { row });
        }
        if !picks.iter().all(|pick| pick.weight.is_finite()) {
            return Err(ComputeError::NonFinite { what: "gate weights", row });
        }
        let start = self.picks.len();
        self.picks.extend_from_slice(picks);
        self.rows.push(Span { start, end: self.picks.len(), share });
        Ok(())
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The picks of each row and whether they are all of it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[Pick], Share)> {
        self.rows.iter().map(|span| (&self.picks[span.start..span.end], span.share))
    }

    /// All picks, row by row.
    #[must_use]
    pub fn picks(&self) -> &[Pick] {
        &self.picks
    }

    /// How many vectors answer this: one for a whole row, one per expert for a partial one.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.iter().map(|(picks, share)| vectors_of(picks, share)).sum()
    }

    /// The experts that any row names, ascending.
    #[must_use]
    pub fn experts(&self) -> Vec<u16> {
        let mut experts: Vec<u16> = self.picks.iter().map(|pick| pick.expert).collect();
        experts.sort_unstable();
        experts.dedup();
        experts
    }

    /// What is asked of one bank: the picks for which `chosen(row, expert)`. A row of which all picks are chosen
    /// stays whole, one of which none is chosen is left out.
    pub fn part(&self, mut chosen: impl FnMut(usize, u16) -> bool) -> Part {
        let mut part = Part::default();
        for (row, (picks, share)) in self.iter().enumerate() {
            let start = part.routing.picks.len();
            part.routing.picks.extend(picks.iter().filter(|pick| chosen(row, pick.expert)));
            let end = part.routing.picks.len();
            if end > start {
                let share = if end - start == picks.len() { share } else { Share::Partial };
                part.rows.push(row);
                part.routing.rows.push(Span { start, end, share });
            }
        }
        part
    }

    /// Appends the rows of `other`, so that several requests share one frame.
    pub fn append(&mut self, other: &Self) {
        let by = self.picks.len();
        self.picks.extend_from_slice(&other.picks);
        self.rows.extend(other.rows.iter().map(|s| Span {
            start: s.start + by,
            end: s.end + by,
            share: s.share,
        }));
    }
}

impl Part {
    /// The rows of the frame that this part names.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] where `frame` has fewer rows than the routing that the part was made of.
    pub fn select(&self, frame: &Rows) -> Result<Rows, ComputeError> {
        frame.gather(&self.rows)
    }
}

/// Vectors that answer one row.
pub(crate) fn vectors_of(picks: &[Pick], share: Share) -> usize {
    match share {
        Share::Whole => 1,
        Share::Partial => picks.len(),
    }
}
