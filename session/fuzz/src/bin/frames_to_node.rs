//! What a router sends: control messages and dispatches.
#![no_main]

use counterfoil_session_fuzz::{To, hold};

libfuzzer_sys::fuzz_target!(|stream: &[u8]| hold(To::Node, stream));
