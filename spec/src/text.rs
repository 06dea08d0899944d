//! Words that a peer wrote for people. Whoever shows them to somebody shows them as this module does: what could move a
//! cursor, colour a screen, begin a line of a log or turn the order of letters is escaped, and no more than so much is shown.

use std::fmt::{self, Write};

use minicbor::{Decode, Encode};

use crate::limits::MAX_SHOWN_CHARS;

/// What a peer wrote. It travels as it is, and is printed as [`shown`] alone: there is no way to the bare letters.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct PeerText(#[n(0)] String);

impl PeerText {
    /// Words for a peer, or from one.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl From<String> for PeerText {
    fn from(words: String) -> Self {
        Self(words)
    }
}

impl From<&str> for PeerText {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.0, f)
    }
}

impl fmt::Debug for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write(&self.0, f)?;
        f.write_char('"')
    }
}

/// The words of somebody else as they may be printed: on one line, escaped, and cut with their length where they are long. What
/// was shown once is shown as the same again.
#[must_use]
pub fn shown(words: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(words, &mut out);
    out
}

/// The same of an answer that is printed as it comes: its lines and tabs stay, and it is not cut.
#[must_use]
pub fn shown_lines(words: &str) -> String {
    let mut out = String::new();
    for c in words.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_plain(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

//= spec/session.md#the-connection
//# Whoever shows words of the other side to a person, or writes them where lines are read, MUST escape in them control characters,
//# separators of lines and paragraphs, marks of writing direction and letters without width, and MUST cut them after 1,000 letters.
fn write(words: &str, out: &mut impl Write) -> fmt::Result {
    let mut left = MAX_SHOWN_CHARS;
    for c in words.chars() {
        let escaped = c.escape_unicode();
        let len = if is_plain(c) { 1 } else { escaped.len() };
        let Some(rest) = left.checked_sub(len) else {
            return write!(out, "… ({} bytes)", words.len());
        };
        left = rest;
        match len {
            1 => out.write_char(c)?,
            _ => write!(out, "{escaped}")?,
        }
    }
    Ok(())
}

/// Whether a letter shows as itself and changes nothing else. The others are controls (Unicode's category Cc), separators of lines and
/// paragraphs, marks and overrides of writing direction (Unicode Annex 9), and letters without width, which hide what stands there.
const fn is_plain(c: char) -> bool {
    !matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{from_canonical, to_canonical};

    #[test]
    fn nothing_that_a_terminal_or_a_log_would_obey_gets_through() {
        assert_eq!(shown("no room: 3 of 4"), "no room: 3 of 4");
        assert_eq!(shown("\x1b[2J\x1b]0;x\x07"), "\\u{1b}[2J\\u{1b}]0;x\\u{7}");
        assert_eq!(shown("a\r\nERROR b\tc"), "a\\u{d}\\u{a}ERROR b\\u{9}c");
        assert_eq!(shown("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(shown("exe.\u{202e}txt"), "exe.\\u{202e}txt");
        assert_eq!(shown("a\u{2028}b\u{2066}c\u{200b}d"), "a\\u{2028}b\\u{2066}c\\u{200b}d");
        assert_eq!(shown("Größe 数 😀"), "Größe 数 😀");
    }

    #[test]
    fn an_answer_keeps_its_lines_and_nothing_else_that_is_obeyed() {
        assert_eq!(shown_lines("a\n\tb\r\x1b[1m\u{202e}"), "a\n\tb\\u{d}\\u{1b}[1m\\u{202e}");
        let long = "x\n".repeat(MAX_SHOWN_CHARS);
        assert_eq!(shown_lines(&long), long);
    }

    #[test]
    fn long_words_are_cut_with_their_length() {
        let most = "x".repeat(MAX_SHOWN_CHARS);
        assert_eq!(shown(&most), most);
        assert_eq!(shown(&"x".repeat(65_536)), format!("{most}… (65536 bytes)"));
        // What is escaped counts as long as it is shown.
        let escapes = shown(&"\x1b".repeat(65_536));
        assert_eq!(escapes, format!("{}… (65536 bytes)", "\\u{1b}".repeat(MAX_SHOWN_CHARS / 6)));
    }

    #[test]
    fn what_was_shown_is_shown_the_same_and_travels_as_it_was() {
        let wild = "a\x1b[31m\n\u{202e}b";
        assert_eq!(shown(&shown(wild)), shown(wild));
        let text = PeerText::new(wild);
        assert_eq!((text.to_string(), format!("{text:?}")), (shown(wild), format!("\"{}\"", shown(wild))));
        assert_eq!(to_canonical(&text), to_canonical(&wild.to_owned()));
        assert_eq!(from_canonical::<PeerText>(&to_canonical(&text), 64), Ok(text));
    }
}
