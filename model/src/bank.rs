//! A node's experts: some (layer, expert) pairs of a model, and what they answer to a frame.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::combine::Combined;
use crate::error::{ComputeError, LoadError};
use crate::expert::{ExpertSource, FeedForward};
use crate::kernel::Activations;
use crate::matrix::Operand;
use crate::routing::{Routing, Share, vectors_of};
use crate::rows::Rows;
use crate::threads::Threads;

/// Loaded experts. It keeps no state of any request.
pub struct ExpertBank {
    hidden: usize,
    experts: BTreeMap<(u32, u16), Arc<FeedForward>>,
    threads: Threads,
    bytes: u64,
}

impl ExpertBank {
    /// Loads exactly these experts; naming one twice loads it once.
    ///
    /// # Errors
    /// [`LoadError::NoSuchExpert`], or what is wrong with the weights.
    pub fn load(
        source: &(impl ExpertSource + ?Sized),
        experts: impl IntoIterator<Item = (u32, u16)>,
    ) -> Result<Self, LoadError> {
        let config = source.config();
        let wanted: BTreeSet<(u32, u16)> = experts.into_iter().collect();
        let wanted: Vec<(u32, u16)> = wanted.into_iter().collect();
        if let Some((layer, expert)) =
            wanted.iter().find(|(layer, expert)| !config.has_expert(*layer, *expert))
        {
            return Err(LoadError::NoSuchExpert {
                name: source.name().to_owned(),
                layer: *layer,
                expert: *expert,
                layers: config.layers,
                experts: config.experts,
            });
        }
        source.check(&wanted)?;
        let mut bank = Self {
            hidden: config.hidden,
            experts: BTreeMap::new(),
            threads: source.computing().threads,
            bytes: 0,
        };
        for (layer, expert) in wanted {
            let loaded = FeedForward::expert(source, layer, expert)?;
            bank.bytes += u64::try_from(loaded.bytes()).unwrap_or(u64::MAX);
            bank.experts.insert((layer, expert), Arc::new(loaded));
        }
        Ok(bank)
    }

    /// Whether this expert is loaded.
    #[must_use]
    pub fn has(&self, layer: u32, expert: u16) -> bool {
        self.experts.contains_key(&(layer, expert))
    }

    /// The loaded (layer, expert) pairs, ascending.
    pub fn experts(&self) -> impl Iterator<Item = (u32, u16)> {
        self.experts.keys().copied()
    }

    /// Bytes of weights in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.bytes
    }

    /// Answers a frame: `rows` is `(rows, hidden)`, `routing` names for each row the experts that are asked for.
    ///
    /// Each expert's output is multiplied by the gate's weight. A whole row's weighted outputs are added in
    /// ascending order of experts, starting from the first one itself, and give one vector; a partial row's are
    /// given one by one in that order. The bits do not depend on which other rows are in the frame.
    ///
    /// # Errors
    /// [`ComputeError::NotLoaded`], [`ComputeError::Shape`] or [`ComputeError::NonFinite`]; then nothing was
    /// computed for anybody.
    pub fn forward(&self, layer: u32, rows: &Rows, routing: &Routing) -> Result<Combined, ComputeError> {
        //= spec/model.md#experts
        //# Rows that are NaN or infinite anywhere MUST be refused, as input and as output, and MUST NOT be computed with.
        rows.check_finite("rows for experts")?;
        self.answer(layer, &Operand::of(rows), routing)
    }

    /// The same of rows that came quantised: the bits are those of [`Self::forward`] with the rows that the
    /// activations were [made of](Activations::of).
    ///
    /// # Errors
    /// As [`Self::forward`]; [`ComputeError::FloatWeights`] where an expert that is asked for does not
    /// [take activations](Self::takes_activations).
    pub fn forward_quantised(
        &self,
        layer: u32,
        rows: &Activations,
        routing: &Routing,
    ) -> Result<Combined, ComputeError> {
        self.answer(layer, &Operand::of_activations(rows), routing)
    }

    /// Whether an expert needs no more of its rows than their [`Activations`]: its gate and up matrices are quantised.
    /// False for an expert that is not loaded.
    #[must_use]
    pub fn takes_activations(&self, layer: u32, expert: u16) -> bool {
        self.experts.get(&(layer, expert)).is_some_and(|expert| expert.takes_activations())
    }

    fn answer(&self, layer: u32, rows: &Operand<'_>, routing: &Routing) -> Result<Combined, ComputeError> {
        if rows.len() != routing.len() {
            return Err(ComputeError::Shape {
                what: "rows of routing",
                expected: rows.len(),
                found: routing.len(),
            });
        }
        if !rows.is_empty() {
            rows.expect_width(self.hidden)?;
        }
        let mut work = Vec::new();
        for (expert, asked) in Self::by_expert(routing) {
            let weights =
                self.experts.get(&(layer, expert)).ok_or(ComputeError::NotLoaded { layer, expert })?;
            let indices: Vec<usize> = asked.iter().map(|ask| ask.row).collect();
            let rows = rows.gather(&indices, weights.takes_activations())?;
            work.push((Arc::clone(weights), Mutex::new(Some(rows)), asked));
        }
        let work = Arc::new(work);
        let shared = Arc::clone(&work);
        let outputs = self.threads.map(work.len(), move |at| {
            let (weights, rows, _) = shared.get(at)?;
            // Guards the rows, which only this part takes.
            let rows = rows.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let outputs = weights.apply(&rows);
            Some(outputs.and_then(|outputs| outputs.check_finite("outputs of an expert").map(|()| outputs)))
        });
        let mut answer = Rows::zeros(routing.vectors(), self.hidden);
        for ((_, _, asked), outputs) in work.iter().zip(outputs.into_iter().flatten()) {
            for (ask, output) in asked.iter().zip(outputs?.iter()) {
                ask.enter(answer.row_mut(ask.vector), output);
            }
        }
        Combined::of_rows(routing, answer)
    }

    /// Bundles the work by expert, ascending, so that an expert's weights are read once for all its rows.
    fn by_expert(routing: &Routing) -> BTreeMap<u16, Vec<Ask>> {
        let mut bundles: BTreeMap<u16, Vec<Ask>> = BTreeMap::new();
        let mut vector = 0;
        for (row, (picks, share)) in routing.iter().enumerate() {
            for (at, pick) in picks.iter().enumerate() {
                let (vector, starts) = match share {
                    Share::Whole => (vector, at == 0),
                    Share::Partial => (vector + at, true),
                };
                bundles.entry(pick.expert).or_default().push(Ask {
                    row,
                    vector,
                    starts,
                    weight: pick.weight,
                });
            }
            vector += vectors_of(picks, share);
        }
        bundles
    }
}

/// One row's use of one expert.
struct Ask {
    row: usize,
    /// The vector of the answer that the output enters.
    vector: usize,
    /// Whether it is the first one to enter.
    starts: bool,
    weight: f32,
}

impl Ask {
    fn enter(&self, vector: &mut [f32], output: &[f32]) {
        for (sum, value) in vector.iter_mut().zip(output) {
            let weighted = self.weight * value;
            *sum = if self.starts { weighted } else { *sum + weighted };
        }
    }
}
