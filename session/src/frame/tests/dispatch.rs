use counterfoil_spec::refusal::Refusal;

use super::*;

#[test]
fn dispatch_reads_back() {
    assert_eq!(decoded(&encoded(&dispatch())), Ok(dispatch()));
}

#[test]
fn dispatch_decodes_over_an_older_one() {
    let mut into = dispatch();
    into.activations = Activations::F32(vec![9.0; 100]);
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
        activations: Activations::F32(vec![1.0, -2.0]),
    };
    let want = "01000000 02000000 0100 0100 01000000  03000000 0100 0000  04000000 0100 01 00  \
                0500 0000 0000003f  0000803f 000000c0";
    assert_eq!(hex(&encoded(&d)), want.replace(' ', ""));
    assert!(in_text(&encoded(&d)));
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
        activations: Activations::F32(vec![0.0; usize::from(n)]),
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
        activations: Activations::F32(vec![0.0]),
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
        activations: Activations::F32(vec![0.0; 512 * 2048]),
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
