//! Frequencies, pairings and YaRN. The numbers come from transformers 5.23 (`_compute_yarn_parameters` and
//! `compute_default_rope_parameters`).

use super::*;

fn shape(pairing: Pairing, yarn: Option<Yarn>) -> RopeShape {
    RopeShape { theta: 1e4, dims: 4, pairing, yarn }
}

/// DeepSeek-V2-Lite.
const LITE: Yarn = Yarn {
    factor: 40.0,
    original: 4096,
    beta_fast: 32.0,
    beta_slow: 1.0,
    mscale: 0.707,
    mscale_all_dim: 0.707,
};

fn turned(pairing: Pairing, position: usize) -> Vec<f32> {
    let rope = Rope::new(&shape(pairing, None));
    let mut table = Rotations::default();
    rope.extend(&mut table, position + 1);
    let mut heads = [1.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0, 0.0];
    rope.turn(&table, position, &mut heads);
    heads.to_vec()
}

#[test]
fn position_zero_turns_nothing() {
    assert_eq!(turned(Pairing::Halves, 0), [1.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(turned(Pairing::Interleaved, 0), [1.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn pairs_lie_in_halves_or_side_by_side() {
    let turn = |angle: f64, a: f64, b: f64| {
        let (sine, cosine) = angle.sin_cos();
        [a * cosine - b * sine, b * cosine + a * sine]
    };
    // Frequencies are 1 and 1/100.
    let ([a, c], [b, d]) = (turn(7.0, 1.0, 3.0), turn(0.07, 2.0, 4.0));
    let [e, g] = turn(7.0, 1.0, 0.0);
    let close = |found: Vec<f32>, wanted: [f64; 8]| {
        assert!(
            found.iter().zip(wanted).all(|(f, w)| (f64::from(*f) - w).abs() < 1e-6),
            "{found:?} {wanted:?}"
        );
    };
    close(turned(Pairing::Halves, 7), [a, b, c, d, e, 0.0, g, 0.0]);
    let ([a, b], [c, d]) = (turn(7.0, 1.0, 2.0), turn(0.07, 3.0, 4.0));
    close(turned(Pairing::Interleaved, 7), [a, b, c, d, e, g, 0.0, 0.0]);
}

#[test]
fn a_table_grows_by_what_is_missing() {
    let rope = Rope::new(&shape(Pairing::Halves, None));
    let (mut once, mut twice) = (Rotations::default(), Rotations::default());
    rope.extend(&mut once, 5);
    rope.extend(&mut twice, 2);
    rope.extend(&mut twice, 5);
    rope.extend(&mut twice, 3);
    assert_eq!(once.pairs, twice.pairs);
    assert_eq!(once.pairs.len(), 10);
}

fn frequencies(dims: usize, yarn: Yarn) -> Rope {
    Rope::new(&RopeShape { theta: 1e4, dims, pairing: Pairing::Interleaved, yarn: Some(yarn) })
}

/// The judge's powers are within a unit in the last place of ours, and a quotient and a sum add to that.
fn close(found: &[f32], wanted: &[u32]) {
    assert_eq!(found.len(), wanted.len());
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let wanted = f32::from_bits(*wanted);
        assert!(((found - wanted) / wanted).abs() < 3e-7, "{at}: {found} {wanted}");
    }
}

#[test]
fn yarn_of_deepseek_v2_lite() {
    let rope = frequencies(64, LITE);
    close(
        &rope.frequencies,
        &[
            0x3f80_0000,
            0x3f3f_f911,
            0x3f0f_f59a,
            0x3ed7_e89b,
            0x3ea1_e89b,
            0x3e72_d423,
            0x3e36_1887,
            0x3e08_8d77,
            0x3dcc_cccd,
            0x3d99_940d,
            0x3d66_55c2,
            0x3d1f_c5ba,
            0x3cdc_321b,
            0x3c96_8dc3,
            0x3c4b_f283,
            0x3c08_8d77,
            0x3bb4_3959,
            0x3b69_7066,
            0x3b13_6a16,
            0x3ab3_a2cd,
            0x3a4f_3e37,
            0x39d9_9312,
            0x393a_7753,
            0x380b_d471,
            0x37d1_b717,
            0x379d_43a3,
            0x376b_dcf0,
            0x3730_df51,
            0x3704_a2b3,
            0x36c6_ecdd,
            0x3695_2c42,
            0x365f_ba4f,
        ],
    );
    assert_eq!(rope.amplitude.to_bits(), 1f32.to_bits());
    let shape = RopeShape { theta: 1e4, dims: 64, pairing: Pairing::Interleaved, yarn: Some(LITE) };
    assert_eq!(reciprocal_root(192, shape.softmax_factor()).to_bits(), 0.114_721_39_f32.to_bits());
}

#[test]
fn yarn_with_other_turns_and_weights() {
    let yarn = Yarn {
        factor: 8.0,
        original: 32,
        beta_fast: 16.0,
        beta_slow: 2.0,
        mscale: 1.0,
        mscale_all_dim: 0.707,
    };
    let rope = frequencies(16, yarn);
    // Both ends of the ramp lie below the first pair: it has no length.
    let wanted = [
        0x3f80_0000,
        0x3d21_e89b,
        0x3c4c_cccd,
        0x3b81_86e3,
        0x3aa3_d70a,
        0x39cf_3e38,
        0x3903_126f,
        0x3825_cb60,
    ];
    close(&rope.frequencies, &wanted);
    assert!((rope.amplitude - 1.053_118_4).abs() < 1e-6);
}

#[test]
fn cosines_grow_with_the_factor_where_weights_are_not_both_given() {
    for (mscale, mscale_all_dim) in [(0.0, 0.0), (1.0, 0.0), (0.0, 0.707)] {
        let yarn = Yarn { factor: 8.0, mscale, mscale_all_dim, ..LITE };
        assert!((yarn.amplitude() - 1.207_944_154_167_983_6).abs() < 1e-15);
    }
    let softmax = |mscale_all_dim| {
        let yarn = Some(Yarn { factor: 8.0, mscale_all_dim, ..LITE });
        shape(Pairing::Halves, yarn).softmax_factor()
    };
    assert!((softmax(0.0) - 1.0).abs() < 1e-15);
    assert!((softmax(1.0) - 1.207_944_154_167_983_6_f64.powi(2)).abs() < 1e-14);
}
