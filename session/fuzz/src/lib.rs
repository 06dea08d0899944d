//! Fuzz targets for everything that a peer sends, shows or pastes.
//!
//! Each target holds a property and not only that nothing panics: what is read is written as it came, what is accepted
//! is what was asked for, and what was signed is refused once a bit of it is changed. Bytes that a fuzzer has changed
//! fit no signature, so the targets sign what they were given with the keys of the conformance vectors and go on from
//! there. `.ci/fuzz.sh` builds and runs them; `make_corpus.py` makes what they begin with out of the vectors.

mod change;
mod der;
mod lane;
mod network;
mod vectors;

pub use change::{flipped, mark};
pub use der::signed_again;
pub use lane::{To, hold};
pub use network::{Anybody, Network, Nobody, PRESENT, network};
