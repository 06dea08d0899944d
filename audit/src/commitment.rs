//! What the log keeps of a prompt and of an output: a hash that nobody can guess at without the request's salt.

use counterfoil_identity::digest;
use counterfoil_spec::ids::Hash;

/// Which of a request's two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The prompt as the model's chat template renders it.
    Prompt,
    /// The text of the answer.
    Output,
}

/// The commitment to a text: BLAKE3 keyed with the salt, over "prompt" or "output" and the text.
#[must_use]
pub fn commitment(salt: &Hash, what: Committed, text: &str) -> Hash {
    let label: &[u8] = match what {
        Committed::Prompt => b"prompt",
        Committed::Output => b"output",
    };
    digest::keyed(salt, &[label, text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salt_and_place_separate_commitments() {
        let (one, two) = (Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32]));
        let prompt = commitment(&one, Committed::Prompt, "text");
        let keyed = *blake3::keyed_hash(&[1; 32], b"prompttext").as_bytes();
        assert_eq!(prompt, Hash::from_bytes(keyed));
        assert_ne!(prompt, commitment(&one, Committed::Output, "text"));
        assert_ne!(prompt, commitment(&two, Committed::Prompt, "text"));
    }
}
