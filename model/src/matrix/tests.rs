//! A matrix computes the same bits however it is stored.

use std::sync::LazyLock;

use super::*;
use crate::quant;

/// Rows of this many values of random sign and size, of which every byte of a block is made.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(state >> 48).unwrap()) / 32_768.0 - 1.0
        })
        .collect()
}

/// Bytes of `(outputs, inner)` values whose scales are small numbers.
fn stored(dtype: ElementType, outputs: usize, inner: usize) -> Vec<u8> {
    let blocks = outputs * inner / dtype.block_values();
    let mut bytes: Vec<u8> =
        (0..blocks * dtype.block_bytes()).map(|at| u8::try_from(at * 37 % 251).unwrap()).collect();
    // Upper bytes of every 16 bits below 0x3c: f16 scales and offsets, f16, bf16 and f32 values are all below 1.
    bytes.iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 0x3b);
    bytes
}

fn matrix(dtype: ElementType, outputs: usize, inner: usize) -> Matrix {
    let bytes = Span::owned(stored(dtype, outputs, inner));
    assert_eq!(quant::first_non_finite(dtype, bytes.bytes()), None, "{}", dtype.name());
    let values = Arc::new(Values::Stored { dtype, bytes });
    Matrix { outputs, inner, values, threads: Threads::of_process() }
}

fn wide(dtype: ElementType, outputs: usize, inner: usize) -> Matrix {
    let bytes = stored(dtype, outputs, inner);
    Matrix::from_values(outputs, inner, widened(dtype, &bytes, outputs * inner))
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.values().iter().map(|v| v.to_bits()).collect()
}

static X: LazyLock<Rows> = LazyLock::new(|| Rows::from_values(256, numbers(5 * 256)).unwrap());

#[test]
fn every_type_gives_the_bits_of_its_widened_values() {
    for dtype in ElementType::ALL {
        for outputs in [1, 3, 4, 11] {
            let (stored, wide) = (matrix(dtype, outputs, 256), wide(dtype, outputs, 256));
            for rows in [1, 2, 5] {
                let x = X.slice(0, rows);
                let (a, b) = (stored.apply(&x).unwrap(), wide.apply(&x).unwrap());
                assert_eq!(bits(&a), bits(&b), "{} {outputs} {rows}", dtype.name());
            }
        }
    }
}

#[test]
fn every_path_gives_the_same_bits_for_stored_weights() {
    for dtype in ElementType::ALL {
        let w = stored(dtype, 7, 256);
        let outcomes: Vec<Vec<u32>> = Path::available()
            .into_iter()
            .map(|path| {
                let mut y = Rows::zeros(X.len(), 7);
                let mut scratch = vec![f32::NAN; WIDENED_ROWS * 256];
                let (x, w, scratch) = (X.values(), w.as_slice(), scratch.as_mut_slice());
                let job = StoredProduct { x, dtype, w, y: y.values_mut(), inner: 256, scratch };
                kernel::stored_product(path, job);
                bits(&y)
            })
            .collect();
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{}", dtype.name());
    }
}

#[test]
fn a_band_has_the_bits_of_its_rows_in_the_whole() {
    for dtype in [ElementType::F32, ElementType::F16, ElementType::Q4K] {
        let matrix = matrix(dtype, 11, 256);
        let whole = matrix.apply(&X).unwrap();
        let band = matrix.apply_band(&X, 3, 5).unwrap();
        for (whole, band) in whole.iter().zip(band.iter()) {
            assert_eq!(&whole[3..8], band, "{}", dtype.name());
        }
    }
}

#[test]
fn bands_end_at_the_last_row() {
    let matrix = matrix(ElementType::Q8_0, 11, 256);
    assert_eq!(matrix.apply_band(&X, 6, 5).map(|y| y.width()), Ok(5));
    let refused = ComputeError::Shape { what: "rows of a matrix", expected: 11, found: 12 };
    assert_eq!(matrix.apply_band(&X, 7, 5), Err(refused));
}

#[test]
fn a_row_is_what_was_stored() {
    for dtype in ElementType::ALL {
        let (matrix, all) = (matrix(dtype, 3, 256), widened(dtype, &stored(dtype, 3, 256), 3 * 256));
        let mut row = vec![0.0; 256];
        assert!(matrix.row(2, &mut row));
        assert_eq!(row, all[512..], "{}", dtype.name());
        assert!(!matrix.row(3, &mut row));
    }
}

#[test]
fn memory_holds_no_more_than_the_file_but_for_small_floats() {
    let loaded = |dtype: ElementType, outputs, inner| {
        let bytes = stored(dtype, outputs, inner);
        let told = resident_bytes(dtype, [outputs, inner], bytes.len(), false);
        let bytes = Matrix::of(
            Laid { dtype, shape: [outputs, inner], bytes: Span::owned(bytes) },
            &Computing::default(),
        )
        .bytes();
        assert_eq!(told, bytes);
        bytes
    };
    assert_eq!(loaded(ElementType::F16, 1024, 1024), 4 << 20);
    assert_eq!(loaded(ElementType::F16, 1025, 1024), 2 * 1025 * 1024);
    assert_eq!(loaded(ElementType::Q4K, 4, 256), 4 * 144);
    assert_eq!(loaded(ElementType::F32, 4, 256), 4 * 256 * 4);
}

#[test]
fn parts_and_threads_give_the_bits_of_the_whole() {
    for dtype in [ElementType::F32, ElementType::F16, ElementType::Q8_0, ElementType::Q4K] {
        for threads in 1..=3 {
            let threads = Threads::new(threads.try_into().unwrap());
            let computing = Computing { arithmetic: Arithmetic::Canonical, threads };
            let bytes = Span::owned(stored(dtype, 27, 256));
            let matrix = Matrix::of(Laid { dtype, shape: [27, 256], bytes }, &computing);
            for rows in [1, 2, 5] {
                let x = X.slice(0, rows);
                let whole = bits(&matrix.multiply_parts(&Operand::of(&x), (0, 27), 1).unwrap());
                for parts in [2, 3, 7, 27] {
                    let y = matrix.multiply_parts(&Operand::of(&x), (0, 27), parts).unwrap();
                    assert_eq!(bits(&y), whole, "{} {rows} rows in {parts} parts", dtype.name());
                }
            }
        }
    }
}

#[test]
fn quantised_matrices_refuse_rows_that_are_not_finite() {
    let bytes = Span::owned(stored(ElementType::Q8_0, 3, 256));
    let laid = Laid { dtype: ElementType::Q8_0, shape: [3, 256], bytes };
    let matrix = Matrix::of(laid, &Computing::default());
    let mut x = X.slice(0, 2);
    x.row_mut(1)[200] = f32::NAN;
    let refused = ComputeError::NonFinite { what: "activations", row: 1 };
    assert_eq!(matrix.apply(&x), Err(refused));
}
