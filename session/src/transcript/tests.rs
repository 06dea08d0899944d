use super::*;
use crate::frame::{Activations, Form, Routed, Row, RowVectors, Segment, Served};
use counterfoil_spec::refusal::Refusal;

fn pair(slots: &[u32], refused: Option<u32>) -> (Dispatch, Combine) {
    let mut d = Dispatch { layer: 2, hidden: 2, ..Dispatch::default() };
    let mut values = Vec::new();
    let mut c = Combine { hidden: 2, ..Combine::default() };
    for slot in slots {
        let n = u16::try_from(*slot).unwrap();
        d.segments.push(Segment { slot: *slot, rows: 1 });
        d.rows.push(Row { position: slot * 10, experts: 2, form: Form::Separate });
        d.experts.push(Routed { expert: n, weight: 0.5 });
        d.experts.push(Routed { expert: n + 1, weight: 0.25 });
        values.extend([f32::from(n), 1.0]);
        if refused == Some(*slot) {
            c.segments.push(Served { slot: *slot, outcome: Outcome::Refused(Refusal::Scope) });
        } else {
            c.segments.push(Served { slot: *slot, outcome: Outcome::Served(1) });
            c.rows.push(RowVectors { vectors: 2, form: Form::Separate });
            c.values.extend([f32::from(n), 2.0, f32::from(n), 3.0]);
        }
    }
    d.activations = Activations::F32(values);
    (d, c)
}

fn of(slots: &[u32], refused: Option<u32>, segment: usize) -> Hash {
    let (d, c) = pair(slots, refused);
    let mut t = Transcript::new(&Hash::from_bytes([7; 32]));
    t.add(&d, &c, segment);
    t.digest()
}

#[test]
fn record_is_the_one_of_the_text() {
    let mut record = vec![0; 32];
    record.extend_from_slice(&30_u32.to_le_bytes());
    record.extend_from_slice(&[2, 0, 0, 0]);
    for (expert, weight) in [(3_u16, 0.5_f32), (4, 0.25)] {
        record.extend_from_slice(&expert.to_le_bytes());
        record.extend_from_slice(&[0, 0]);
        record.extend_from_slice(&weight.to_le_bytes());
    }
    for value in [3.0_f32, 1.0, 3.0, 2.0, 3.0, 3.0] {
        record.extend_from_slice(&value.to_le_bytes());
    }
    let state = blake3::keyed_hash(&[7; 32], &record);
    let mut all = 2_u32.to_le_bytes().to_vec();
    all.extend_from_slice(state.as_bytes());
    let want = Hash::from_bytes(*blake3::keyed_hash(&[7; 32], &all).as_bytes());
    assert_eq!(of(&[3], None, 0), want);
    let text: String = include_str!("../../../spec/receipt.md").split_whitespace().collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for bytes in [&record[32..], state.as_bytes(), want.as_bytes()] {
        assert!(text.contains(&hex(bytes)), "spec/receipt.md does not show {}", hex(bytes));
    }
}

#[test]
fn neighbours_in_a_frame_leave_no_trace() {
    let alone = of(&[3], None, 0);
    assert_eq!(of(&[1, 3, 5], None, 1), alone);
    assert_eq!(of(&[1, 3, 5], Some(1), 1), alone);
}

#[test]
fn refused_rows_are_left_out() {
    let nothing = Transcript::new(&Hash::from_bytes([7; 32])).digest();
    assert_eq!(of(&[1, 3], Some(3), 1), nothing);
    assert_ne!(of(&[1, 3], Some(3), 0), nothing);
}

#[test]
fn order_of_layers_does_not_matter_and_order_of_rows_does() {
    let (a, ca) = pair(&[1], None);
    let (mut b, cb) = pair(&[2], None);
    let digest = |pairs: &[(&Dispatch, &Combine)]| {
        let mut t = Transcript::new(&Hash::from_bytes([7; 32]));
        pairs.iter().for_each(|(d, c)| t.add(d, c, 0));
        t.digest()
    };
    assert_ne!(digest(&[(&a, &ca), (&b, &cb)]), digest(&[(&b, &cb), (&a, &ca)]));
    b.layer = 9;
    assert_eq!(digest(&[(&a, &ca), (&b, &cb)]), digest(&[(&b, &cb), (&a, &ca)]));
}

#[test]
fn an_int8_row_is_recorded_as_it_was_sent() {
    let (mut d, mut c) = pair(&[1, 3], None);
    let mut bytes = vec![1; 32];
    bytes.extend([-2; 32]);
    d.hidden = 32;
    d.activations = Activations::Int8 { bytes, scales: vec![0.5, 0.25] };
    c.hidden = 32;
    c.values = vec![0.0; 4 * 32];
    let mut t = Transcript::new(&Hash::from_bytes([7; 32]));
    t.add(&d, &c, 1);
    let mut record = vec![0; 32];
    record.extend_from_slice(&[30, 0, 0, 0, 2, 0, 0, 1]);
    record.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0x3f, 4, 0, 0, 0, 0, 0, 0x80, 0x3e]);
    record.extend_from_slice(&[0xfe; 32]);
    record.extend_from_slice(&0.25_f32.to_le_bytes());
    record.extend_from_slice(&[0; 2 * 32 * 4]);
    let mut all = 2_u32.to_le_bytes().to_vec();
    all.extend_from_slice(blake3::keyed_hash(&[7; 32], &record).as_bytes());
    assert_eq!(t.digest(), Hash::from_bytes(*blake3::keyed_hash(&[7; 32], &all).as_bytes()));
}
