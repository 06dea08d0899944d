//! The kernel against its own words: every path, block and row count gives the bits of the stated order of sums.

use super::*;

/// Numbers in ±1 that use all bits of an f32's significand.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = u32::try_from(state >> 40).unwrap();
            bits as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// The module's first paragraph, word for word.
fn stated(x: &[f32], w: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    for k in 0..x.len() {
        let product = x[k] * w[k];
        lanes[k % 16] += product;
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn run(path: Path, x: &[f32], w: &[f32], inner: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / inner * (w.len() / inner)];
    product(path, Product { x, w, y: &mut y, inner });
    y
}

#[test]
fn every_path_and_row_count_gives_the_stated_bits() {
    for inner in [1, 15, 16, 17, 64, 100, 257] {
        for outputs in [1, 2, 3, 4, 7, 9] {
            let w = numbers(outputs * inner, 1);
            let x = numbers(16 * inner, 2);
            let want: Vec<f32> = x
                .chunks_exact(inner)
                .flat_map(|row| w.chunks_exact(inner).map(|weights| stated(row, weights)))
                .collect();
            for path in Path::available() {
                for rows in 1..=16 {
                    let y = run(path, &x[..rows * inner], &w, inner);
                    assert_eq!(bits(&y), bits(&want[..rows * outputs]), "{path:?} {rows} {inner} {outputs}");
                }
            }
        }
    }
}

#[test]
fn products_are_rounded_before_they_are_added() {
    // (1 + ε)² is 1 + 2ε + ε²: rounded it is 1 + 2ε, so that nothing is left, while a fused product leaves ε².
    let near = 1.0 + f32::EPSILON;
    let mut x = vec![0.0; 32];
    let mut w = vec![0.0; 32];
    (x[0], w[0]) = (-(1.0 + 2.0 * f32::EPSILON), 1.0);
    (x[16], w[16]) = (near, near);
    for path in Path::available() {
        assert_eq!(bits(&run(path, &x, &w, 32)), [0], "{path:?}");
    }
}

#[test]
fn no_rows_give_no_outputs() {
    assert_eq!(run(Path::widest(), &[], &[1.0, 2.0], 2), Vec::<f32>::new());
}

#[test]
fn attention_has_the_same_bits_on_every_path() {
    for (dim, stride, positions) in [(16, 32, 1), (32, 64, 17), (24, 24, 40)] {
        let query = numbers(dim, 3);
        let keys = numbers(stride * positions, 4);
        let values = numbers(stride * positions, 5);
        let outcomes: Vec<(Vec<u32>, Vec<u32>)> = Path::available()
            .into_iter()
            .map(|path| {
                let (mut scores, mut out) = (vec![0.0; positions], vec![0.0; dim]);
                let (query, keys, values) = (&query, &keys, &values);
                attend(
                    path,
                    Attend { query, keys, values, stride, scale: 0.25, scores: &mut scores, out: &mut out },
                );
                (bits(&scores), bits(&out))
            })
            .collect();
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{dim} {stride} {positions}");
    }
}

#[test]
fn attention_weights_by_the_exponentials_of_scaled_scores() {
    // Scores 2·ln 3 and 0 at scale 1/2 are weights 3/4 and 1/4.
    let query = [1.0, 0.0];
    let keys = [2.0 * 3f32.ln(), 9.0, 0.0, 9.0];
    let values = [4.0, 0.0, 0.0, 8.0];
    let (mut scores, mut out) = ([0.0; 2], [0.0; 2]);
    attend(
        Path::widest(),
        Attend {
            query: &query,
            keys: &keys,
            values: &values,
            stride: 2,
            scale: 0.5,
            scores: &mut scores,
            out: &mut out,
        },
    );
    assert!((out[0] - 3.0).abs() < 1e-6 && (out[1] - 2.0).abs() < 1e-6, "{out:?}");
}

#[test]
fn silu_has_the_same_bits_on_every_path_and_is_silu() {
    let up = numbers(101, 6);
    let before: Vec<f32> = numbers(101, 7).iter().map(|v| v * 30.0).collect();
    let mut outcomes = Vec::new();
    for path in Path::available() {
        let mut gate = before.clone();
        gated(path, (&mut gate, &up));
        outcomes.push(bits(&gate));
        for ((g, x), u) in gate.iter().zip(&before).zip(&up) {
            let (x, u) = (f64::from(*x), f64::from(*u));
            let want = x / (1.0 + (-x).exp()) * u;
            assert!((f64::from(*g) - want).abs() <= 4e-7 * want.abs(), "{x} {u}");
        }
    }
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn softmax_sums_to_one_and_keeps_the_order() {
    let mut x = [1.0, 3.0, 2.0, -100.0];
    softmax(&mut x);
    assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(x[1] > x[2] && x[2] > x[0] && x[0] > x[3]);
}

#[test]
fn exp_is_exact_at_zero_and_powers_scale_it() {
    assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
    assert_eq!(exp(-0.0).to_bits(), 1f32.to_bits());
    assert!(exp(f32::NAN).is_nan());
    assert_eq!(exp(f32::NEG_INFINITY).to_bits(), exp(-87.0).to_bits());
    assert_eq!(exp(f32::INFINITY).to_bits(), exp(88.0).to_bits());
}

#[test]
fn exp_is_within_three_units_in_the_last_place() {
    let mut worst = 0.0f64;
    for i in -87_000..=88_000 {
        let x = i as f32 / 1000.0;
        let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
        worst = worst.max(((got - want) / want).abs());
    }
    assert!(worst < 1.8e-7, "{worst}");
}

#[test]
fn the_arithmetic_has_these_bits_on_every_machine() {
    let x = numbers(7 * 200, 8);
    let w = numbers(11 * 200, 9);
    let exponentials = x.iter().map(|v| exp(v * 80.0));
    let all = run(Path::widest(), &x, &w, 200).into_iter().chain(exponentials);
    // The same numbers, made by a scalar program in another language from the words of the module.
    let fold = all.fold(0_u64, |fold, v| fold.wrapping_mul(31).wrapping_add(v.to_bits().into()));
    assert_eq!(fold, 0x958d_bc63_f507_666e);
}

#[test]
fn the_specification_s_example() {
    let x: Vec<f32> = (1..19_u8).map(|k| 1.0 / f32::from(k)).collect();
    let w: Vec<f32> = (0..18_u8).map(|k| f32::from(k) - 8.5).collect();
    for path in Path::available() {
        assert_eq!(bits(&run(path, &x, &w, 18)), [0xc173_41a4], "{path:?}");
    }
    let in_a_row = x.iter().zip(&w).fold(0.0, |sum: f32, (x, w)| sum + x * w);
    assert_eq!(in_a_row.to_bits(), 0xc173_41a8);
    assert_eq!(bits(&[exp(1.0), exp(-87.0), exp(-1e9)]), [0x402d_f854, 0x00b3_3687, 0x00b3_3687]);
}

#[test]
fn values_may_be_narrower_than_keys_and_lie_within_them() {
    // As in latent attention: a key is (latent, rotated), the value is the latent. The weights are 3/4 and 1/4.
    let cache = [4.0, 0.0, 3f32.ln(), 0.0, 8.0, 0.0];
    let (mut scores, mut out) = ([0.0; 2], [0.0; 2]);
    for path in Path::available() {
        let (query, keys, values) = (&[0.0, 0.0, 1.0], &cache, &cache);
        let (scores, out) = (&mut scores, &mut out);
        attend(path, Attend { query, keys, values, stride: 3, scale: 1.0, scores, out });
        assert!((out[0] - 3.0).abs() < 1e-6 && (out[1] - 2.0).abs() < 1e-6, "{out:?}");
    }
}

#[test]
fn a_sum_has_the_order_of_products_with_one() {
    let x = numbers(57, 10);
    assert_eq!(sum(&x).to_bits(), stated(&x, &[1.0; 57]).to_bits());
    assert_eq!(sum(&[]).to_bits(), 0);
}

#[test]
fn sigmoid_is_a_half_at_zero_and_ends_at_zero_and_one() {
    assert_eq!(sigmoid(0.0).to_bits(), 0.5f32.to_bits());
    assert_eq!(sigmoid(100.0).to_bits(), 1f32.to_bits());
    assert!(sigmoid(-100.0) > 0.0 && sigmoid(-100.0) < 1e-37);
    assert!((sigmoid(3f32.ln()) - 0.75).abs() < 1e-7);
}
