//! The matrix product of every quantised element type, out of more memory than the caches hold:
//! `cargo bench -p counterfoil-model`. `counterfoil bench kernel` puts candle's beside it.
#![allow(clippy::unwrap_used, reason = "a bench stops at the unexpected")]

use counterfoil_model::ElementType;
use counterfoil_model::bench::Products;
use divan::Bencher;
use divan::counter::BytesCount;

/// Outputs and values in a row: an expert's gate matrix in Qwen1.5-MoE-A2.7B.
const SHAPE: (usize, usize) = (1408, 2048);
const BYTES: usize = 64 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = ["q8_0", "q4_0", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"], consts = [1, 4, 16], sample_count = 20)]
fn product<const ROWS: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let dtype = ElementType::ALL.into_iter().find(|dtype| dtype.name() == name).unwrap();
    let mut products = Products::new(dtype, SHAPE, ROWS, BYTES).unwrap();
    let bytes = dtype.row_bytes(SHAPE.1).unwrap() * SHAPE.0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| products.ours(1, &|| 0).unwrap());
}
