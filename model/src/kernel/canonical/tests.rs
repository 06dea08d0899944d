//! Every instruction set against the scalar reference, and that against the definition in exact arithmetic.

use super::*;
use crate::kernel::activation::Activations;
use crate::quant;
use crate::rows::Rows;

#[cfg(unix)]
mod guarded;
mod vectors;

/// A stream of bytes from a seed.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(self.0 >> 56).unwrap()
    }
}

/// Where the f16 scales of a block lie.
fn scale_places(dtype: ElementType) -> &'static [usize] {
    match dtype {
        ElementType::Q5_1 | ElementType::Q4K | ElementType::Q5K => &[0, 2],
        ElementType::Q6K => &[208],
        _ => &[0],
    }
}

/// Random blocks; scales are finite, whatever their sign and size.
fn weights(dtype: ElementType, outputs: usize, inner: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Bytes(seed);
    let mut out: Vec<u8> = (0..outputs * dtype.row_bytes(inner).unwrap()).map(|_| bytes.next()).collect();
    for block in out.chunks_exact_mut(dtype.block_bytes()) {
        for place in scale_places(dtype) {
            if block[place + 1] & 0x7c == 0x7c {
                block[place + 1] ^= 0x40;
            }
        }
    }
    out
}

fn activations(rows: usize, inner: usize, seed: u64) -> Rows {
    let mut bytes = Bytes(seed);
    let values = (0..rows * inner)
        .map(|at| match (at / 32 % 7, bytes.next()) {
            (0, _) => 0.0,
            (1, b) => f32::from_bits(u32::from(b)),
            (2, b) => f32::from(i8::from_le_bytes([b])) * 1e30,
            (_, b) => (f32::from(b) - 128.0) / 17.0,
        })
        .collect();
    Rows::from_values(inner, values).unwrap()
}

fn run(isa: Isa, x: &Rows, w: &[u8], dtype: ElementType) -> Vec<u32> {
    let x = Packed::of(Activations::of(x).unwrap());
    let rows = x.activations();
    let mut y = vec![f32::NAN; rows.len() * (w.len() / dtype.row_bytes(rows.width()).unwrap())];
    quantised_product(isa, QuantisedProduct { x: &x, w, dtype, y: &mut y });
    y.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_reference() {
    for dtype in ElementType::QUANTISED {
        let least = dtype.block_values();
        for inner in [least, 2 * least, 3 * least, 11 * least, 44 * least] {
            for seed in 0..3 {
                let (w, x) = (weights(dtype, 5, inner, seed), activations(11, inner, seed + 100));
                let want = run(Isa(Kind::Scalar), &x, &w, dtype);
                for isa in Isa::available() {
                    assert_eq!(run(isa, &x, &w, dtype), want, "{isa:?} {dtype:?} {inner} seed {seed}");
                }
            }
        }
    }
}

#[test]
fn extreme_bytes_do_not_saturate() {
    for dtype in ElementType::QUANTISED {
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let inner = 2 * dtype.block_values();
            let mut w = vec![fill; dtype.row_bytes(inner).unwrap()];
            for block in w.chunks_exact_mut(dtype.block_bytes()) {
                for place in scale_places(dtype) {
                    (block[*place], block[place + 1]) = (0x00, 0x3c);
                }
            }
            for sign in [1.0, -1.0] {
                let x = Rows::from_values(inner, vec![sign; inner]).unwrap();
                let want = run(Isa(Kind::Scalar), &x, &w, dtype);
                for isa in Isa::available() {
                    assert_eq!(run(isa, &x, &w, dtype), want, "{isa:?} {dtype:?} {fill:x}");
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_it_travels_with() {
    for dtype in ElementType::QUANTISED {
        let inner = 3 * dtype.block_values();
        let (w, x) = (weights(dtype, 7, inner, 5), activations(17, inner, 6));
        let alone: Vec<u32> =
            (0..17).flat_map(|r| run(Isa::fastest(), &x.slice(r, r + 1), &w, dtype)).collect();
        for rows in 1..=17 {
            let together = run(Isa::fastest(), &x.slice(0, rows), &w, dtype);
            assert_eq!(together, alone[..rows * 7], "{dtype:?} {rows}");
        }
    }
}

/// The definition with the sums in f64: what the reference must come near to.
#[test]
fn the_reference_is_the_sum_of_dequantised_products() {
    for dtype in ElementType::QUANTISED {
        let inner = 4 * dtype.block_values();
        let w = {
            let mut w = weights(dtype, 3, inner, 9);
            for block in w.chunks_exact_mut(dtype.block_bytes()) {
                for place in scale_places(dtype) {
                    block[place + 1] = block[place + 1] & 0x83 | 0x20;
                }
            }
            w
        };
        let mut bytes = Bytes(77);
        let x =
            Rows::from_values(inner, (0..inner).map(|_| f32::from(bytes.next()) - 100.0).collect()).unwrap();
        let quantised = Activations::of(&x).unwrap();
        let row = quantised.row(0);
        for (c, stored) in w.chunks_exact(dtype.row_bytes(inner).unwrap()).enumerate() {
            let mut widened = vec![0f32; inner];
            quant::widen(dtype, stored, &mut widened);
            let (mut want, mut magnitude) = (0f64, 0f64);
            for (k, weight) in widened.iter().enumerate() {
                let term = f64::from(*weight) * f64::from(row.bytes[k]) * f64::from(row.scales[k / 32]);
                want += term;
                magnitude += term.abs();
            }
            let got = f64::from(f32::from_bits(run(Isa(Kind::Scalar), &x, &w, dtype)[c]));
            assert!((got - want).abs() <= 1e-6 * magnitude, "{dtype:?} {got} {want}");
        }
    }
}

/// `spec/kernel.md#error`: the bytes of activations are all that is lost.
#[test]
fn the_error_beside_values_that_are_not_quantised_is_as_stated() {
    for dtype in ElementType::QUANTISED {
        let inner = 2048;
        let mut w = weights(dtype, 16, inner, 31);
        for block in w.chunks_exact_mut(dtype.block_bytes()) {
            for place in scale_places(dtype) {
                block[place + 1] = 0x20;
            }
        }
        let mut bytes = Bytes(33);
        let mut uniform = || f32::from(u16::from_le_bytes([bytes.next(), bytes.next()])) / 32_768.0 - 1.0;
        let x = Rows::from_values(inner, (0..4 * inner).map(|_| uniform()).collect()).unwrap();
        let mut widened = vec![0f32; 16 * inner];
        quant::widen(dtype, &w, &mut widened);
        let got = run(Isa::fastest(), &x, &w, dtype);
        let exact = x.iter().flat_map(|row| {
            widened
                .chunks_exact(inner)
                .map(move |w| -> f64 { row.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum() })
        });
        let (mut error, mut all) = (0f64, 0f64);
        for (got, want) in got.iter().zip(exact) {
            error += (f64::from(f32::from_bits(*got)) - want).powi(2);
            all += want.powi(2);
        }
        assert!(error <= 4e-5 * all, "{dtype:?} {:e}", error / all);
        assert!(error >= 1e-6 * all, "{dtype:?} {:e}", error / all);
    }
}
