//! Where experts lie does not change a bit of an answer.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::path::Path;
use std::sync::LazyLock;

use counterfoil_model::reference::{Spread, logits};
use counterfoil_model::{
    Checkpoint, Combined, ComputeError, Decoder, ExpertBank, Feed, Part, Pick, Routing, Rows, Share, combine,
};
use proptest::prelude::*;

struct Whole {
    checkpoint: Checkpoint,
    decoder: Decoder,
    bank: ExpertBank,
}

static TINY: LazyLock<Whole> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let bank = ExpertBank::load(&checkpoint, checkpoint.config().all_experts()).unwrap();
    let decoder = Decoder::load(&checkpoint).unwrap();
    Whole { checkpoint, decoder, bank }
});

/// Normed rows and routing of layer 1 for some ids.
fn frame(ids: &[u32]) -> (Rows, Routing) {
    let mut rows = TINY.decoder.embed(ids).unwrap();
    match TINY.decoder.gate(1, &mut rows).unwrap() {
        Feed::Experts { normed, routing } => (normed, routing),
        Feed::Done => panic!("the layer has experts"),
    }
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.values().iter().map(|v| v.to_bits()).collect()
}

fn picks(experts: &[u16]) -> Vec<Pick> {
    experts.iter().map(|expert| Pick { expert: *expert, weight: 0.25 }).collect()
}

fn routing(rows: &[(&[u16], Share)]) -> Routing {
    let mut routing = Routing::new();
    for (experts, share) in rows {
        routing.push(&picks(experts), *share).unwrap();
    }
    routing
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_over_one_to_four_banks_gives_the_same_bits(
        holders in prop::collection::vec(0usize..4, 15),
        ids in prop::collection::vec(0u32..128, 1..12),
    ) {
        let banks: Vec<ExpertBank> = (0..4)
            .map(|at| {
                let held = TINY.checkpoint.config().all_experts().zip(&holders);
                ExpertBank::load(&TINY.checkpoint, held.filter(|(_, h)| **h == at).map(|(e, _)| e)).unwrap()
            })
            .collect();
        let alone = logits(&TINY.decoder, &mut &TINY.bank, &ids).unwrap();
        let spread = logits(&TINY.decoder, &mut Spread(banks.iter().collect()), &ids).unwrap();
        prop_assert_eq!(bits(&spread), bits(&alone));
    }

    #[test]
    fn the_same_expert_may_answer_from_different_banks_for_different_rows(
        ids in prop::collection::vec(0u32..128, 1..12),
        holders in prop::collection::vec(0usize..4, 60),
    ) {
        let (rows, routing) = frame(&ids);
        let whole = TINY.bank.forward(1, &rows, &routing).unwrap();
        let parts: Vec<(Part, Combined)> = (0..4)
            .map(|at| {
                let part = routing.part(|row, expert| holders[row * 5 + usize::from(expert)] == at);
                let answer = TINY.bank.forward(1, &part.select(&rows).unwrap(), &part.routing).unwrap();
                (part, answer)
            })
            .collect();
        let answers: Vec<_> = parts.iter().rev().map(|(part, answer)| (part, answer)).collect();
        prop_assert_eq!(bits(&combine(&routing, 64, &answers).unwrap()), bits(whole.vectors()));
    }

    //= spec/model.md#experts
    //= type=test
    //# The bits of a row's answer MUST NOT depend on the other rows of its frame.
    #[test]
    fn other_rows_of_a_frame_change_nothing(ids in prop::collection::vec(0u32..128, 2..17)) {
        let (rows, routing) = frame(&ids);
        let together = TINY.bank.forward(1, &rows, &routing).unwrap();
        for at in 0..ids.len() {
            let part = routing.part(|row, _| row == at);
            let alone = TINY.bank.forward(1, &part.select(&rows).unwrap(), &part.routing).unwrap();
            prop_assert_eq!(alone.vectors().row(0), together.vectors().row(at));
        }
    }

    #[test]
    fn sequences_in_one_batch_get_the_bits_they_get_alone(
        first in prop::collection::vec(0u32..128, 1..9),
        second in prop::collection::vec(0u32..128, 1..9),
    ) {
        let decoder = &TINY.decoder;
        let attend_alone = |ids: &[u32]| {
            let mut rows = decoder.embed(ids).unwrap();
            decoder.attend(&mut decoder.begin(16).unwrap(), 0, &mut rows).unwrap();
            rows
        };
        let mut alone = attend_alone(&first);
        alone.append(&attend_alone(&second)).unwrap();
        let (mut a, mut b) = (decoder.begin(16).unwrap(), decoder.begin(16).unwrap());
        let mut rows = decoder.embed(&[first.as_slice(), second.as_slice()].concat()).unwrap();
        let mut batch = [(&mut a, first.len()), (&mut b, second.len())];
        decoder.attend_batch(&mut batch, 0, &mut rows).unwrap();
        prop_assert_eq!(bits(&rows), bits(&alone));
    }
}

#[test]
fn a_whole_row_is_answered_by_one_vector_and_a_partial_one_by_one_per_expert() {
    let rows = Rows::from_values(64, vec![0.5; 128]).unwrap();
    let routing = routing(&[(&[0, 3], Share::Whole), (&[1, 2, 4], Share::Partial)]);
    assert_eq!(routing.vectors(), 4);
    assert_eq!(TINY.bank.forward(0, &rows, &routing).unwrap().vectors().len(), 4);
}

#[test]
fn the_first_output_starts_the_sum() {
    // Were the sum begun from +0, a first output of −0 would be lost.
    let full = routing(&[(&[0, 1], Share::Whole)]);
    let part = full.part(|_, _| true);
    let split = (full.part(|_, e| e == 0), full.part(|_, e| e == 1));
    let answer =
        |part: &Part| Combined::of_rows(&part.routing, Rows::from_values(1, vec![-0.0]).unwrap()).unwrap();
    let whole = combine(&full, 1, &[(&part, &answer(&part))]).unwrap();
    let (first, second) = (answer(&split.0), answer(&split.1));
    let summed = combine(&full, 1, &[(&split.0, &first), (&split.1, &second)]).unwrap();
    assert_eq!((bits(&whole), bits(&summed)), (vec![0x8000_0000], vec![0x8000_0000]));
}

#[test]
fn an_expert_that_is_not_loaded_is_named() {
    let some = ExpertBank::load(&TINY.checkpoint, [(0, 0), (0, 1)]).unwrap();
    let rows = Rows::from_values(64, vec![0.5; 64]).unwrap();
    let ask = |layer, experts| some.forward(layer, &rows, &routing(&[(experts, Share::Whole)]));
    assert_eq!(ask(0, &[0, 1]).map(|c| c.vectors().len()), Ok(1));
    assert_eq!(ask(0, &[0, 2]), Err(ComputeError::NotLoaded { layer: 0, expert: 2 }));
    assert_eq!(ask(1, &[0]), Err(ComputeError::NotLoaded { layer: 1, expert: 0 }));
}

//= spec/model.md#experts
//= type=test
//# Rows that are NaN or infinite anywhere MUST be refused, as input and as output, and MUST NOT be computed with.
#[test]
fn a_row_that_is_not_finite_is_refused_before_anything_is_computed() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; 128];
        values[100] = bad;
        let rows = Rows::from_values(64, values).unwrap();
        let asked = routing(&[(&[0], Share::Whole), (&[1], Share::Whole)]);
        let refused = ComputeError::NonFinite { what: "rows for experts", row: 1 };
        assert_eq!(TINY.bank.forward(0, &rows, &asked), Err(refused));
    }
}

#[test]
fn outputs_that_overflow_are_refused() {
    let rows = Rows::from_values(64, vec![1e38; 64]).unwrap();
    let refused = ComputeError::NonFinite { what: "outputs of an expert", row: 0 };
    assert_eq!(TINY.bank.forward(0, &rows, &routing(&[(&[0], Share::Whole)])), Err(refused));
}

#[test]
fn rows_and_routing_of_different_lengths_are_refused() {
    let rows = Rows::from_values(64, vec![0.5; 128]).unwrap();
    let refused = ComputeError::Shape { what: "rows of routing", expected: 2, found: 1 };
    assert_eq!(TINY.bank.forward(0, &rows, &routing(&[(&[0], Share::Whole)])), Err(refused));
}

#[test]
fn rows_of_another_width_are_refused() {
    let rows = Rows::from_values(63, vec![0.5; 63]).unwrap();
    let refused = ComputeError::Shape { what: "values in a row", expected: 64, found: 63 };
    assert_eq!(TINY.bank.forward(0, &rows, &routing(&[(&[0], Share::Whole)])), Err(refused));
}

#[test]
fn experts_of_a_row_ascend_strictly() {
    let push = |experts: &[u16]| Routing::new().push(&picks(experts), Share::Whole);
    assert_eq!(push(&[1, 2]), Ok(()));
    assert_eq!(push(&[2, 1]), Err(ComputeError::ExpertOrder { row: 0 }));
    assert_eq!(push(&[1, 1]), Err(ComputeError::ExpertOrder { row: 0 }));
}

#[test]
fn a_row_has_one_to_sixty_four_experts() {
    let push = |count: u16| Routing::new().push(&picks(&(0..count).collect::<Vec<_>>()), Share::Whole);
    let what = "experts of a row, at least one and at most";
    assert_eq!(push(0), Err(ComputeError::Shape { what, expected: 64, found: 0 }));
    assert_eq!(push(64), Ok(()));
    assert_eq!(push(65), Err(ComputeError::Shape { what, expected: 64, found: 65 }));
}

#[test]
fn a_weight_that_is_not_finite_is_refused() {
    let push = |weight| Routing::new().push(&[Pick { expert: 0, weight }], Share::Whole);
    assert_eq!(push(1.0), Ok(()));
    assert_eq!(push(f32::NAN), Err(ComputeError::NonFinite { what: "gate weights", row: 0 }));
}

//= spec/model.md#combining
//= type=test
//# The router MUST have exactly one answer for every expert of a row, and adds in the same order.
#[test]
fn every_pick_is_answered_exactly_once() {
    let full = routing(&[(&[0, 1], Share::Whole)]);
    let vector = |part: &Part| {
        let rows = Rows::from_values(2, vec![1.0; 2 * part.routing.vectors()]).unwrap();
        Combined::of_rows(&part.routing, rows).unwrap()
    };
    let (whole, zero, one) = (full.part(|_, _| true), full.part(|_, e| e == 0), full.part(|_, e| e == 1));
    let (w, z, o) = (vector(&whole), vector(&zero), vector(&one));
    let sum = |answers: &[(&Part, &Combined)]| combine(&full, 2, answers).map(|rows| rows.values().to_vec());
    assert_eq!(sum(&[(&whole, &w)]), Ok(vec![1.0, 1.0]));
    assert_eq!(sum(&[(&one, &o), (&zero, &z)]), Ok(vec![2.0, 2.0]));
    assert_eq!(sum(&[(&zero, &z)]), Err(ComputeError::NoAnswer { row: 0, expert: 1 }));
    assert_eq!(sum(&[]), Err(ComputeError::NoAnswer { row: 0, expert: 0 }));
    assert_eq!(sum(&[(&zero, &z), (&zero, &z)]), Err(ComputeError::TwoAnswers { row: 0, expert: 0 }));
    assert_eq!(sum(&[(&whole, &w), (&one, &o)]), Err(ComputeError::TwoAnswers { row: 0, expert: 0 }));
    assert_eq!(sum(&[(&one, &o), (&whole, &w)]), Err(ComputeError::TwoAnswers { row: 0, expert: 1 }));
}

#[test]
fn an_answer_must_fit_what_was_asked() {
    let asked = routing(&[(&[0, 1], Share::Partial)]);
    let answer = |values: &[f32]| Combined::of_rows(&asked, Rows::from_values(1, values.to_vec()).unwrap());
    assert_eq!(answer(&[1.0, 2.0]).map(|c| c.vectors().len()), Ok(2));
    let short = ComputeError::Shape { what: "vectors of an answer", expected: 2, found: 1 };
    assert_eq!(answer(&[1.0]), Err(short));
    let bad = ComputeError::NonFinite { what: "vectors of an answer", row: 1 };
    assert_eq!(answer(&[1.0, f32::NAN]), Err(bad));
}
