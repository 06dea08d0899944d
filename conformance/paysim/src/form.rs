//! `application/x-www-form-urlencoded`, in which Stripe's first API and PayPal's token request are written.

use std::collections::BTreeMap;

/// The fields of a form; a name that comes twice has its last value. `None` for an escape that is none.
pub(crate) fn fields(text: &str) -> Option<BTreeMap<String, String>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(field).collect()
}

fn field(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Some((plain(name)?, plain(value)?))
}

fn plain(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_broken_ones_refused() {
        let found = fields("amount=25&metadata%5Bpayout%5D=a+b%2Fc").unwrap();
        assert_eq!(found.get("metadata[payout]").map(String::as_str), Some("a b/c"));
        assert_eq!(found.get("amount").map(String::as_str), Some("25"));
        assert_eq!(fields("a=%4"), None);
        assert_eq!(fields("a=%zz"), None);
    }
}
