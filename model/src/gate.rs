//! The gate of an MoE layer (`MixtralTopKRouter`, `Qwen2MoeTopKRouter`, `DeepseekV2TopkRouter` and
//! `DbrxFFN.route_tokens_to_experts` of transformers 5.23).
#![expect(clippy::indexing_slicing, reason = "indices of experts come from the row that is indexed")]

use crate::arithmetic::Computing;
use crate::config::{GateRule, Groups};
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
    rule: GateRule,
}

impl Gate {
    /// Loads the gate, `(experts, hidden)`.
    pub(crate) fn load(
        (found, computing): (&Located<'_>, &Computing),
        top_k: usize,
        rule: GateRule,
    ) -> Result<Self, LoadError> {
        Ok(Self { matrix: Matrix::load(found, computing)?, top_k, rule })
    }

    /// Softmax over all experts, then the `top_k` greatest (of equals the lower index), weighted by the rule.
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
        let mut order = match self.rule.groups {
            None => (0..probabilities.len()).collect(),
            Some(groups) => eligible(probabilities, groups),
        };
        // A stable sort keeps the lower index first among equals.
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        order.truncate(self.top_k);
        let sum = order.iter().map(|at| probabilities[*at]).fold(0.0, |sum, p| sum + p);
        order.sort_unstable();
        let share = |p: f32| if self.rule.normalise { p / sum } else { p };
        let pick = |at: &usize| Pick {
            expert: u16::try_from(*at).unwrap_or(u16::MAX),
            weight: share(probabilities[*at]) * self.rule.scale,
        };
        order.iter().map(pick).collect()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

/// The experts of the best groups, ascending; of equally good groups the lower is kept.
fn eligible(probabilities: &[f32], Groups { groups, kept }: Groups) -> Vec<usize> {
    let size = (probabilities.len() / groups.max(1)).max(1);
    let best = |group: &[f32]| group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut order: Vec<(usize, f32)> = probabilities.chunks(size).map(best).enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    order.truncate(kept);
    order.sort_unstable_by_key(|(group, _)| *group);
    order.into_iter().flat_map(|(group, _)| group * size..(group + 1) * size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::exp;

    const NORMALISED: GateRule = GateRule { normalise: true, scale: 1.0, groups: None };

    fn gate(top_k: usize) -> Gate {
        by_rule(top_k, NORMALISED)
    }

    fn by_rule(top_k: usize, rule: GateRule) -> Gate {
        // Row `e` of the matrix scores expert `e` by the sum of the input's values from `e` on.
        let values = (0..16).map(|at| if at % 4 >= at / 4 { 1.0 } else { 0.0 }).collect();
        Gate { matrix: Matrix::from_values(4, 4, values), top_k, rule }
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
    fn probabilities_are_weights_unless_the_rule_divides_or_scales_them() {
        // Scores ln 4, ln 2, 0, 0: probabilities 1/2, 1/4, 1/8, 1/8.
        let (two, four) = (2f32.ln(), 4f32.ln());
        let rows = Rows::from_values(4, vec![four - two, two, 0.0, 0.0]).unwrap();
        let weights = |normalise, scale| {
            let rule = GateRule { normalise, scale, groups: None };
            let routing = by_rule(2, rule).route(&rows).unwrap();
            routing.picks().iter().map(|pick| pick.weight).collect::<Vec<_>>()
        };
        let close = |found: Vec<f32>, wanted: [f32; 2]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {wanted:?}");
        };
        close(weights(false, 1.0), [0.5, 0.25]);
        close(weights(false, 16.0), [8.0, 4.0]);
        close(weights(true, 1.0), [2.0 / 3.0, 1.0 / 3.0]);
        close(weights(true, 3.0), [2.0, 1.0]);
    }

    #[test]
    fn experts_are_chosen_from_the_best_groups_only() {
        let best = |probabilities: &[f32], top_k, groups, kept| {
            let rule = GateRule { normalise: false, scale: 1.0, groups: Some(Groups { groups, kept }) };
            let picks = by_rule(top_k, rule).best(probabilities);
            picks.iter().map(|pick| pick.expert).collect::<Vec<_>>()
        };
        // The second best of all is in the second best group, which one kept group leaves out.
        assert_eq!(best(&[0.1, 0.5, 0.3, 0.1], 2, 2, 1), [0, 1]);
        assert_eq!(best(&[0.1, 0.5, 0.3, 0.1], 2, 2, 2), [1, 2]);
        assert_eq!(best(&[0.2, 0.1, 0.2, 0.1, 0.3, 0.1], 2, 3, 2), [0, 4]);
    }

    #[test]
    fn of_equally_good_groups_the_lower_is_kept() {
        let rule = GateRule { normalise: false, scale: 1.0, groups: Some(Groups { groups: 2, kept: 1 }) };
        let picks = by_rule(1, rule).best(&[0.1, 0.4, 0.4, 0.1]);
        assert_eq!(picks, [Pick { expert: 1, weight: 0.4 }]);
    }

    #[test]
    fn an_infinite_score_is_refused() {
        let rows = Rows::from_values(4, vec![f32::MAX; 4]).unwrap();
        assert_eq!(gate(2).route(&rows), Err(ComputeError::NonFinite { what: "gate scores", row: 0 }));
    }
}
