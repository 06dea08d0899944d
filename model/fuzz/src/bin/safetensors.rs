//! The weights of a folder whose configuration is right.
#![no_main]

use std::sync::Once;

use counterfoil_fuzz::{folder, load, put};

libfuzzer_sys::fuzz_target!(|weights: &[u8]| {
    static CONFIG: Once = Once::new();
    CONFIG.call_once(|| {
        put("config.json", include_bytes!("../../seed/config.json"));
    });
    put("model.safetensors", weights);
    load(folder());
});
