//! The judges are gguf-py (`fixtures/quant.json`) and candle.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use serde_json::Value;

use super::{Unquantisable, first_non_finite, pack_scales, quantise, unpack_scales, widen};
use crate::dtype::ElementType;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../fixtures/quant.json")).unwrap()
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn floats(text: &Value) -> Vec<f32> {
    hex(text).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn widened(dtype: ElementType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / dtype.block_bytes() * dtype.block_values()];
    widen(dtype, bytes, &mut out);
    out
}

fn candle(dtype: ElementType) -> GgmlDType {
    match dtype {
        ElementType::F32 => GgmlDType::F32,
        ElementType::F16 => GgmlDType::F16,
        ElementType::Bf16 => GgmlDType::BF16,
        ElementType::Q8_0 => GgmlDType::Q8_0,
        ElementType::Q4_0 => GgmlDType::Q4_0,
        ElementType::Q5_0 => GgmlDType::Q5_0,
        ElementType::Q5_1 => GgmlDType::Q5_1,
        ElementType::Q4K => GgmlDType::Q4K,
        ElementType::Q5K => GgmlDType::Q5K,
        ElementType::Q6K => GgmlDType::Q6K,
    }
}

fn widened_by_candle(dtype: ElementType, bytes: &[u8]) -> Vec<f32> {
    let storage = QStorage::from_data(bytes.to_vec().into(), &Device::Cpu, candle(dtype)).unwrap();
    let values = bytes.len() / dtype.block_bytes() * dtype.block_values();
    let tensor = QTensor::new(storage, values).unwrap();
    tensor.dequantize(&Device::Cpu).unwrap().to_vec1().unwrap()
}

/// Numbers between 0 and 2^32 − 1, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap()
    }

    /// About normally distributed: the sum of twelve uniform values.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| f32::from(u16::try_from(self.next() >> 16).unwrap()) / 65536.0).sum::<f32>() - 6.0
    }

    /// Random blocks with finite scales.
    fn blocks(&mut self, dtype: ElementType, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count * dtype.block_bytes() {
            let block: Vec<u8> =
                (0..dtype.block_bytes()).map(|_| u8::try_from(self.next() >> 24).unwrap()).collect();
            if first_non_finite(dtype, &block).is_none() {
                all.extend(block);
            }
        }
        all
    }
}

#[test]
fn every_type_widens_to_the_bits_of_gguf_py() {
    let fixture = fixture();
    for dtype in ElementType::QUANTISED {
        let expected = &fixture["widened"][dtype.name()];
        let values = widened(dtype, &hex(&expected["bytes"]));
        assert_eq!(bits(&values), bits(&floats(&expected["values"])), "{}", dtype.name());
    }
}

#[test]
fn every_type_widens_to_the_bits_of_candle() {
    let mut numbers = Numbers(1);
    for dtype in ElementType::ALL {
        let blocks = numbers.blocks(dtype, 64);
        let (ours, theirs) = (widened(dtype, &blocks), widened_by_candle(dtype, &blocks));
        assert_eq!(bits(&ours), bits(&theirs), "{}", dtype.name());
    }
}

#[test]
fn every_16_bit_float_widens_exactly() {
    for b in 0..=u16::MAX {
        let (half, brain) = (f16::from_bits(b).to_f32(), half::bf16::from_bits(b).to_f32());
        let ours = widened(ElementType::F16, &b.to_le_bytes());
        assert!(ours[0].to_bits() == half.to_bits() || ours[0].is_nan() && half.is_nan(), "{b:#06x}");
        let ours = widened(ElementType::Bf16, &b.to_le_bytes());
        assert!(ours[0].to_bits() == brain.to_bits() || ours[0].is_nan() && brain.is_nan(), "{b:#06x}");
    }
}

#[test]
fn q8_0_and_q5_0_have_the_bytes_of_gguf_py() {
    for row in fixture()["quantised"].as_array().unwrap() {
        for dtype in [ElementType::Q8_0, ElementType::Q5_0] {
            let mut ours = Vec::new();
            assert_eq!(quantise(dtype, &floats(&row["values"]), &mut ours), Ok(()));
            assert_eq!(ours, hex(&row[dtype.name()]), "{} {}", row["name"], dtype.name());
        }
    }
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
}

/// The mean square error of our blocks by that of candle's.
fn error_by_candles(row: &[f32]) -> f64 {
    let mut ours = Vec::new();
    quantise(ElementType::Q4K, row, &mut ours).unwrap();
    let tensor = Tensor::from_slice(row, row.len(), &Device::Cpu).unwrap();
    let theirs = QTensor::quantize(&tensor, GgmlDType::Q4K).unwrap().dequantize(&Device::Cpu).unwrap();
    mean_square(row, &widened(ElementType::Q4K, &ours))
        / mean_square(row, &theirs.to_vec1::<f32>().unwrap()).max(f64::MIN_POSITIVE)
}

#[test]
fn q4_k_is_as_good_as_candles() {
    let mut numbers = Numbers(2);
    let normal: Vec<f32> = (0..256 * 64).map(|_| numbers.normal() * 0.02).collect();
    let heavy: Vec<f32> = (0..256 * 64).map(|_| numbers.normal().powi(3) * 0.01).collect();
    let shifted: Vec<f32> = (0..256 * 64).map(|_| numbers.normal() * 0.02 + 0.05).collect();
    let small: Vec<f32> = (0..256 * 64).map(|_| numbers.normal() * 1e-5).collect();
    for (name, row) in [("normal", normal), ("heavy", heavy), ("shifted", shifted), ("small", small)] {
        let ratio = error_by_candles(&row);
        assert!(ratio <= 1.05, "{name}: {ratio}");
    }
}

#[test]
fn q4_k_keeps_what_it_can_hold_exactly() {
    for value in [0.0, 1.0, -0.5] {
        let mut blocks = Vec::new();
        quantise(ElementType::Q4K, &[value; 256], &mut blocks).unwrap();
        for (at, found) in widened(ElementType::Q4K, &blocks).iter().enumerate() {
            assert!((found - value).abs() <= 1e-3 * value.abs(), "{value} at {at}: {found}");
        }
    }
}

#[test]
fn a_single_great_value_does_not_spoil_other_runs() {
    let mut row = [0.01; 256];
    row[40] = 1000.0;
    let mut blocks = Vec::new();
    quantise(ElementType::Q4K, &row, &mut blocks).unwrap();
    let found = widened(ElementType::Q4K, &blocks);
    assert!((found[40] - 1000.0).abs() < 2.0, "{}", found[40]);
    assert!(found.iter().all(|v| v.is_finite()));
}

#[test]
fn scales_are_packed_as_they_are_unpacked() {
    let mut numbers = Numbers(3);
    for _ in 0..200 {
        let packed: [u8; 12] = std::array::from_fn(|_| u8::try_from(numbers.next() >> 24).unwrap());
        let (scales, offsets) = unpack_scales(&packed);
        assert_eq!(pack_scales(scales, offsets), packed);
    }
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let refused = |dtype, row: &[f32]| quantise(dtype, row, &mut Vec::new()).unwrap_err();
    let length = Unquantisable::Length { dtype: ElementType::Q4K, values: 32 };
    assert_eq!(refused(ElementType::Q4K, &[0.0; 32]), length);
    assert_eq!(refused(ElementType::Q6K, &[0.0; 256]), Unquantisable::Type { dtype: ElementType::Q6K });
    for dtype in [ElementType::Q8_0, ElementType::Q5_0, ElementType::Q4K] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 2e8] {
            let mut row = [1.0; 512];
            row[300] = bad;
            let index = 300 / dtype.block_values() * dtype.block_values();
            assert_eq!(refused(dtype, &row), Unquantisable::Range { dtype, index }, "{bad}");
        }
    }
}

#[test]
fn the_first_block_with_an_infinite_scale_is_found() {
    let mut numbers = Numbers(4);
    let scales = |dtype| match dtype {
        ElementType::Q5_1 | ElementType::Q4K | ElementType::Q5K => vec![0, 2],
        ElementType::Q6K => vec![208],
        _ => vec![0],
    };
    for dtype in ElementType::QUANTISED {
        let good = numbers.blocks(dtype, 5000);
        assert_eq!(first_non_finite(dtype, &good), None);
        for (offset, block, scale) in
            scales(dtype).into_iter().flat_map(|o| [(o, 4999, f16::NAN), (o, 17, f16::NEG_INFINITY)])
        {
            let mut bad = good.clone();
            let at = block * dtype.block_bytes() + offset;
            bad[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            assert_eq!(first_non_finite(dtype, &bad), Some(block * dtype.block_values()), "{}", dtype.name());
        }
    }
    assert_eq!(first_non_finite(ElementType::F32, &[0, 0, 0, 0, 0, 0, 0x80, 0x7f]), Some(1));
    assert_eq!(first_non_finite(ElementType::Bf16, &[0, 0, 0xc0, 0x7f]), Some(1));
    assert_eq!(first_non_finite(ElementType::F16, &[0xff, 0x7b, 0, 0xfc]), Some(1));
}
