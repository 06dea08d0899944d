//! PEM (RFC 7468) for the files that an operator may want to read with other programs.
//!
//! A file holds one or more blocks of one label; anything else in it is refused, so that a key file never hides a
//! second key. Written by hand: it is forty lines, and the crate that rustls users take for it is no longer kept up.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Why a text is not the PEM that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// Text outside a block, a block without its end, or a block of another label.
    #[error("line {line}: expected a PEM block \"{label}\" and nothing else")]
    Structure {
        /// Counted from one.
        line: usize,
        /// The label that was expected.
        label: &'static str,
    },
    /// Not base64.
    #[error("line {line}: not base64")]
    Base64 {
        /// The line that ends the block.
        line: usize,
    },
}

/// Writes one block.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64.encode(der));
    let mut out = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str("\n-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// Reads all blocks of a text; each must have this label.
///
/// # Errors
/// [`PemFault`] names the line.
pub fn decode(label: &'static str, text: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, PemFault> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut blocks = Vec::new();
    let mut open: Option<Zeroizing<String>> = None;
    let mut lines = 0;
    for (i, line) in text.lines().enumerate() {
        let (line, number) = (line.trim_end(), i + 1);
        lines = number;
        match &mut open {
            None if line == begin => open = Some(Zeroizing::new(String::new())),
            None if line.is_empty() => {}
            Some(body) if line == end => {
                let der = BASE64.decode(body.as_bytes()).map_err(|_| PemFault::Base64 { line: number })?;
                blocks.push(Zeroizing::new(der));
                open = None;
            }
            Some(body) if !line.starts_with("-----") => body.push_str(line),
            _ => return Err(PemFault::Structure { line: number, label }),
        }
    }
    if open.is_some() || blocks.is_empty() {
        return Err(PemFault::Structure { line: lines + 1, label });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_read_back() {
        let der: Vec<u8> = (0..200).collect();
        let text = encode("CERTIFICATE", &der);
        assert!(text.lines().all(|l| l.len() <= 64));
        assert_eq!(
            decode("CERTIFICATE", &text).map(|b| b.iter().map(|d| d.to_vec()).collect()),
            Ok(vec![der])
        );
    }

    #[test]
    fn other_label_is_refused() {
        let text = encode("EC PRIVATE KEY", b"abc");
        assert_eq!(decode("PRIVATE KEY", &text), Err(PemFault::Structure { line: 1, label: "PRIVATE KEY" }));
    }

    #[test]
    fn text_after_the_block_is_refused() {
        let text = format!("{}more\n", *encode("PRIVATE KEY", b"abc"));
        assert_eq!(decode("PRIVATE KEY", &text), Err(PemFault::Structure { line: 4, label: "PRIVATE KEY" }));
    }

    #[test]
    fn block_without_end_is_refused() {
        assert_eq!(
            decode("PRIVATE KEY", "-----BEGIN PRIVATE KEY-----\nYWJj\n"),
            Err(PemFault::Structure { line: 3, label: "PRIVATE KEY" })
        );
    }

    #[test]
    fn broken_base64_is_refused() {
        assert_eq!(
            decode("PRIVATE KEY", "-----BEGIN PRIVATE KEY-----\nYW!j\n-----END PRIVATE KEY-----\n"),
            Err(PemFault::Base64 { line: 3 })
        );
    }
}
