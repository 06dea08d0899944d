//! What a node sends: its hello, control messages and combines.
#![no_main]

use counterfoil_session_fuzz::{To, hold};

libfuzzer_sys::fuzz_target!(|stream: &[u8]| hold(To::Router, stream));
