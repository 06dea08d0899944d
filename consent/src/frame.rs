//! What is checked of every frame: a counter and a MAC over the fixed header.
//!
//! ```text
//! key = BLAKE3 derive_key("counterfoil v1 frame-mac", exporter(32) ‖ token hash(32))
//! mac = first 16 bytes of BLAKE3 keyed with `key` over the header's bytes
//! exporter = 32 bytes of the TLS exporter, label "EXPORTER-counterfoil-frames-v1", empty context
//! ```
//!
//! TLS covers the body; the MAC binds the header to this connection *and* this consent token.

use counterfoil_identity::digest::{self, context};
use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::REPLAY_WINDOW;

/// The MAC's length in bytes.
pub const MAC_LEN: usize = 16;

/// The MAC of one consent token on one connection.
#[derive(Clone)]
pub struct FrameMac(Hash);

impl FrameMac {
    /// Derives the key from the TLS exporter's bytes and the consent token's hash.
    #[must_use]
    pub fn new(exporter: &[u8; 32], token_hash: &Hash) -> Self {
        Self(digest::derive(context::FRAME_MAC, &[exporter, token_hash.as_bytes()]))
    }

    /// The MAC of a header.
    #[must_use]
    pub fn mac(&self, header: &[u8]) -> [u8; MAC_LEN] {
        let full = digest::keyed(&self.0, &[header]);
        let mut mac = [0; MAC_LEN];
        for (to, from) in mac.iter_mut().zip(full.as_bytes()) {
            *to = *from;
        }
        mac
    }

    /// Whether a MAC is the header's, in time that does not depend on where they differ.
    #[must_use]
    pub fn verify(&self, header: &[u8], mac: &[u8; MAC_LEN]) -> bool {
        let differing = self.mac(header).iter().zip(mac).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl std::fmt::Debug for FrameMac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameMac(..)")
    }
}

/// Accepts each counter once, and none that lies [`REPLAY_WINDOW`] or more below the highest accepted.
#[derive(Debug, Clone, Default)]
pub struct ReplayWindow {
    /// One above the highest accepted counter; 0 before the first.
    next: u64,
    /// Bit `c % REPLAY_WINDOW` says whether counter `c` of the window was accepted.
    bits: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing accepted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts a counter; `false` for one that came before or is too old. Ask only after the MAC was verified.
    #[must_use]
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter == u64::MAX || counter.saturating_add(REPLAY_WINDOW) < self.next {
            return false;
        }
        if counter >= self.next {
            self.advance(counter);
        }
        let bit = 1 << (counter % 64);
        match self.word(counter) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// Moves the window up so that `counter` is its highest, clearing what it moves over.
    fn advance(&mut self, counter: u64) {
        if counter - self.next >= REPLAY_WINDOW {
            self.bits = [0; WORDS];
        } else {
            for skipped in self.next..=counter {
                if let Some(word) = self.word(skipped) {
                    *word &= !(1 << (skipped % 64));
                }
            }
        }
        self.next = counter + 1;
    }

    fn word(&mut self, counter: u64) -> Option<&mut u64> {
        usize::try_from(counter % REPLAY_WINDOW / 64).ok().and_then(|i| self.bits.get_mut(i))
    }
}

const WORDS: usize = 16;
const _: () = assert!(WORDS as u64 * 64 == REPLAY_WINDOW, "the bitmap is as wide as the window");
