use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;

use super::*;

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
        if let Ok(c) = combined(&body) {
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

#[test]
fn control_bytes_are_those_of_the_worked_example() {
    let frame = encode_control(&RouterMessage::Ping(1)).unwrap();
    assert_eq!(hex(&frame), format!("0400000001{}82078101", "0".repeat(70)));
    assert!(in_text(&frame));
}
