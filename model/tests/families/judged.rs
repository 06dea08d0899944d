//! A model of a fixture and what the judge says of it.

use std::path::Path;

use counterfoil_model::reference::{self, Spread, step};
use counterfoil_model::{Arithmetic, Checkpoint, Decoder, ExpertBank, Rows, argmax};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What `fixtures/judge.py` writes.
#[derive(Deserialize)]
pub(crate) struct Parity {
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    input_ids: Vec<u32>,
    positions: Option<Vec<usize>>,
    logits: Vec<Vec<f32>>,
    argmax: Vec<usize>,
    greedy: Vec<u32>,
}

/// A whole model in this process.
pub(crate) struct Model {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) decoder: Decoder,
    pub(crate) bank: ExpertBank,
}

/// Reads a fixture.
pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// All values to the bit.
pub(crate) fn bits(rows: &Rows) -> Vec<u32> {
    rows.values().iter().map(|v| v.to_bits()).collect()
}

/// Squared error over squared reference.
pub(crate) fn nmse(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let error: f64 = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    error / theirs.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>()
}

impl Model {
    /// Opens and loads a fixture.
    pub(crate) fn open(name: &str) -> Self {
        Self::open_as(name, Arithmetic::Canonical)
    }

    /// The same, its quantised weights multiplied in this way.
    pub(crate) fn open_as(name: &str, arithmetic: Arithmetic) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let checkpoint =
            Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}")).with_arithmetic(arithmetic);
        let decoder = Decoder::load(&checkpoint).unwrap_or_else(|e| panic!("{e}"));
        let bank = ExpertBank::load(&checkpoint, checkpoint.config().all_experts());
        Self { bank: bank.unwrap_or_else(|e| panic!("{e}")), decoder, checkpoint }
    }

    /// Every logit, argmax and greedy continuation that the judge wrote down.
    pub(crate) fn agrees_with(&self, parity: &Parity, name: &str) {
        assert!(!parity.sequences.is_empty());
        for sequence in &parity.sequences {
            let ours = self.logits(&sequence.input_ids);
            let all: Vec<usize> = (0..ours.len()).collect();
            let shown = ours.gather(sequence.positions.as_deref().unwrap_or(&all)).unwrap();
            let error = nmse(shown.values(), &sequence.logits.concat());
            assert!(error <= 1e-9, "{name}: NMSE {error:e} over {} positions", ours.len());
            assert_eq!(ours.iter().map(argmax).collect::<Vec<_>>(), sequence.argmax, "{name}");
            assert_eq!(self.greedy(&sequence.input_ids, sequence.greedy.len()), sequence.greedy, "{name}");
        }
    }

    /// The squared error of each position that the judge wrote down, and how many argmaxes of all differ.
    pub(crate) fn errors_against(&self, parity: &Parity) -> (Vec<f64>, usize) {
        let (mut errors, mut differ) = (Vec::new(), 0);
        for sequence in &parity.sequences {
            let ours = self.logits(&sequence.input_ids);
            let all: Vec<usize> = (0..ours.len()).collect();
            let shown = ours.gather(sequence.positions.as_deref().unwrap_or(&all)).unwrap();
            errors.extend(shown.iter().zip(&sequence.logits).map(|(ours, theirs)| nmse(ours, theirs)));
            differ += ours.iter().map(argmax).zip(&sequence.argmax).filter(|(a, b)| a != *b).count();
        }
        (errors, differ)
    }

    /// The logits of every position.
    pub(crate) fn logits(&self, ids: &[u32]) -> Rows {
        reference::logits(&self.decoder, &mut &self.bank, ids).unwrap()
    }

    /// The same with so many positions in a step.
    pub(crate) fn logits_in_chunks(&self, ids: &[u32], chunk: usize) -> Rows {
        let mut sequence = self.decoder.begin(ids.len()).unwrap();
        let mut all = Rows::default();
        for ids in ids.chunks(chunk) {
            let rows = step(&self.decoder, &mut &self.bank, &mut sequence, ids).unwrap();
            all.append(&self.decoder.logits(&rows).unwrap()).unwrap();
        }
        all
    }

    /// The same with the experts dealt out to so many banks.
    pub(crate) fn logits_spread(&self, ids: &[u32], banks: usize) -> Rows {
        let all: Vec<_> = self.checkpoint.config().all_experts().collect();
        let dealt = |at: usize| all.iter().enumerate().filter(move |(i, _)| i % banks == at).map(|(_, e)| *e);
        let banks: Vec<_> =
            (0..banks).map(|at| ExpertBank::load(&self.checkpoint, dealt(at)).unwrap()).collect();
        reference::logits(&self.decoder, &mut Spread(banks.iter().collect()), ids).unwrap()
    }

    /// Embeddings of several sequences after the attention of one layer, in one batch.
    pub(crate) fn attended(&self, layer: u32, sequences: &[&[u32]]) -> Rows {
        let mut rows = self.decoder.embed(&sequences.concat()).unwrap();
        let mut begun: Vec<_> = sequences.iter().map(|_| self.decoder.begin(32).unwrap()).collect();
        let mut batch: Vec<_> = begun.iter_mut().zip(sequences).map(|(s, ids)| (s, ids.len())).collect();
        self.decoder.attend_batch(&mut batch, layer, &mut rows).unwrap();
        rows
    }

    /// The ids that follow, greedily, and past an end-of-answer id too.
    pub(crate) fn greedy(&self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut sequence = self.decoder.begin(prompt.len() + count).unwrap();
        let mut rows = step(&self.decoder, &mut &self.bank, &mut sequence, prompt).unwrap();
        let mut made = Vec::new();
        while made.len() < count {
            let last = rows.slice(rows.len() - 1, rows.len());
            let id = u32::try_from(argmax(self.decoder.logits(&last).unwrap().values())).unwrap();
            made.push(id);
            rows = step(&self.decoder, &mut &self.bank, &mut sequence, &[id]).unwrap();
        }
        made
    }
}
