//! The configuration of a folder whose weights are right for the first seed of the corpus.
#![no_main]

use std::sync::Once;

use counterfoil_fuzz::{folder, load, put};

libfuzzer_sys::fuzz_target!(|config: &[u8]| {
    static WEIGHTS: Once = Once::new();
    WEIGHTS.call_once(|| {
        put("model.safetensors", include_bytes!("../../seed/model.safetensors"));
    });
    put("config.json", config);
    load(folder());
});
