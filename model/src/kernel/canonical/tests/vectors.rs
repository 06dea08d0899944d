//! What `fixtures/kernel.py` computed from the words of `spec/kernel.md` alone.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

/// Each in hexadecimal, little-endian.
#[derive(Deserialize)]
struct Case {
    r#type: String,
    inner: usize,
    x: String,
    bytes: String,
    scales: String,
    w: String,
    y: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn floats(hex: &str) -> Vec<f32> {
    bytes(hex).as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_specification() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../../fixtures/kernel.json")).unwrap();
    let mut seen = Vec::new();
    for case in vectors.cases {
        let dtype = ElementType::QUANTISED.into_iter().find(|dtype| dtype.name() == case.r#type).unwrap();
        let x = Rows::from_values(case.inner, floats(&case.x)).unwrap();
        let made = Activations::of(&x).unwrap();
        let stated: Vec<i8> = bytes(&case.bytes).iter().map(|byte| byte.cast_signed()).collect();
        assert_eq!(made.bytes(), stated, "{} {}", case.r#type, case.inner);
        assert_eq!(bits(made.scales()), bits(&floats(&case.scales)), "{} {}", case.r#type, case.inner);
        for isa in Isa::available() {
            let y = run(isa, &x, &bytes(&case.w), dtype);
            assert_eq!(y, bits(&floats(&case.y)), "{isa:?} {} {}", case.r#type, case.inner);
        }
        seen.push(dtype);
    }
    seen.dedup();
    assert_eq!(seen, ElementType::QUANTISED);
}
