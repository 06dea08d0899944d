//! Just enough reading of Rust to check its outline: comments and literals are blanked, braces matched.

use super::tree::File;

/// The same text with every comment, string and character literal replaced by spaces; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(c);
            at += 1;
        } else {
            out.extend(chars.iter().take(end).skip(at).map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that starts here ends; `at` itself where none starts.
fn literal_end(chars: &[char], at: usize) -> usize {
    let char_at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let after_word = at > 0 && is_word(char_at(at - 1));
    match char_at(at) {
        '/' if char_at(at + 1) == '/' => find(chars, at, '\n'),
        '/' if char_at(at + 1) == '*' => block_comment_end(chars, at),
        '"' => quoted_end(chars, at + 1, '"'),
        'r' if !after_word => raw_string_end(chars, at, at + 1),
        'b' | 'c' if !after_word && char_at(at + 1) == 'r' => raw_string_end(chars, at, at + 2),
        // A character literal; a lifetime has no closing quote after one character.
        '\'' if char_at(at + 1) == '\\' || char_at(at + 2) == '\'' => quoted_end(chars, at + 1, '\''),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, what: char) -> usize {
    chars.iter().skip(from).position(|c| *c == what).map_or(chars.len(), |n| from + n)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while let Some(&c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            _ if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `hashes` is where the `#`s of `r#"…"#` would begin; `at` comes back where this is not a raw string.
fn raw_string_end(chars: &[char], at: usize, hashes: usize) -> usize {
    let count = chars.iter().skip(hashes).take_while(|c| **c == '#').count();
    if chars.get(hashes + count) != Some(&'"') {
        return at;
    }
    let mut i = hashes + count + 1;
    while i < chars.len() {
        i = find(chars, i, '"') + 1;
        if chars.iter().skip(i).take(count).filter(|c| **c == '#').count() == count {
            return i + count;
        }
    }
    chars.len()
}

/// Whether a character may stand in an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The line, from 1, that a byte offset lies in.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Byte offsets at which `word` stands in `code` as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|s| s.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The offset after the bracket that closes the first `open` at or after `from`; `None` where a `;` comes first.
pub(crate) fn closed(code: &str, from: usize, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut nested = 0_usize;
    for (i, c) in code.get(from..)?.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close && depth > 0 {
            depth -= 1;
            if depth == 0 {
                return Some(from + i + c.len_utf8());
            }
        } else if depth == 0 {
            match c {
                '(' | '[' => nested += 1,
                ')' | ']' => nested = nested.saturating_sub(1),
                ';' if nested == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// The code with everything that is not a test blanked: all of a test file, else what `#[cfg(test)]` covers.
pub(crate) fn test_code(file: &File) -> String {
    let code = code(&file.text);
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if file.path.contains("/tests/") || name == "tests.rs" {
        return code;
    }
    let mut out: String = code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let after = at + "#[cfg(test)]".len();
        if let Some(end) = closed(&code, after, '{', '}')
            && code.is_ascii()
            && let Some(part) = code.get(at..end)
        {
            out.replace_range(at..end, part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "a // {\nb /* { /* } */ { */ c \"{\\\"\" r#\"{\"}\"# '{' 'a d b\"{\"";
        let want = "a     \nb                   c                    'a d b   ";
        assert_eq!(code(text), want);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("a.sleep(); asleep; sleep_ms", "sleep").collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn closing_bracket_is_found_and_a_declaration_has_none() {
        assert_eq!(closed("fn f(a: [u8; 2]) { {} } x", 0, '{', '}'), Some(23));
        assert_eq!(closed("fn f(); {}", 0, '{', '}'), None);
    }

    #[test]
    fn only_the_test_module_is_test_code() {
        let file = File {
            path: "a/src/b.rs".to_owned(),
            text: "fn f() {}\n#[cfg(test)]\nmod t { g() }\nfn h() {}\n".to_owned(),
        };
        assert_eq!(test_code(&file), "         \n#[cfg(test)]\nmod t { g() }\n         \n");
    }
}
