//! The gate of an MoE layer (`MixtralTopKRouter` of transformers 5.23).
#![expect(clippy::indexing_slicing, reason = "indices of experts come from the row that is indexed")]

use crate::error::{ComputeError, LoadError};
use crate::kernel::softmax;
use crate::matrix::Matrix;
use crate::routing::{Pick, Routing, Share};
use crate::rows::Rows;
use crate::weights::Located;

/// Scores experts and keeps the best `top_k`, f32.
pub(crate) struct Gate {
    matrix: Matrix,
    top_k: usize,
}

impl Gate {
    /// Loads the gate, `(experts, hidden)`.
    pub(crate) fn load(found: &Located<'_>, top_k: usize) -> Result<Self, LoadError> {
        Ok(Self { matrix: Matrix::load(found)?, top_k })
    }

    /// Softmax over all experts, then the `top_k` greatest (of equals the lower index), divided by their sum, which
    /// is added from the greatest down.
    pub(crate) fn route(&self, rows: &Rows) -> Result<Routing, ComputeError> {
        let mut scores = self.matrix.apply(rows)?; // (rows, experts)
        scores.check_finite("gate scores")?;
        let mut routing = Routing::new();
        for at in 0..scores.len() {
            let row = scores.row_mut(at);
            softmax(row);
            routing.push(&self.best(row), Share::Whole)?;
        }
        Ok(routing)
    }

    fn best(&self, probabilities: &[f32]) -> Vec<Pick> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // A stable sort keeps the lower index first among equals.
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        order.truncate(self.top_k);
        let sum = order.iter().map(|at| probabilities[*at]).fold(0.0, |sum, p| sum + p);
        order.sort_unstable();
        let pick = |at: &usize| Pick {
            expert: u16::try_from(*at).unwrap_or(u16::MAX),
            weight: probabilities[*at] / sum,
        };
        order.iter().map(pick).collect()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::exp;

    fn gate(top_k: usize) -> Gate {
        // Row `e` of the matrix scores expert `e` by the sum of the input's values from `e` on.
        let values = (0..16).map(|at| if at % 4 >= at / 4 { 1.0 } else { 0.0 }).collect();
        Gate { matrix: Matrix::from_values(4, 4, values), top_k }
    }

    #[test]
    fn equal_scores_go_to_the_lower_expert() {
        let rows = Rows::from_values(4, vec![0.0; 4]).unwrap();
        let routing = gate(2).route(&rows).unwrap();
        assert_eq!(routing.picks(), [Pick { expert: 0, weight: 0.5 }, Pick { expert: 1, weight: 0.5 }]);
    }

    #[test]
    fn the_best_are_renormalised_and_named_in_ascending_order() {
        // Scores 3, 2, 1, 4: experts 0 and 3 are kept, and exp(3 − 4) is the smaller one's share of the greater's.
        let rows = Rows::from_values(4, vec![1.0, 1.0, -3.0, 4.0]).unwrap();
        let routing = gate(2).route(&rows).unwrap();
        let smaller = exp(-1.0);
        let picks = routing.picks();
        assert_eq!(picks.iter().map(|p| p.expert).collect::<Vec<_>>(), [0, 3]);
        assert!((picks[0].weight - smaller / (1.0 + smaller)).abs() < 1e-7);
        assert!((picks[0].weight + picks[1].weight - 1.0).abs() < 1e-7);
    }

    #[test]
    fn an_infinite_score_is_refused() {
        let rows = Rows::from_values(4, vec![f32::MAX; 4]).unwrap();
        assert_eq!(gate(2).route(&rows), Err(ComputeError::NonFinite { what: "gate scores", row: 0 }));
    }
}
