//! Writes, proves and verifies the hash-chained log; segment files, checkpoints, proofs, witnesses, exports.
