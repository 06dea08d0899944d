use counterfoil_spec::refusal::Refusal;

use super::*;

/// Two rows of 64 values, as int8.
fn quantised() -> Dispatch {
    Dispatch {
        layer: 1,
        hidden: 64,
        segments: vec![Segment { slot: 3, rows: 2 }],
        rows: vec![
            Row { position: 4, experts: 1, form: Form::Summed },
            Row { position: 5, experts: 1, form: Form::Summed },
        ],
        experts: vec![Routed { expert: 5, weight: 0.5 }, Routed { expert: 6, weight: 1.0 }],
        activations: Activations::Int8 {
            bytes: (-127..=127).step_by(2).collect(),
            scales: vec![1.0, 0.5, 0.0, f32::MIN_POSITIVE],
        },
    }
}

/// Where the rows begin in its body.
const ROWS_AT: usize = 16 + 8 + 2 * 8 + 2 * 8;

#[test]
fn int8_reads_back_in_nine_eighths_of_a_byte_a_value() {
    let body = encoded(&quantised());
    assert_eq!(body.len(), ROWS_AT + 2 * 64 * 9 / 8);
    assert_eq!(quantised().row_bytes(), 72);
    assert_eq!(decoded(&body), Ok(quantised()));
}

#[test]
fn bf16_reads_back_in_two_bytes_a_value() {
    let with = |halves| Dispatch { hidden: 2, activations: Activations::Bf16(halves), ..quantised() };
    let d = with(vec![0x3f80, 0xc000, 0, 0xffff]);
    assert_eq!(encoded(&d).len(), ROWS_AT + 8);
    assert_eq!(d.row_bytes(), 4);
    assert_eq!(decoded(&encoded(&d)), Ok(d));
}

#[test]
fn int8_bytes_are_those_of_the_worked_example() {
    let mut bytes = vec![0; 32];
    (bytes[0], bytes[1], bytes[2]) = (127, -127, 1);
    let d = Dispatch {
        layer: 1,
        hidden: 32,
        segments: vec![Segment { slot: 3, rows: 1 }],
        rows: vec![Row { position: 4, experts: 1, form: Form::Summed }],
        experts: vec![Routed { expert: 5, weight: 0.5 }],
        activations: Activations::Int8 { bytes, scales: vec![0.25] },
    };
    let want = "01000000 20000000 0100 0100 0100 01 00  03000000 0100 0000  04000000 0100 01 00 \
                0500 0000 0000003f  7f810100000000000000000000000000 00000000000000000000000000000000 0000803e";
    assert_eq!(hex(&encoded(&d)), want.replace(' ', ""));
    assert!(in_text(&encoded(&d)));
}

#[test]
fn values_are_bytes_times_scales_and_halves_with_zeros_below() {
    let mut bytes = vec![0; 64];
    (bytes[0], bytes[31], bytes[32], bytes[63]) = (127, -1, 3, -127);
    let floats = Activations::Int8 { bytes, scales: vec![0.5, 0.1] }.to_floats();
    assert_eq!(
        (floats.len(), floats[0], floats[31], floats[32], floats[63]),
        (64, 63.5, -0.5, 0.3, -127.0 * 0.1)
    );
    assert_eq!(Activations::Bf16(vec![0x3f80, 0xc000]).to_floats(), [1.0, -2.0]);
    assert_eq!(Activations::F32(vec![1.5]).to_floats(), [1.5]);
}

#[test]
fn bf16_is_the_nearest_with_ties_to_even() {
    let bits = |b: u32| f32::from_bits(b);
    let values =
        [bits(0x3f80_8000), bits(0x3f81_8000), bits(0x3f80_8001), bits(0xbf80_7fff), f32::MAX, f32::INFINITY];
    let want = vec![0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x7f80, 0x7f80];
    assert_eq!(Activations::bf16(&values), Activations::Bf16(want));
    assert_eq!(Activations::bf16(&[bits(0xff80_0001)]), Activations::Bf16(vec![0xffc0]));
}

#[test]
fn a_byte_of_minus_128_is_refused() {
    let mut d = quantised();
    let Activations::Int8 { bytes, .. } = &mut d.activations else { panic!("not int8") };
    bytes[64] = -128;
    assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Byte(1)));
    let mut body = encoded(&quantised());
    body[ROWS_AT + 63] = 0x80;
    assert_eq!(decoded(&body), Err(FrameError::Byte(0)));
    assert_eq!(FrameError::Byte(0).refusal(), Refusal::SessionShape);
}

#[test]
fn scales_are_finite_and_not_negative() {
    let good = encoded(&quantised());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, f32::from_bits(0xffff_ffff)] {
        let mut body = good.clone();
        let last = body.len() - 4;
        body[last..].copy_from_slice(&bad.to_le_bytes());
        assert_eq!(decoded(&body), Err(FrameError::Scale(1)), "{bad}");
        let mut d = quantised();
        let Activations::Int8 { scales, .. } = &mut d.activations else { panic!("not int8") };
        scales[1] = bad;
        assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Scale(0)), "{bad}");
    }
    let mut body = good;
    let last = body.len() - 4;
    body[last..].copy_from_slice(&f32::MAX.to_le_bytes());
    let Ok(Dispatch { activations: Activations::Int8 { scales, .. }, .. }) = decoded(&body) else {
        panic!("the greatest scale is refused")
    };
    assert_eq!(scales[3].to_bits(), f32::MAX.to_bits());
}

#[test]
fn int8_rows_are_whole_blocks() {
    for (hidden, want) in [(63, FrameError::Blocks(63)), (96, FrameError::Length { want: 272, have: 200 })] {
        let d = Dispatch { hidden, ..quantised() };
        assert_eq!(d.encode(&mut Vec::new()), Err(want.clone()));
        let mut body = encoded(&quantised());
        body[4..8].copy_from_slice(&hidden.to_le_bytes());
        assert_eq!(decoded(&body), Err(want));
    }
}

#[test]
fn scales_that_are_missing_are_refused() {
    let mut d = quantised();
    let Activations::Int8 { scales, .. } = &mut d.activations else { panic!("not int8") };
    scales.pop();
    assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Length { want: 200, have: 196 }));
}

#[test]
fn unknown_encodings_are_refused() {
    for (number, want) in [(3, FrameError::Encoding(3)), (255, FrameError::Encoding(255))] {
        let mut body = encoded(&quantised());
        body[14] = number;
        assert_eq!(decoded(&body), Err(want));
    }
    let mut body = encoded(&quantised());
    body[15] = 1;
    assert_eq!(decoded(&body), Err(FrameError::Reserved));
}

#[test]
fn an_encoding_that_asks_for_more_than_the_frame_holds_takes_no_memory() {
    for (encoding, bytes) in [(0, 4 * 64), (1, 72), (2, 2 * 64)] {
        let mut body = encoded(&quantised());
        body[14] = encoding;
        body.truncate(ROWS_AT + 1);
        let mut into = Dispatch::default();
        let want = u64::try_from(ROWS_AT).unwrap() + 2 * bytes;
        assert_eq!(into.decode(&body), Err(FrameError::Length { want, have: ROWS_AT + 1 }));
        assert_eq!((into.rows.capacity(), into.activations), (0, Activations::default()));
    }
}

#[test]
fn a_dispatch_decodes_over_one_of_another_encoding() {
    let floats = dispatch();
    let mut into = quantised();
    into.decode(&encoded(&floats)).unwrap();
    assert_eq!(into, floats);
    into.decode(&encoded(&quantised())).unwrap();
    assert_eq!(into, quantised());
}

proptest::proptest! {
    #[test]
    fn a_changed_byte_of_int8_rows_is_refused_or_reads_as_itself(
        at in 0..200_usize,
        to in proptest::num::u8::ANY,
    ) {
        let mut body = encoded(&quantised());
        body[at] = to;
        match decoded(&body) {
            Ok(read) => proptest::prop_assert_eq!(encoded(&read), body),
            Err(error) => proptest::prop_assert_eq!(error.refusal(), Refusal::SessionShape),
        }
    }

    #[test]
    fn rows_of_any_bytes_in_any_encoding_never_panic(
        encoding in 0..4_u8,
        hidden in 0..200_u32,
        rest in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
    ) {
        let mut body = encoded(&quantised());
        body.truncate(ROWS_AT);
        body[14] = encoding;
        body[4..8].copy_from_slice(&hidden.to_le_bytes());
        body.extend_from_slice(&rest);
        if let Ok(read) = decoded(&body) {
            proptest::prop_assert_eq!(encoded(&read), body);
        }
    }
}
