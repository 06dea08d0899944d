//! Tokenizer, its settings and chat template: three parts of the input, cut at the bytes `ff`.
#![no_main]

use std::sync::Once;

use counterfoil_fuzz::{folder, put};
use counterfoil_model::Checkpoint;

libfuzzer_sys::fuzz_target!(|parts: &[u8]| {
    static REST: Once = Once::new();
    REST.call_once(|| {
        put("config.json", include_bytes!("../../seed/config.json"));
        put("model.safetensors", include_bytes!("../../seed/model.safetensors"));
    });
    let mut parts = parts.splitn(3, |byte| *byte == 0xff);
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        put(name, parts.next().unwrap_or_default());
    }
    let checkpoint = Checkpoint::open(folder()).expect("a whole checkpoint");
    if let Ok(vocabulary) = checkpoint.vocabulary() {
        let _ = vocabulary.encode("a Counterfoil, 1234 🎟").map(|ids| vocabulary.decode(&ids));
    }
});
