use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;

use super::*;

fn dispatch() -> Dispatch {
    Dispatch {
        layer: 7,
        hidden: 2,
        segments: vec![Segment { slot: 3, rows: 1 }, Segment { slot: 9, rows: 2 }],
        rows: vec![
            Row { position: 5, experts: 2, form: Form::Summed },
            Row { position: 0, experts: 1, form: Form::Separate },
            Row { position: 1, experts: 2, form: Form::Separate },
        ],
        experts: vec![
            Routed { expert: 1, weight: 0.5 },
            Routed { expert: 4, weight: 0.25 },
            Routed { expert: 0, weight: 1.0 },
            Routed { expert: 2, weight: 0.125 },
            Routed { expert: 3, weight: -0.0 },
        ],
        activations: vec![1.0, -2.0, 3.5, 4.0, f32::MIN_POSITIVE, 6.0],
    }
}

fn combine() -> Combine {
    Combine {
        compute_us: 41,
        hidden: 2,
        segments: vec![
            Served { slot: 3, outcome: Outcome::Served(1) },
            Served { slot: 9, outcome: Outcome::Served(2) },
        ],
        rows: vec![
            RowVectors { vectors: 1, form: Form::Summed },
            RowVectors { vectors: 1, form: Form::Separate },
            RowVectors { vectors: 2, form: Form::Separate },
        ],
        values: (0..8_u8).map(f32::from).collect(),
    }
}

fn encoded(d: &Dispatch) -> Vec<u8> {
    let mut out = Vec::new();
    d.encode(&mut out).unwrap();
    out
}

fn decoded(body: &[u8]) -> Result<Dispatch, FrameError> {
    let mut out = Dispatch::default();
    out.decode(body).map(|()| out)
}

#[test]
fn header_has_its_fields_where_the_text_says() {
    let header = FrameHeader {
        len: 0x0102_0304,
        kind: Kind::Combine,
        token_slot: 0x0506,
        counter: 0x0708_090a_0b0c_0d0e,
        seq: 0x0f10_1112,
        mac: [0xaa; 16],
    };
    let want = "04030201 03 00 0605 0e0d0c0b0a090807 1211100f 00000000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let hex: String = header.to_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, want.replace(' ', ""));
}

#[test]
fn header_reads_back() {
    let header =
        FrameHeader { len: 77, kind: Kind::Dispatch, token_slot: 1, counter: 9, seq: 4, mac: [7; 16] };
    assert_eq!(FrameHeader::read(&header.to_bytes()), Ok(header));
}

#[test]
fn length_is_judged_by_kind_before_anything_else() {
    let mut bytes = FrameHeader::control(64 * 1024).to_bytes();
    assert_eq!(FrameHeader::read(&bytes).map(|h| h.len), Ok(64 * 1024));
    bytes[0] = 1;
    let error = FrameHeader::read(&bytes).unwrap_err();
    assert_eq!(error, FrameError::TooLong { len: 64 * 1024 + 1, limit: 64 * 1024 });
    assert_eq!(error.refusal(), Refusal::SessionLength);
    bytes[4] = 2;
    bytes[..4].copy_from_slice(&(16 * 1024 * 1024 - 39_u32).to_le_bytes());
    assert_eq!(
        FrameHeader::read(&bytes),
        Err(FrameError::TooLong { len: 16 * 1024 * 1024 - 39, limit: 16 * 1024 * 1024 - 40 })
    );
}

#[test]
fn reserved_bytes_and_unknown_kinds_are_refused() {
    let good = FrameHeader { len: 1, kind: Kind::Dispatch, token_slot: 0, counter: 1, seq: 0, mac: [0; 16] };
    for at in [5, 20, 21, 22, 23] {
        let mut bytes = good.to_bytes();
        bytes[at] = 1;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Reserved));
    }
    for kind in [0, 4, 255] {
        let mut bytes = good.to_bytes();
        bytes[4] = kind;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Kind(kind)));
    }
}

#[test]
fn control_frames_carry_no_counter_and_no_mac() {
    for at in [6, 8, 16, 24, 39] {
        let mut bytes = FrameHeader::control(5).to_bytes();
        bytes[at] = 1;
        assert_eq!(FrameHeader::read(&bytes), Err(FrameError::Reserved));
    }
}

#[test]
fn dispatch_reads_back() {
    assert_eq!(decoded(&encoded(&dispatch())), Ok(dispatch()));
}

#[test]
fn dispatch_decodes_over_an_older_one() {
    let mut into = dispatch();
    into.activations = vec![9.0; 100];
    into.rows.extend_from_slice(&dispatch().rows);
    into.decode(&encoded(&dispatch())).unwrap();
    assert_eq!(into, dispatch());
}

#[test]
fn dispatch_bytes_are_those_of_the_worked_example() {
    let d = Dispatch {
        layer: 1,
        hidden: 2,
        segments: vec![Segment { slot: 3, rows: 1 }],
        rows: vec![Row { position: 4, experts: 1, form: Form::Summed }],
        experts: vec![Routed { expert: 5, weight: 0.5 }],
        activations: vec![1.0, -2.0],
    };
    let want = "01000000 02000000 0100 0100 01000000  03000000 0100 0000  04000000 0100 01 00  \
                0500 0000 0000003f  0000803f 000000c0";
    let hex: String = encoded(&d).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, want.replace(' ', ""));
}

#[test]
fn combine_bytes_are_those_of_the_worked_example() {
    let c = Combine {
        compute_us: 6,
        hidden: 2,
        segments: vec![
            Served { slot: 3, outcome: Outcome::Served(1) },
            Served { slot: 7, outcome: Outcome::Refused(Refusal::Deadline) },
        ],
        rows: vec![RowVectors { vectors: 1, form: Form::Summed }],
        values: vec![0.25, 0.0],
    };
    let mut out = Vec::new();
    c.encode(&mut out).unwrap();
    let want = "06000000 02000000 0200 0100 01000000  03000000 0000 0100  07000000 3401 0000  \
                0100 01 00  0000803e 00000000";
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, want.replace(' ', ""));
    assert_eq!(Combine::decode(&out), Ok(c));
}

#[test]
fn every_truncation_is_refused_by_length() {
    let body = encoded(&dispatch());
    for n in 0..body.len() {
        let error = decoded(&body[..n]).unwrap_err();
        assert!(matches!(error, FrameError::Length { have, .. } if have == n), "{n}: {error:?}");
        assert_eq!(error.refusal(), Refusal::SessionShape);
    }
    let mut longer = body.clone();
    longer.push(0);
    assert_eq!(
        decoded(&longer),
        Err(FrameError::Length { want: u64::try_from(body.len()).unwrap(), have: body.len() + 1 })
    );
}

#[test]
fn a_length_that_no_memory_holds_is_refused() {
    let mut body = encoded(&dispatch());
    body[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let want = 16 + 2 * 8 + 3 * 8 + 5 * 8 + 3 * 4 * u64::from(u32::MAX);
    assert_eq!(decoded(&body), Err(FrameError::Length { want, have: body.len() }));
}

#[test]
fn dispatch_without_rows_is_refused() {
    let mut d = dispatch();
    d.segments.clear();
    assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Rows { segments: 0, rows: 3 }));
    assert_eq!(decoded(&[0; 16]), Err(FrameError::Rows { segments: 0, rows: 0 }));
}

#[test]
fn rows_up_to_512_and_no_more() {
    let rows = |n: u16| Dispatch {
        hidden: 1,
        segments: vec![Segment { slot: 0, rows: n }],
        rows: (0..n).map(|i| Row { position: u32::from(i), experts: 1, form: Form::Summed }).collect(),
        experts: vec![Routed { expert: 0, weight: 1.0 }; usize::from(n)],
        activations: vec![0.0; usize::from(n)],
        ..Dispatch::default()
    };
    assert_eq!(decoded(&encoded(&rows(512))), Ok(rows(512)));
    assert_eq!(rows(513).encode(&mut Vec::new()), Err(FrameError::Rows { segments: 1, rows: 513 }));
}

#[test]
fn counts_that_do_not_add_up_are_refused() {
    type Change = fn(&mut Dispatch);
    let cases: [(Change, FrameError); 6] = [
        (|d| d.segments[1].rows = 3, FrameError::Sum),
        (|d| d.segments[1].rows = 1, FrameError::Sum),
        (|d| d.rows[2].experts = 3, FrameError::Sum),
        (|d| d.rows[0].experts = 1, FrameError::Sum),
        (|d| d.rows[1].experts = 0, FrameError::Experts(1)),
        (|d| d.experts[4].expert = 2, FrameError::Experts(2)),
    ];
    for (change, error) in cases {
        let mut d = dispatch();
        change(&mut d);
        assert_eq!(d.encode(&mut Vec::new()), Err(error));
    }
}

#[test]
fn experts_of_a_row_rise() {
    let mut d = dispatch();
    d.experts.swap(0, 1);
    assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Experts(0)));
}

#[test]
fn positions_rise_within_a_segment_and_may_fall_between_two() {
    let mut d = dispatch();
    d.rows[1].position = 1;
    assert_eq!(d.encode(&mut Vec::new()), Err(FrameError::Position(2)));
}

#[test]
fn sixty_four_experts_a_row_and_no_more() {
    let with = |n: u16| Dispatch {
        hidden: 1,
        segments: vec![Segment { slot: 0, rows: 1 }],
        rows: vec![Row { position: 0, experts: n, form: Form::Separate }],
        experts: (0..n).map(|expert| Routed { expert, weight: 1.0 }).collect(),
        activations: vec![0.0],
        ..Dispatch::default()
    };
    assert_eq!(decoded(&encoded(&with(64))), Ok(with(64)));
    assert_eq!(with(65).encode(&mut Vec::new()), Err(FrameError::Experts(0)));
}

#[test]
fn a_dispatch_whose_answer_fits_no_frame_is_refused() {
    let with = |form| Dispatch {
        hidden: 2048,
        segments: vec![Segment { slot: 0, rows: 512 }],
        rows: (0..512).map(|position| Row { position, experts: 6, form }).collect(),
        experts: (0..512 * 6).map(|i| Routed { expert: i % 6, weight: 1.0 }).collect(),
        activations: vec![0.0; 512 * 2048],
        ..Dispatch::default()
    };
    assert_eq!(with(Form::Summed).encode(&mut Vec::new()), Ok(()));
    let answer = 16 + 8 + 512 * 4 + 512 * 6 * 2048 * 4;
    assert_eq!(with(Form::Separate).encode(&mut Vec::new()), Err(FrameError::Answer(answer)));
}

#[test]
fn unknown_forms_and_reserved_bytes_of_a_body_are_refused() {
    let body = encoded(&dispatch());
    let rows_at = 16 + 2 * 8;
    let experts_at = rows_at + 3 * 8;
    for (at, error) in [
        (rows_at + 6, FrameError::Form(0)),
        (rows_at + 7, FrameError::Reserved),
        (22, FrameError::Reserved),
        (experts_at + 3, FrameError::Reserved),
    ] {
        let mut bad = body.clone();
        bad[at] = 2;
        assert_eq!(decoded(&bad), Err(error));
    }
}

#[test]
fn combine_reads_back_and_answers_its_dispatch() {
    let mut out = Vec::new();
    combine().encode(&mut out).unwrap();
    let back = Combine::decode(&out).unwrap();
    assert_eq!(back, combine());
    assert!(back.answers(&dispatch()));
}

#[test]
fn combine_with_a_refused_segment_answers_too() {
    let mut c = combine();
    c.segments[0].outcome = Outcome::Refused(Refusal::Quota);
    c.rows.remove(0);
    c.values.drain(..2);
    assert!(c.answers(&dispatch()));
}

#[test]
fn combine_of_another_shape_answers_nothing() {
    type Change = fn(&mut Combine);
    let cases: [Change; 5] = [
        |c| c.hidden = 1,
        |c| c.segments[0].slot = 4,
        |c| c.rows[1].form = Form::Summed,
        |c| c.segments.truncate(1),
        |c| c.segments[0].outcome = Outcome::Served(2),
    ];
    for change in cases {
        let mut c = combine();
        change(&mut c);
        assert!(!c.answers(&dispatch()));
    }
}

#[test]
fn combine_outcomes_are_assigned_numbers() {
    let mut out = Vec::new();
    combine().encode(&mut out).unwrap();
    out[20] = 99;
    assert_eq!(Combine::decode(&out), Err(FrameError::Outcome(0)));
    out[20] = 52;
    out[21] = 1;
    assert_eq!(Combine::decode(&out), Err(FrameError::Outcome(0)));
}

#[test]
fn intake_gives_frames_however_the_bytes_arrive() {
    let mut stream = encode_control(&RouterMessage::Ping(1)).unwrap().to_vec();
    stream.extend_from_slice(&encode_control(&RouterMessage::Drain).unwrap());
    for step in [1, 7, 40, 41, stream.len()] {
        let mut intake = Intake::default();
        let mut seen = Vec::new();
        for part in stream.chunks(step) {
            intake.space()[..part.len()].copy_from_slice(part);
            intake.filled(part.len());
            while let Some((_, body)) = intake.take().unwrap() {
                seen.push(decode_control::<RouterMessage>(body).unwrap());
            }
        }
        assert_eq!(seen, [RouterMessage::Ping(1), RouterMessage::Drain]);
        assert!(!intake.is_within_frame());
    }
}

#[test]
fn intake_holds_no_more_than_has_arrived() {
    let mut intake = Intake::default();
    let header = FrameHeader {
        len: 16 * 1024 * 1024 - 40,
        kind: Kind::Dispatch,
        token_slot: 0,
        counter: 1,
        seq: 0,
        mac: [0; 16],
    };
    intake.space()[..40].copy_from_slice(&header.to_bytes());
    intake.filled(40);
    assert_eq!(intake.take(), Ok(None));
    assert_eq!(intake.space().len(), 64 * 1024 - 40);
}

#[test]
fn control_message_of_the_other_side_is_refused() {
    let frame = encode_control(&NodeMessage::Drain).unwrap();
    let error = decode_control::<RouterMessage>(&frame[40..]).unwrap_err();
    assert_eq!(error.refusal(), Refusal::SessionShape);
}

proptest::proptest! {
    #[test]
    fn no_body_makes_the_decoders_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let mut into = Dispatch::default();
        if into.decode(&body).is_ok() {
            proptest::prop_assert_eq!(encoded(&into), body.clone());
        }
        if let Ok(c) = Combine::decode(&body) {
            let mut out = Vec::new();
            c.encode(&mut out).unwrap();
            proptest::prop_assert_eq!(out, body);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_reads_as_itself(at in 0..128_usize, to in proptest::num::u8::ANY) {
        let mut body = encoded(&dispatch());
        let n = body.len();
        body[at % n] = to;
        let mut into = Dispatch::default();
        if into.decode(&body).is_ok() {
            proptest::prop_assert_eq!(encoded(&into), body);
        }
    }
}
