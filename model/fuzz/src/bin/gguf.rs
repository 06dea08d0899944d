//! A whole GGUF file.
#![no_main]

use counterfoil_fuzz::{load, put};

libfuzzer_sys::fuzz_target!(|file: &[u8]| load(&put("model.gguf", file)));
