//! The decoder's bounds, and candle as an independent judge of a layer.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use counterfoil_model::{Checkpoint, ComputeError, Decoder, ExpertBank, Feed, Pick, Routing, Rows, Share};

fn open() -> (Checkpoint, Decoder) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let decoder = Decoder::load(&checkpoint).unwrap();
    (checkpoint, decoder)
}

fn tensor(name: &str) -> Tensor {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral/model.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu)
        .unwrap()
        .remove(name)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
}

fn layer(name: &str) -> Tensor {
    tensor(&format!("model.layers.0.{name}.weight"))
}

fn nmse(ours: &Rows, theirs: &Tensor) -> f64 {
    let theirs: Vec<f64> = theirs.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(ours.values().len(), theirs.len());
    let error: f64 = ours.values().iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    error / theirs.iter().map(|b| b.powi(2)).sum::<f64>()
}

fn tensor_of(rows: &Rows) -> Tensor {
    Tensor::from_slice(rows.values(), (rows.len(), rows.width()), &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
}

fn product(x: &Tensor, w: &Tensor) -> Tensor {
    x.matmul(&w.t().unwrap()).unwrap()
}

fn norm(x: &Tensor, w: &Tensor) -> Tensor {
    let mean = (x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + 1e-5).unwrap();
    x.broadcast_div(&mean.sqrt().unwrap()).unwrap().broadcast_mul(w).unwrap()
}

fn softmax(x: &Tensor) -> Tensor {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1).unwrap()).unwrap().exp().unwrap();
    e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap()
}

/// `(positions, 16)` of one head, pairs in halves, theta 10000.
fn turned(head: &Tensor) -> Tensor {
    let angle = |p: u32, i: u32| f64::from(p) / 10_000f64.powf(f64::from(2 * i) / 16.0);
    let positions = u32::try_from(head.dim(0).unwrap()).unwrap();
    let table = |f: fn(f64) -> f64| {
        let all: Vec<f64> = (0..positions).flat_map(|p| (0..8).map(move |i| f(angle(p, i)))).collect();
        Tensor::from_vec(all, (head.dim(0).unwrap(), 8), &Device::Cpu).unwrap()
    };
    let (cosine, sine) = (table(f64::cos), table(f64::sin));
    let (a, b) = (head.narrow(1, 0, 8).unwrap(), head.narrow(1, 8, 8).unwrap());
    let first = ((&a * &cosine).unwrap() - (&b * &sine).unwrap()).unwrap();
    let second = ((&b * &cosine).unwrap() + (&a * &sine).unwrap()).unwrap();
    Tensor::cat(&[first, second], 1).unwrap()
}

/// Attention of layer 0 with its residual, in f64 by candle.
fn attention(x: &Tensor) -> Tensor {
    let normed = norm(x, &layer("input_layernorm"));
    let project = |name: &str| product(&normed, &layer(&format!("self_attn.{name}_proj")));
    let (q, k, v) = (project("q"), project("k"), project("v"));
    let count = x.dim(0).unwrap();
    let mask: Vec<f64> =
        (0..count * count).map(|at| if at % count > at / count { -1e300 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (count, count), &Device::Cpu).unwrap();
    let heads: Vec<Tensor> = (0..4)
        .map(|head| {
            let q = turned(&q.narrow(1, head * 16, 16).unwrap());
            let k = turned(&k.narrow(1, head / 2 * 16, 16).unwrap());
            let scores = ((product(&q, &k) / 4.0).unwrap() + &mask).unwrap();
            softmax(&scores).matmul(&v.narrow(1, head / 2 * 16, 16).unwrap()).unwrap()
        })
        .collect();
    (x + product(&Tensor::cat(&heads, 1).unwrap(), &layer("self_attn.o_proj"))).unwrap()
}

/// One expert of layer 0 in f64 by candle.
fn expert(x: &Tensor, at: usize) -> Tensor {
    let part = |name: &str| layer(&format!("block_sparse_moe.experts.{at}.{name}"));
    let gate = product(x, &part("w1")).silu().unwrap();
    product(&(gate * product(x, &part("w3"))).unwrap(), &part("w2"))
}

#[test]
fn attention_agrees_with_candle_in_double_precision() {
    let (_, decoder) = open();
    let ids: Vec<u32> = (0..24).map(|i| i * 5 % 128).collect();
    let mut rows = decoder.embed(&ids).unwrap();
    let want = attention(&tensor_of(&rows));
    decoder.attend(&mut decoder.begin(24).unwrap(), 0, &mut rows).unwrap();
    let error = nmse(&rows, &want);
    assert!(error <= 1e-12, "NMSE {error:e}");
}

#[test]
fn gate_agrees_with_candle_in_double_precision() {
    let (_, decoder) = open();
    let mut rows = decoder.embed(&(0..100).collect::<Vec<u32>>()).unwrap();
    let Feed::Experts { normed, routing } = decoder.gate(0, &mut rows).unwrap() else {
        panic!("the layer has experts")
    };
    let want = norm(&tensor_of(&rows), &layer("post_attention_layernorm"));
    assert!(nmse(&normed, &want) <= 1e-12);
    let scores = softmax(&product(&want, &layer("block_sparse_moe.gate"))).to_vec2::<f64>().unwrap();
    for ((picks, share), scores) in routing.iter().zip(&scores) {
        let mut order: Vec<usize> = (0..5).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut best = [order[0], order[1]];
        best.sort_unstable();
        assert_eq!(share, Share::Whole);
        assert_eq!(picks.iter().map(|p| usize::from(p.expert)).collect::<Vec<_>>(), best);
        let sum = scores[best[0]] + scores[best[1]];
        for pick in picks {
            let want = scores[usize::from(pick.expert)] / sum;
            assert!((f64::from(pick.weight) - want).abs() < 1e-6);
        }
    }
}

#[test]
fn every_expert_agrees_with_candle_in_double_precision() {
    let (checkpoint, decoder) = open();
    let bank = ExpertBank::load(&checkpoint, (0..5).map(|expert| (0, expert))).unwrap();
    let rows = decoder.embed(&(0..16).collect::<Vec<u32>>()).unwrap();
    for at in 0..5_u16 {
        let mut routing = Routing::new();
        for _ in 0..16 {
            routing.push(&[Pick { expert: at, weight: 1.0 }], Share::Whole).unwrap();
        }
        let ours = bank.forward(0, &rows, &routing).unwrap();
        let error = nmse(ours.vectors(), &expert(&tensor_of(&rows), usize::from(at)));
        assert!(error <= 1e-12, "expert {at}: NMSE {error:e}");
    }
}

#[test]
fn a_sequence_ends_at_its_room() {
    let (_, decoder) = open();
    let mut sequence = decoder.begin(2).unwrap();
    let mut two = decoder.embed(&[1, 2]).unwrap();
    let mut three = decoder.embed(&[1, 2, 3]).unwrap();
    let full = ComputeError::SequenceFull { room: 2, wanted: 3 };
    assert_eq!(decoder.attend(&mut sequence, 0, &mut three), Err(full.clone()));
    assert_eq!(decoder.attend(&mut sequence, 0, &mut two), Ok(()));
    decoder.advance(&mut sequence, 2);
    assert_eq!(sequence.position(), 2);
    let mut one = decoder.embed(&[3]).unwrap();
    assert_eq!(decoder.attend(&mut sequence, 0, &mut one), Err(full));
}

#[test]
fn a_sequence_may_be_as_long_as_the_context() {
    let (_, decoder) = open();
    assert_eq!(decoder.begin(128).map(|s| s.room()), Ok(128));
    let refused = ComputeError::ContextTooLong { wanted: 129, context: 128 };
    assert_eq!(decoder.begin(129).map(|s| s.room()), Err(refused));
}

#[test]
fn a_step_that_was_given_up_leaves_no_trace() {
    let (_, decoder) = open();
    let mut clean = decoder.begin(8).unwrap();
    let mut tried = decoder.begin(8).unwrap();
    decoder.attend(&mut tried, 0, &mut decoder.embed(&[9, 9, 9]).unwrap()).unwrap();
    let (mut a, mut b) = (decoder.embed(&[1, 2]).unwrap(), decoder.embed(&[1, 2]).unwrap());
    decoder.attend(&mut clean, 0, &mut a).unwrap();
    decoder.attend(&mut tried, 0, &mut b).unwrap();
    assert_eq!(a, b);
}

#[test]
fn token_ids_end_at_the_vocabulary() {
    let (_, decoder) = open();
    assert_eq!(decoder.embed(&[127]).map(|rows| rows.len()), Ok(1));
    assert_eq!(decoder.embed(&[0, 128]), Err(ComputeError::TokenId { id: 128, vocabulary: 128 }));
}

#[test]
fn layers_end_at_the_last() {
    let (_, decoder) = open();
    let mut rows = decoder.embed(&[1]).unwrap();
    assert!(matches!(decoder.gate(2, &mut rows), Ok(Feed::Experts { .. })));
    let refused = ComputeError::NoSuchLayer { layer: 3, layers: 3 };
    assert_eq!(decoder.gate(3, &mut rows), Err(refused.clone()));
    assert_eq!(decoder.shared(3, &rows), Err(refused));
}

#[test]
fn a_batch_counts_its_rows() {
    let (_, decoder) = open();
    let mut sequence = decoder.begin(8).unwrap();
    let mut rows = decoder.embed(&[1, 2]).unwrap();
    let refused = ComputeError::Shape { what: "rows of the sequences", expected: 2, found: 3 };
    assert_eq!(decoder.attend_batch(&mut [(&mut sequence, 3)], 0, &mut rows), Err(refused));
}
