//! The four families against outside judges, from every kind of file.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod gguf;
mod judged;
mod safetensors;
