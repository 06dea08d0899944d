//! The index of a folder with one file of weights.
#![no_main]

use std::sync::Once;

use counterfoil_fuzz::{folder, load, put};

libfuzzer_sys::fuzz_target!(|index: &[u8]| {
    static REST: Once = Once::new();
    REST.call_once(|| {
        put("config.json", include_bytes!("../../seed/config.json"));
        put("model-00001-of-00001.safetensors", include_bytes!("../../seed/model.safetensors"));
    });
    put("model.safetensors.index.json", index);
    load(folder());
});
