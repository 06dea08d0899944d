mod activations;
mod combine;
mod dispatch;
mod header;
mod stream;

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
        activations: Activations::F32(vec![1.0, -2.0, 3.5, 4.0, f32::MIN_POSITIVE, 6.0]),
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn combined(body: &[u8]) -> Result<Combine, FrameError> {
    let mut out = Combine::default();
    out.decode(body).map(|()| out)
}

/// Whether the normative text shows these bytes.
fn in_text(bytes: &[u8]) -> bool {
    let text = include_str!("../../../spec/session.md");
    text.split_whitespace().collect::<String>().contains(&hex(bytes))
}
