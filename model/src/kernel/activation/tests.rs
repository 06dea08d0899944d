//! Bytes and scales, and what a peer may not send.

use super::*;

fn one(values: [f32; BLOCK]) -> Activations {
    Activations::of(&Rows::from_values(BLOCK, values.to_vec()).unwrap()).unwrap()
}

#[test]
fn halves_go_to_the_even_byte() {
    let mut x = [0f32; BLOCK];
    (x[0], x[1], x[2], x[3], x[4]) = (127.0, 0.5, 1.5, -2.5, -127.0);
    let row = one(x);
    assert_eq!(row.bytes()[..5], [127, 0, 2, -2, -127]);
    assert_eq!(row.scales(), [1.0]);
}

#[test]
fn bytes_stay_within_127_whatever_the_greatest_value() {
    for bits in (LEAST.to_bits()..f32::MAX.to_bits()).step_by(9_999_991) {
        let mut x = [0f32; BLOCK];
        x[7] = -f32::from_bits(bits);
        assert_eq!(one(x).bytes()[7], -127, "{bits:x}");
    }
}

#[test]
fn bytes_are_those_of_rounding_to_the_nearest_even_integer() {
    for seed in 0..2_000u32 {
        let bits = |at: u32| (seed * 32 + at).wrapping_mul(2_654_435_761);
        let x: [f32; BLOCK] =
            std::array::from_fn(|at| f32::from_bits(bits(u32::try_from(at).unwrap()) & 0xbfff_ffff));
        let made = one(x);
        let greatest = x.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (byte, value) in made.bytes().iter().zip(x) {
            assert_eq!(
                f32::from(*byte).to_bits(),
                ((value * (127.0 / greatest)).round_ties_even() + 0.0).to_bits()
            );
        }
    }
}

#[test]
fn a_block_of_next_to_nothing_is_zero() {
    let below = f32::from_bits(LEAST.to_bits() - 1);
    assert_eq!(one([below; BLOCK]).scales(), [0.0]);
    assert_eq!(one([below; BLOCK]).bytes(), [0; BLOCK]);
    assert_eq!(one([LEAST; BLOCK]).bytes(), [127; BLOCK]);
    assert_eq!(one([-0.0; BLOCK]).bytes(), [0; BLOCK]);
}

#[test]
fn rows_are_whole_blocks() {
    let refused = ComputeError::Shape { what: "values in blocks of 32", expected: 32, found: 33 };
    assert_eq!(Activations::of(&Rows::zeros(1, 33)), Err(refused));
    assert_eq!(Activations::of(&Rows::zeros(2, 64)).unwrap().len(), 2);
}

#[test]
fn a_row_that_is_not_finite_is_refused_and_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![1.0; 3 * 64];
        values[64 + 40] = bad;
        let refused = ComputeError::NonFinite { what: "activations", row: 1 };
        assert_eq!(Activations::of(&Rows::from_values(64, values).unwrap()), Err(refused));
    }
}

#[test]
fn parts_are_taken_back_as_they_were() {
    let values = (0..192u8).map(|v| f32::from(v) - 90.0).collect();
    let made = Activations::of(&Rows::from_values(64, values).unwrap()).unwrap();
    let (bytes, scales) = made.clone().into_parts();
    assert_eq!(Activations::from_parts(64, bytes, scales), Ok(made));
}

#[test]
fn parts_that_no_rows_give_are_refused() {
    let of = |width, bytes: Vec<i8>, scales| Activations::from_parts(width, bytes, scales);
    assert_eq!(of(32, vec![-127; 64], vec![0.0, f32::MAX]).unwrap().len(), 2);
    assert_eq!(of(32, vec![0; 32], vec![]), Err(BadActivations::Shape { width: 32, bytes: 32, scales: 0 }));
    assert_eq!(of(0, vec![], vec![]), Err(BadActivations::Shape { width: 0, bytes: 0, scales: 0 }));
    assert_eq!(
        of(48, vec![0; 96], vec![0.0; 3]),
        Err(BadActivations::Shape { width: 48, bytes: 96, scales: 3 })
    );
    assert_eq!(
        of(64, vec![0; 96], vec![0.0; 3]),
        Err(BadActivations::Shape { width: 64, bytes: 96, scales: 3 })
    );
    let mut bytes = vec![1; 64];
    bytes[33] = -128;
    assert_eq!(of(32, bytes, vec![1.0; 2]), Err(BadActivations::Byte { index: 33 }));
    for bad in [f32::NAN, f32::INFINITY, -1.0, -0.0] {
        assert_eq!(of(32, vec![1; 64], vec![1.0, bad]), Err(BadActivations::Scale { index: 1 }), "{bad}");
    }
}

#[test]
fn rows_are_gathered_in_the_order_asked_for() {
    let values: Vec<f32> = (0..96u8).map(|v| f32::from(v / 32 + 1)).collect();
    let made = Activations::of(&Rows::from_values(32, values).unwrap()).unwrap();
    let two = made.gather(&[2, 0]).unwrap();
    assert_eq!(two.scales(), [3.0 / 127.0, 1.0 / 127.0]);
    assert_eq!(two.bytes(), [127; 64]);
    let what = "a row below the row count";
    assert_eq!(made.gather(&[3]), Err(ComputeError::Shape { what, expected: 3, found: 3 }));
}
