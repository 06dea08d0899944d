//! Fuzz targets for what others send, show or paste of logs: notes, proofs, policies, checkpoints to cosign, successions of
//! keys, the files of a log and of an export.
//!
//! Each target holds a property and not only that nothing panics: what is read is written as it came, and what was signed
//! or proved is refused once a bit of it is changed. `.ci/fuzz.sh` builds and runs them; `make_corpus.py` makes what they
//! begin with out of the vectors.

mod made;
mod tamper;

pub use made::{ORIGIN, changed, hashes, log, note, witness};
pub use tamper::{Changed, Files, Plain, log_and_export};
