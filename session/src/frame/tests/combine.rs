use counterfoil_spec::refusal::Refusal;

use super::*;

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
    assert_eq!(hex(&out), want.replace(' ', ""));
    assert!(in_text(&out));
    assert_eq!(combined(&out), Ok(c));
}

#[test]
fn combine_reads_back_and_answers_its_dispatch() {
    let mut out = Vec::new();
    combine().encode(&mut out).unwrap();
    let back = combined(&out).unwrap();
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
    assert_eq!(combined(&out), Err(FrameError::Outcome(0)));
    out[20] = 52;
    out[21] = 1;
    assert_eq!(combined(&out), Err(FrameError::Outcome(0)));
}
