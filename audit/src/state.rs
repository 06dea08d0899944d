//! The head that was last handed to the signing key, durable before it signs.
//!
//! ```text
//! state/signed = checkpoint text ‖ "crc32c " ‖ 8 lowercase hex digits (of the checkpoint text) ‖ "\n"
//! ```

use crate::checkpoint::Checkpoint;

/// The file's name, relative to the log's folder.
pub const FILE: &str = "state/signed";
/// The whole file, in bytes.
pub const MAX_STATE_BYTES: usize = 512;

/// Writes the file's text.
#[must_use]
pub fn render(signed: &Checkpoint) -> String {
    let text = signed.text();
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

/// Reads the file; `None` for anything that [`render`] does not write.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Checkpoint> {
    let all = std::str::from_utf8(bytes).ok()?;
    let at = all.trim_end_matches('\n').rfind('\n')?;
    let signed = Checkpoint::parse(all.get(..=at)?).ok()?;
    (render(&signed) == all).then_some(signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Head, empty_root};

    #[test]
    fn every_changed_byte_is_seen() {
        let head = Head { size: 12, root: empty_root() };
        let signed = Checkpoint { origin: "a.example/log".to_owned(), head };
        let bytes = render(&signed).into_bytes();
        assert_eq!(parse(&bytes), Some(signed));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(parse(&bad), None, "bit {bit} of byte {at}");
            }
            assert_eq!(parse(&bytes[..at]), None, "cut to {at} bytes");
        }
    }
}
